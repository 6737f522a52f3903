//! Base32 (RFC 4648 §6) as ids and tickets use it: written in lower case, read in either, without
//! padding.
//!
//! Invariant: each run of octets has one lower-case text; bits that a text has over are zero.

use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};

/// The characters that so many octets become.
pub(super) const fn characters(octets: usize) -> usize {
    (8 * octets).div_ceil(5)
}

/// The octets that so many characters hold.
pub(super) const fn octets(characters: usize) -> usize {
    5 * characters / 8
}

/// Encodes octets into [`characters`] of their number.
pub(super) fn encode(octets: &[u8], text: &mut [u8]) {
    BASE32_NOPAD.encode_mut(octets, text);
    text.make_ascii_lowercase();
}

/// Decodes a text into [`octets`] of its length.
pub(super) fn decode(text: &str, octets: &mut [u8]) -> Result<(), Base32Error> {
    let digit = |c: char| matches!(c, 'a'..='z' | 'A'..='Z' | '2'..='7');
    if let Some(at) = text.chars().position(|c| !digit(c)) {
        return Err(Base32Error::Character { at });
    }
    if BASE32_NOPAD_NOCASE.decode_len(text.len()) != Ok(octets.len()) {
        return Err(Base32Error::Length);
    }
    let decoded = BASE32_NOPAD_NOCASE.decode_mut(text.as_bytes(), octets);
    decoded.map(|_| ()).map_err(|_| Base32Error::Length)
}

/// Why a text is not base32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base32Error {
    /// The character at this place is not a digit; characters count, not octets.
    Character { at: usize },
    /// No octets have a text of this length, or with these last bits.
    Length,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Result<Vec<u8>, Base32Error> {
        let mut octets = vec![0; octets(text.len())];
        decode(text, &mut octets).map(|()| octets)
    }

    /// RFC 4648 §10.
    #[test]
    fn the_vectors_of_rfc_4648_hold() {
        for (octets, text) in [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("foob", "mzxw6yq"),
            ("fooba", "mzxw6ytb"),
            ("foobar", "mzxw6ytboi"),
        ] {
            let mut encoded = vec![0; characters(octets.len())];
            encode(octets.as_bytes(), &mut encoded);
            assert_eq!(encoded, text.as_bytes());
            assert_eq!(decoded(text).unwrap(), octets.as_bytes());
            let upper = text.to_ascii_uppercase();
            assert_eq!(decoded(&upper).unwrap(), octets.as_bytes());
        }
    }

    #[test]
    fn what_no_octets_become_is_refused() {
        for text in ["m", "mzx", "mzxw6y", "mz", "mzxr"] {
            assert_eq!(decoded(text), Err(Base32Error::Length), "{text}");
        }
        for (text, at) in [("m1", 1), ("my======", 2), (" my", 0), ("m\u{e9}0", 1)] {
            assert_eq!(decoded(text), Err(Base32Error::Character { at }));
        }
    }
}

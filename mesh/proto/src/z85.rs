//! Z85 (RFC 32): binary data as printable text, five characters for four octets.
//!
//! ZeroMQ writes CURVE keys this way, 40 characters for 32 octets.

/// The digits by value (RFC 32, "Representing Binary Data").
const DIGITS: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// The value of each octet as a digit, or [`NONE`].
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};

const NONE: u8 = u8::MAX;

/// The characters of an encoded key.
pub const KEY_CHARACTERS: usize = 40;

/// Encodes octets.
///
/// # Errors
/// The number of octets does not divide by four.
pub fn encode(octets: &[u8]) -> Result<String, Z85Error> {
    match octets.as_chunks::<4>() {
        (groups, []) => Ok(encode_groups(groups)),
        _ => Err(Z85Error::Length {
            length: octets.len(),
            unit: 4,
        }),
    }
}

/// Decodes text.
///
/// # Errors
/// The number of characters does not divide by five, a character is no digit, or five characters
/// stand for more than 32 bits.
pub fn decode(text: &str) -> Result<Vec<u8>, Z85Error> {
    let (groups, []) = text.as_bytes().as_chunks::<5>() else {
        return Err(Z85Error::Length {
            length: text.len(),
            unit: 5,
        });
    };
    let mut octets = Vec::with_capacity(4 * groups.len());
    for (group, at) in groups.iter().zip((0..).step_by(5)) {
        octets.extend_from_slice(&decode_group(group, at)?);
    }
    Ok(octets)
}

/// Encodes a key: 40 characters.
pub fn encode_key(key: &[u8; 32]) -> String {
    encode_groups(key.as_chunks::<4>().0)
}

/// Decodes a key.
///
/// # Errors
/// There are not exactly [`KEY_CHARACTERS`] characters, or they are not Z85.
pub fn decode_key(text: &str) -> Result<[u8; 32], Z85Error> {
    let characters: &[u8; KEY_CHARACTERS] = text
        .as_bytes()
        .try_into()
        .map_err(|_| Z85Error::KeyLength { length: text.len() })?;
    let mut key = [0; 32];
    let groups = characters.as_chunks::<5>().0.iter().zip((0..).step_by(5));
    for (target, (group, at)) in key.as_chunks_mut::<4>().0.iter_mut().zip(groups) {
        *target = decode_group(group, at)?;
    }
    Ok(key)
}

fn encode_groups(groups: &[[u8; 4]]) -> String {
    let mut text = String::with_capacity(5 * groups.len());
    for group in groups {
        let value = u32::from_be_bytes(*group);
        for divisor in [85 * 85 * 85 * 85, 85 * 85 * 85, 85 * 85, 85, 1] {
            text.push(char::from(DIGITS[(value / divisor % 85) as usize]));
        }
    }
    text
}

fn decode_group(group: &[u8; 5], at: usize) -> Result<[u8; 4], Z85Error> {
    let mut value = 0_u64;
    for (octet, at) in group.iter().zip(at..) {
        match VALUES[usize::from(*octet)] {
            NONE => return Err(Z85Error::Character { at }),
            digit => value = 85 * value + u64::from(digit),
        }
    }
    u32::try_from(value)
        .map(u32::to_be_bytes)
        .map_err(|_| Z85Error::Overflow { at })
}

/// Why text is not Z85, or octets cannot become it. Local misuse; it never shows the text, which
/// may be a secret key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Z85Error {
    /// The length does not divide by five (text) or four (octets).
    #[error("a length of {length} does not divide by {unit}")]
    Length {
        /// The length.
        length: usize,
        /// What it must divide by.
        unit: usize,
    },
    /// A key has another length than [`KEY_CHARACTERS`].
    #[error("a key has {KEY_CHARACTERS} characters, not {length}")]
    KeyLength {
        /// The length in octets.
        length: usize,
    },
    /// A character is not among the 85.
    #[error("the character at {at} is not a Z85 digit")]
    Character {
        /// Its place, in octets from the start.
        at: usize,
    },
    /// Five characters stand for more than 32 bits.
    #[error("the five characters at {at} stand for more than 32 bits")]
    Overflow {
        /// The place of the first, in octets from the start.
        at: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_32_hold() {
        let octets = [0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b];
        assert_eq!(encode(&octets).unwrap(), "HelloWorld");
        assert_eq!(decode("HelloWorld").unwrap(), octets);
        assert_eq!(encode(&[]).unwrap(), "");
        assert_eq!(decode("").unwrap(), []);
    }

    /// The client key of zmq_curve(7), "Test key values".
    #[test]
    fn the_test_key_of_zeromq_holds() {
        let public = [
            0xbb, 0x88, 0x47, 0x1d, 0x65, 0xe2, 0x65, 0x9b, 0x30, 0xc5, 0x5a, 0x53, 0x21, 0xce,
            0xbb, 0x5a, 0xab, 0x2b, 0x70, 0xa3, 0x98, 0x64, 0x5c, 0x26, 0xdc, 0xa2, 0xb2, 0xfc,
            0xb4, 0x3f, 0xc5, 0x18,
        ];
        let text = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
        assert_eq!(encode_key(&public), text);
        assert_eq!(decode_key(text).unwrap(), public);
    }

    #[test]
    fn what_is_not_z85_is_refused() {
        assert_eq!(decode("abcd"), Err(Z85Error::Length { length: 4, unit: 5 }));
        assert_eq!(
            encode(&[1, 2, 3]),
            Err(Z85Error::Length { length: 3, unit: 4 })
        );
        assert_eq!(decode("Hello~orld"), Err(Z85Error::Character { at: 5 }));
        assert_eq!(
            decode("Hell\u{e9}"),
            Err(Z85Error::Length { length: 6, unit: 5 })
        );
        assert_eq!(decode("Hel\u{e9}"), Err(Z85Error::Character { at: 3 }));
        assert_eq!(decode("#####"), Err(Z85Error::Overflow { at: 0 }));
        assert_eq!(decode("%nSc0"), Ok(vec![0xff; 4]));
        assert_eq!(decode("%nSc1"), Err(Z85Error::Overflow { at: 0 }));
        assert_eq!(decode_key("Hello"), Err(Z85Error::KeyLength { length: 5 }));
    }
}

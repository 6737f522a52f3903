//! Base32 (RFC 4648 §6) for models, eight digits at a time.

const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The lower-case text of some octets, without padding.
pub fn to_base32(octets: &[u8]) -> String {
    let mut text = String::new();
    for group in octets.chunks(5) {
        let mut padded = [0; 8];
        padded[3..3 + group.len()].copy_from_slice(group);
        let number = u64::from_be_bytes(padded);
        for digit in 0..(8 * group.len()).div_ceil(5) {
            text.push(char::from(
                DIGITS[(number >> (35 - 5 * digit)) as usize % 32],
            ));
        }
    }
    text
}

/// The octets of a text in either case, or the place of the first character that is no digit.
/// `None` when no octets have this text.
pub fn from_base32(text: &str) -> Result<Option<Vec<u8>>, usize> {
    let mut values = Vec::new();
    for (at, c) in text.chars().enumerate() {
        values.push(match c {
            'a'..='z' => c as u8 - b'a',
            'A'..='Z' => c as u8 - b'A',
            '2'..='7' => c as u8 - b'2' + 26,
            _ => return Err(at),
        });
    }
    let mut octets = Vec::new();
    for group in values.chunks(8) {
        let number = (0..8).fold(0, |number, at| {
            number << 5 | u64::from(group.get(at).copied().unwrap_or_default())
        });
        octets.extend_from_slice(&number.to_be_bytes()[3..3 + 5 * group.len() / 8]);
    }
    let same = to_base32(&octets) == text.to_ascii_lowercase();
    Ok(same.then_some(octets))
}

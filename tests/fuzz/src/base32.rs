//! Base32 (RFC 4648 §6) for models, a bit at a time.

const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The lower-case text of some octets, without padding.
pub fn to_base32(octets: &[u8]) -> String {
    let bit = |at: usize| octets.get(at / 8).map_or(0, |it| it >> (7 - at % 8) & 1);
    let digit = |at: usize| (0..5).fold(0, |value, low| value << 1 | bit(5 * at + low));
    let digits = (0..(8 * octets.len()).div_ceil(5)).map(digit);
    digits
        .map(|value| char::from(DIGITS[usize::from(value)]))
        .collect()
}

/// The octets of a text in either case, or the place of the first character that is no digit.
/// `None` when no octets have this text.
pub fn from_base32(text: &str) -> Result<Option<Vec<u8>>, usize> {
    let mut values = Vec::new();
    for (at, c) in text.chars().enumerate() {
        let lower = c.to_ascii_lowercase();
        let value = DIGITS.iter().position(|digit| char::from(*digit) == lower);
        values.push(value.ok_or(at)?);
    }
    let mut octets = vec![0_u8; 5 * values.len() / 8];
    for (at, octet) in octets.iter_mut().enumerate() {
        let bit = |at: usize| (values[at / 5] >> (4 - at % 5) & 1) as u8;
        *octet = (0..8).fold(0, |value, low| value << 1 | bit(8 * at + low));
    }
    let same = to_base32(&octets) == text.to_ascii_lowercase();
    Ok(same.then_some(octets))
}

//! Fields of a header that say what they are, so that a reader skips those that it does not know.
//!
//! ```text
//! field = tag length value
//! ```
//!
//! A tag is one octet, from 1. A length is one octet up to 127; longer ones are two, of which the first
//! has its top bit set, and the other 15 bits are the length, big-endian. Numbers are big-endian, of at
//! most 8 octets, written without leading zeros.
//!
//! Which tags there are, and in which order, is the business of the header that has them.

/// Appends a field whose value is the parts one after the other; they are within the limits of their
/// header, which are below what a length can say.
pub(crate) fn field(octets: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    octets.push(tag);
    if length < 0x80 {
        octets.push(length as u8);
    } else {
        octets.extend((length as u16 | 0x8000).to_be_bytes());
    }
    for part in parts {
        octets.extend_from_slice(part);
    }
}

/// Appends a field that is a number.
pub(crate) fn number(octets: &mut Vec<u8>, tag: u8, number: u64) {
    let zeros = number.leading_zeros() as usize / 8;
    field(octets, tag, &[&number.to_be_bytes()[zeros..]]);
}

/// A length and what has it, and the rest.
pub(crate) fn read_value(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = octets.split_first()?;
    if first < 0x80 {
        return rest.split_at_checked(usize::from(first));
    }
    let (&second, rest) = rest.split_first()?;
    let length = u16::from_be_bytes([first & 0x7f, second]);
    rest.split_at_checked(usize::from(length))
}

/// A value that is a number.
pub(crate) fn read_number(value: &[u8]) -> Option<u64> {
    let mut octets = [0; 8];
    let at = octets.len().checked_sub(value.len())?;
    octets[at..].copy_from_slice(value);
    Some(u64::from_be_bytes(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_all_lengths_read_back() {
        for length in [0, 1, 0x7f, 0x80, 0x7fff] {
            let mut octets = Vec::new();
            field(&mut octets, 9, &[&vec![3; length], b""]);
            octets.push(1);
            assert_eq!(octets[0], 9);
            let (value, rest) = read_value(&octets[1..]).unwrap();
            assert_eq!((value.len(), rest), (length, &[1][..]));
            assert!(read_value(&octets[1..octets.len() - 2]).is_none() || length == 0);
        }
        for n in [0, 1, 0xff, 0x100, u64::MAX] {
            let mut octets = Vec::new();
            number(&mut octets, 1, n);
            let (value, _) = read_value(&octets[1..]).unwrap();
            assert_eq!(read_number(value), Some(n));
        }
        assert_eq!(read_number(&[0; 9]), None);
    }
}

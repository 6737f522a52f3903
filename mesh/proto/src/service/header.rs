//! What the headers of requests and replies have in common.
//!
//! ```text
//! header = version *field
//! field  = tag length value
//! ```
//!
//! The version is one octet, 1. A tag is one octet, from 1. A length is one octet up to 127; longer ones are two,
//! of which the first has its top bit set, and the other 15 bits are the length, big-endian. Fields
//! come in the order of their tags, each once. A tag that is not in the table is skipped, so that later
//! fields harm nobody; a change that must not be overlooked is a new version. A field that is not there
//! has its default. Numbers are big-endian, of at most 8 octets, written without leading zeros.

use crate::tagged::read_value;

/// The longest header in octets, fields that are skipped included.
pub const MAX_HEADER: usize = 1024;

pub(super) const VERSION: u8 = 1;

/// Why octets are not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// It is over [`MAX_HEADER`].
    #[error("the header of a request or a reply has at most {MAX_HEADER} octets, not {octets}")]
    TooLarge {
        /// Its length.
        octets: usize,
    },
    /// It is of a version that is not known here.
    #[error("header version {found} of a request or a reply is not supported, only {VERSION}")]
    Version {
        /// The version.
        found: u8,
    },
    /// It ends in the middle of a field.
    #[error("the header of a request or a reply is cut off")]
    Truncated,
    /// A field comes twice, or after one with a higher tag.
    #[error("field {tag} of the header is out of order")]
    Order {
        /// Its tag.
        tag: u8,
    },
    /// A field does not have the length or the value that it may.
    #[error("field {tag} of the header is malformed")]
    Field {
        /// Its tag.
        tag: u8,
    },
}

/// Reads all fields, in their order; `take` says whether a value is one of its field.
pub(super) fn read<'a>(
    octets: &'a [u8],
    mut take: impl FnMut(u8, &'a [u8]) -> Option<()>,
) -> Result<(), HeaderError> {
    if octets.len() > MAX_HEADER {
        let octets = octets.len();
        return Err(HeaderError::TooLarge { octets });
    }
    let (&version, mut rest) = octets.split_first().ok_or(HeaderError::Truncated)?;
    if version != VERSION {
        return Err(HeaderError::Version { found: version });
    }
    let mut last = 0;
    while let Some((&tag, after)) = rest.split_first() {
        if tag <= last {
            return Err(HeaderError::Order { tag });
        }
        last = tag;
        let (value, after) = read_value(after).ok_or(HeaderError::Truncated)?;
        rest = after;
        take(tag, value).ok_or(HeaderError::Field { tag })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_once_in_their_order_and_unknown_ones_are_skipped() {
        let all = |octets: &[u8]| {
            let mut taken = Vec::new();
            let read = read(octets, |tag, value| {
                taken.push((tag, value.len()));
                (tag != 3).then_some(())
            });
            read.map(|()| taken)
        };
        assert_eq!(all(&[1]), Ok(vec![]));
        assert_eq!(all(&[1, 1, 0, 200, 1, 9]), Ok(vec![(1, 0), (200, 1)]));
        let long = [&[1, 7, 0x81, 0][..], &[0; 256]].concat();
        assert_eq!(all(&long), Ok(vec![(7, 256)]));
        for (octets, error) in [
            (&[][..], HeaderError::Truncated),
            (&[0], HeaderError::Version { found: 0 }),
            (&[1, 0, 0], HeaderError::Order { tag: 0 }),
            (&[1, 2, 0, 2, 0], HeaderError::Order { tag: 2 }),
            (&[1, 2, 0, 1, 0], HeaderError::Order { tag: 1 }),
            (&[1, 2], HeaderError::Truncated),
            (&[1, 2, 1], HeaderError::Truncated),
            (&[1, 2, 0x80], HeaderError::Truncated),
            (&[1, 3, 0], HeaderError::Field { tag: 3 }),
        ] {
            assert_eq!(all(octets), Err(error));
        }
        let octets = MAX_HEADER + 1;
        let large = vec![1; octets];
        assert_eq!(all(&large), Err(HeaderError::TooLarge { octets }));
    }
}

//! Frame headers (RFC 37 §3.3): a flags octet and a length of one or eight octets.

use bytes::BufMut;

/// More frames of this message follow.
pub const MORE: u8 = 1;
/// The length has eight octets.
pub const LONG: u8 = 2;
/// The frame is a command.
pub const COMMAND: u8 = 4;

/// The longest header in octets.
pub const MAX_HEADER: usize = 9;

/// A decoded header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// MORE and COMMAND, without LONG.
    pub flags: u8,
    /// The length of the body in octets.
    pub size: u64,
    /// The length of this header in octets.
    pub length: usize,
}

impl Header {
    /// Reads a header: `None` while octets are missing.
    ///
    /// # Errors
    /// Reserved bits are set, a command has MORE, or the size is over 2^63 - 1.
    #[inline]
    pub fn decode(octets: &[u8]) -> Result<Option<Self>, HeaderError> {
        let Some((&flags, rest)) = octets.split_first() else {
            return Ok(None);
        };
        if flags & !(MORE | LONG | COMMAND) != 0 {
            return Err(HeaderError::ReservedBits);
        }
        if flags & (MORE | COMMAND) == MORE | COMMAND {
            return Err(HeaderError::MoreOnCommand);
        }
        if flags & LONG == 0 {
            return Ok(rest.first().map(|&size| Self {
                flags,
                size: u64::from(size),
                length: 2,
            }));
        }
        let Some(size) = rest.first_chunk::<8>() else {
            return Ok(None);
        };
        let size = u64::from_be_bytes(*size);
        if size > i64::MAX as u64 {
            return Err(HeaderError::SizeOverLimit);
        }
        Ok(Some(Self {
            flags: flags & !LONG,
            size,
            length: MAX_HEADER,
        }))
    }
}

/// Appends a header.
#[inline]
pub fn encode(flags: u8, size: usize, out: &mut impl BufMut) {
    if let Ok(size) = u8::try_from(size) {
        out.put_slice(&[flags, size]);
    } else {
        let mut header = [0; MAX_HEADER];
        header[0] = flags | LONG;
        header[1..].copy_from_slice(&(size as u64).to_be_bytes());
        out.put_slice(&header);
    }
}

/// Why a header is refused. The peer misbehaved; the connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// One of the bits 3 to 7 is set.
    #[error("reserved bits are set in a frame's flags")]
    ReservedBits,
    /// A command announces more frames.
    #[error("a command frame has the MORE flag")]
    MoreOnCommand,
    /// The size is over 2^63 - 1.
    #[error("a frame announces more than 2^63-1 octets")]
    SizeOverLimit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_and_wait_for_their_last_octet() {
        for size in [0, 1, 255, 256, 65_536, 1 << 40] {
            for flags in [0, MORE, COMMAND] {
                let mut octets = Vec::new();
                encode(flags, size, &mut octets);
                for cut in 0..octets.len() {
                    assert_eq!(Header::decode(&octets[..cut]), Ok(None));
                }
                let header = Header::decode(&octets).unwrap().unwrap();
                assert_eq!(
                    header,
                    Header {
                        flags,
                        size: size as u64,
                        length: octets.len()
                    }
                );
            }
        }
    }

    #[test]
    fn what_the_rfc_forbids_is_refused() {
        for bit in 3..8 {
            assert_eq!(
                Header::decode(&[1 << bit, 0]),
                Err(HeaderError::ReservedBits)
            );
        }
        assert_eq!(Header::decode(&[5, 0]), Err(HeaderError::MoreOnCommand));
        assert_eq!(
            Header::decode(&[2, 255, 255, 255, 255, 255, 255, 255, 255]),
            Err(HeaderError::SizeOverLimit)
        );
        assert_eq!(
            Header::decode(&[2, 128, 0, 0, 0, 0, 0, 0, 0]),
            Err(HeaderError::SizeOverLimit)
        );
    }
}

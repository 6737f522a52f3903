//! The header of a request: how long its answer is wanted, and whom it may go to.
//!
//! A version and fields, as the header of a message on the [bus](crate::bus::header) has them, each
//! field once:
//!
//! | tag | field | value | default |
//! |---|---|---|---|
//! | 1 | left | a number: milliseconds until nobody waits for the reply | no limit |
//! | 2 | idempotent | no octets: what is done twice is done once | it is not |
//! | 3 | attempt | a number from 1 to 255: how many instances were asked, this one included | 1 |
//! | 4 | audience | no octets: every instance; 32 octets: the node with this id | any one instance |
//!
//! Tags that are not in the table are skipped. The time on the wire and in a socket's queue is not taken
//! off the time left; whoever keeps a request takes off the time that it kept it.

use std::time::Duration;

use super::header::{self, HeaderError, VERSION};
use crate::message::Frame;
use crate::tagged::{field, number, read_number};
use crate::trust::NodeId;

const LEFT: u8 = 1;
const IDEMPOTENT: u8 = 2;
const ATTEMPT: u8 = 3;
const AUDIENCE: u8 = 4;

/// Which instances a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Audience {
    /// Any one.
    #[default]
    Any,
    /// Every one, each of which answers.
    All,
    /// That of this node.
    Node(NodeId),
}

/// What is said about a request beside its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The time until nobody waits for the reply, in whole milliseconds on the wire, rounded up.
    /// Default: no limit.
    pub left: Option<Duration>,
    /// Whether it may be done more than once. Default: no.
    pub idempotent: bool,
    /// How many instances were asked, this one included, from 1.
    pub attempt: u8,
    /// Whom it is for.
    pub audience: Audience,
}

impl Default for RequestHeader {
    fn default() -> Self {
        Self {
            left: None,
            idempotent: false,
            attempt: 1,
            audience: Audience::default(),
        }
    }
}

impl RequestHeader {
    /// The frame. An attempt of 0 is written as 1.
    pub fn encode(&self) -> Frame {
        let mut octets = Vec::with_capacity(Frame::INLINE);
        octets.push(VERSION);
        if let Some(left) = self.left {
            let millis = left.as_nanos().div_ceil(1_000_000);
            let millis = u64::try_from(millis).unwrap_or(u64::MAX);
            number(&mut octets, LEFT, millis);
        }
        if self.idempotent {
            field(&mut octets, IDEMPOTENT, &[]);
        }
        if self.attempt > 1 {
            number(&mut octets, ATTEMPT, u64::from(self.attempt));
        }
        match &self.audience {
            Audience::Any => {}
            Audience::All => field(&mut octets, AUDIENCE, &[]),
            Audience::Node(node) => field(&mut octets, AUDIENCE, &[node.as_octets()]),
        }
        Frame::from(octets)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// The octets are no header of a request.
    pub fn decode(octets: &[u8]) -> Result<Self, HeaderError> {
        let mut found = Self::default();
        header::read(octets, |tag, value| {
            match tag {
                LEFT => found.left = Some(Duration::from_millis(read_number(value)?)),
                IDEMPOTENT if value.is_empty() => found.idempotent = true,
                IDEMPOTENT => return None,
                ATTEMPT => {
                    let attempt = u8::try_from(read_number(value)?).ok();
                    found.attempt = attempt.filter(|attempt| *attempt > 0)?;
                }
                AUDIENCE if value.is_empty() => found.audience = Audience::All,
                AUDIENCE => {
                    let id = <[u8; 32]>::try_from(value).ok()?;
                    found.audience = Audience::Node(NodeId::from_octets(id));
                }
                _ => {}
            }
            Some(())
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Randomness as _, Seeded};

    fn full() -> RequestHeader {
        RequestHeader {
            left: Some(Duration::from_millis(30_000)),
            idempotent: true,
            attempt: 255,
            audience: Audience::Node(NodeId::from_octets([7; 32])),
        }
    }

    #[test]
    fn headers_round_trip_and_cost_little() {
        assert_eq!(RequestHeader::default().encode(), [1]);
        let usual = RequestHeader {
            left: Some(Duration::from_secs(30)),
            ..RequestHeader::default()
        };
        assert_eq!(usual.encode(), [1, LEFT, 2, 0x75, 0x30]);
        let all = RequestHeader {
            audience: Audience::All,
            left: Some(Duration::ZERO),
            ..full()
        };
        for header in [RequestHeader::default(), usual, all, full()] {
            let encoded = header.encode();
            assert!(encoded.len() <= Frame::INLINE);
            assert_eq!(RequestHeader::decode(&encoded), Ok(header));
        }
        // What is left is never said to be less than it is, and what is over may be said to be.
        let left = |left| RequestHeader {
            left: Some(left),
            ..RequestHeader::default()
        };
        let decoded = RequestHeader::decode(&left(Duration::from_nanos(1)).encode());
        assert_eq!(decoded, Ok(left(Duration::from_millis(1))));
        let longest = RequestHeader::decode(&left(Duration::MAX).encode());
        assert_eq!(longest, Ok(left(Duration::from_millis(u64::MAX))));
    }

    #[test]
    fn a_header_that_is_cut_anywhere_is_an_error_or_has_fewer_fields() {
        let whole = full().encode();
        for length in 0..whole.len() {
            match RequestHeader::decode(&whole[..length]) {
                Ok(header) => assert_ne!(header, full()),
                Err(error) => assert_eq!(error, HeaderError::Truncated),
            }
        }
        let later = [&whole[..], &[200, 3, 1, 2, 3]].concat();
        assert_eq!(RequestHeader::decode(&later), Ok(full()));
    }

    #[test]
    fn a_header_that_was_changed_anywhere_encodes_to_what_it_means() {
        let whole = full().encode();
        let mut random = Seeded::new(1);
        for _ in 0..20_000 {
            let mut octets = whole.to_vec();
            let at = random.next_u64() as usize % octets.len();
            octets[at] = random.next_u64() as u8;
            if let Ok(header) = RequestHeader::decode(&octets) {
                let encoded = header.encode();
                assert!(encoded.len() <= octets.len());
                assert_eq!(RequestHeader::decode(&encoded), Ok(header));
            }
        }
    }

    #[test]
    fn malformed_fields_are_errors() {
        for (octets, tag) in [
            (&[1, LEFT, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], LEFT),
            (&[1, IDEMPOTENT, 1, 0], IDEMPOTENT),
            (&[1, ATTEMPT, 1, 0], ATTEMPT),
            (&[1, ATTEMPT, 0], ATTEMPT),
            (&[1, ATTEMPT, 2, 1, 0], ATTEMPT),
            (&[1, AUDIENCE, 1, 0], AUDIENCE),
        ] {
            let error = Err(HeaderError::Field { tag });
            assert_eq!(RequestHeader::decode(octets), error);
        }
    }
}

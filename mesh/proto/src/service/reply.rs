//! The header of a reply: what became of the request, and how busy the instance is.
//!
//! A version and fields, as the header of a message on the [bus](crate::bus::header) has them, each
//! field once:
//!
//! | tag | field | value | default |
//! |---|---|---|---|
//! | 1 | status | 1 octet: 1 failed, 2 busy, 3 too late, 4 unknown | done |
//! | 2 | reason | why it failed: 1 to 256 octets of text, no control characters | none |
//! | 3 | load | 1 octet: 0 is idle, 255 is full | 0 |
//! | 4 | depth | a number of at most 32 bits: the requests that the instance has besides | 0 |
//!
//! A reason stands only with a request that failed. Tags that are not in the table are skipped; a new
//! status is a new version.

use super::header::{self, HeaderError, VERSION};
use crate::message::Frame;
use crate::tagged::{field, number, read_number};

/// The longest reason in octets.
pub const MAX_REASON: usize = 256;

const STATUS: u8 = 1;
const REASON: u8 = 2;
const LOAD: u8 = 3;
const DEPTH: u8 = 4;

const FAILED: u8 = 1;
const BUSY: u8 = 2;
const TOO_LATE: u8 = 3;
const UNKNOWN: u8 = 4;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Status {
    /// It was done: a body follows.
    #[default]
    Done,
    /// It was taken up, and failed, as its reason says if it has one.
    Failed(Box<str>),
    /// It was not taken up: the instance has as many as it takes.
    Busy,
    /// It was not taken up: nobody waits for it any more.
    TooLate,
    /// It was not taken up: the instance does not know this version of requests, or it is for another.
    Unknown,
}

/// What is said with a reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplyHeader {
    /// What became of the request.
    pub status: Status,
    /// How busy the instance is: 0 is idle, 255 is full.
    pub load: u8,
    /// The requests that the instance has besides, those that it works on included.
    pub depth: u32,
}

impl Status {
    /// A failure for a reason: control characters become spaces, and what is over [`MAX_REASON`] is cut
    /// off.
    pub fn failed(reason: &str) -> Self {
        let plain = |character: char| match character.is_control() {
            true => ' ',
            false => character,
        };
        let mut reason: String = reason.chars().take(MAX_REASON).map(plain).collect();
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        Self::Failed(reason.into())
    }
}

impl ReplyHeader {
    /// The frame.
    ///
    /// A reason that did not come from [`Status::failed`] is made as it would have made it.
    pub fn encode(&self) -> Frame {
        let mut octets = Vec::with_capacity(Frame::INLINE);
        octets.push(VERSION);
        let status = match &self.status {
            Status::Done => None,
            Status::Failed(_) => Some(FAILED),
            Status::Busy => Some(BUSY),
            Status::TooLate => Some(TOO_LATE),
            Status::Unknown => Some(UNKNOWN),
        };
        if let Some(status) = status {
            field(&mut octets, STATUS, &[&[status]]);
        }
        if let Status::Failed(reason) = &self.status
            && let Status::Failed(reason) = Status::failed(reason)
            && !reason.is_empty()
        {
            field(&mut octets, REASON, &[reason.as_bytes()]);
        }
        if self.load > 0 {
            field(&mut octets, LOAD, &[&[self.load]]);
        }
        if self.depth > 0 {
            number(&mut octets, DEPTH, u64::from(self.depth));
        }
        Frame::from(octets)
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// The octets are no header of a reply.
    pub fn decode(octets: &[u8]) -> Result<Self, HeaderError> {
        let mut found = Self::default();
        header::read(octets, |tag, value| {
            match tag {
                STATUS => {
                    found.status = match value {
                        [FAILED] => Status::Failed("".into()),
                        [BUSY] => Status::Busy,
                        [TOO_LATE] => Status::TooLate,
                        [UNKNOWN] => Status::Unknown,
                        _ => return None,
                    }
                }
                REASON => {
                    let Status::Failed(reason) = &mut found.status else {
                        return None;
                    };
                    let text = str::from_utf8(value).ok()?;
                    let fits = (1..=MAX_REASON).contains(&text.len());
                    if !fits || text.contains(char::is_control) {
                        return None;
                    }
                    *reason = text.into();
                }
                LOAD => {
                    let &[load] = value else {
                        return None;
                    };
                    found.load = load;
                }
                DEPTH => found.depth = u32::try_from(read_number(value)?).ok()?,
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

    fn full() -> ReplyHeader {
        ReplyHeader {
            status: Status::failed("no such order"),
            load: 255,
            depth: u32::MAX,
        }
    }

    #[test]
    fn headers_round_trip_and_cost_little() {
        assert_eq!(ReplyHeader::default().encode(), [1]);
        let statuses = [
            Status::Done,
            Status::Failed("".into()),
            Status::failed(&"é".repeat(MAX_REASON)),
            Status::Busy,
            Status::TooLate,
            Status::Unknown,
        ];
        for status in statuses {
            for (load, depth) in [(0, 0), (1, 0x1_00)] {
                let status = status.clone();
                let header = ReplyHeader {
                    status,
                    load,
                    depth,
                };
                assert_eq!(ReplyHeader::decode(&header.encode()), Ok(header));
            }
        }
        assert_eq!(ReplyHeader::decode(&full().encode()), Ok(full()));
    }

    #[test]
    fn a_reason_is_made_to_fit() {
        let Status::Failed(reason) = Status::failed(&"é".repeat(MAX_REASON)) else {
            panic!("it failed");
        };
        assert_eq!(reason.len(), MAX_REASON);
        assert_eq!(Status::failed("a\u{1b}[2J\nb"), Status::failed("a [2J b"));
        // Even if it was made by hand.
        let by_hand = ReplyHeader {
            status: Status::Failed("x\n".repeat(MAX_REASON).into()),
            ..ReplyHeader::default()
        };
        let decoded = ReplyHeader::decode(&by_hand.encode()).unwrap();
        assert_eq!(decoded.status, Status::failed(&"x ".repeat(MAX_REASON)));
    }

    #[test]
    fn a_header_that_is_cut_anywhere_is_an_error_or_has_fewer_fields() {
        let whole = full().encode();
        for length in 0..whole.len() {
            match ReplyHeader::decode(&whole[..length]) {
                Ok(header) => assert_ne!(header, full()),
                Err(error) => assert_eq!(error, HeaderError::Truncated),
            }
        }
        let later = [&whole[..], &[200, 0]].concat();
        assert_eq!(ReplyHeader::decode(&later), Ok(full()));
    }

    #[test]
    fn a_header_that_was_changed_anywhere_encodes_to_what_it_means() {
        let whole = full().encode();
        let mut random = Seeded::new(1);
        for _ in 0..20_000 {
            let mut octets = whole.to_vec();
            let at = random.next_u64() as usize % octets.len();
            octets[at] = random.next_u64() as u8;
            if let Ok(header) = ReplyHeader::decode(&octets) {
                let encoded = header.encode();
                assert!(encoded.len() <= octets.len());
                assert_eq!(ReplyHeader::decode(&encoded), Ok(header));
            }
        }
    }

    #[test]
    fn malformed_fields_are_errors() {
        for (octets, tag) in [
            (&[1, STATUS, 1, 0][..], STATUS),
            (&[1, STATUS, 1, 5], STATUS),
            (&[1, STATUS, 0], STATUS),
            (&[1, REASON, 1, b'x'], REASON),
            (&[1, STATUS, 1, BUSY, REASON, 1, b'x'], REASON),
            (&[1, STATUS, 1, FAILED, REASON, 0], REASON),
            (&[1, STATUS, 1, FAILED, REASON, 1, b'\n'], REASON),
            (&[1, STATUS, 1, FAILED, REASON, 1, 0xff], REASON),
            (&[1, LOAD, 0], LOAD),
            (&[1, LOAD, 2, 0, 0], LOAD),
            (&[1, DEPTH, 5, 1, 0, 0, 0, 0], DEPTH),
        ] {
            let error = Err(HeaderError::Field { tag });
            assert_eq!(ReplyHeader::decode(octets), error);
        }
        let long = [&[1, STATUS, 1, FAILED, REASON, 0x81, 1][..], &[b'x'; 257]].concat();
        let error = Err(HeaderError::Field { tag: REASON });
        assert_eq!(ReplyHeader::decode(&long), error);
    }
}

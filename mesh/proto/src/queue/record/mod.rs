//! What a store keeps of a queue, record by record, and its binary form.
//!
//! ```text
//!  octet 0   length of the body, n
//!        4   CRC-32C of octets 0 to 3
//!        8   CRC-32C of the body
//!       12   body: version, 1; kind; fields
//!  12 + n
//! ```
//!
//! | kind | fields, with their octets |
//! |---|---|
//! | 1 epoch | number 8, holder 32 |
//! | 2 put | id 8, flags 1, priority 1, attempts 4, origin (producer 16, number 8) if flag 1, expiry 8 if flag 2, cause of death 1 if flag 8, [history](super::History), frames 2, then length 4 and octets of each |
//! | 3 attempt | id 8, attempt 4 |
//! | 4 dead | id 8, cause 1, time 8, detail (length 1, text) |
//! | 5 done | id 8 |
//! | 6 withdrawn | id 8, flags 1, origin 24 if flag 1 |
//! | 7 producer | producer 16, [window](super::Window) |
//!
//! Numbers are big-endian; times are milliseconds since the Unix epoch. Flag 4 of a put says that a
//! worker may have seen the message. There is one way to write a record.

#[cfg(test)]
pub(super) mod tests;

use super::death::{Cause, History, read_text, text};
use super::engine::MAX_FRAMES;
use super::epoch::Epoch;
use super::options::Priority;
use super::window::{Origin, ProducerId, Window};
use crate::fields::{Fields, join};
use crate::message::{Frame, Message};

const VERSION: u8 = 1;

/// Octets before a record's body.
pub const HEADER: usize = 12;

const ORIGIN: u8 = 1;
const EXPIRES: u8 = 2;
const REDELIVERED: u8 = 4;
const DEAD: u8 = 8;

/// Something that happened to a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A keeper has an epoch.
    Epoch(Epoch),
    /// A message was put.
    Put {
        /// Its number in the queue.
        id: u64,
        /// Which put it was, if that is to be remembered by this record.
        origin: Option<Origin>,
        /// How urgent it is.
        priority: Priority,
        /// When it expires.
        expires: Option<u64>,
        /// How often it was delivered.
        attempts: u32,
        /// Whether a worker may have seen it.
        redelivered: bool,
        /// Why it is dead, if it is.
        dead: Option<Cause>,
        /// Its deaths.
        history: History,
        /// The message.
        message: Message,
    },
    /// A message was delivered.
    Attempt {
        /// Its number in the queue.
        id: u64,
        /// How often now.
        attempt: u32,
    },
    /// A message became a dead letter.
    Dead {
        /// Its number in the queue.
        id: u64,
        /// Why.
        cause: Cause,
        /// When.
        at: u64,
        /// What the consumer said, up to 255 octets.
        detail: String,
    },
    /// A message was acked, or a dead letter was taken or dropped.
    Done {
        /// Its number in the queue.
        id: u64,
    },
    /// A put was given up before it was accepted.
    Withdrawn {
        /// Its number in the queue.
        id: u64,
        /// Which put it was; it may be put again.
        origin: Option<Origin>,
    },
    /// What is remembered of a producer.
    Producer {
        /// Which.
        producer: ProducerId,
        /// Its numbers.
        window: Box<Window>,
    },
}

/// Why octets are no record. Which of them a log may end with is for its
/// [reader](super::LogReader).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// There are less octets than the header or the length in it says.
    #[error("a record is cut short")]
    CutShort,
    /// The header's checksum does not match.
    #[error("the header of a record is damaged")]
    Header,
    /// The body's checksum does not match.
    #[error("the body of a record is damaged")]
    Body,
    /// The version is unknown.
    #[error("a record has version {found}, which is unknown")]
    Version {
        /// Which it is.
        found: u8,
    },
    /// The checksums match, but the fields are not those of a record.
    #[error("a record has fields that no record has")]
    Fields,
}

impl Record {
    /// Appends the binary form.
    pub fn encode(&self, octets: &mut Vec<u8>) {
        let start = octets.len();
        octets.extend([0; HEADER]);
        octets.push(VERSION);
        self.encode_fields(octets);
        let body = &octets[start + HEADER..];
        // Puts are held to a size far below.
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
        let checksums = [checksum(&length), checksum(body)].map(u32::to_be_bytes);
        let header: [u8; HEADER] = join(&[&length, checksums.as_flattened()]);
        octets[start..start + HEADER].copy_from_slice(&header);
    }

    /// Reads the record at the beginning; returns how many octets it has.
    ///
    /// # Errors
    /// The octets are no record, or not a whole one.
    pub fn decode(octets: &[u8]) -> Result<(Self, usize), RecordError> {
        let (length, body) = split_header(octets)?;
        let body_octets = octets.get(HEADER..HEADER.saturating_add(length));
        let body_octets = body_octets.ok_or(RecordError::CutShort)?;
        if checksum(body_octets) != body {
            return Err(RecordError::Body);
        }
        let mut fields = Fields::new(body_octets);
        match fields.octet() {
            Some(VERSION) => {}
            Some(found) => return Err(RecordError::Version { found }),
            None => return Err(RecordError::Fields),
        }
        let record = Self::decode_fields(&mut fields).filter(|_| fields.rest().is_empty());
        let record = record.ok_or(RecordError::Fields)?;
        Ok((record, HEADER + length))
    }

    fn encode_fields(&self, octets: &mut Vec<u8>) {
        let mut start = |kind: u8, id: &u64| {
            octets.push(kind);
            octets.extend(id.to_be_bytes());
        };
        match self {
            Self::Epoch(epoch) => {
                octets.push(1);
                octets.extend(epoch.encode());
            }
            Self::Put { .. } => self.encode_put(octets),
            Self::Attempt { id, attempt } => {
                start(3, id);
                octets.extend(attempt.to_be_bytes());
            }
            Self::Dead {
                id,
                cause,
                at,
                detail,
            } => {
                start(4, id);
                octets.push(cause.number());
                octets.extend(at.to_be_bytes());
                text(octets, detail);
            }
            Self::Done { id } => start(5, id),
            Self::Withdrawn { id, origin } => {
                start(6, id);
                octets.push(u8::from(origin.is_some()));
                origin.iter().for_each(|it| encode_origin(it, octets));
            }
            Self::Producer { producer, window } => {
                octets.push(7);
                octets.extend(producer.0);
                octets.extend(window.encode());
            }
        }
    }

    fn encode_put(&self, octets: &mut Vec<u8>) {
        let Self::Put {
            id,
            origin,
            priority,
            expires,
            attempts,
            redelivered,
            dead,
            history,
            message,
        } = self
        else {
            return;
        };
        let flag = |is: bool, flag: u8| u8::from(is) * flag;
        octets.push(2);
        octets.extend(id.to_be_bytes());
        octets.push(
            flag(origin.is_some(), ORIGIN)
                | flag(expires.is_some(), EXPIRES)
                | flag(*redelivered, REDELIVERED)
                | flag(dead.is_some(), DEAD),
        );
        octets.push(priority.number());
        octets.extend(attempts.to_be_bytes());
        origin.iter().for_each(|it| encode_origin(it, octets));
        octets.extend(expires.iter().flat_map(|at| at.to_be_bytes()));
        octets.extend(dead.map(Cause::number));
        history.encode(octets);
        let frames = message.frames();
        octets.extend((frames.len() as u16).to_be_bytes());
        for frame in frames {
            octets.extend((frame.len() as u32).to_be_bytes());
            octets.extend_from_slice(frame);
        }
    }

    fn decode_fields(fields: &mut Fields<'_>) -> Option<Self> {
        Some(match fields.octet()? {
            1 => Self::Epoch(Epoch::read(fields)?),
            2 => return Self::decode_put(fields),
            3 => Self::Attempt {
                id: fields.u64()?,
                attempt: fields.u32()?,
            },
            4 => Self::Dead {
                id: fields.u64()?,
                cause: Cause::from_number(fields.octet()?)?,
                at: fields.u64()?,
                detail: read_text(fields)?.to_owned(),
            },
            5 => Self::Done { id: fields.u64()? },
            6 => Self::Withdrawn {
                id: fields.u64()?,
                origin: match fields.octet()? {
                    0 => None,
                    ORIGIN => Some(decode_origin(fields)?),
                    _ => return None,
                },
            },
            7 => Self::Producer {
                producer: ProducerId(fields.array()?),
                window: Box::new(Window::decode(&fields.array()?)),
            },
            _ => return None,
        })
    }

    fn decode_put(fields: &mut Fields<'_>) -> Option<Self> {
        let id = fields.u64()?;
        let flags = fields.octet()?;
        if flags & !(ORIGIN | EXPIRES | REDELIVERED | DEAD) != 0 {
            return None;
        }
        let priority = read_priority(fields)?;
        let attempts = fields.u32()?;
        let mut origin = None;
        let mut expires = None;
        let mut dead = None;
        if flags & ORIGIN != 0 {
            origin = Some(decode_origin(fields)?);
        }
        if flags & EXPIRES != 0 {
            expires = Some(fields.u64()?);
        }
        if flags & DEAD != 0 {
            dead = Some(Cause::from_number(fields.octet()?)?);
        }
        Some(Self::Put {
            id,
            origin,
            priority,
            expires,
            attempts,
            redelivered: flags & REDELIVERED != 0,
            dead,
            history: History::decode(fields)?,
            message: decode_message(fields)?,
        })
    }
}

/// The length of the body and its checksum.
pub(super) fn split_header(octets: &[u8]) -> Result<(usize, u32), RecordError> {
    let mut fields = Fields::new(octets);
    let mut next = || fields.u32().ok_or(RecordError::CutShort);
    let (length, of_length, of_body) = (next()?, next()?, next()?);
    match checksum(&length.to_be_bytes()) == of_length {
        true => Ok((length as usize, of_body)),
        false => Err(RecordError::Header),
    }
}

fn encode_origin(origin: &Origin, octets: &mut Vec<u8>) {
    octets.extend(origin.producer.0);
    octets.extend(origin.sequence.to_be_bytes());
}

fn decode_origin(fields: &mut Fields<'_>) -> Option<Origin> {
    Some(Origin {
        producer: ProducerId(fields.array()?),
        sequence: fields.u64()?,
    })
}

pub(super) fn read_priority(fields: &mut Fields<'_>) -> Option<Priority> {
    let number = fields.octet()?;
    let known = usize::from(number) < Priority::COUNT;
    known.then_some(Priority::new(number))
}

fn decode_message(fields: &mut Fields<'_>) -> Option<Message> {
    let count = usize::from(u16::from_be_bytes(fields.array()?));
    let frames = (0..count).map(|_| {
        let length = fields.u32()?;
        Some(Frame::from(fields.take(length as usize)?))
    });
    let frames: Vec<Frame> = frames.collect::<Option<_>>()?;
    (1..=MAX_FRAMES).contains(&count).then(|| frames.into())
}

/// CRC-32C (Castagnoli), reflected, as in RFC 3720 §12.1.
fn checksum(octets: &[u8]) -> u32 {
    let step = |sum: u32, octet: &u8| {
        let at = (sum as u8 ^ octet) as usize;
        TABLE[at] ^ sum >> 8
    };
    !octets.iter().fold(!0, step)
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut sum = at as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 0 {
                sum >> 1
            } else {
                0x82f6_3b78 ^ sum >> 1
            };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
};

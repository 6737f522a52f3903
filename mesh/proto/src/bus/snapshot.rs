//! What a late joiner and the keeper of a history say to each other (after the Clone pattern, RFC 12).
//!
//! Updates come on the bus. The snapshot comes on another channel, where each message begins with a
//! control frame; the joiner may ask again, so each names the attempt that it belongs to:
//!
//! ```text
//! ask  = version %x01 mark attempt           ; filter                 (joiner to keeper)
//! part = version %x02 attempt                ; topic ; header ; body  (keeper to joiner)
//! end  = version %x03 attempt sequence count                          (keeper to joiner)
//! busy = version %x04 attempt                                         (keeper to joiner)
//! ```
//!
//! `;` is where a frame ends. The version is one octet, 1; an attempt has 4 octets; marks, sequences
//! and counts have 8. All are big-endian.
//!
//! ```text
//!  joiner                                  keeper
//!    │ bus: SUBSCRIBE filter                 │
//!    │ bus: SUBSCRIBE $withy/joined/MARK     │
//!    │ ask ─────────────────────────────────>│ takes the snapshot at sequence s
//!    │<───────────── bus: $withy/joined/MARK │ numbered s
//!    │<──────────────────── part, part, ...  │
//!    │<──────────────────────────────── end  │ sequence s
//! ```
//!
//! The two channels may overtake each other, so the ask may come before the subscription. But the
//! mark comes only to who has subscribed: a joiner that has the mark of a sequence up to s gets all
//! that is published after s, and the snapshot holds what was published up to s. Without the mark it
//! asks again.

use super::publication::{Publication, PublicationError};
use super::topic::{Filter, Topic, TopicError};
use crate::message::{Frame, Message};

const VERSION: u8 = 1;

const ASK: u8 = 1;
const PART: u8 = 2;
const END: u8 = 3;
const BUSY: u8 = 4;

/// A joiner's question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The random number of the topic on which the joiner expects its mark.
    pub mark: u64,
    /// Which of the joiner's questions it is.
    pub attempt: u32,
    /// What it wants.
    pub filter: Filter,
}

/// A keeper's answer, piece by piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A message of the snapshot.
    Part {
        /// Of the question.
        attempt: u32,
        /// The message, numbered.
        publication: Box<Publication>,
    },
    /// The snapshot is complete.
    End {
        /// Of the question.
        attempt: u32,
        /// The last message that was published before the snapshot was taken.
        sequence: u64,
        /// How many messages the snapshot has.
        count: u64,
    },
    /// Too many snapshots are under way; ask again later.
    Busy {
        /// Of the question.
        attempt: u32,
    },
}

/// Why a message is no question or no answer. The peer misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The control frame is not one that belongs here.
    #[error("the control frame of a snapshot is malformed")]
    Control,
    /// It is of a version that is not known here.
    #[error("snapshot version {found} is not supported, only {VERSION}")]
    Version {
        /// The version.
        found: u8,
    },
    /// There are too few or too many frames.
    #[error("{frames} frames do not make a message of a snapshot")]
    Frames {
        /// How many there are.
        frames: usize,
    },
    /// A question is for what is no filter.
    #[error(transparent)]
    Filter(#[from] TopicError),
    /// A part is no message of the bus.
    #[error(transparent)]
    Publication(#[from] PublicationError),
}

/// What the topics of marks begin with.
const MARKS: &str = "$withy/joined/";

/// The topic on which a joiner expects its mark.
pub fn mark_topic(mark: u64) -> Topic {
    let text = format!("{MARKS}{mark:016x}");
    text.parse().expect("it obeys the rules")
}

/// Whether a filter chooses one [`mark_topic`] and nothing else.
pub fn is_mark(filter: &Filter) -> bool {
    let number = filter.as_str().strip_prefix(MARKS);
    let digit = |octet: u8| matches!(octet, b'0'..=b'9' | b'a'..=b'f');
    number.is_some_and(|number| number.len() == 16 && number.bytes().all(digit))
}

impl From<Ask> for Message {
    fn from(ask: Ask) -> Self {
        let parts: [&[u8]; 3] = [
            &[VERSION, ASK],
            &ask.mark.to_be_bytes(),
            &ask.attempt.to_be_bytes(),
        ];
        Self::from_frames(vec![
            Frame::from(parts.concat()),
            Frame::copy_from_slice(ask.filter.as_octets()),
        ])
    }
}

impl TryFrom<Message> for Ask {
    type Error = SnapshotError;

    fn try_from(message: Message) -> Result<Self, SnapshotError> {
        let (kind, mut fields) = control(message.first())?;
        let ask = (kind == ASK).then_some(()).and_then(|()| {
            let (mark, attempt) = (u64(&mut fields)?, u32(&mut fields)?);
            fields.is_empty().then_some((mark, attempt))
        });
        let (mark, attempt) = ask.ok_or(SnapshotError::Control)?;
        let [_, filter] = frames(message)?;
        Ok(Self {
            mark,
            attempt,
            filter: Filter::try_from(filter)?,
        })
    }
}

impl From<Reply> for Message {
    fn from(reply: Reply) -> Self {
        let head = |kind, attempt: u32| [&[VERSION, kind][..], &attempt.to_be_bytes()].concat();
        match reply {
            Reply::Part {
                attempt,
                publication,
            } => {
                let mut frames = vec![Frame::from(head(PART, attempt))];
                frames.extend(publication.into_frames());
                Self::from_frames(frames)
            }
            Reply::End {
                attempt,
                sequence,
                count,
            } => {
                let numbers = [sequence.to_be_bytes(), count.to_be_bytes()].concat();
                Self::from([head(END, attempt), numbers].concat())
            }
            Reply::Busy { attempt } => Self::from(head(BUSY, attempt)),
        }
    }
}

impl TryFrom<Message> for Reply {
    type Error = SnapshotError;

    fn try_from(message: Message) -> Result<Self, SnapshotError> {
        let malformed = SnapshotError::Control;
        let (kind, mut fields) = control(message.first())?;
        let attempt = u32(&mut fields).ok_or(malformed)?;
        let reply = match kind {
            PART if fields.is_empty() => {
                let [_, topic, header, body] = frames(message)?;
                let publication = Publication::from_frames([topic, header, body])?;
                let publication = Box::new(publication);
                return Ok(Self::Part {
                    attempt,
                    publication,
                });
            }
            END => Self::End {
                attempt,
                sequence: u64(&mut fields).ok_or(malformed)?,
                count: u64(&mut fields).ok_or(malformed)?,
            },
            BUSY => Self::Busy { attempt },
            _ => return Err(malformed),
        };
        if !fields.is_empty() {
            return Err(malformed);
        }
        let [_] = frames(message)?;
        Ok(reply)
    }
}

/// The kind of a control frame, and what follows it.
fn control(frame: &[u8]) -> Result<(u8, &[u8]), SnapshotError> {
    match frame {
        [VERSION, kind, fields @ ..] => Ok((*kind, fields)),
        [VERSION] | [] => Err(SnapshotError::Control),
        &[found, ..] => Err(SnapshotError::Version { found }),
    }
}

fn frames<const N: usize>(message: Message) -> Result<[Frame; N], SnapshotError> {
    let frames = <[Frame; N]>::try_from(message.into_frames());
    frames.map_err(|frames| SnapshotError::Frames {
        frames: frames.len(),
    })
}

fn u32(fields: &mut &[u8]) -> Option<u32> {
    fields.split_off(..4).map(|octets| {
        let mut number = [0; 4];
        number.copy_from_slice(octets);
        u32::from_be_bytes(number)
    })
}

fn u64(fields: &mut &[u8]) -> Option<u64> {
    let high = u32(fields)?;
    let low = u32(fields)?;
    Some(u64::from(high) << 32 | u64::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication() -> Publication {
        let mut publication = Publication::new("a/b".parse().unwrap(), "body");
        publication.header.sequence = 7;
        publication
    }

    fn ask() -> Ask {
        Ask {
            mark: 0x0102_0304_0506_0708,
            attempt: 9,
            filter: "a/+".parse().unwrap(),
        }
    }

    #[test]
    fn questions_and_answers_round_trip() {
        let message = Message::from(ask());
        assert_eq!(message.first(), &[1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9]);
        assert_eq!(Ask::try_from(message), Ok(ask()));
        let publication = Box::new(publication());
        let attempt = u32::MAX - 1;
        for reply in [
            Reply::Part {
                attempt,
                publication,
            },
            Reply::End {
                attempt,
                sequence: u64::MAX - 1,
                count: 1 << 40,
            },
            Reply::Busy { attempt },
        ] {
            assert_eq!(Reply::try_from(Message::from(reply.clone())), Ok(reply));
        }
        assert_eq!(mark_topic(255).as_str(), "$withy/joined/00000000000000ff");
    }

    #[test]
    fn a_control_frame_has_its_length_and_its_frames() {
        let whole = Message::from(ask()).into_frames();
        let head = &whole[0];
        for length in 0..head.len() {
            let cut = Message::from_iter([&head[..length], b"a"]);
            assert_eq!(Ask::try_from(cut), Err(SnapshotError::Control));
        }
        let long = Message::from_iter([&[&head[..], b"x"].concat()[..], b"a"]);
        assert_eq!(Ask::try_from(long), Err(SnapshotError::Control));
        let alone = Message::from(head.clone());
        let frames = SnapshotError::Frames { frames: 1 };
        assert_eq!(Ask::try_from(alone), Err(frames));
        let bad = Message::from_iter([&head[..], b"a#"]);
        let filter = SnapshotError::Filter(TopicError::Hash { at: 1 });
        assert_eq!(Ask::try_from(bad), Err(filter));
        let new = Message::from([2, 1]);
        let version = SnapshotError::Version { found: 2 };
        assert_eq!(Ask::try_from(new.clone()), Err(version));
        assert_eq!(Reply::try_from(new), Err(version));
        let busy = Message::from_iter([&[1, BUSY, 0, 0, 0, 0][..], b"x"]);
        let frames = SnapshotError::Frames { frames: 2 };
        assert_eq!(Reply::try_from(busy), Err(frames));
        let long = Message::from([1, BUSY, 0, 0, 0, 0, 0]);
        assert_eq!(Reply::try_from(long), Err(SnapshotError::Control));
        let asked = Message::from(ask());
        assert_eq!(Reply::try_from(asked), Err(SnapshotError::Control));
    }
}

//! What producers, keepers and workers say to each other, as messages of several frames: the verb,
//! the numbers, and what else the verb has. Who carries several queues over one link puts the name
//! of the queue in front.
//!
//! | verb | from, to | numbers after the epoch, with their octets | more frames |
//! |---|---|---|---|
//! | `PUT` | producer, keeper | start 8, producer 16, sequence 8, flags 1, priority 1, TTL 8 if flag 2, [history](super::History) | the message |
//! | `ACCEPTED` | keeper, producer | start 8, first sequence 8, last 8: all from one to the other | |
//! | `REFUSED` | keeper, producer | start 8, sequence 8, reason 1 | |
//! | `SUBSCRIBE` | worker, keeper | subscription 8, credit 4; what the worker had open is no more | |
//! | `CREDIT` | worker, keeper | credit 4, on top of what there is | |
//! | `DELIVER` | keeper, worker | subscription 8, tag 8, attempt 4, flags 1, priority 1, [history](super::History) | the message |
//! | `ACK` | worker, keeper | tags, 8 each, 1 to [`MAX_TAGS`] | |
//! | `NACK` | worker, keeper | tag 8, 0 to requeue or 1 for the dead letters 1 | detail, up to 255 octets of UTF-8 |
//! | `EXTEND` | worker, keeper | tag 8, how long from now on, in milliseconds, 8 | |
//! | `MOVED` | keeper, all | | |
//!
//! A start and a subscription are the sender's own numbers, another one each time it starts over: so it
//! knows what answers a command from before, and takes no notice.
//!
//! Numbers are big-endian, TTLs milliseconds. Flag 1 says that a worker may have seen the message.
//! Reasons are those of [`Refusal`], from 1. Each command begins with the [`Epoch`] that its sender
//! goes by. A keeper that gets another one than its own does nothing but answer `MOVED` with its own,
//! or with the highest it knows: whoever is told starts over in that epoch, with that keeper. Whoever
//! gets one from a keeper that is lower than what it knows takes no notice. There is one way to write
//! a command.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::death::{History, MAX_DETAIL, cut};
use super::engine::{Nack, Refusal, Tag};
use super::epoch::Epoch;
use super::options::Priority;
use super::record::read_priority;
use super::to_millis;
use super::window::{Origin, ProducerId};
use crate::fields::Fields;
use crate::message::{Frame, Message};

/// Deliveries that one `ACK` is for, at most.
pub const MAX_TAGS: usize = 1_024;

const REDELIVERED: u8 = 1;
const TTL: u8 = 2;

/// A command. See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Queue this.
    Put {
        /// The epoch.
        epoch: Epoch,
        /// A number of the producer's, which comes back with the answer.
        start: u64,
        /// Which put it is.
        origin: Origin,
        /// How urgent it is.
        priority: Priority,
        /// How long it may wait from now on, in whole milliseconds, rounded up.
        ttl: Option<Duration>,
        /// Whether a worker may have seen it.
        redelivered: bool,
        /// Where it died before.
        history: History,
        /// The message.
        message: Message,
    },
    /// These puts are accepted.
    Accepted {
        /// The epoch.
        epoch: Epoch,
        /// What the put came with.
        start: u64,
        /// The first.
        first: u64,
        /// The last, not before the first.
        last: u64,
    },
    /// This put is not.
    Refused {
        /// The epoch.
        epoch: Epoch,
        /// What the put came with.
        start: u64,
        /// Which.
        sequence: u64,
        /// Why.
        refusal: Refusal,
    },
    /// Deliver to me, anew.
    Subscribe {
        /// The epoch.
        epoch: Epoch,
        /// A number of the worker's, which comes back with each delivery.
        subscription: u64,
        /// So many.
        credit: u32,
    },
    /// Deliver more to me.
    Credit {
        /// The epoch.
        epoch: Epoch,
        /// So many.
        credit: u32,
    },
    /// A message for you.
    Deliver {
        /// The epoch.
        epoch: Epoch,
        /// What the worker subscribed with.
        subscription: u64,
        /// What it is acked by.
        tag: Tag,
        /// How often it was delivered, with this time.
        attempt: u32,
        /// Whether a worker may have seen it.
        redelivered: bool,
        /// How urgent it is.
        priority: Priority,
        /// Where it died before.
        history: History,
        /// The message.
        message: Message,
    },
    /// Done with these.
    Ack {
        /// The epoch.
        epoch: Epoch,
        /// Which; 1 to [`MAX_TAGS`].
        tags: Vec<Tag>,
    },
    /// Not done with this.
    Nack {
        /// The epoch.
        epoch: Epoch,
        /// Which.
        tag: Tag,
        /// What becomes of it.
        nack: Nack,
        /// Why, up to 255 octets; the rest is cut off.
        detail: String,
    },
    /// More time for this.
    Extend {
        /// The epoch.
        epoch: Epoch,
        /// Which.
        tag: Tag,
        /// How long from now on, instead of the queue's lease, in whole milliseconds, rounded up.
        lease: Duration,
    },
    /// The queue is kept by the holder of this epoch.
    Moved {
        /// The epoch.
        epoch: Epoch,
    },
}

/// Why a message is no command. Its sender misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// There is no such verb.
    #[error("a command of a queue has a verb that is unknown")]
    Verb,
    /// It has more or less frames than its verb has.
    #[error("a command of a queue has {found} frames")]
    Frames {
        /// How many.
        found: usize,
    },
    /// Its numbers are not those of its verb.
    #[error("a command of a queue has numbers that its verb does not have")]
    Numbers,
    /// A detail is too long or no UTF-8.
    #[error("a command of a queue has a detail that is no short text")]
    Detail,
}

impl Command {
    /// The epoch that its sender goes by.
    pub const fn epoch(&self) -> Epoch {
        match self {
            Self::Put { epoch, .. }
            | Self::Accepted { epoch, .. }
            | Self::Refused { epoch, .. }
            | Self::Subscribe { epoch, .. }
            | Self::Credit { epoch, .. }
            | Self::Deliver { epoch, .. }
            | Self::Ack { epoch, .. }
            | Self::Nack { epoch, .. }
            | Self::Extend { epoch, .. }
            | Self::Moved { epoch } => *epoch,
        }
    }

    const fn verb(&self) -> &'static str {
        match self {
            Self::Put { .. } => "PUT",
            Self::Accepted { .. } => "ACCEPTED",
            Self::Refused { .. } => "REFUSED",
            Self::Subscribe { .. } => "SUBSCRIBE",
            Self::Credit { .. } => "CREDIT",
            Self::Deliver { .. } => "DELIVER",
            Self::Ack { .. } => "ACK",
            Self::Nack { .. } => "NACK",
            Self::Extend { .. } => "EXTEND",
            Self::Moved { .. } => "MOVED",
        }
    }

    /// The message that says it.
    pub fn encode(self) -> Message {
        let verb = Frame::from(self.verb());
        let mut numbers = self.epoch().encode().to_vec();
        let more = self.numbers(&mut numbers);
        let mut frames = Vec::with_capacity(2 + more.as_ref().map_or(0, Message::len));
        frames.extend([verb, numbers.into()]);
        frames.extend(more.into_iter().flatten());
        frames.into()
    }

    /// Appends the numbers after the epoch; returns the other frames.
    fn numbers(self, numbers: &mut Vec<u8>) -> Option<Message> {
        match self {
            Self::Put {
                start,
                origin,
                priority,
                ttl,
                redelivered,
                history,
                message,
                ..
            } => {
                let flags = u8::from(redelivered) * REDELIVERED + u8::from(ttl.is_some()) * TTL;
                numbers.extend(start.to_be_bytes());
                numbers.extend(origin.producer.0);
                numbers.extend(origin.sequence.to_be_bytes());
                numbers.extend([flags, priority.number()]);
                numbers.extend(ttl.map(to_millis).iter().flat_map(|ttl| ttl.to_be_bytes()));
                history.encode(numbers);
                return Some(message);
            }
            Self::Accepted {
                start, first, last, ..
            } => {
                numbers.extend(start.to_be_bytes());
                numbers.extend(first.to_be_bytes());
                numbers.extend(last.to_be_bytes());
            }
            Self::Refused {
                start,
                sequence,
                refusal,
                ..
            } => {
                numbers.extend(start.to_be_bytes());
                numbers.extend(sequence.to_be_bytes());
                numbers.push(refusal.number());
            }
            Self::Subscribe {
                subscription,
                credit,
                ..
            } => {
                numbers.extend(subscription.to_be_bytes());
                numbers.extend(credit.to_be_bytes());
            }
            Self::Credit { credit, .. } => numbers.extend(credit.to_be_bytes()),
            Self::Deliver {
                subscription,
                tag,
                attempt,
                redelivered,
                priority,
                history,
                message,
                ..
            } => {
                numbers.extend(subscription.to_be_bytes());
                numbers.extend(tag.0.to_be_bytes());
                numbers.extend(attempt.to_be_bytes());
                numbers.extend([u8::from(redelivered) * REDELIVERED, priority.number()]);
                history.encode(numbers);
                return Some(message);
            }
            Self::Ack { tags, .. } => {
                numbers.extend(tags.iter().flat_map(|tag| tag.0.to_be_bytes()));
            }
            Self::Nack {
                tag, nack, detail, ..
            } => {
                numbers.extend(tag.0.to_be_bytes());
                numbers.push(u8::from(nack == Nack::DeadLetter));
                return Some(Message::from(cut(&detail)));
            }
            Self::Extend { tag, lease, .. } => {
                numbers.extend(tag.0.to_be_bytes());
                numbers.extend(to_millis(lease).to_be_bytes());
            }
            Self::Moved { .. } => {}
        }
        None
    }

    /// The command that a message says.
    ///
    /// # Errors
    /// It says none.
    pub fn decode(message: Message) -> Result<Self, CommandError> {
        let mut frames = message.into_frames();
        let found = frames.len();
        let wrong = CommandError::Frames { found };
        if found < 2 {
            return Err(wrong);
        }
        let more = frames.split_off(2);
        let (verb, numbers) = (&frames[0], &frames[1]);
        let fits = match verb.as_slice() {
            b"PUT" | b"DELIVER" => !more.is_empty(),
            b"NACK" => more.len() == 1,
            b"ACCEPTED" | b"REFUSED" | b"SUBSCRIBE" | b"CREDIT" | b"ACK" | b"EXTEND" | b"MOVED" => {
                more.is_empty()
            }
            _ => return Err(CommandError::Verb),
        };
        if !fits {
            return Err(wrong);
        }
        let detail = match verb.as_slice() {
            b"NACK" => read_detail(&more[0])?,
            _ => String::new(),
        };
        let mut fields = Fields::new(numbers);
        let command = Self::read(verb, &mut fields, more.into(), detail);
        let whole = command.filter(|_| fields.rest().is_empty());
        whole.ok_or(CommandError::Numbers)
    }

    fn read(verb: &[u8], from: &mut Fields<'_>, message: Message, detail: String) -> Option<Self> {
        let epoch = Epoch::read(from)?;
        Some(match verb {
            b"PUT" => Self::read_put(epoch, from, message)?,
            b"ACCEPTED" => {
                let (start, first, last) = (from.u64()?, from.u64()?, from.u64()?);
                (first <= last).then_some(Self::Accepted {
                    epoch,
                    start,
                    first,
                    last,
                })?
            }
            b"REFUSED" => Self::Refused {
                epoch,
                start: from.u64()?,
                sequence: from.u64()?,
                refusal: Refusal::from_number(from.octet()?)?,
            },
            b"SUBSCRIBE" => Self::Subscribe {
                epoch,
                subscription: from.u64()?,
                credit: from.u32()?,
            },
            b"CREDIT" => Self::Credit {
                epoch,
                credit: from.u32()?,
            },
            b"DELIVER" => Self::Deliver {
                epoch,
                subscription: from.u64()?,
                tag: Tag(from.u64()?),
                attempt: from.u32()?,
                redelivered: read_flags(from, REDELIVERED)? != 0,
                priority: read_priority(from)?,
                history: History::decode(from)?,
                message,
            },
            b"ACK" => {
                let (tags, rest) = from.rest().as_chunks::<8>();
                let fits = (1..=MAX_TAGS).contains(&tags.len()) && rest.is_empty();
                from.take(fits.then_some(8 * tags.len())?)?;
                let tags = tags.iter().map(|tag| Tag(u64::from_be_bytes(*tag)));
                Self::Ack {
                    epoch,
                    tags: tags.collect(),
                }
            }
            b"NACK" => Self::Nack {
                epoch,
                tag: Tag(from.u64()?),
                nack: match read_flags(from, 1)? {
                    0 => Nack::Requeue,
                    _ => Nack::DeadLetter,
                },
                detail,
            },
            b"EXTEND" => Self::Extend {
                epoch,
                tag: Tag(from.u64()?),
                lease: Duration::from_millis(from.u64()?),
            },
            _ => Self::Moved { epoch },
        })
    }

    fn read_put(epoch: Epoch, from: &mut Fields<'_>, message: Message) -> Option<Self> {
        let start = from.u64()?;
        let origin = Origin {
            producer: ProducerId(from.array()?),
            sequence: from.u64()?,
        };
        let flags = read_flags(from, REDELIVERED | TTL)?;
        let priority = read_priority(from)?;
        let mut ttl = None;
        if flags & TTL != 0 {
            ttl = Some(Duration::from_millis(from.u64()?));
        }
        Some(Self::Put {
            epoch,
            start,
            origin,
            priority,
            ttl,
            redelivered: flags & REDELIVERED != 0,
            history: History::decode(from)?,
            message,
        })
    }
}

/// Flags, of which there are only some.
fn read_flags(fields: &mut Fields<'_>, known: u8) -> Option<u8> {
    fields.octet().filter(|flags| flags & !known == 0)
}

fn read_detail(frame: &Frame) -> Result<String, CommandError> {
    let text = frame.as_str().filter(|text| text.len() <= MAX_DETAIL);
    text.map(str::to_owned).ok_or(CommandError::Detail)
}

impl Refusal {
    const ALL: [Self; 6] = [
        Self::Full,
        Self::Busy,
        Self::TooLarge,
        Self::Sequence,
        Self::Expired,
        Self::Store,
    ];

    fn number(self) -> u8 {
        1 + self as u8
    }

    fn from_number(number: u8) -> Option<Self> {
        let at = usize::from(number).checked_sub(1)?;
        Self::ALL.get(at).copied()
    }
}

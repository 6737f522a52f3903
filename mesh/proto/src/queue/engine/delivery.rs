//! What a consumer gets, and what it says to that.

use std::time::Duration;

use super::super::death::History;
use super::super::options::Priority;
use super::consumers::ConsumerId;
use crate::message::Message;

/// The number of one delivery. A queue never uses one twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u64);

/// A message for a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// For whom.
    pub consumer: ConsumerId,
    /// What it is acked by.
    pub tag: Tag,
    /// How often it was delivered, with this time.
    pub attempt: u32,
    /// Whether a worker may have seen it before.
    pub redelivered: bool,
    /// How urgent it is.
    pub priority: Priority,
    /// How long it may still wait.
    pub ttl: Option<Duration>,
    /// Where it died before.
    pub history: History,
    /// The message.
    pub message: Message,
}

/// What becomes of a message that a consumer does not ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nack {
    /// It goes back to its old place.
    Requeue,
    /// It becomes a dead letter.
    DeadLetter,
}

/// A delivery is not open: it was acked, nacked or too late, or is another consumer's. Nothing
/// changes; the message may come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("delivery {} is not open", tag.0)]
pub struct Stale {
    /// Which.
    pub tag: Tag,
}

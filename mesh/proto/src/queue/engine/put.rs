//! What is put into a queue, and why it may not be.

use std::time::Duration;

use super::super::death::History;
use super::super::options::Priority;
use super::super::window::Origin;
use crate::message::{Frame, Message};

/// Frames of one message, at most.
pub const MAX_FRAMES: usize = u16::MAX as usize;

/// Octets of one message, at most, whatever [`Options::max_message`](crate::queue::Options::max_message) says.
pub const MAX_MESSAGE: usize = 1 << 30;

/// A message that is to be queued.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Put {
    /// Which put this is; `None` is queued however often it comes.
    pub origin: Option<Origin>,
    /// How urgent it is.
    pub priority: Priority,
    /// How long it may wait, from now on.
    pub ttl: Option<Duration>,
    /// Whether a worker may have seen it before.
    pub redelivered: bool,
    /// Where it died before.
    pub history: History,
    /// The message.
    pub message: Message,
}

/// Why a put is refused. The message is not queued, and may be put again under the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The queue has as many messages or octets as it may; try again later.
    #[error("the queue is full")]
    Full,
    /// The store is behind; try again later.
    #[error("the queue's store is behind")]
    Busy,
    /// The message is larger than this queue takes any.
    #[error("the message is too large for the queue")]
    TooLarge,
    /// The number is 0, or too old to tell whether it was accepted before.
    #[error("the number is none, or too old to be told from an earlier one")]
    Sequence,
    /// Its TTL was over before its acceptance was heard of. Said by producers, not by queues.
    #[error("the message expired on its way to the queue")]
    Expired,
    /// The store takes nothing, as when its disk is full; try again later.
    #[error("the queue's store takes nothing")]
    Store,
}

/// What a message counts against limits of octets.
pub(super) fn cost(message: &Message, history: &History) -> usize {
    message.size() + message.len() * size_of::<Frame>() + history.cost()
}

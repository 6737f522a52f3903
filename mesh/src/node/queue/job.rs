//! A message that a worker has until it says that it is done.

use std::sync::Arc;
use std::time::Duration;

use withy_proto::queue::worker::{Work, WorkId};
use withy_proto::queue::{History, Nack, Priority};

use super::error::StaleJob;
use super::worker::State;
use crate::Message;
use crate::node::Node;

/// A message to work on. Dropped without a word it goes back to the queue, and comes again.
#[derive(Debug)]
#[must_use = "a job that is dropped goes back to the queue"]
pub struct Job {
    /// The message.
    pub message: Message,
    /// Whether a worker may have seen it before.
    pub redelivered: bool,
    /// How often this queue delivered it, with this time.
    pub attempt: u32,
    /// How urgent it is.
    pub priority: Priority,
    /// Where it died before.
    pub history: History,
    id: WorkId,
    is_closed: bool,
    state: Arc<State>,
    /// The node lives for as long as its jobs.
    _node: Node,
}

impl Job {
    pub(super) fn new(work: Work, state: Arc<State>, node: Node) -> Self {
        Self {
            message: work.message,
            redelivered: work.redelivered,
            attempt: work.attempt,
            priority: work.priority,
            history: work.history,
            id: work.id,
            is_closed: false,
            state,
            _node: node,
        }
    }

    /// Says that it is done. Returns at once: if the worker or the keeper dies before the keeper has
    /// noted it, the message comes again, flagged.
    ///
    /// # Errors
    /// The message comes again.
    pub fn ack(mut self) -> Result<(), StaleJob> {
        self.is_closed = true;
        let done = self.state.tell(|engine| engine.ack(self.id));
        done.map_err(|_| StaleJob)
    }

    /// Makes a dead letter of it, with the reason, of which up to 255 octets are kept.
    ///
    /// # Errors
    /// The message comes again.
    pub fn reject(mut self, reason: &str) -> Result<(), StaleJob> {
        self.is_closed = true;
        self.nack(Nack::DeadLetter, reason)
    }

    /// Gives it back to the queue, where it has its old place, with the reason, which its dead letter
    /// tells if this was the last attempt.
    ///
    /// # Errors
    /// The message comes again, but without the reason.
    pub fn give_back(mut self, reason: &str) -> Result<(), StaleJob> {
        self.is_closed = true;
        self.nack(Nack::Requeue, reason)
    }

    fn nack(&self, nack: Nack, reason: &str) -> Result<(), StaleJob> {
        let done = self.state.tell(|engine| engine.nack(self.id, nack, reason));
        done.map_err(|_| StaleJob)
    }

    /// Takes so much time from now on, instead of what is left of the queue's
    /// [lease](super::QueueOptions::lease).
    ///
    /// # Errors
    /// The message comes again.
    pub fn extend(&self, time: Duration) -> Result<(), StaleJob> {
        let done = self.state.tell(|engine| engine.extend(self.id, time));
        done.map_err(|_| StaleJob)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.is_closed {
            _ = self.nack(Nack::Requeue, "");
        }
    }
}

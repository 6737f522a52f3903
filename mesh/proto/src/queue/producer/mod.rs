//! The side that puts messages: what is not confirmed stays here, and goes to the next keeper.
//!
//! ```text
//!  push --> unconfirmed --PUT--> ... --ACCEPTED--> event: accepted
//!              ^                  |
//!              |                  +--REFUSED-----> event: refused, with the message
//!              +-- lost, MOVED ---+
//! ```
//!
//! A message that was put and not answered may be queued or not. It is put again under its number,
//! which keeps the same keeper from queueing it twice, and flagged, in case another one did.
//!
//! Invariant: every message that was pushed ends in one event, accepted or refused.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::command::Command;
use super::death::History;
use super::engine::Refusal;
use super::epoch::Epoch;
use super::keeper::Misuse;
use super::options::Priority;
use super::window::{Origin, ProducerId, WINDOW};
use crate::message::Message;
use crate::trust::id::NodeId;

/// Messages that are not confirmed, at most, unless it is told otherwise.
pub const DEFAULT_WINDOW: usize = 256;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The keeper has it.
    Accepted {
        /// Its number.
        sequence: u64,
    },
    /// The keeper does not take it. If the refusal is [`Refusal::Expired`], it may have it all the same.
    Refused {
        /// Its number.
        sequence: u64,
        /// Why.
        refusal: Refusal,
        /// It, flagged if it was put more than once, so that it may be queued elsewhere.
        push: Push,
    },
}

/// A message to be put.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Push {
    /// How urgent it is.
    pub priority: Priority,
    /// How long it may wait, here and in the queue together.
    pub ttl: Option<Duration>,
    /// Whether a worker may have seen it before.
    pub redelivered: bool,
    /// Where it died before.
    pub history: History,
    /// The message.
    pub message: Message,
}

#[derive(Debug)]
struct Unconfirmed {
    push: Push,
    expires: Option<Duration>,
    is_put: bool,
    is_resent: bool,
}

/// A producer. See the [module](self).
#[derive(Debug)]
pub struct Producer {
    id: ProducerId,
    window: usize,
    /// The number of the next message.
    next: u64,
    unconfirmed: BTreeMap<u64, Unconfirmed>,
    /// When these expire.
    expiries: BTreeSet<(Duration, u64)>,
    known: Epoch,
    /// Who the link goes to.
    link: Option<NodeId>,
    /// How often it started over.
    start: u64,
    /// The number of the next message to be put over this link.
    cursor: u64,
    /// Whether a message was put to learn the epoch of a keeper.
    asked: bool,
    events: VecDeque<Event>,
    stale: u64,
    resent: u64,
}

impl Producer {
    /// A producer of a fresh id, with so many messages under way at most, up to [`WINDOW`].
    pub fn new(id: ProducerId, window: usize) -> Self {
        Self::resuming(id, 1, window)
    }

    /// A producer that goes on with a number, under the id of one that is gone. Numbers that the
    /// keeper remembers as accepted are accepted again, and not queued again.
    pub fn resuming(id: ProducerId, next: u64, window: usize) -> Self {
        let next = next.max(1);
        Self {
            id,
            window: window.clamp(1, WINDOW as usize),
            next,
            unconfirmed: BTreeMap::new(),
            expiries: BTreeSet::new(),
            known: Epoch::NONE,
            link: None,
            start: 0,
            cursor: next,
            asked: false,
            events: VecDeque::new(),
            stale: 0,
            resent: 0,
        }
    }

    /// Its id.
    pub fn id(&self) -> ProducerId {
        self.id
    }

    /// The highest epoch that it knows; its holder is the one to connect to.
    pub fn known(&self) -> Epoch {
        self.known
    }

    /// Messages that are not confirmed.
    pub fn unconfirmed(&self) -> usize {
        self.unconfirmed.len()
    }

    /// Answers of keepers that are keepers no more; they did not count.
    pub fn stale(&self) -> u64 {
        self.stale
    }

    /// Messages that were put again.
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// Whether there is room for another message. Numbers under way lie within [`WINDOW`], and events
    /// that were not polled take room, too.
    pub fn has_room(&self) -> bool {
        let first = self.unconfirmed.keys().next().copied();
        let span = self.next - first.unwrap_or(self.next);
        self.unconfirmed.len() + self.events.len() < self.window && span < WINDOW
    }

    /// Takes a message to be put; returns its number.
    ///
    /// # Errors
    /// There is no room; the message comes back.
    pub fn push(&mut self, push: Push, now: Duration) -> Result<u64, Push> {
        if !self.has_room() {
            return Err(push);
        }
        let sequence = self.next;
        self.next += 1;
        let expires = push.ttl.map(|ttl| now.saturating_add(ttl));
        self.expiries.extend(expires.map(|at| (at, sequence)));
        let unconfirmed = Unconfirmed {
            push,
            expires,
            is_put: false,
            is_resent: false,
        };
        self.unconfirmed.insert(sequence, unconfirmed);
        Ok(sequence)
    }

    /// There is a link to a node, instead of the one before.
    pub fn connected(&mut self, node: NodeId) {
        self.link = Some(node);
        self.start_over();
    }

    /// The link is gone.
    pub fn lost(&mut self) {
        self.link = None;
    }

    /// Hears of an epoch. Answers of lower ones do not count from now on.
    pub fn observe(&mut self, epoch: Epoch) {
        if epoch > self.known {
            self.known = epoch;
            self.start_over();
        }
    }

    /// All that is not confirmed is put again.
    fn start_over(&mut self) {
        self.start += 1;
        self.cursor = self.unconfirmed.keys().next().copied().unwrap_or(self.next);
        self.asked = false;
    }

    /// The next command for the node that the link goes to. One whose epoch is not known is asked
    /// with a single message.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Command> {
        let node = self.link?;
        self.expire(now);
        if self.known.holder() != node && std::mem::replace(&mut self.asked, true) {
            return None;
        }
        let due = self.unconfirmed.range_mut(self.cursor..).next();
        let Some((&sequence, unconfirmed)) = due else {
            self.asked = false;
            return None;
        };
        let push = unconfirmed.push.clone();
        // Whoever gets it again cannot know what became of it.
        let redelivered = push.redelivered || unconfirmed.is_put;
        if self.known.holder() == node {
            self.cursor = sequence + 1;
            unconfirmed.is_resent = std::mem::replace(&mut unconfirmed.is_put, true);
            self.resent += u64::from(unconfirmed.is_resent);
        }
        Some(Command::Put {
            epoch: self.known,
            start: self.start,
            origin: Origin {
                producer: self.id,
                sequence,
            },
            priority: push.priority,
            ttl: unconfirmed.expires.map(|at| at.saturating_sub(now)),
            redelivered,
            history: push.history,
            message: push.message,
        })
    }

    /// Takes an answer. One of another epoch, or of a keeper that was, does not count.
    ///
    /// # Errors
    /// The keeper broke the rules; the connection must close.
    pub fn handle(&mut self, command: Command) -> Result<(), Misuse> {
        let epoch = command.epoch();
        match command {
            Command::Moved { .. } if epoch >= self.known => {
                self.known = epoch;
                self.start_over();
            }
            Command::Moved { .. } => self.stale += 1,
            Command::Accepted { start, .. } | Command::Refused { start, .. }
                if !self.counts(epoch, start) =>
            {
                self.stale += 1;
            }
            Command::Accepted { first, last, .. } => return self.accepted(first, last),
            Command::Refused {
                sequence, refusal, ..
            } => return self.refused(sequence, refusal),
            _ => return Err(Misuse::Direction),
        }
        Ok(())
    }

    /// Whether this is the keeper's answer to what was put since the last start.
    fn counts(&self, epoch: Epoch, start: u64) -> bool {
        start == self.start && epoch == self.known && self.link == Some(epoch.holder())
    }

    fn accepted(&mut self, first: u64, last: u64) -> Result<(), Misuse> {
        if first > last || last >= self.cursor {
            return Err(Misuse::Answer);
        }
        while let Some((&sequence, _)) = self.unconfirmed.range(first..=last).next() {
            self.take(sequence);
            self.events.push_back(Event::Accepted { sequence });
        }
        Ok(())
    }

    fn refused(&mut self, sequence: u64, refusal: Refusal) -> Result<(), Misuse> {
        if sequence >= self.cursor {
            return Err(Misuse::Answer);
        }
        self.refuse(sequence, refusal);
        Ok(())
    }

    fn refuse(&mut self, sequence: u64, refusal: Refusal) {
        let Some(mut gone) = self.take(sequence) else {
            return;
        };
        gone.push.redelivered |= match refusal {
            Refusal::Expired => gone.is_put,
            _ => gone.is_resent,
        };
        self.events.push_back(Event::Refused {
            sequence,
            refusal,
            push: gone.push,
        });
    }

    fn take(&mut self, sequence: u64) -> Option<Unconfirmed> {
        let gone = self.unconfirmed.remove(&sequence)?;
        if let Some(at) = gone.expires {
            self.expiries.remove(&(at, sequence));
        }
        Some(gone)
    }

    /// What became of the next message.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When the next message expires here.
    pub fn next_timeout(&self) -> Option<Duration> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Gives up what expired before its acceptance was heard of.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.expire(now);
    }

    fn expire(&mut self, now: Duration) {
        while let Some((_, sequence)) = self.expiries.first().copied().filter(|(at, _)| *at <= now)
        {
            self.refuse(sequence, Refusal::Expired);
        }
    }
}

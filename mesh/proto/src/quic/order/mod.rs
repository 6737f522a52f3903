//! What arrives on several streams, put in order again.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Carries, Header, LANES, MAX_LARGE, MAX_WAITING, MAX_WAITING_OCTETS};
use crate::message::Message;
use crate::zmtp::{Command, Item};

/// Puts what arrives on several streams in order, or gives it out as it comes.
#[derive(Debug, Default)]
pub struct Order {
    /// Whether the order is kept, once a stream has said it.
    ordered: Option<bool>,
    lanes: [Lane; LANES],
    /// What is not given out yet; at its front is a large message that did not arrive.
    queue: VecDeque<Slot>,
    octets: usize,
    /// The number of the next mark.
    marks: u64,
    /// Large messages that came before their marks.
    early: BTreeMap<u64, Message>,
    /// Large messages that were given out before their marks came.
    arrived: BTreeSet<u64>,
    /// Messages that were given out.
    messages: u64,
    /// Large messages that were read.
    larges: u64,
}

/// What is known of a lane.
#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    arrived: bool,
    announced: bool,
    ended: bool,
}

#[derive(Debug)]
enum Slot {
    There(Message),
    Awaited(u64),
}

/// A peer broke the rules of [several streams](super). It misbehaved; the link closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// A mark is not the next one, or too many large messages are under way.
    #[error("peer sent the mark of large message {found} where {due} was due")]
    Mark {
        /// Its number.
        found: u64,
        /// What was due.
        due: u64,
    },
    /// A large message has a number that another had, or is further ahead than it may be.
    #[error("peer sent large message {number} out of turn")]
    Number {
        /// Its number.
        number: u64,
    },
    /// A lane was opened or announced twice, or cannot be: in order there is but one.
    #[error("peer named lane {number} out of turn")]
    Lane {
        /// Its number.
        number: u64,
    },
    /// One stream says that order is kept, and another that it is not.
    #[error("peer sent streams in order and out of order on one link")]
    Mixed,
    /// Something else than a message is on a stream for messages.
    #[error("peer sent a command on a stream for messages")]
    Command,
}

impl Order {
    /// Takes a stream in that the peer opened.
    ///
    /// # Errors
    /// The peer broke the rules.
    pub fn open(&mut self, header: Header) -> Result<(), OrderError> {
        if *self.ordered.get_or_insert(header.ordered) != header.ordered {
            return Err(OrderError::Mixed);
        }
        match header.carries {
            Carries::Lane(number) => {
                let lane = self.lanes.get_mut(number);
                let fresh = lane.is_some_and(|lane| !std::mem::replace(&mut lane.arrived, true));
                let number = number as u64;
                fresh.then_some(()).ok_or(OrderError::Lane { number })
            }
            Carries::Large(number) if self.may_be_under_way(number) && self.is_missing(number) => {
                Ok(())
            }
            Carries::Large(number) => Err(OrderError::Number { number }),
        }
    }

    /// Whether no large message of this number was read yet.
    fn is_missing(&self, number: u64) -> bool {
        if number >= self.marks {
            return !self.early.contains_key(&number) && !self.arrived.contains(&number);
        }
        self.awaited(number).is_some()
    }

    /// Where a large message belongs whose mark came.
    fn awaited(&self, number: u64) -> Option<usize> {
        let is = |slot: &Slot| matches!(slot, Slot::Awaited(awaited) if *awaited == number);
        self.queue.iter().position(is)
    }

    /// Whether the sender may have sent this many large messages beyond those that were read.
    fn may_be_under_way(&self, number: u64) -> bool {
        number < self.larges.saturating_add(MAX_LARGE as u64)
    }

    /// Takes what a lane brought, and gives out what it can.
    ///
    /// # Errors
    /// The peer broke the rules.
    #[inline]
    pub fn data(
        &mut self,
        lane: usize,
        item: Item,
        out: &mut VecDeque<Item>,
    ) -> Result<(), OrderError> {
        let message = match item {
            Item::Message(message) => message,
            Item::Command(command) => return self.announced(lane, &command, out),
        };
        if self.queue.is_empty() || !self.keeps() {
            self.give(message, out);
        } else {
            self.octets += message.footprint();
            self.queue.push_back(Slot::There(message));
        }
        Ok(())
    }

    #[inline]
    fn give(&mut self, message: Message, out: &mut VecDeque<Item>) {
        self.messages += 1;
        out.push_back(Item::Message(message));
    }

    /// Whether order is kept. Nothing comes before the first stream is open.
    #[inline]
    fn keeps(&self) -> bool {
        self.ordered != Some(false)
    }

    fn announced(
        &mut self,
        lane: usize,
        command: &Command,
        out: &mut VecDeque<Item>,
    ) -> Result<(), OrderError> {
        match *command {
            Command::Large(number) if lane == 0 => self.mark(number, out),
            Command::Lane(number) if lane == 0 => {
                let lane = usize::try_from(number).ok();
                let lane = lane.filter(|&lane| lane > 0 && !self.keeps());
                let lane = lane.and_then(|lane| self.lanes.get_mut(lane));
                let fresh = lane.is_some_and(|lane| !std::mem::replace(&mut lane.announced, true));
                fresh.then_some(()).ok_or(OrderError::Lane { number })
            }
            _ => Err(OrderError::Command),
        }
    }

    fn mark(&mut self, number: u64, out: &mut VecDeque<Item>) -> Result<(), OrderError> {
        if number != self.marks || !self.may_be_under_way(number) {
            let due = self.marks;
            return Err(OrderError::Mark { found: number, due });
        }
        self.marks += 1;
        if self.arrived.remove(&number) {
            return Ok(());
        }
        match self.early.remove(&number) {
            Some(message) if self.queue.is_empty() => self.give(message, out),
            Some(message) => {
                self.octets += message.footprint();
                self.queue.push_back(Slot::There(message));
            }
            None => self.queue.push_back(Slot::Awaited(number)),
        }
        Ok(())
    }

    /// Takes a large message, and gives out what it can.
    ///
    /// # Errors
    /// The peer broke the rules.
    pub fn large(
        &mut self,
        number: u64,
        message: Message,
        out: &mut VecDeque<Item>,
    ) -> Result<(), OrderError> {
        if !self.admits(number) || !self.is_missing(number) {
            return Err(OrderError::Number { number });
        }
        self.larges += 1;
        let at = self.awaited(number);
        if !self.keeps() {
            if at.and_then(|at| self.queue.remove(at)).is_none() {
                self.arrived.insert(number);
            }
            self.give(message, out);
        } else if let Some(at) = at {
            self.octets += message.footprint();
            self.queue[at] = Slot::There(message);
            self.give_out(out);
        } else {
            // Its mark is on its way behind it.
            self.early.insert(number, message);
        }
        Ok(())
    }

    fn give_out(&mut self, out: &mut VecDeque<Item>) {
        while let Some(Slot::There(_)) = self.queue.front() {
            if let Some(Slot::There(message)) = self.queue.pop_front() {
                self.octets -= message.footprint();
                self.give(message, out);
            }
        }
    }

    /// Gives out all that waits, in order, without the large messages that it waits for: the link is
    /// lost, and they will not come.
    pub fn give_up(&mut self, out: &mut VecDeque<Item>) {
        let waiting = std::mem::take(&mut self.queue).into_iter();
        let there = waiting.filter_map(|slot| match slot {
            Slot::There(message) => Some(message),
            Slot::Awaited(_) => None,
        });
        let early = std::mem::take(&mut self.early).into_values();
        self.octets = 0;
        for message in there.chain(early) {
            self.give(message, out);
        }
    }

    /// Notes the end of a lane.
    pub fn end(&mut self, lane: usize) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.ended = true;
        }
    }

    /// Whether a large message may be read already: few run ahead of their marks.
    pub fn admits(&self, number: u64) -> bool {
        number < self.marks.saturating_add(MAX_LARGE as u64)
    }

    /// Whether so much waits for a large message that the lanes have to wait, too.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= MAX_WAITING || self.octets >= MAX_WAITING_OCTETS
    }

    /// Whether lane 0 was read to its end, and nothing is missing of what it announced.
    pub fn is_complete(&self) -> bool {
        let due = |lane: &Lane| (lane.arrived || lane.announced) && !lane.ended;
        let lanes = self.lanes[0].ended && !self.lanes.iter().any(due);
        lanes && self.queue.is_empty() && self.early.is_empty()
    }

    /// Messages that were given out, of all sizes.
    #[inline]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Large messages that were read.
    #[inline]
    pub fn larges(&self) -> u64 {
        self.larges
    }

    /// Octets that wait.
    pub fn held(&self) -> usize {
        let early = self.early.values().map(Message::footprint);
        self.octets + early.sum::<usize>()
    }
}

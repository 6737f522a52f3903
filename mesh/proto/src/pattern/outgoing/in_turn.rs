//! Sending to one pipe at a time, each in turn that has room; and the backlog for when none has.

use super::{Balance, NotSent, Outgoing, PipeKey};
use crate::message::Message;

impl Outgoing {
    #[inline]
    pub(super) fn send_in_turn(&mut self, message: &mut Message) -> Result<(), NotSent> {
        if !self.backlog.is_empty() {
            return self.hold(message);
        }
        match self.next_in_turn() {
            Some(index) => {
                self.push_in_turn(index, message);
                Ok(())
            }
            None => self.hold(message),
        }
    }

    #[inline]
    pub(super) fn push_in_turn(&mut self, index: u32, message: &mut Message) {
        let mark = self.options.high_water_mark;
        let pipe = &mut self.pipes[index as usize];
        if self.options.conflate {
            let forgotten = pipe.forget_waiting(&mut self.common);
            pipe.dropped += forgotten as u64;
            self.counts.dropped += forgotten as u64;
        }
        pipe.push(message);
        self.counts.sent += 1;
        let key = PipeKey {
            index,
            generation: pipe.generation,
        };
        // With CONFLATE the next message takes this one's place.
        if !self.options.conflate && !pipe.has_room(mark) {
            self.deactivate(index);
        }
        self.touch(key);
    }

    #[inline]
    pub(super) fn next_in_turn(&mut self) -> Option<u32> {
        if self.options.balance == Balance::LeastLoaded {
            let least = |index: &u32| self.pipes[*index as usize].messages();
            let turn = self.turn.wrapping_add(1);
            self.turn = turn;
            let count = self.active.len();
            return (0..count)
                .map(|i| self.active[(i + turn) % count])
                .min_by_key(least);
        }
        if self.turn >= self.active.len() {
            self.turn = 0;
        }
        let index = *self.active.get(self.turn)?;
        self.turn += 1;
        Some(index)
    }

    pub(super) fn hold(&mut self, message: &mut Message) -> Result<(), NotSent> {
        let mark = self.options.high_water_mark;
        let may_wait = self.dialing > 0 && self.pipes.is_empty() && !self.options.immediate;
        let has_room = self.backlog.len() < mark.messages.saturating_mul(self.dialing)
            && self.backlog_size < mark.octets;
        if !may_wait || !(has_room || self.options.conflate) {
            return Err(NotSent::Full);
        }
        if self.options.conflate {
            self.counts.dropped += self.backlog.len() as u64;
            self.backlog.clear();
            self.backlog_size = 0;
        }
        self.backlog_size += message.footprint();
        self.backlog.push_back(std::mem::take(message));
        Ok(())
    }

    pub(super) fn drain_backlog(&mut self) {
        while !self.backlog.is_empty() {
            let Some(index) = self.next_in_turn() else {
                return;
            };
            if let Some(mut message) = self.backlog.pop_front() {
                self.backlog_size -= message.footprint();
                self.push_in_turn(index, &mut message);
            }
        }
    }

    pub(super) fn activate(&mut self, index: u32) {
        let pipe = &mut self.pipes[index as usize];
        if !std::mem::replace(&mut pipe.active, true) {
            self.active.push(index);
        }
    }

    pub(super) fn deactivate(&mut self, index: u32) {
        self.pipes[index as usize].active = false;
        if let Some(at) = self.active.iter().position(|&other| other == index) {
            self.active.remove(at);
            if at < self.turn {
                self.turn -= 1;
            }
        }
    }
}

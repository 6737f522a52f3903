//! Sending to all pipes, or to those that want a topic; and what happens to one without room.

use super::{NotSent, Outgoing, Overflow, Overflown, PipeKey};
use crate::message::{Frame, Message};

impl Outgoing {
    /// As [`Outgoing::send`] of a PUB or XPUB, for who has frames, at least one, and no message of them.
    ///
    /// # Errors
    /// The reason.
    pub fn publish(&mut self, frames: &[Frame]) -> Result<(), NotSent> {
        let mut targets = std::mem::take(&mut self.targets);
        targets.clear();
        self.publishing
            .matches(&frames[0], &mut |index| targets.push(index));
        if self.options.invert_matching {
            let mut wanted = std::mem::take(&mut targets);
            wanted.sort_unstable();
            targets.extend(
                self.pipes
                    .iter()
                    .map(|(index, _)| index as u32)
                    .filter(|index| wanted.binary_search(index).is_err()),
            );
        }
        let result = self.fan_out(&targets, frames);
        self.targets = targets;
        result
    }

    pub(super) fn send_to_all(&mut self, message: &Message) -> Result<(), NotSent> {
        // An XSUB's subscriptions are messages of the application (RFC 29).
        if let ([first], Some((&head @ (0 | 1), topic))) =
            (message.frames(), message.first().split_first())
        {
            let _ = first;
            let topic = topic.to_vec();
            self.subscribe(&topic, head == 1);
            return Ok(());
        }
        let targets: Vec<u32> = self.pipes.iter().map(|(index, _)| index as u32).collect();
        self.fan_out(&targets, message.frames())
    }

    pub(super) fn fan_out(&mut self, targets: &[u32], frames: &[Frame]) -> Result<(), NotSent> {
        if self.run_on(targets, frames) {
            return Ok(());
        }
        self.catch_up();
        let mark = self.options.high_water_mark;
        if self.options.overflow == Overflow::Block
            && !self.options.conflate
            && targets
                .iter()
                .any(|&index| !self.pipes[index as usize].has_room(mark))
        {
            targets.iter().for_each(|&index| {
                if !self.pipes[index as usize].has_room(mark) {
                    self.deactivate(index);
                }
            });
            return Err(NotSent::Full);
        }
        // Each message takes the place of the last with CONFLATE: nothing grows in common.
        let place = if targets.len() > 1 && !self.options.conflate {
            self.common.push(frames)
        } else {
            None
        };
        for &index in targets {
            let pipe = &mut self.pipes[index as usize];
            let key = PipeKey {
                index,
                generation: pipe.generation,
            };
            if self.options.conflate {
                let forgotten = pipe.forget_waiting(&mut self.common) as u64;
                pipe.dropped += forgotten;
                self.counts.dropped += forgotten;
            } else if !pipe.has_room(mark) {
                let mut dropped = 0;
                if self.options.overflow == Overflow::DropOldest {
                    while !pipe.has_room(mark) && pipe.drop_oldest(&mut self.common) {
                        dropped += 1;
                    }
                }
                let room = pipe.has_room(mark);
                dropped += u64::from(!room);
                let first = pipe.count_drops(dropped);
                self.counts.dropped += dropped;
                if self.options.overflow == Overflow::Disconnect {
                    self.overflown.push((key, Overflown::Kicked));
                } else if first {
                    self.overflown.push((key, Overflown::Drops));
                }
                if !room {
                    continue;
                }
            }
            pipe.push_shared(frames, place.as_ref(), &mut self.common);
            self.counts.sent += 1;
            self.touch(key);
        }
        if self.common.is_due() {
            self.tidy_common();
        }
        if place.is_some() {
            self.begin_run(targets);
        }
        Ok(())
    }

    /// Keeps no more in common than pipes need, and gives those that are far behind copies.
    fn tidy_common(&mut self) {
        for (_, pipe) in &mut self.pipes {
            if pipe.tail().is_some_and(|tail| self.common.is_behind(tail)) {
                pipe.part(&mut self.common);
            }
        }
        let tails = self.pipes.iter().filter_map(|(_, pipe)| pipe.tail());
        self.common.tidy(tails);
    }
}

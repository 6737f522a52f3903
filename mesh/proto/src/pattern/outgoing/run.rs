//! Messages in a row for the same pipes.
//!
//! ```text
//!  a message, pipe by pipe --- nothing happens to any of them soon ---> run
//!                ^                                                        |
//!                '--- other pipes, as many as foreseen, or a look at one --'
//! ```
//!
//! What goes to many is the same for most of them again and again: as long as none of them comes to a
//! mark, a message is only encoded, and how far each pipe goes is noted once, at the end of the run.
//!
//! Invariant: nobody looks at a pipe while the run has messages. [`Outgoing::catch_up`] ends it.

use super::Outgoing;
use crate::message::Frame;

/// Messages of a run at most, and as many wait before: whoever watches how long a pipe's messages wait
/// looks at the first of them each time, and then at one in as many.
const LONGEST: usize = 16;

/// The run, from the first on: few sockets send to many.
#[derive(Debug, Default)]
pub(super) struct Run(Option<Box<Running>>);

#[derive(Debug, Default)]
struct Running {
    targets: Vec<u32>,
    messages: usize,
    octets: usize,
    most_messages: usize,
    most_octets: usize,
}

impl Run {
    /// Messages on pipes that these do not know of.
    pub(super) fn queued(&self) -> usize {
        let queued = |run: &Running| run.messages * run.targets.len();
        self.0.as_deref().map_or(0, queued)
    }
}

impl Running {
    #[inline]
    fn goes_on(&self, targets: &[u32]) -> bool {
        self.messages < self.most_messages
            && self.octets < self.most_octets
            && self.targets == targets
    }
}

impl Outgoing {
    /// Adds a message to the run; `false` if it is to be sent pipe by pipe.
    #[inline]
    pub(super) fn run_on(&mut self, targets: &[u32], frames: &[Frame]) -> bool {
        if let Some(run) = &mut self.run.0
            && run.goes_on(targets)
            && let Some(place) = self.common.push(frames)
        {
            run.messages += 1;
            run.octets += (place.end - place.start) as usize;
            self.counts.sent += targets.len() as u64;
            return true;
        }
        false
    }

    /// Begins a run for pipes that all had the last message in common, up to where something happens to
    /// one of them.
    pub(super) fn begin_run(&mut self, targets: &[u32]) {
        let mark = self.options.high_water_mark;
        let (mut messages, mut octets) = (LONGEST, usize::MAX);
        for &index in targets {
            let pipe = &self.pipes[index as usize];
            let (more_messages, more_octets) = pipe.unheeded(mark, &self.common);
            if pipe.waiting() < LONGEST || more_messages == 0 {
                return;
            }
            messages = messages.min(more_messages);
            octets = octets.min(more_octets);
        }
        let run = self.run.0.get_or_insert_default();
        run.targets.clear();
        run.targets.extend_from_slice(targets);
        (run.most_messages, run.most_octets) = (messages, octets);
    }

    /// Ends the run: its pipes note how far they go.
    #[inline]
    pub(super) fn catch_up(&mut self) {
        if let Some(run) = &mut self.run.0 {
            run.most_messages = 0;
            if run.messages > 0 {
                self.note_run();
            }
        }
    }

    fn note_run(&mut self) {
        let Some(run) = &mut self.run.0 else {
            return;
        };
        let messages = std::mem::take(&mut run.messages);
        run.octets = 0;
        for &index in &run.targets {
            self.pipes[index as usize].go_on(messages, &self.common);
        }
    }
}

#[cfg(test)]
mod tests;

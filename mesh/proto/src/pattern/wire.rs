//! The octets that wait on a pipe: its own, and behind them those that it has in common with others.

use std::ops::Range;

use crate::message::{Frame, Message};
use crate::zmtp::{Batch, Command, Common, Framing, Outbox, Tail};

/// Octets that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Wire {
    outbox: Outbox,
    tail: Tail,
}

impl Wire {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self {
            outbox,
            tail: Tail::default(),
        }
    }

    #[inline]
    pub(super) fn messages(&self) -> usize {
        self.outbox.messages() + self.tail.messages()
    }

    #[inline]
    pub(super) fn size(&self) -> usize {
        self.outbox.size() + self.tail.size()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.outbox.is_empty() && self.tail.is_empty()
    }

    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    #[inline]
    pub(super) fn go_on(&mut self, messages: usize, common: &Common) {
        self.tail.go_on(messages, common);
    }

    /// Appends a message. Nothing may be in common with others: [part](Wire::part) with them before.
    #[inline]
    pub(super) fn push(&mut self, message: &Message) {
        debug_assert!(self.tail.is_empty(), "the tail would go out behind it");
        self.outbox.push(message);
    }

    /// Appends what others get, too: a message of these frames, which may stand in common.
    #[inline]
    pub(super) fn push_shared(
        &mut self,
        frames: &[Frame],
        place: Option<&Range<u64>>,
        common: &mut Common,
    ) {
        if let Some(place) = place
            && self.outbox.framing() == Framing::Clear
        {
            if self.tail.extend(place, common) {
                return;
            }
            self.part(common);
            self.tail.extend(place, common);
            return;
        }
        self.part(common);
        self.outbox.push_frames(frames);
    }

    /// Appends a command, ahead of what is in common.
    pub(super) fn push_command(&mut self, command: &Command) {
        self.outbox.push_command(command);
    }

    /// Drops the oldest message that waits; `false` when there is none.
    pub(super) fn drop_oldest(&mut self, common: &mut Common) -> bool {
        self.part(common);
        self.outbox.drop_oldest()
    }

    /// Copies what is in common with others.
    #[inline]
    pub(super) fn part(&mut self, common: &mut Common) {
        if self.tail.is_empty() {
            return;
        }
        let Self { outbox, tail } = self;
        common.copy(tail, |frames, messages| {
            outbox.push_encoded(frames, messages)
        });
    }

    /// Takes everything, to be sealed and written.
    pub(super) fn take(&mut self, spare: Vec<u8>, common: &mut Common) -> Batch {
        if common.is_better_copied(&self.tail) {
            self.part(common);
        }
        let mut batch = self.outbox.take(spare);
        if !self.tail.is_empty() {
            common.share(&mut self.tail, |frames, messages| {
                batch.append(frames, messages)
            });
        }
        batch
    }

    /// Takes everything of a pipe that is gone.
    pub(super) fn into_messages(mut self, common: &mut Common) -> Vec<Message> {
        self.take(Vec::new(), common).recover().unwrap_or_default()
    }
}

//! Dead letters, until somebody has put them elsewhere.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::death::{Cause, History, cut};
use super::super::options::Priority;
use super::super::record::Record;
use super::super::to_millis;
use super::{Queue, State};
use crate::message::Message;

/// Which dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadId(u64);

impl DeadId {
    /// That of a number, as [`number`](Self::number) gives it.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number, of this queue with this keeper: those that were put later have higher ones.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A message that died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// What it is taken by.
    pub id: DeadId,
    /// Why it died now.
    pub cause: Cause,
    /// How urgent it was.
    pub priority: Priority,
    /// All its deaths.
    pub history: History,
    /// The message.
    pub message: Message,
}

#[derive(Debug, Default)]
pub(super) struct Dead {
    waiting: BTreeSet<u64>,
    shown: BTreeSet<u64>,
    octets: usize,
}

impl Dead {
    pub(super) fn insert(&mut self, id: u64, cost: usize) {
        self.waiting.insert(id);
        self.octets += cost;
    }

    pub(super) fn remove(&mut self, id: u64, cost: usize) {
        if self.waiting.remove(&id) || self.shown.remove(&id) {
            self.octets -= cost;
        }
    }

    fn len(&self) -> usize {
        self.waiting.len() + self.shown.len()
    }
}

impl Queue {
    /// Dead letters that are kept.
    pub fn dead(&self) -> usize {
        self.dead.len()
    }

    /// The next dead letter, each once. It stays until it is [taken](Self::dead_taken); a queue that
    /// is restored shows again what was not.
    pub fn poll_dead(&mut self) -> Option<DeadLetter> {
        let id = self.dead.waiting.pop_first()?;
        self.dead.shown.insert(id);
        self.dead_letter(id)
    }

    /// The dead letters that are kept, in the order in which they were put, from after one on. They stay
    /// as they are.
    pub fn dead_letters(&self, after: Option<DeadId>) -> impl Iterator<Item = DeadLetter> {
        let first = after.map_or(0, |DeadId(id)| id.saturating_add(1));
        let Dead { waiting, shown, .. } = &self.dead;
        let (mut waiting, mut shown) = (waiting.range(first..), shown.range(first..));
        let (mut one, mut other) = (waiting.next(), shown.next());
        std::iter::from_fn(move || {
            let waits = one.is_some_and(|id| other.is_none_or(|other| id < other));
            let id = match waits {
                true => std::mem::replace(&mut one, waiting.next()),
                false => std::mem::replace(&mut other, shown.next()),
            };
            self.dead_letter(*id?)
        })
    }

    fn dead_letter(&self, id: u64) -> Option<DeadLetter> {
        let entry = self.messages.get(&id)?;
        Some(DeadLetter {
            id: DeadId(id),
            cause: entry.cause_of_death()?,
            priority: entry.priority,
            history: entry.history.clone(),
            message: entry.message.clone(),
        })
    }

    /// A dead letter was put where it belongs, or is not wanted. Returns whether it was there.
    pub fn dead_taken(&mut self, DeadId(id): DeadId) -> bool {
        if !self.dead.shown.contains(&id) && !self.dead.waiting.contains(&id) {
            return false;
        }
        self.forget(id);
        self.journal.emit(|| Record::Done { id });
        self.counts.dead_taken += 1;
        true
    }

    /// Makes a dead letter of a message, which is not out.
    pub(super) fn die(&mut self, id: u64, cause: Cause, detail: &str, now: Duration) {
        self.unlink(id);
        let Some(entry) = self.messages.get_mut(&id) else {
            return;
        };
        entry.state = State::Dead(cause);
        entry.history.note(&self.name, cause, detail, now);
        self.dead.insert(id, entry.cost);
        self.counts.note_death(cause);
        self.journal.emit(|| Record::Dead {
            id,
            cause,
            at: to_millis(now),
            detail: cut(detail).to_owned(),
        });
        let Self { options, dead, .. } = self;
        if dead.len() > options.max_dead || dead.octets > options.max_octets {
            self.drop_dead();
        }
    }

    /// Drops the oldest dead letters until there are not too many.
    fn drop_dead(&mut self) {
        let (most, octets) = (self.options.max_dead, self.options.max_octets);
        while (self.dead.len() > most || self.dead.octets > octets)
            && let Some(id) = self.dead.waiting.first().copied()
        {
            self.forget(id);
            self.journal.emit(|| Record::Done { id });
            self.counts.dead_dropped += 1;
        }
    }
}

//! Who takes messages, and whose turn it is.
//!
//! Invariant: who has credit has one turn, and who has none has none.

use std::collections::{BTreeMap, BTreeSet};

use super::Tag;

/// The most credit that one consumer has at a time; more is cut off.
pub const MAX_CREDIT: u32 = 65_535;

/// A consumer, by a number that its caller chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId(pub u64);

/// There are as many consumers as there may be; try again when others are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue has {limit} consumers already")]
pub struct TooManyConsumers {
    /// How many.
    pub limit: usize,
}

#[derive(Debug, Default)]
struct Consumer {
    credit: u32,
    turn: Option<u64>,
    open: BTreeSet<Tag>,
}

#[derive(Debug)]
pub(super) struct Consumers {
    limit: usize,
    by_id: BTreeMap<ConsumerId, Consumer>,
    turns: BTreeMap<u64, ConsumerId>,
    next_turn: u64,
}

impl Consumers {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            by_id: BTreeMap::new(),
            turns: BTreeMap::new(),
            next_turn: 0,
        }
    }

    pub(super) fn grow(&mut self, id: ConsumerId, credit: u32) -> Result<(), TooManyConsumers> {
        let limit = self.limit;
        if self.by_id.len() >= limit && !self.by_id.contains_key(&id) {
            return Err(TooManyConsumers { limit });
        }
        let consumer = self.by_id.entry(id).or_default();
        consumer.credit = consumer.credit.saturating_add(credit).min(MAX_CREDIT);
        if consumer.credit > 0 && consumer.turn.is_none() {
            consumer.turn = Some(self.next_turn);
            self.turns.insert(self.next_turn, id);
            self.next_turn += 1;
        }
        Ok(())
    }

    pub(super) fn pause(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.by_id.get_mut(&id) {
            consumer.credit = 0;
            consumer.turn.take().map(|turn| self.turns.remove(&turn));
        }
    }

    /// Forgets a consumer; returns its open deliveries.
    pub(super) fn remove(&mut self, id: ConsumerId) -> BTreeSet<Tag> {
        self.pause(id);
        let consumer = self.by_id.remove(&id);
        consumer.map(|consumer| consumer.open).unwrap_or_default()
    }

    /// Uses a credit of the one whose turn it is, who goes to the end of the line.
    pub(super) fn take_turn(&mut self, tag: Tag) -> Option<ConsumerId> {
        let (_, id) = self.turns.pop_first()?;
        let consumer = self.by_id.get_mut(&id)?;
        consumer.turn = None;
        consumer.credit -= 1;
        consumer.open.insert(tag);
        if consumer.credit > 0 {
            consumer.turn = Some(self.next_turn);
            self.turns.insert(self.next_turn, id);
            self.next_turn += 1;
        }
        Some(id)
    }

    pub(super) fn closed(&mut self, id: ConsumerId, tag: Tag) {
        if let Some(consumer) = self.by_id.get_mut(&id) {
            consumer.open.remove(&tag);
        }
    }
}

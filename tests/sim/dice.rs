//! Chance, from a seed.

use withy_proto::crypto::{Randomness, Seeded};

/// A seeded source of choices.
#[derive(Debug, Clone)]
pub(crate) struct Dice(Seeded);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Seeded::new(seed))
    }

    /// A number from `from` up to and without `to`.
    pub(crate) fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.0.next_u64() % (to - from).max(1)
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.within(0, len as u64) as usize
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.within(0, 100) < chance
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.index(all.len())]
    }

    /// For the engines.
    pub(crate) fn source(&mut self) -> &mut Seeded {
        &mut self.0
    }
}

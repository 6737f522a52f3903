//! Which of one origin's messages were seen, by sequence.
//!
//! Up to a floor all count as seen; above it each is known, in a window that moves up with the
//! highest. Messages may so come out of order, as long as none is late by more than the window.

/// The width of the window: how many sequences a message may come after a later one.
pub const SPAN: u64 = 1_024;

const WORDS: usize = SPAN as usize / 64;

/// The sequences that were seen.
#[derive(Debug, Default)]
pub(super) struct Window {
    floor: u64,
    /// By sequence modulo [`SPAN`], for those above the floor; others are zeros.
    bits: [u64; WORDS],
}

impl Window {
    /// Whether a message was not seen yet.
    pub(super) fn is_fresh(&self, sequence: u64) -> bool {
        if sequence <= self.floor {
            return false;
        }
        let (word, bit) = place(sequence);
        sequence > self.floor.saturating_add(SPAN) || self.bits[word] & bit == 0
    }

    /// Notes a message; returns whether it was not seen yet.
    pub(super) fn note(&mut self, sequence: u64) -> bool {
        if !self.is_fresh(sequence) {
            return false;
        }
        self.raise(sequence.saturating_sub(SPAN));
        let (word, bit) = place(sequence);
        self.bits[word] |= bit;
        true
    }

    /// Counts all up to `floor` as seen.
    pub(super) fn raise(&mut self, floor: u64) {
        if floor.saturating_sub(self.floor) >= SPAN {
            self.bits = [0; WORDS];
        } else {
            for sequence in self.floor..floor {
                let (word, bit) = place(sequence + 1);
                self.bits[word] &= !bit;
            }
        }
        self.floor = self.floor.max(floor);
    }
}

fn place(sequence: u64) -> (usize, u64) {
    let at = sequence % SPAN;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::crypto::{Randomness, Seeded};

    #[test]
    fn agrees_with_a_set() {
        for seed in 0..20 {
            let mut random = Seeded::new(seed);
            let mut window = Window::default();
            let (mut seen, mut floor) = (BTreeSet::new(), 0);
            let mut near = 0;
            for _ in 0..5_000 {
                near += random.next_u64() % if seed % 2 == 0 { 3 } else { 600 };
                let sequence = 1 + near.saturating_sub(random.next_u64() % 1_500);
                if random.next_u64().is_multiple_of(50) {
                    let to = sequence.saturating_sub(random.next_u64() % 100);
                    window.raise(to);
                    floor = floor.max(to);
                    continue;
                }
                let fresh = sequence > floor && !seen.contains(&sequence);
                assert_eq!(window.is_fresh(sequence), fresh);
                assert_eq!(window.note(sequence), fresh);
                if fresh {
                    seen.insert(sequence);
                    floor = floor.max(sequence.saturating_sub(SPAN));
                }
            }
        }
    }

    #[test]
    fn the_last_sequence_is_no_exception() {
        let mut window = Window::default();
        assert!(window.note(u64::MAX));
        assert!(!window.note(u64::MAX));
        assert!(window.note(u64::MAX - 1));
        assert!(!window.note(u64::MAX - SPAN));
    }
}

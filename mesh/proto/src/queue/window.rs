//! Which numbers of each producer were accepted, so that what is sent again is not queued again.
//!
//! Invariant: of the [`WINDOW`] numbers up to a producer's highest, it is known which were accepted.
//! Everything else is not told apart, and refused.

use std::collections::BTreeMap;

/// How many numbers of a producer are remembered, up to the highest. A producer has no more than
/// these under way.
pub const WINDOW: u64 = 1_024;

const WORDS: usize = WINDOW as usize / 64;

/// Who puts messages: 16 octets that the producer draws once and keeps as long as it remembers its
/// numbers. Who knows them can make the keeper take new messages for old ones: they are told to the
/// keeper only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub [u8; 16]);

impl std::fmt::Debug for ProducerId {
    /// Shows the first octets only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, ..] = self.0;
        write!(f, "ProducerId({a:02x}{b:02x}{c:02x}..)")
    }
}

/// Which put this is: the producer, and its number, which counts from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Who put it.
    pub producer: ProducerId,
    /// The number among all of the producer's.
    pub sequence: u64,
}

/// What is known of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Never,
    Before,
    /// It is 0, or so low that it may have been seen and forgotten.
    Unknown,
}

/// The numbers of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    highest: u64,
    /// A bit for each number, at the number modulo [`WINDOW`].
    bits: [u64; WORDS],
}

impl Default for Window {
    fn default() -> Self {
        Self {
            highest: 0,
            bits: [0; WORDS],
        }
    }
}

impl Window {
    /// Octets of its binary form: the highest number, then a bit for each number at the number modulo
    /// [`WINDOW`], in words of 64 with the lowest bit last.
    pub const SIZE: usize = 8 + 8 * WORDS;

    /// The binary form.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut octets = [0; Self::SIZE];
        let words = std::iter::once(self.highest).chain(self.bits);
        for (place, word) in octets.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        octets
    }

    /// A window from its binary form.
    pub fn decode(octets: &[u8; Self::SIZE]) -> Self {
        let (words, _) = octets.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_be_bytes(*word));
        let highest = words.next().unwrap_or_default();
        Self {
            highest,
            bits: std::array::from_fn(|_| words.next().unwrap_or_default()),
        }
    }

    fn place(sequence: u64) -> (usize, u64) {
        let at = sequence % WINDOW;
        ((at / 64) as usize, 1 << (at % 64))
    }

    fn seen(&self, sequence: u64) -> Seen {
        if sequence == 0 || self.highest - self.highest.min(sequence) >= WINDOW {
            return Seen::Unknown;
        }
        let (word, bit) = Self::place(sequence);
        match sequence <= self.highest && self.bits[word] & bit != 0 {
            true => Seen::Before,
            false => Seen::Never,
        }
    }

    fn note(&mut self, sequence: u64) {
        if self.seen(sequence) == Seen::Unknown {
            return;
        }
        if sequence > self.highest {
            let skipped = (sequence - self.highest).min(WINDOW);
            for skipped in 0..skipped {
                self.clear(sequence - skipped);
            }
            self.highest = sequence;
        }
        let (word, bit) = Self::place(sequence);
        self.bits[word] |= bit;
    }

    fn clear(&mut self, sequence: u64) {
        let (word, bit) = Self::place(sequence);
        self.bits[word] &= !bit;
    }
}

/// The windows of those producers that put something last.
#[derive(Debug)]
pub(super) struct Windows {
    limit: usize,
    by_id: BTreeMap<ProducerId, (u64, Window)>,
    /// Who put something, the longest ago first.
    by_age: BTreeMap<u64, ProducerId>,
    next: u64,
    forgotten: u64,
}

impl Windows {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            by_id: BTreeMap::new(),
            by_age: BTreeMap::new(),
            next: 0,
            forgotten: 0,
        }
    }

    pub(super) fn seen(&self, origin: Origin) -> Seen {
        match self.by_id.get(&origin.producer) {
            Some((_, window)) => window.seen(origin.sequence),
            None => Window::default().seen(origin.sequence),
        }
    }

    /// Notes what was accepted.
    pub(super) fn note(&mut self, origin: Origin) {
        self.touch(origin.producer).note(origin.sequence);
    }

    /// Takes a note back. The producer may put this number again.
    pub(super) fn withdraw(&mut self, origin: Origin) {
        if let Some((_, window)) = self.by_id.get_mut(&origin.producer)
            && window.seen(origin.sequence) == Seen::Before
        {
            window.clear(origin.sequence);
        }
    }

    pub(super) fn set(&mut self, producer: ProducerId, window: Window) {
        *self.touch(producer) = window;
    }

    fn touch(&mut self, producer: ProducerId) -> &mut Window {
        let age = self.next;
        self.next += 1;
        if let Some((before, _)) = self.by_id.get(&producer) {
            self.by_age.remove(before);
        } else if self.by_id.len() >= self.limit
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.by_id.remove(&oldest);
            self.forgotten += 1;
        }
        self.by_age.insert(age, producer);
        let (last, window) = self.by_id.entry(producer).or_default();
        *last = age;
        window
    }

    /// Producers that were forgotten for others.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// All windows; given to [`set`](Self::set) in this order, they are the same again.
    pub(super) fn entries(&self) -> impl Iterator<Item = (ProducerId, &Window)> {
        let ids = self.by_age.values();
        ids.filter_map(|id| Some((*id, &self.by_id.get(id)?.1)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::crypto::{Randomness as _, Seeded};

    fn origin(producer: u8, sequence: u64) -> Origin {
        Origin {
            producer: ProducerId([producer; 16]),
            sequence,
        }
    }

    #[test]
    fn a_window_knows_what_a_set_knows() {
        for seed in 0..50 {
            let mut random = Seeded::new(seed);
            let mut window = Window::default();
            let mut set = BTreeSet::new();
            let mut around = 1;
            for _ in 0..2_000 {
                around += random.next_u64() % 8 * u64::from(random.next_u64().is_multiple_of(3));
                around += 3 * WINDOW * u64::from(random.next_u64().is_multiple_of(500));
                let sequence = (around + random.next_u64() % 20).saturating_sub(10);
                let highest = set.last().copied().unwrap_or(0);
                let expected = match sequence {
                    0 => Seen::Unknown,
                    _ if sequence + WINDOW <= highest => Seen::Unknown,
                    _ if set.contains(&sequence) => Seen::Before,
                    _ => Seen::Never,
                };
                assert_eq!(window.seen(sequence), expected, "seed {seed}, {sequence}");
                if expected == Seen::Never && random.next_u64().is_multiple_of(2) {
                    window.note(sequence);
                    set.insert(sequence);
                }
                assert_eq!(Window::decode(&window.encode()), window);
            }
        }
    }

    #[test]
    fn who_was_silent_the_longest_is_forgotten() {
        let mut windows = Windows::new(2);
        for producer in [1, 2, 1, 3] {
            windows.note(origin(producer, 7));
        }
        assert_eq!(windows.forgotten(), 1);
        let seen = [1, 2, 3].map(|producer| windows.seen(origin(producer, 7)));
        assert_eq!(seen, [Seen::Before, Seen::Never, Seen::Before]);
        windows.withdraw(origin(1, 7));
        assert_eq!(windows.seen(origin(1, 7)), Seen::Never);
        let ids: Vec<_> = windows.entries().map(|(id, _)| id.0[0]).collect();
        assert_eq!(ids, [1, 3]);
    }

    #[test]
    fn the_last_number_of_all_is_a_number() {
        let mut windows = Windows::new(1);
        windows.note(origin(1, u64::MAX));
        assert_eq!(windows.seen(origin(1, u64::MAX)), Seen::Before);
        assert_eq!(windows.seen(origin(1, u64::MAX - 1)), Seen::Never);
        assert_eq!(windows.seen(origin(1, 1)), Seen::Unknown);
    }
}

//! What a subscriber wants: counted prefixes (RFC 29).
//!
//! Only the first of a prefix and the last go upstream as SUBSCRIBE and CANCEL; all of them again
//! after a reconnect. Subscribers filter what arrives once more, because a CANCEL takes its time.
//! Inverted matching is the caller's.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};

/// A counted set of topic prefixes.
#[derive(Debug, Default)]
pub struct Filters(BTreeMap<Vec<u8>, usize>);

impl Filters {
    /// An empty set, which matches nothing.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a prefix; `true` when it is new.
    pub fn add(&mut self, prefix: &[u8]) -> bool {
        let count = self.0.entry(prefix.to_vec()).or_default();
        *count += 1;
        *count == 1
    }

    /// Takes a prefix back; `true` when it was the last of its kind.
    pub fn remove(&mut self, prefix: &[u8]) -> bool {
        match self.0.get_mut(prefix) {
            Some(1) => self.0.remove(prefix).is_some(),
            Some(count) => {
                *count -= 1;
                false
            }
            None => false,
        }
    }

    /// Whether a prefix of `topic` is in the set.
    #[inline]
    pub fn matches(&self, topic: &[u8]) -> bool {
        // Not left to the search: to compare nothing costs hundreds of cycles where processors read a
        // vector with an empty mask at an address that is none.
        if self.has_empty() {
            return true;
        }
        // The largest prefix that is not above the topic decides, or one of its own prefixes does.
        let mut bound = topic;
        while let Some((prefix, _)) = self
            .0
            .range::<[u8], _>((Unbounded, Included(bound)))
            .next_back()
        {
            if topic.starts_with(prefix) {
                return true;
            }
            let common = prefix.iter().zip(topic).take_while(|(a, b)| a == b).count();
            bound = &topic[..common];
        }
        false
    }

    /// Whether the prefix of all topics is in the set. It is the first in order.
    #[inline]
    fn has_empty(&self) -> bool {
        let first = self.0.first_key_value();
        first.is_some_and(|(prefix, _)| prefix.is_empty())
    }

    /// The prefixes, once each.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.keys().map(|prefix| &prefix[..])
    }

    /// The number of different prefixes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no prefix, so that nothing matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Randomness, Seeded};

    #[test]
    fn only_first_and_last_are_changes() {
        let mut filters = Filters::new();
        assert!(filters.add(b"a"));
        assert!(!filters.add(b"a"));
        assert!(!filters.remove(b"a"));
        assert!(filters.matches(b"ab"));
        assert!(filters.remove(b"a"));
        assert!(!filters.remove(b"a"));
        assert!(!filters.matches(b"ab"));
        assert!(filters.is_empty());
    }

    #[test]
    fn prefixes_are_found_behind_their_neighbours() {
        let mut filters = Filters::new();
        for prefix in [&b"a"[..], b"abba", b"abbb", b"b\xff"] {
            filters.add(prefix);
        }
        assert!(filters.matches(b"abc"));
        assert!(!filters.matches(b"b\xfe"));
        assert!(!filters.matches(b""));
        filters.add(b"");
        assert!(filters.matches(b""));
        assert_eq!(filters.len(), 5);
    }

    #[test]
    fn agrees_with_looking_at_every_prefix() {
        let mut random = Seeded::new(29);
        let mut short = |max: u64| -> Vec<u8> {
            let len = random.next_u64() % max;
            (0..len).map(|_| (random.next_u64() % 3) as u8).collect()
        };
        for _ in 0..200 {
            let mut filters = Filters::new();
            let prefixes: Vec<_> = (0..8).map(|_| short(7)).collect();
            for prefix in prefixes.iter().filter(|prefix| !prefix.is_empty()) {
                filters.add(prefix);
            }
            for _ in 0..50 {
                let topic = short(9);
                let expected = filters.iter().any(|prefix| topic.starts_with(prefix));
                assert_eq!(filters.matches(&topic), expected, "{topic:?} {prefixes:?}");
            }
        }
    }
}

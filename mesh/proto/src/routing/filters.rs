//! What a subscriber wants: counted prefixes (RFC 29).

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

    /// The prefixes, once each.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.keys().map(|prefix| &prefix[..])
    }
}

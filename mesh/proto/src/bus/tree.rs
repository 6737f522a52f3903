//! Who wants a topic: the filters of all subscribers, at a publisher.
//!
//! Counting, limits and letting go are those of the prefix [`Trie`], in which the filters stand as
//! strings; only matching differs. It visits each place in the filters at most once: the time is
//! bounded by 2^n for a topic of n levels and by the filters' levels altogether, whichever is less.

use super::topic::{Filter, Topic};
use crate::message::Frame;
use crate::routing::trie::{Change, Limits, Repeats, Trie, TrieError};

/// The filters of all subscribers.
///
/// Subscribers are small numbers, as a slab hands them out: some tables are as long as the
/// greatest number in use.
#[derive(Debug, Default)]
pub struct FilterTree {
    filters: Trie,
    /// The topic that was asked for last, if it has at most [`Frame::INLINE`] octets, and nothing
    /// changed since: in a run of messages on one topic, only the first is looked up.
    last: Option<Frame>,
    /// Who wants that.
    chosen: Vec<u32>,
}

impl FilterTree {
    /// An empty tree. [`Limits::prefix`] is the longest filter.
    pub fn new(limits: Limits, repeats: Repeats) -> Self {
        Self {
            filters: Trie::new(limits, repeats),
            ..Self::default()
        }
    }

    /// Subscribes to the topics that a filter chooses.
    ///
    /// # Errors
    /// A limit is reached; nothing changed.
    pub fn subscribe(&mut self, filter: &Filter, subscriber: u32) -> Result<Change, TrieError> {
        self.last = None;
        self.filters.subscribe(filter.as_octets(), subscriber)
    }

    /// Takes a subscription back; `None` is a CANCEL without SUBSCRIBE.
    pub fn cancel(&mut self, filter: &Filter, subscriber: u32) -> Option<Change> {
        self.last = None;
        self.filters.cancel(filter.as_octets(), subscriber)
    }

    /// Takes back all that a subscriber subscribed to, and reports each filter that nobody else
    /// has, in no particular order.
    pub fn remove(&mut self, subscriber: u32, cancelled: &mut impl FnMut(&[u8])) {
        self.last = None;
        self.filters.remove(subscriber, cancelled);
    }

    /// As [`FilterTree::remove`], but reports each filter that the subscriber had, whoever else
    /// has it.
    pub fn remove_reporting_all(&mut self, subscriber: u32, held: &mut impl FnMut(&[u8])) {
        self.last = None;
        self.filters.remove_reporting_all(subscriber, held);
    }

    /// Reports each subscriber that has a filter which chooses `topic`, once, in no particular
    /// order.
    #[inline]
    pub fn matches(&mut self, topic: &Topic, each: &mut impl FnMut(u32)) {
        self.matches_octets(topic.as_octets(), each);
    }

    /// As [`FilterTree::matches`], for octets that should be a topic. What stands in others for a
    /// wildcard is none.
    #[inline]
    pub(crate) fn matches_octets(&mut self, topic: &[u8], each: &mut impl FnMut(u32)) {
        if self.last.as_deref() != Some(topic) {
            self.look_up(topic);
        }
        for &subscriber in &self.chosen {
            each(subscriber);
        }
    }

    fn look_up(&mut self, topic: &[u8]) {
        let short = topic.len() <= Frame::INLINE;
        self.last = short.then(|| Frame::copy_from_slice(topic));
        let chosen = &mut self.chosen;
        chosen.clear();
        self.filters
            .matches_levels(topic, &mut |subscriber| chosen.push(subscriber));
    }

    /// Reports each filter of each subscriber.
    pub(crate) fn each(&self, each: &mut impl FnMut(u32, &[u8])) {
        self.filters.each(each);
    }

    /// Subscriptions of all subscribers; a repeated one counts once.
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether nobody has subscribed to anything.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Different filters.
    pub fn filters(&self) -> usize {
        self.filters.prefixes()
    }

    /// Subscriptions of one subscriber; a repeated one counts once.
    pub fn subscriptions_of(&self, subscriber: u32) -> usize {
        self.filters.subscriptions_of(subscriber)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::crypto::{Randomness, Seeded};

    /// A list of subscriptions that is searched from end to end.
    #[derive(Default)]
    struct List(BTreeMap<(Filter, u32), usize>);

    impl List {
        fn change(&self, filter: &Filter) -> Change {
            match self.0.keys().any(|(other, _)| other == filter) {
                true => Change::Subscriber,
                false => Change::Prefix,
            }
        }

        fn subscribe(&mut self, filter: &Filter, subscriber: u32) -> Change {
            let change = self.change(filter);
            let count = self.0.entry((filter.clone(), subscriber)).or_default();
            *count += 1;
            if *count > 1 { Change::Repeat } else { change }
        }

        fn cancel(&mut self, filter: &Filter, subscriber: u32) -> Option<Change> {
            let key = (filter.clone(), subscriber);
            let count = self.0.get_mut(&key)?;
            *count -= 1;
            if *count > 0 {
                return Some(Change::Repeat);
            }
            self.0.remove(&key);
            Some(self.change(filter))
        }

        fn remove(&mut self, subscriber: u32) -> BTreeSet<Vec<u8>> {
            let held = self.0.keys().filter(|(_, owner)| *owner == subscriber);
            let held: Vec<_> = held.map(|(filter, _)| filter.clone()).collect();
            self.0.retain(|(_, owner), _| *owner != subscriber);
            held.iter()
                .filter(|filter| self.change(filter) == Change::Prefix)
                .map(|filter| filter.as_octets().to_vec())
                .collect()
        }

        fn matches(&self, topic: &Topic) -> BTreeSet<u32> {
            let chosen = self.0.keys().filter(|(filter, _)| filter.matches(topic));
            chosen.map(|(_, subscriber)| *subscriber).collect()
        }
    }

    fn levels(random: &mut Seeded, of: &[&str]) -> String {
        let count = 1 + random.next_u64() % 4;
        let levels: Vec<_> = (0..count)
            .map(|_| of[random.next_u64() as usize % of.len()])
            .collect();
        levels.join("/")
    }

    fn topic(random: &mut Seeded) -> Topic {
        loop {
            if let Ok(topic) = levels(random, &["a", "b", "ab", "", "$a"]).parse() {
                return topic;
            }
        }
    }

    fn filter(random: &mut Seeded) -> Filter {
        loop {
            let text = levels(random, &["a", "b", "ab", "", "$a", "+", "+", "#"]);
            if let Ok(filter) = text.parse() {
                return filter;
            }
        }
    }

    #[test]
    fn agrees_with_looking_at_every_filter() {
        for seed in 0..60 {
            let mut random = Seeded::new(seed);
            let mut tree = FilterTree::new(Limits::default(), Repeats::Counted);
            let mut list = List::default();
            let mut asked = topic(&mut random);
            for _ in 0..300 {
                let subscriber = (random.next_u64() % 5) as u32;
                match random.next_u64() % 12 {
                    0..=4 => {
                        let filter = filter(&mut random);
                        let expected = list.subscribe(&filter, subscriber);
                        assert_eq!(tree.subscribe(&filter, subscriber), Ok(expected));
                    }
                    5..=6 => {
                        let filter = filter(&mut random);
                        let expected = list.cancel(&filter, subscriber);
                        assert_eq!(tree.cancel(&filter, subscriber), expected);
                    }
                    7 if random.next_u64().is_multiple_of(8) => {
                        let mut gone = BTreeSet::new();
                        tree.remove(subscriber, &mut |filter| {
                            assert!(gone.insert(filter.to_vec()));
                        });
                        assert_eq!(gone, list.remove(subscriber));
                    }
                    _ => {
                        // Often the last one again, with or without a change in between.
                        if random.next_u64().is_multiple_of(2) {
                            asked = topic(&mut random);
                        }
                        let topic = &asked;
                        let mut found = BTreeSet::new();
                        tree.matches(topic, &mut |subscriber| {
                            assert!(found.insert(subscriber), "twice");
                        });
                        assert_eq!(found, list.matches(topic), "{topic}");
                    }
                }
                assert_eq!(tree.len(), list.0.len());
            }
        }
    }

    #[test]
    fn limits_hold_for_filters() {
        let limits = Limits {
            subscriptions: 1,
            prefix: 4,
            ..Limits::default()
        };
        let mut tree = FilterTree::new(limits, Repeats::Merged);
        let long = "a/b/c".parse().unwrap();
        let error = TrieError::TooLong {
            octets: 5,
            limit: 4,
        };
        assert_eq!(tree.subscribe(&long, 0), Err(error));
        tree.subscribe(&"a/+".parse().unwrap(), 0).unwrap();
        let error = TrieError::TooMany { limit: 1 };
        assert_eq!(tree.subscribe(&Filter::all(), 0), Err(error));
        assert_eq!((tree.filters(), tree.subscriptions_of(0)), (1, 1));
    }
}

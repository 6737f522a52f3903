//! The last messages of each topic, for those who join late.
//!
//! Bounded by messages of a topic, topics and octets. When topics or octets run out, the oldest
//! goes; a topic goes whole, as the history of a topic has no beginning of its own to show. What is
//! too large for the whole store takes what its topic had along, so that nothing stale stands for
//! it. Whatever goes is counted by its reason.
//!
//! Time is an argument, counted from any fixed moment. It runs no timers: expired messages go at
//! [`Replay::handle_timeout`], and are not given out before that either.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;
use std::time::Duration;

use super::publication::Publication;
use super::topic::{Filter, Topic};

/// What a store may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages of one topic; 0 keeps none. Default 16.
    pub per_topic: usize,
    /// Topics. Default 10,000.
    pub topics: usize,
    /// Octets of memory of all messages, and [`Limits::OVERHEAD`] for each. Default 16 MiB.
    pub octets: usize,
}

impl Limits {
    /// The octets that a message counts for beside its own, at about what it takes.
    pub const OVERHEAD: usize = 256;

    /// Limits of a store that keeps nothing.
    pub const NOTHING: Self = Self {
        per_topic: 0,
        topics: 0,
        octets: 0,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_topic: 16,
            topics: 10_000,
            octets: 16 << 20,
        }
    }
}

/// Messages that went, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Newer ones of their topic took their place.
    pub replaced: u64,
    /// They were the oldest when topics or octets ran out.
    pub evicted: u64,
    /// Their time was over.
    pub expired: u64,
    /// They were larger than the whole store.
    pub refused: u64,
}

/// A message that is kept, and since when.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    publication: Publication,
    since: Duration,
}

impl Kept {
    /// The message as it came.
    pub fn publication(&self) -> &Publication {
        &self.publication
    }

    /// The message as it is to be sent at `now`; `None` when it has expired.
    pub fn aged(&self, now: Duration) -> Option<Publication> {
        let held = now.saturating_sub(self.since);
        self.publication.clone().aged(held)
    }

    fn deadline(&self) -> Option<Duration> {
        self.since.checked_add(self.publication.header.expiry?)
    }

    fn size(&self) -> usize {
        self.publication.footprint() + Limits::OVERHEAD
    }
}

/// The last messages of each topic.
#[derive(Debug)]
pub struct Replay {
    limits: Limits,
    /// By topic: the numbers of its messages, oldest first.
    topics: BTreeMap<Topic, VecDeque<u64>>,
    /// By number, which is by age.
    kept: BTreeMap<u64, Arc<Kept>>,
    deadlines: BTreeSet<(Duration, u64)>,
    next: u64,
    octets: usize,
    counts: Counts,
}

impl Replay {
    /// An empty store.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            topics: BTreeMap::new(),
            kept: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next: 0,
            octets: 0,
            counts: Counts::default(),
        }
    }

    /// Keeps a message that came at `now`.
    pub fn put(&mut self, publication: &Publication, now: Duration) {
        if self.limits.per_topic == 0 || self.limits.topics == 0 {
            return;
        }
        self.handle_timeout(now);
        let kept = Kept {
            publication: publication.clone(),
            since: now,
        };
        if kept.size() > self.limits.octets {
            self.counts.refused += 1;
            self.counts.evicted += self.clear(&publication.topic);
            return;
        }
        self.insert(kept);
        if let Some(numbers) = self.topics.get(&publication.topic)
            && numbers.len() > self.limits.per_topic
            && let Some(&oldest) = numbers.front()
        {
            self.remove(oldest);
            self.counts.replaced += 1;
        }
        self.evict();
    }

    /// Takes out all messages of a topic, and says how many.
    pub fn clear(&mut self, topic: &Topic) -> u64 {
        let numbers = self.topics.get(topic).cloned().unwrap_or_default();
        for &number in &numbers {
            self.remove(number);
        }
        numbers.len() as u64
    }

    /// The messages whose topics a filter chooses, in the order in which they came.
    pub fn matching(&self, filter: &Filter) -> Vec<Arc<Kept>> {
        let prefix = filter.prefix();
        let near = self.topics.range::<[u8], _>((Included(prefix), Unbounded));
        let mut numbers: Vec<u64> = near
            .take_while(|(topic, _)| topic.as_octets().starts_with(prefix))
            .filter(|(topic, _)| filter.matches(topic))
            .flat_map(|(_, numbers)| numbers.iter().copied())
            .collect();
        numbers.sort_unstable();
        let kept = numbers.iter().filter_map(|number| self.kept.get(number));
        kept.cloned().collect()
    }

    /// When the next message expires.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// Lets go what has expired.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some(&(deadline, number)) = self.deadlines.first()
            && deadline <= now
        {
            self.remove(number);
            self.counts.expired += 1;
        }
    }

    /// Messages that are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Topics of which there are any.
    pub fn topics(&self) -> usize {
        self.topics.len()
    }

    /// What [`Limits::octets`] limits.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// What went, by reason.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn insert(&mut self, kept: Kept) {
        let number = self.next;
        self.next += 1;
        self.octets += kept.size();
        if let Some(deadline) = kept.deadline() {
            self.deadlines.insert((deadline, number));
        }
        let topic = kept.publication.topic.clone();
        self.topics.entry(topic).or_default().push_back(number);
        self.kept.insert(number, Arc::new(kept));
    }

    fn remove(&mut self, number: u64) {
        let Some(kept) = self.kept.remove(&number) else {
            return;
        };
        self.octets -= kept.size();
        if let Some(deadline) = kept.deadline() {
            self.deadlines.remove(&(deadline, number));
        }
        let topic = &kept.publication.topic;
        if let Some(numbers) = self.topics.get_mut(topic) {
            if numbers.front() == Some(&number) {
                numbers.pop_front();
            } else {
                numbers.retain(|&other| other != number);
            }
            if numbers.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// Restores the limits. The newest message alone is within them.
    fn evict(&mut self) {
        while self.topics.len() > self.limits.topics
            && let Some(oldest) = self.kept.values().next()
        {
            let topic = oldest.publication.topic.clone();
            self.counts.evicted += self.clear(&topic);
        }
        while self.octets > self.limits.octets
            && let Some((&oldest, _)) = self.kept.first_key_value()
        {
            self.remove(oldest);
            self.counts.evicted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Randomness, Seeded};

    const SECOND: Duration = Duration::from_secs(1);

    fn publication(topic: &str, body: &[u8], expiry: Option<Duration>) -> Publication {
        let mut publication = Publication::new(topic.parse().unwrap(), body);
        publication.header.expiry = expiry;
        publication
    }

    fn bodies(replay: &Replay, filter: &str) -> Vec<Vec<u8>> {
        let kept = replay.matching(&filter.parse().unwrap());
        let bodies = kept.iter().map(|kept| kept.publication().body.to_vec());
        bodies.collect()
    }

    #[test]
    fn a_topic_keeps_its_last_and_filters_choose() {
        let mut replay = Replay::new(Limits {
            per_topic: 2,
            ..Limits::default()
        });
        for (topic, body) in [
            ("a/b", b"1"),
            ("a", b"2"),
            ("a/b", b"3"),
            ("a/b", b"4"),
            ("$a", b"5"),
        ] {
            replay.put(&publication(topic, body, None), Duration::ZERO);
        }
        assert_eq!(bodies(&replay, "a/#"), [b"2", b"3", b"4"]);
        assert_eq!(bodies(&replay, "a/+"), [b"3", b"4"]);
        assert_eq!(bodies(&replay, "#"), [b"2", b"3", b"4"]);
        assert_eq!(bodies(&replay, "$a"), [b"5"]);
        assert_eq!(replay.counts().replaced, 1);
    }

    #[test]
    fn expired_messages_go_and_others_age() {
        let mut replay = Replay::new(Limits::default());
        replay.put(&publication("a", b"1", Some(3 * SECOND)), SECOND);
        replay.put(&publication("a", b"2", None), SECOND);
        assert_eq!(replay.poll_timeout(), Some(4 * SECOND));
        let kept = replay.matching(&Filter::all());
        let aged = kept[0].aged(3 * SECOND).unwrap();
        assert_eq!(aged.header.expiry, Some(SECOND));
        assert_eq!(kept[0].aged(4 * SECOND), None);
        assert!(kept[1].aged(Duration::MAX).is_some());
        replay.handle_timeout(4 * SECOND);
        assert_eq!(bodies(&replay, "#"), [b"2"]);
        assert_eq!((replay.counts().expired, replay.poll_timeout()), (1, None));
    }

    #[test]
    fn what_is_too_large_takes_its_topic_along() {
        let mut replay = Replay::new(Limits {
            octets: 2_000,
            ..Limits::default()
        });
        replay.put(&publication("a", b"1", None), Duration::ZERO);
        replay.put(&publication("b", b"2", None), Duration::ZERO);
        replay.put(&publication("a", &[0; 2_000], None), Duration::ZERO);
        assert_eq!(bodies(&replay, "#"), [b"2"]);
        let counts = replay.counts();
        assert_eq!((counts.refused, counts.evicted), (1, 1));
    }

    #[test]
    fn a_store_without_limits_keeps_nothing() {
        let mut replay = Replay::new(Limits::NOTHING);
        replay.put(&publication("a", b"1", None), Duration::ZERO);
        assert!(replay.is_empty());
        assert_eq!(replay.counts(), Counts::default());
    }

    /// Against a list that is searched from end to end.
    #[test]
    fn agrees_with_a_list() {
        for seed in 0..40 {
            let mut random = Seeded::new(seed);
            let limits = Limits {
                per_topic: 1 + random.next_u64() as usize % 3,
                topics: 1 + random.next_u64() as usize % 6,
                octets: 8_000,
            };
            let mut replay = Replay::new(limits);
            let mut list: Vec<(String, usize, Option<Duration>, usize)> = Vec::new();
            let (mut put, mut now) = (0, Duration::ZERO);
            for number in 0..300_usize {
                now += SECOND * (random.next_u64() % 2) as u32;
                let topic = format!("t/{}", random.next_u64() % 8);
                let expiry = (random.next_u64().is_multiple_of(3)).then_some(5 * SECOND);
                let mut body = number.to_be_bytes().to_vec();
                body.resize(8 + random.next_u64() as usize % 700, 0);
                let publication = publication(&topic, &body, expiry);
                let size = publication.footprint() + Limits::OVERHEAD;
                replay.put(&publication, now);
                put += 1;
                list.retain(|entry| entry.2.is_none_or(|deadline| deadline > now));
                let deadline = expiry.map(|expiry| now + expiry);
                list.push((topic.clone(), number, deadline, size));
                if list.iter().filter(|entry| entry.0 == topic).count() > limits.per_topic {
                    let oldest = list.iter().position(|entry| entry.0 == topic);
                    list.remove(oldest.unwrap());
                }
                let topics = |list: &[(String, _, _, _)]| {
                    let topics = list.iter().map(|entry| entry.0.clone());
                    topics.collect::<BTreeSet<_>>().len()
                };
                while topics(&list) > limits.topics {
                    let oldest = list[0].0.clone();
                    list.retain(|entry| entry.0 != oldest);
                }
                while list.iter().map(|entry| entry.3).sum::<usize>() > limits.octets {
                    list.remove(0);
                }
                let found: Vec<_> = bodies(&replay, "t/#")
                    .iter()
                    .map(|body| usize::from_be_bytes(body[..8].try_into().unwrap()))
                    .collect();
                let expected: Vec<_> = list.iter().map(|entry| entry.1).collect();
                assert_eq!(found, expected);
                assert_eq!(replay.octets(), list.iter().map(|entry| entry.3).sum());
                assert_eq!(replay.topics(), topics(&list));
                let counts = replay.counts();
                let gone = counts.replaced + counts.evicted + counts.expired + counts.refused;
                assert_eq!(replay.len() as u64 + gone, put);
            }
        }
    }
}

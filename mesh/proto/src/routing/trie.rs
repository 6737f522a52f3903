//! Who subscribed to what, at a publisher: a prefix trie over all subscribers (RFC 29).
//!
//! The tree beside it finds the prefixes of a topic; this module counts who holds them, keeps
//! every subscriber within its limits, and lets one go without a search.
//!
//! It does not know what a pipe is, sends nothing, and leaves inverted matching to its caller.

use thiserror::Error;

use super::levels::Ways;
use super::tree::Tree;

/// What a second SUBSCRIBE of one subscriber for the same prefix means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repeats {
    /// Nothing: one CANCEL takes all back. The default, because libzmq's subscribers send every
    /// SUBSCRIBE but only the last CANCEL, and its publishers merge them.
    #[default]
    Merged,
    /// Another one: as many CANCELs as SUBSCRIBEs.
    Counted,
}

/// What subscribers may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Prefixes of one subscriber. Default 100,000; each costs some 100 octets beside its own.
    pub subscriptions: usize,
    /// Octets of one prefix. Default 64 KiB.
    pub prefix: usize,
    /// Octets of all prefixes of one subscriber. Default 16 MiB.
    pub octets: usize,
    /// Octets of all prefixes of all subscribers, and [`Limits::OVERHEAD`] for each. Default
    /// 256 MiB.
    pub octets_in_all: usize,
}

impl Limits {
    /// The octets that a subscription counts for beside its prefix, at about what it takes.
    pub const OVERHEAD: usize = 128;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            subscriptions: 100_000,
            prefix: 64 << 10,
            octets: 16 << 20,
            octets_in_all: 256 << 20,
        }
    }
}

/// A SUBSCRIBE over a limit. Nothing changed; the subscriber is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrieError {
    /// The subscriber has as many subscriptions as it may: [`Limits::subscriptions`].
    #[error("the peer has max_subscriptions ({limit}) already")]
    TooMany {
        /// As configured.
        limit: usize,
    },
    /// The prefix is longer than [`Limits::prefix`].
    #[error("a topic of {octets} octets is over max_topic ({limit})")]
    TooLong {
        /// The length of the prefix.
        octets: usize,
        /// As configured.
        limit: usize,
    },
    /// The subscriber's prefixes are larger than [`Limits::octets`].
    #[error("the peer's subscriptions are over {limit} octets of topics together")]
    TooLarge {
        /// As configured.
        limit: usize,
    },
    /// The subscriptions of all subscribers are larger than [`Limits::octets_in_all`].
    #[error("the subscriptions of all peers are over {limit} octets together")]
    Full {
        /// As configured.
        limit: usize,
    },
}

/// How far a SUBSCRIBE or CANCEL reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nobody gets more or less: the subscriber had the prefix already, or still has it.
    Repeat,
    /// The subscriber has the prefix now, or not any more; others have it too.
    Subscriber,
    /// The first subscriber of a prefix came or the last one left, which XPUB passes on upstream.
    Prefix,
}

/// The subscriptions of all subscribers.
///
/// Subscribers are small numbers, as a slab hands them out: some tables are as long as the
/// greatest number in use.
#[derive(Debug)]
pub struct Trie {
    tree: Tree<Entry>,
    subscribers: Vec<Subscriber>,
    /// By subscriber: the round of matching that reported it last.
    reported: Vec<u32>,
    round: u32,
    /// For matching by levels.
    ways: Ways,
    limits: Limits,
    repeats: Repeats,
    len: usize,
    prefixes: usize,
    octets: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    subscriber: u32,
    count: u32,
    /// The index of the node in [`Subscriber::nodes`].
    place: u32,
}

#[derive(Debug, Default)]
struct Subscriber {
    nodes: Vec<u32>,
    octets: usize,
}

impl Default for Trie {
    fn default() -> Self {
        Self::new(Limits::default(), Repeats::default())
    }
}

impl Trie {
    /// An empty trie.
    pub fn new(limits: Limits, repeats: Repeats) -> Self {
        Self {
            tree: Tree::new(),
            subscribers: Vec::new(),
            reported: Vec::new(),
            round: 0,
            ways: Ways::new(),
            limits,
            repeats,
            len: 0,
            prefixes: 0,
            octets: 0,
        }
    }

    /// Subscribes to all topics that start with `prefix`.
    ///
    /// # Errors
    /// A limit is reached; nothing changed.
    pub fn subscribe(&mut self, prefix: &[u8], subscriber: u32) -> Result<Change, TrieError> {
        if prefix.len() > self.limits.prefix {
            return Err(TrieError::TooLong {
                octets: prefix.len(),
                limit: self.limits.prefix,
            });
        }
        if let Some(node) = self.tree.find(prefix)
            && let Ok(at) = find(self.tree.values(node), subscriber)
        {
            if self.repeats == Repeats::Counted {
                let entry = &mut self.tree.values_mut(node)[at];
                entry.count = entry.count.checked_add(1).ok_or(TrieError::TooMany {
                    limit: u32::MAX as usize,
                })?;
            }
            return Ok(Change::Repeat);
        }
        self.admit(prefix.len(), subscriber)?;
        let index = subscriber as usize;
        if self.subscribers.len() <= index {
            self.subscribers.resize_with(index + 1, Subscriber::default);
            self.reported.resize(index + 1, self.round);
        }
        let node = self.tree.grow(prefix);
        let owner = &mut self.subscribers[index];
        let entry = Entry {
            subscriber,
            count: 1,
            place: owner.nodes.len() as u32,
        };
        owner.nodes.push(node);
        owner.octets += prefix.len();
        self.octets += prefix.len();
        self.len += 1;
        let entries = self.tree.values_mut(node);
        let at = entries.partition_point(|other| other.subscriber < subscriber);
        entries.insert(at, entry);
        if entries.len() > 1 {
            return Ok(Change::Subscriber);
        }
        self.prefixes += 1;
        Ok(Change::Prefix)
    }

    /// Takes a subscription back; `None` is a CANCEL without SUBSCRIBE.
    pub fn cancel(&mut self, prefix: &[u8], subscriber: u32) -> Option<Change> {
        let node = self.tree.find(prefix)?;
        let entries = self.tree.values_mut(node);
        let at = find(entries, subscriber).ok()?;
        if entries[at].count > 1 {
            entries[at].count -= 1;
            return Some(Change::Repeat);
        }
        let Entry { place, .. } = entries.remove(at);
        let others = !entries.is_empty();
        self.forget(subscriber, place, prefix.len());
        if others {
            return Some(Change::Subscriber);
        }
        self.prefixes -= 1;
        self.tree.prune(node);
        Some(Change::Prefix)
    }

    /// Takes back all that a subscriber subscribed to, and reports each prefix that nobody else
    /// has, in no particular order.
    pub fn remove(&mut self, subscriber: u32, cancelled: &mut impl FnMut(&[u8])) {
        self.let_go(subscriber, false, cancelled);
    }

    /// As [`Trie::remove`], but reports each prefix that the subscriber had, whoever else has it.
    pub fn remove_reporting_all(&mut self, subscriber: u32, held: &mut impl FnMut(&[u8])) {
        self.let_go(subscriber, true, held);
    }

    fn let_go(&mut self, subscriber: u32, all: bool, report: &mut impl FnMut(&[u8])) {
        let Some(owner) = self.subscribers.get_mut(subscriber as usize) else {
            return;
        };
        let Subscriber { nodes, octets } = std::mem::take(owner);
        self.len -= nodes.len();
        self.octets -= octets;
        let mut prefix = Vec::new();
        for node in nodes {
            let entries = self.tree.values_mut(node);
            if let Ok(at) = find(entries, subscriber) {
                entries.remove(at);
            }
            let last = entries.is_empty();
            if last || all {
                self.tree.spell(node, &mut prefix);
                report(&prefix);
            }
            if last {
                self.prefixes -= 1;
                self.tree.prune(node);
            }
        }
        if self.len == 0 {
            self.tree.shrink_to_fit();
        }
    }

    /// Reports each subscriber that has a prefix of `topic`, once, in no particular order.
    ///
    /// Takes time in proportion to the topic's length and the subscriptions that match; allocates
    /// nothing.
    #[inline]
    pub fn matches(&mut self, topic: &[u8], each: &mut impl FnMut(u32)) {
        let mut held = self.tree.path(topic).filter(|entries| !entries.is_empty());
        let Some(first) = held.next() else {
            return;
        };
        first.iter().for_each(|entry| each(entry.subscriber));
        // Only a second node on the way can repeat a subscriber of an earlier one.
        let Some(second) = held.next() else {
            return;
        };
        self.round = next_round(self.round, &mut self.reported);
        for entry in first {
            self.reported[entry.subscriber as usize] = self.round;
        }
        for entry in std::iter::once(second).chain(held).flatten() {
            let reported = &mut self.reported[entry.subscriber as usize];
            if *reported != self.round {
                *reported = self.round;
                each(entry.subscriber);
            }
        }
    }

    /// Reports each subscriber that has a filter which chooses `topic`, once, in no particular
    /// order. What was subscribed to must be filters, not prefixes.
    #[inline]
    pub(crate) fn matches_levels(&mut self, topic: &[u8], each: &mut impl FnMut(u32)) {
        self.round = next_round(self.round, &mut self.reported);
        let (round, reported) = (self.round, &mut self.reported);
        self.tree.choosing(topic, &mut self.ways, &mut |entries| {
            for entry in entries {
                let reported = &mut reported[entry.subscriber as usize];
                if *reported != round {
                    *reported = round;
                    each(entry.subscriber);
                }
            }
        });
    }

    /// Reports each prefix of each subscriber. Takes time in proportion to all of them.
    pub(crate) fn each(&self, each: &mut impl FnMut(u32, &[u8])) {
        let mut prefix = Vec::new();
        for (subscriber, owner) in self.subscribers.iter().enumerate() {
            for node in &owner.nodes {
                self.tree.spell(*node, &mut prefix);
                each(subscriber as u32, &prefix);
            }
        }
    }

    /// Subscriptions of all subscribers; a repeated one counts once.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody has subscribed to anything.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Different prefixes (libzmq: TOPICS_COUNT).
    pub fn prefixes(&self) -> usize {
        self.prefixes
    }

    /// What [`Limits::octets_in_all`] limits.
    fn footprint(&self) -> usize {
        self.octets + self.len * Limits::OVERHEAD
    }

    /// Octets of the prefixes of all subscribers.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Subscriptions of one subscriber; a repeated one counts once.
    pub fn subscriptions_of(&self, subscriber: u32) -> usize {
        self.held_by(subscriber).0
    }

    /// Octets of the prefixes of one subscriber.
    pub fn octets_of(&self, subscriber: u32) -> usize {
        self.held_by(subscriber).1
    }

    fn held_by(&self, subscriber: u32) -> (usize, usize) {
        self.subscribers
            .get(subscriber as usize)
            .map_or((0, 0), |owner| (owner.nodes.len(), owner.octets))
    }

    fn admit(&self, octets: usize, subscriber: u32) -> Result<(), TrieError> {
        let (subscriptions, held) = self.held_by(subscriber);
        let limits = &self.limits;
        if subscriptions >= limits.subscriptions {
            let limit = limits.subscriptions;
            Err(TrieError::TooMany { limit })
        } else if octets > limits.octets.saturating_sub(held) {
            let limit = limits.octets;
            Err(TrieError::TooLarge { limit })
        } else if octets + Limits::OVERHEAD > limits.octets_in_all.saturating_sub(self.footprint())
        {
            let limit = limits.octets_in_all;
            Err(TrieError::Full { limit })
        } else {
            Ok(())
        }
    }

    /// Takes a node out of its subscriber's list, where the last one moves into the gap.
    fn forget(&mut self, subscriber: u32, place: u32, octets: usize) {
        let owner = &mut self.subscribers[subscriber as usize];
        owner.nodes.swap_remove(place as usize);
        owner.octets -= octets;
        self.octets -= octets;
        self.len -= 1;
        if let Some(&moved) = owner.nodes.get(place as usize) {
            let entries = self.tree.values_mut(moved);
            if let Ok(at) = find(entries, subscriber) {
                entries[at].place = place;
            }
        }
    }
}

/// Where a subscriber is, or would be, among the entries of a node.
fn find(entries: &[Entry], subscriber: u32) -> Result<usize, usize> {
    entries.binary_search_by_key(&subscriber, |entry| entry.subscriber)
}

/// A number that nobody was reported in, yet.
fn next_round(round: u32, reported: &mut [u32]) -> u32 {
    round.checked_add(1).unwrap_or_else(|| {
        reported.fill(0);
        1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(trie: &mut Trie, topic: &[u8]) -> Vec<u32> {
        let mut found = Vec::new();
        trie.matches(topic, &mut |subscriber| found.push(subscriber));
        found.sort_unstable();
        found
    }

    fn removed(trie: &mut Trie, subscriber: u32) -> Vec<Vec<u8>> {
        let mut gone = Vec::new();
        trie.remove(subscriber, &mut |prefix| gone.push(prefix.to_vec()));
        gone.sort();
        gone
    }

    #[test]
    fn prefixes_match_what_starts_with_them() {
        let mut trie = Trie::default();
        for (prefix, subscriber) in [
            (&b""[..], 7),
            (b"weather.", 3),
            (b"weather.paris", 9),
            (b"weather.paris", 3),
            (b"weather.delhi", 1),
            (b"w\0\xff", 2),
        ] {
            trie.subscribe(prefix, subscriber).unwrap();
        }
        assert_eq!(matched(&mut trie, b""), [7]);
        assert_eq!(matched(&mut trie, b"weather"), [7]);
        assert_eq!(matched(&mut trie, b"weather."), [3, 7]);
        assert_eq!(matched(&mut trie, b"weather.paris.now"), [3, 7, 9]);
        assert_eq!(matched(&mut trie, b"weather.delhj"), [3, 7]);
        assert_eq!(matched(&mut trie, b"w\0\xff\0"), [2, 7]);
        assert_eq!(trie.prefixes(), 5);
        assert_eq!(trie.len(), 6);
    }

    #[test]
    fn changes_say_how_far_they_reach() {
        let mut trie = Trie::default();
        assert_eq!(trie.subscribe(b"a", 0), Ok(Change::Prefix));
        assert_eq!(trie.subscribe(b"a", 1), Ok(Change::Subscriber));
        assert_eq!(trie.subscribe(b"a", 1), Ok(Change::Repeat));
        assert_eq!(trie.cancel(b"a", 0), Some(Change::Subscriber));
        assert_eq!(trie.cancel(b"a", 0), None);
        assert_eq!(trie.cancel(b"", 1), None);
        assert_eq!(trie.cancel(b"ab", 1), None);
        assert_eq!(trie.cancel(b"a", 1), Some(Change::Prefix));
        assert!(trie.is_empty());
    }

    #[test]
    fn repeats_are_merged_or_counted() {
        let mut merged = Trie::default();
        let mut counted = Trie::new(Limits::default(), Repeats::Counted);
        for trie in [&mut merged, &mut counted] {
            trie.subscribe(b"a", 0).unwrap();
            trie.subscribe(b"a", 0).unwrap();
            assert_eq!(trie.len(), 1);
        }
        assert_eq!(merged.cancel(b"a", 0), Some(Change::Prefix));
        assert_eq!(counted.cancel(b"a", 0), Some(Change::Repeat));
        assert_eq!(matched(&mut counted, b"a"), [0]);
        assert_eq!(counted.cancel(b"a", 0), Some(Change::Prefix));
    }

    #[test]
    fn a_leaving_subscriber_cancels_what_nobody_else_has() {
        let mut trie = Trie::default();
        for prefix in [&b""[..], b"abc", b"abd", b"ab", b"x"] {
            trie.subscribe(prefix, 0).unwrap();
        }
        trie.subscribe(b"ab", 1).unwrap();
        assert_eq!(trie.subscriptions_of(0), 5);
        assert_eq!(removed(&mut trie, 0), [&b""[..], b"abc", b"abd", b"x"]);
        assert_eq!(trie.subscriptions_of(0), 0);
        assert_eq!(matched(&mut trie, b"abc"), [1]);
        assert_eq!(removed(&mut trie, 1), [b"ab"]);
        assert_eq!(removed(&mut trie, 99), [[0_u8; 0]; 0]);
        assert_eq!(trie.tree.nodes(), 1);
    }

    #[test]
    fn limits_hold_and_leave_no_trace() {
        let limits = Limits {
            subscriptions: 2,
            prefix: 4,
            octets: 6,
            octets_in_all: 8 + 3 * Limits::OVERHEAD,
        };
        let mut trie = Trie::new(limits, Repeats::Merged);
        assert_eq!(
            trie.subscribe(b"12345", 0),
            Err(TrieError::TooLong {
                octets: 5,
                limit: 4
            })
        );
        trie.subscribe(b"1234", 0).unwrap();
        assert_eq!(
            trie.subscribe(b"123", 0),
            Err(TrieError::TooLarge { limit: 6 })
        );
        trie.subscribe(b"12", 0).unwrap();
        assert_eq!(trie.subscribe(b"", 0), Err(TrieError::TooMany { limit: 2 }));
        assert_eq!(trie.subscribe(b"12", 0), Ok(Change::Repeat));
        assert_eq!(
            trie.subscribe(b"123", 1),
            Err(TrieError::Full {
                limit: limits.octets_in_all
            })
        );
        assert_eq!((trie.octets_of(0), trie.octets()), (6, 6));
        assert_eq!(trie.tree.nodes(), 3);
        trie.cancel(b"1234", 0).unwrap();
        assert_eq!(trie.subscribe(b"123", 1), Ok(Change::Prefix));
        trie.subscribe(b"", 2).unwrap();
        assert_eq!(
            trie.subscribe(b"", 3),
            Err(TrieError::Full {
                limit: limits.octets_in_all
            }),
            "an empty topic is not free"
        );
    }

    #[test]
    fn every_prefix_of_a_long_topic_costs_no_stack() {
        // GHSA-qq65-x72m-9wr8: a recursive trie overflows its stack on such a chain.
        let topic = vec![b'a'; 4_000];
        let limits = Limits {
            octets: usize::MAX,
            octets_in_all: usize::MAX,
            ..Limits::default()
        };
        let small_stack = std::thread::Builder::new().stack_size(64 << 10);
        let run = move || {
            let mut trie = Trie::new(limits, Repeats::Merged);
            for len in 0..topic.len() {
                trie.subscribe(&topic[..len], 0).unwrap();
            }
            assert_eq!(trie.tree.nodes(), topic.len());
            assert_eq!(matched(&mut trie, &topic), [0]);
            for len in (0..topic.len()).step_by(2) {
                assert_eq!(trie.cancel(&topic[..len], 0), Some(Change::Prefix));
            }
            assert_eq!(trie.tree.nodes(), topic.len() / 2 + 1);
        };
        small_stack.spawn(run).unwrap().join().unwrap();
    }

    #[test]
    fn a_prefix_of_a_mebibyte_is_one_node() {
        let limits = Limits {
            prefix: 1 << 20,
            ..Limits::default()
        };
        let mut trie = Trie::new(limits, Repeats::Merged);
        let topic = vec![0; 1 << 20];
        trie.subscribe(&topic, 0).unwrap();
        assert_eq!(trie.tree.nodes(), 2);
        assert_eq!(matched(&mut trie, &topic), [0]);
        assert_eq!(matched(&mut trie, &topic[1..]), []);
        assert_eq!(trie.cancel(&topic, 0), Some(Change::Prefix));
    }

    #[test]
    fn rounds_start_again_after_the_last() {
        let mut trie = Trie::default();
        trie.subscribe(b"", 0).unwrap();
        trie.subscribe(b"a", 0).unwrap();
        trie.round = u32::MAX - 1;
        for _ in 0..3 {
            assert_eq!(matched(&mut trie, b"a"), [0]);
        }
        assert_eq!(trie.round, 2);
    }
}

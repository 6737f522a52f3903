//! The subscription trie against a list of subscriptions that is searched from end to end.

use std::collections::BTreeSet;

use withy_proto::routing::trie::{Change, Limits, Repeats, Trie, TrieError};

use super::input::Input;

/// Small, so that inputs reach them.
const LIMITS: Limits = Limits {
    subscriptions: 24,
    prefix: 512,
    octets: 1500,
    octets_in_all: 2250 + 60 * Limits::OVERHEAD,
};

const SUBSCRIBERS: u8 = 6;

/// Reads operations off the input, does each on both sides and compares.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let repeats = match input.octet() & 1 {
        0 => Repeats::Merged,
        _ => Repeats::Counted,
    };
    let mut trie = Trie::new(LIMITS, repeats);
    let mut list = List {
        repeats,
        all: Vec::new(),
    };
    while !input.is_empty() {
        let octet = input.octet();
        let subscriber = u32::from((octet >> 4) % SUBSCRIBERS);
        let topic = topic(&mut input);
        match octet & 7 {
            0..=2 => {
                let expected = list.subscribe(&topic, subscriber);
                assert_eq!(trie.subscribe(&topic, subscriber), expected);
            }
            3 | 4 => {
                let expected = list.cancel(&topic, subscriber);
                assert_eq!(trie.cancel(&topic, subscriber), expected);
            }
            5 => {
                let mut gone = Vec::new();
                trie.remove(subscriber, &mut |prefix| gone.push(prefix.to_vec()));
                gone.sort();
                assert_eq!(gone, list.remove(subscriber));
            }
            _ => {
                let mut found = Vec::new();
                trie.matches(&topic, &mut |subscriber| found.push(subscriber));
                found.sort_unstable();
                assert_eq!(found, list.matches(&topic));
            }
        }
    }
    list.compare_counts(&trie);
    for subscriber in 0..u32::from(SUBSCRIBERS) {
        trie.remove(subscriber, &mut |_| {});
    }
    assert_eq!((trie.len(), trie.prefixes(), trie.octets()), (0, 0, 0));
}

/// A topic of few different octets, so that many share a prefix; now and then a long one.
fn topic(input: &mut Input<'_>) -> Vec<u8> {
    let shape = input.octet();
    let head = input.take(usize::from(shape & 7));
    let mut topic: Vec<u8> = head.iter().map(|octet| octet & 0x83).collect();
    if shape & 0xc0 == 0xc0 {
        // Up to twice the limit: 63 * 16 octets.
        let repeated = topic.first().copied().unwrap_or(0xff);
        topic.splice(
            0..0,
            std::iter::repeat_n(repeated, usize::from(shape & 0x3f) * 16),
        );
    }
    topic
}

/// The obvious implementation.
struct List {
    repeats: Repeats,
    all: Vec<(Vec<u8>, u32, u32)>,
}

impl List {
    fn subscribe(&mut self, prefix: &[u8], subscriber: u32) -> Result<Change, TrieError> {
        if prefix.len() > LIMITS.prefix {
            return Err(TrieError::TooLong {
                octets: prefix.len(),
                limit: LIMITS.prefix,
            });
        }
        if let Some((_, _, count)) = self.find(prefix, subscriber) {
            *count += 1;
            return Ok(Change::Repeat);
        }
        if self.of(subscriber).count() == LIMITS.subscriptions {
            return Err(TrieError::TooMany {
                limit: LIMITS.subscriptions,
            });
        }
        if self.of(subscriber).sum::<usize>() + prefix.len() > LIMITS.octets {
            return Err(TrieError::TooLarge {
                limit: LIMITS.octets,
            });
        }
        let subscriptions = self.all.len() + 1;
        if self.octets() + prefix.len() + subscriptions * Limits::OVERHEAD > LIMITS.octets_in_all {
            return Err(TrieError::Full {
                limit: LIMITS.octets_in_all,
            });
        }
        let change = self.change(prefix);
        self.all.push((prefix.to_vec(), subscriber, 1));
        Ok(change)
    }

    fn cancel(&mut self, prefix: &[u8], subscriber: u32) -> Option<Change> {
        let counted = self.repeats == Repeats::Counted;
        let (_, _, count) = self.find(prefix, subscriber)?;
        if counted && *count > 1 {
            *count -= 1;
            return Some(Change::Repeat);
        }
        self.all
            .retain(|(other, owner, _)| (&other[..], *owner) != (prefix, subscriber));
        Some(self.change(prefix))
    }

    fn remove(&mut self, subscriber: u32) -> Vec<Vec<u8>> {
        let is_theirs = |entry: &(_, u32, _)| entry.1 == subscriber;
        let (theirs, others) = std::mem::take(&mut self.all)
            .into_iter()
            .partition(is_theirs);
        self.all = others;
        let theirs: Vec<_> = theirs;
        let mut gone: Vec<_> = theirs.into_iter().map(|(prefix, ..)| prefix).collect();
        gone.retain(|prefix| self.change(prefix) == Change::Prefix);
        gone.sort();
        gone
    }

    fn matches(&self, topic: &[u8]) -> Vec<u32> {
        let matching = self
            .all
            .iter()
            .filter(|(prefix, ..)| topic.starts_with(prefix));
        let subscribers: BTreeSet<_> = matching.map(|entry| entry.1).collect();
        subscribers.into_iter().collect()
    }

    /// How far a change of a prefix reaches, as others hold it or not.
    fn change(&self, prefix: &[u8]) -> Change {
        match self.all.iter().any(|(other, ..)| other == prefix) {
            true => Change::Subscriber,
            false => Change::Prefix,
        }
    }

    fn find(&mut self, prefix: &[u8], subscriber: u32) -> Option<&mut (Vec<u8>, u32, u32)> {
        self.all
            .iter_mut()
            .find(|(other, owner, _)| (&other[..], *owner) == (prefix, subscriber))
    }

    /// The lengths of a subscriber's prefixes.
    fn of(&self, subscriber: u32) -> impl Iterator<Item = usize> {
        let theirs = self.all.iter().filter(move |entry| entry.1 == subscriber);
        theirs.map(|(prefix, ..)| prefix.len())
    }

    fn octets(&self) -> usize {
        self.all.iter().map(|(prefix, ..)| prefix.len()).sum()
    }

    fn compare_counts(&self, trie: &Trie) {
        let prefixes: BTreeSet<_> = self.all.iter().map(|(prefix, ..)| prefix).collect();
        assert_eq!(trie.len(), self.all.len());
        assert_eq!(trie.prefixes(), prefixes.len());
        assert_eq!(trie.octets(), self.octets());
        for subscriber in 0..u32::from(SUBSCRIBERS) {
            let lengths = || self.of(subscriber);
            assert_eq!(trie.subscriptions_of(subscriber), lengths().count());
            assert_eq!(trie.octets_of(subscriber), lengths().sum::<usize>());
        }
    }
}

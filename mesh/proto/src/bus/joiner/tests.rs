//! Keepers and joiners over two channels that overtake each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::bus::keeper::{Answer, Keeper};
use crate::bus::replay::{Limits as ReplayLimits, Replay};
use crate::bus::retained::Retained;
use crate::crypto::{Randomness, Seeded};
use crate::trust::NodeId;

const TOPICS: [&str; 5] = ["a/x", "a/y", "a", "b/x", "$a/x"];

const WANTED: &str = "a/+";

/// What a subscriber's side sends on the bus.
enum Subscription {
    Filter(Filter),
    Mark(Topic),
}

/// A keeper and a joiner, and what is under way between them. Each queue keeps its order; which of
/// them moves is chosen at random.
struct World {
    random: Seeded,
    now: Duration,
    keeper: Keeper,
    published: Vec<Publication>,
    subscribed: Option<Filter>,
    marked: Option<Topic>,
    subscriptions: VecDeque<Subscription>,
    bus: VecDeque<Publication>,
    asks: VecDeque<Ask>,
    replies: VecDeque<Reply>,
    joiner: Joiner,
    delivered: Vec<u64>,
    /// Where the first snapshot ended.
    end: Option<u64>,
}

impl World {
    fn new(seed: u64, per_topic: usize, limits: Limits) -> Self {
        let mut random = Seeded::new(seed);
        let replay = Replay::new(ReplayLimits {
            per_topic,
            ..ReplayLimits::default()
        });
        let retained = Retained::new(ReplayLimits::default());
        let mark = random.next_u64();
        let mut world = Self {
            random,
            now: Duration::ZERO,
            keeper: Keeper::new(NodeId::from_octets([3; 32]), replay, retained),
            published: Vec::new(),
            subscribed: None,
            marked: None,
            subscriptions: VecDeque::new(),
            bus: VecDeque::new(),
            asks: VecDeque::new(),
            replies: VecDeque::new(),
            joiner: Joiner::new(WANTED.parse().unwrap(), mark, limits),
            delivered: Vec::new(),
            end: None,
        };
        world.subscribe();
        world
    }

    fn chance(&mut self, of: u64) -> bool {
        self.random.next_u64().is_multiple_of(of)
    }

    fn subscribe(&mut self) {
        let filter = Subscription::Filter(self.joiner.filter().clone());
        let mark = Subscription::Mark(self.joiner.mark_topic().clone());
        self.subscriptions.extend([filter, mark]);
    }

    fn publish(&mut self) {
        let topic = TOPICS[self.random.next_u64() as usize % TOPICS.len()];
        let mut publication = Publication::new(topic.parse().unwrap(), "body");
        publication.header.retain = self.chance(4);
        self.keeper.publish(&mut publication, self.now);
        self.published.push(publication.clone());
        self.send(publication);
    }

    /// As a publisher does it: to who has subscribed.
    fn send(&mut self, publication: Publication) {
        let wanted = self.subscribed.as_ref();
        if wanted.is_some_and(|filter| filter.matches(&publication.topic))
            || self.marked.as_ref() == Some(&publication.topic)
        {
            self.bus.push_back(publication);
        }
    }

    /// The bus's connection is lost with what is under way on it, and made again.
    fn cut(&mut self) {
        self.subscriptions.clear();
        self.bus.clear();
        (self.subscribed, self.marked) = (None, None);
        let mark = self.random.next_u64();
        self.joiner.restart(mark);
        self.subscribe();
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Nothing => {}
            Step::Deliver(publication) => self.delivered.push(publication.header.sequence),
            Step::Live(publications) => {
                self.end = self.end.or(self.joiner.end);
                let sequences = publications.iter().map(|kept| kept.header.sequence);
                self.delivered.extend(sequences);
            }
        }
    }

    /// Moves one thing, if there is one where the dice fall.
    fn step(&mut self) {
        match self.random.next_u64() % 7 {
            0 => match self.subscriptions.pop_front() {
                Some(Subscription::Filter(filter)) => self.subscribed = Some(filter),
                Some(Subscription::Mark(topic)) => self.marked = Some(topic),
                None => {}
            },
            1 => {
                if let Some(publication) = self.bus.pop_front() {
                    let step = self.joiner.handle_update(publication, self.now).unwrap();
                    self.take(step);
                }
            }
            2 => {
                if let Some(ask) = self.asks.pop_front() {
                    match self.keeper.handle_ask(0, &ask) {
                        Answer::Mark(mark) => self.send(*mark),
                        Answer::Busy(reply) => self.replies.push_back(reply),
                    }
                }
            }
            3 => {
                let reply = self.keeper.poll_reply(0, self.now);
                self.replies.extend(reply);
            }
            4 => {
                if let Some(reply) = self.replies.pop_front() {
                    let step = self.joiner.handle_reply(reply, self.now).unwrap();
                    self.take(step);
                }
            }
            5 => {
                let ask = self.joiner.poll_ask(self.now);
                self.asks.extend(ask);
            }
            _ => {
                self.now += Duration::from_millis(self.random.next_u64() % 20);
                self.joiner.handle_timeout(self.now);
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..100_000 {
            if self.joiner.is_live() && self.bus.is_empty() {
                return;
            }
            self.step();
        }
        panic!("never live: {:?}", self.joiner);
    }

    /// The sequences of what the filter chooses.
    fn wanted(&self) -> Vec<u64> {
        let filter: Filter = WANTED.parse().unwrap();
        let wanted = self
            .published
            .iter()
            .filter(|kept| filter.matches(&kept.topic));
        wanted.map(|kept| kept.header.sequence).collect()
    }

    /// What a snapshot at `end` has: the last of each topic, and the last that was retained.
    fn snapshot(&self, per_topic: usize, end: u64) -> BTreeSet<u64> {
        let mut topics: BTreeMap<&Topic, Vec<&Publication>> = BTreeMap::new();
        let wanted = self.wanted();
        for kept in &self.published[..end as usize] {
            if wanted.contains(&kept.header.sequence) {
                topics.entry(&kept.topic).or_default().push(kept);
            }
        }
        let mut snapshot = BTreeSet::new();
        for messages in topics.values() {
            let last = messages.iter().rev().take(per_topic);
            let retained = messages.iter().rfind(|kept| kept.header.retain);
            snapshot.extend(last.chain(retained).map(|kept| kept.header.sequence));
        }
        snapshot
    }
}

#[test]
fn a_snapshot_and_its_updates_have_no_gap_and_no_double() {
    let mut extra = 0;
    for seed in 0..400 {
        let per_topic = 1 + seed as usize % 3;
        let mut world = World::new(seed, per_topic, Limits::default());
        for _ in 0..300 {
            if world.chance(5) {
                world.publish();
            }
            world.step();
        }
        world.settle();
        let delivered = &world.delivered;
        assert!(
            delivered.is_sorted_by(|a, b| a < b),
            "{seed}: {delivered:?}"
        );
        let (end, wanted) = (world.end.unwrap(), world.wanted());
        assert!(delivered.iter().all(|sequence| wanted.contains(sequence)));
        let of: BTreeSet<_> = delivered.iter().copied().collect();
        let mut expected = world.snapshot(per_topic, end);
        expected.extend(wanted.iter().filter(|&&sequence| sequence > end));
        assert!(of.is_superset(&expected), "{seed}: {expected:?} in {of:?}");
        extra += of.len() - expected.len();
    }
    assert!(
        extra > 0,
        "updates that came before the snapshot are given out, too"
    );
}

#[test]
fn connections_that_are_lost_leave_no_gap_while_the_history_lasts() {
    let mut retries = 0;
    for seed in 0..400 {
        let mut world = World::new(seed, 1_000, Limits::default());
        for _ in 0..400 {
            if world.chance(6) {
                world.publish();
            }
            if world.chance(60) {
                world.cut();
            }
            if world.chance(60) {
                // The other channel's turn.
                world.asks.clear();
                world.replies.clear();
                world.keeper.forget(0);
            }
            world.step();
        }
        world.settle();
        assert_eq!(world.joiner.counts().shed, 0);
        assert_eq!(world.delivered, world.wanted(), "{seed}");
        retries += world.joiner.counts().retries;
    }
    assert!(retries > 0);
}

#[test]
fn updates_that_find_no_room_come_with_a_later_snapshot() {
    let limits = Limits {
        messages: 4,
        octets: 1 << 20,
    };
    let now = Duration::ZERO;
    let mut joiner = Joiner::new(Filter::all(), 1, limits);
    let numbered = |sequence, topic: &str| {
        let mut publication = Publication::new(topic.parse().unwrap(), "");
        publication.header.sequence = sequence;
        publication
    };
    let end = |attempt, sequence, count| Reply::End {
        attempt,
        sequence,
        count,
    };
    let attempt = joiner.poll_ask(now).unwrap().attempt;
    let mark = numbered(2, joiner.mark_topic().as_str());
    assert_eq!(joiner.handle_update(mark, now), Ok(Step::Nothing));
    for sequence in 3..=10 {
        let step = joiner.handle_update(numbered(sequence, "a"), now);
        assert_eq!(step, Ok(Step::Nothing));
    }
    assert_eq!(joiner.counts().overrun, 4);
    let step = joiner.handle_reply(end(attempt, 2, 0), now);
    assert_eq!(step, Ok(Step::Nothing), "3 to 6 are missing");
    let later = joiner.poll_timeout().unwrap();
    assert_eq!(later, PATIENCE);
    joiner.handle_timeout(later);
    let attempt = joiner.poll_ask(later).unwrap().attempt;
    assert_eq!(joiner.poll_timeout(), Some(later + 2 * PATIENCE));
    let part = Reply::Part {
        attempt,
        publication: Box::new(numbered(6, "a")),
    };
    joiner.handle_reply(part, later).unwrap();
    let Ok(Step::Live(all)) = joiner.handle_reply(end(attempt, 6, 1), later) else {
        panic!("{joiner:?}");
    };
    let sequences: Vec<_> = all.iter().map(|kept| kept.header.sequence).collect();
    assert_eq!(sequences, [6, 7, 8, 9, 10]);
    assert_eq!(joiner.poll_timeout(), None);
}

/// Somebody else may have asked with the same number.
#[test]
fn a_mark_from_after_the_snapshot_is_not_enough() {
    let now = Duration::ZERO;
    let mut joiner = Joiner::new(Filter::all(), 1, Limits::default());
    let attempt = joiner.poll_ask(now).unwrap().attempt;
    let end = Reply::End {
        attempt,
        sequence: 5,
        count: 0,
    };
    assert_eq!(joiner.handle_reply(end, now), Ok(Step::Nothing));
    for (sequence, step) in [(6, Step::Nothing), (5, Step::Live(Vec::new()))] {
        let mut mark = Publication::new(joiner.mark_topic().clone(), "");
        mark.header.sequence = sequence;
        assert_eq!(joiner.handle_update(mark, now), Ok(step));
    }
}

#[test]
fn a_keeper_that_breaks_the_rules_is_told_so() {
    let now = Duration::ZERO;
    let mut joiner = Joiner::new("a/+".parse().unwrap(), 1, Limits::default());
    let attempt = joiner.poll_ask(now).unwrap().attempt;
    let part = |topic: &str, sequence| {
        let mut publication = Publication::new(topic.parse().unwrap(), "");
        publication.header.sequence = sequence;
        Reply::Part {
            attempt,
            publication: Box::new(publication),
        }
    };
    let unnumbered = Publication::new("a/x".parse().unwrap(), "");
    let error = Err(JoinError::Unnumbered);
    assert_eq!(joiner.handle_update(unnumbered, now), error);
    assert_eq!(joiner.handle_reply(part("a/x", 0), now), error);
    let error = Err(JoinError::Foreign);
    assert_eq!(joiner.handle_reply(part("b/x", 1), now), error);
    assert_eq!(joiner.handle_reply(part("a/x", 9), now), Ok(Step::Nothing));
    let end = Reply::End {
        attempt,
        sequence: 8,
        count: 1,
    };
    let error = Err(JoinError::Beyond { found: 9, end: 8 });
    assert_eq!(joiner.handle_reply(end, now), error);
    let stale = Reply::Busy {
        attempt: attempt + 1,
    };
    assert_eq!(joiner.handle_reply(stale, now), Ok(Step::Nothing));
    assert_eq!(joiner.counts().stale, 1);
}

#[test]
fn without_a_good_answer_it_asks_less_and_less_often() {
    let mut joiner = Joiner::new(Filter::all(), 1, Limits::default());
    let mut now = Duration::ZERO;
    let mut waits = Vec::new();
    for _ in 0..8 {
        let attempt = joiner.poll_ask(now).unwrap().attempt;
        assert_eq!(joiner.poll_ask(now), None);
        // Neither do a snapshot that is not whole and the lack of a mark help.
        let count = u64::from(attempt % 2);
        let end = Reply::End {
            attempt,
            sequence: 0,
            count,
        };
        assert_eq!(joiner.handle_reply(end, now), Ok(Step::Nothing));
        let deadline = joiner.poll_timeout().unwrap();
        waits.push((deadline - now).as_millis());
        now = deadline;
        joiner.handle_timeout(now);
    }
    assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
    assert_eq!(joiner.counts().retries, 8);
}

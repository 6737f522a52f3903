//! Examples, and queues that are made again from their records.

use std::collections::BTreeMap;

use super::super::death::MAX_DETAIL;
use super::super::log::LogReader;
use super::super::window::{ProducerId, Window};
use super::*;
use crate::crypto::{Randomness as _, Seeded};
use crate::message::Frame;
use crate::trust::id::NodeId;

const SECOND: Duration = Duration::from_secs(1);
const A: ConsumerId = ConsumerId(1);
const B: ConsumerId = ConsumerId(2);

fn name() -> QueueName {
    "jobs".parse().unwrap()
}

fn put(number: u64) -> Put {
    Put {
        message: Message::from(number.to_be_bytes()),
        ..Put::default()
    }
}

fn from(producer: u8, sequence: u64, number: u64) -> Put {
    let producer = ProducerId([producer; 16]);
    Put {
        origin: Some(Origin { producer, sequence }),
        ..put(number)
    }
}

fn number(message: &Message) -> u64 {
    u64::from_be_bytes(message.first().as_slice().try_into().unwrap())
}

fn durable() -> Options {
    Options {
        durable: true,
        ..Options::default()
    }
}

#[test]
fn what_was_not_acked_goes_back_in_front_and_is_flagged() {
    let mut queue = Queue::new(name(), Options::default());
    for number in 0..4 {
        queue.put(put(number), SECOND).unwrap();
    }
    queue.grow(A, 3).unwrap();
    let taken: Vec<_> = std::iter::from_fn(|| queue.poll(SECOND)).collect();
    assert_eq!(taken.len(), 3);
    queue.ack(A, taken[1].tag).unwrap();
    assert_eq!(queue.ack(B, taken[0].tag), Err(Stale { tag: taken[0].tag }));
    queue.lost(A, SECOND);
    queue.grow(B, 10).unwrap();
    let again: Vec<_> = std::iter::from_fn(|| queue.poll(SECOND)).collect();
    let seen = again
        .iter()
        .map(|it| (number(&it.message), it.attempt, it.redelivered));
    assert!(seen.eq([(0, 2, true), (2, 2, true), (3, 1, false)]));
    assert_eq!((queue.counts().stale, queue.counts().returned), (1, 2));
}

#[test]
fn consumers_take_turns_as_long_as_they_have_credit() {
    let mut queue = Queue::new(name(), Options::default());
    for number in 0..20 {
        queue.put(put(number), SECOND).unwrap();
    }
    queue.grow(A, 5).unwrap();
    queue.grow(B, 2).unwrap();
    let turns: Vec<_> = std::iter::from_fn(|| queue.poll(SECOND)).collect();
    let turns = turns.iter().map(|delivery| delivery.consumer);
    assert!(turns.eq([A, B, A, B, A, A, A]));
    queue.pause(B);
    queue.grow(B, 1).unwrap();
    queue.pause(B);
    assert_eq!(queue.poll(SECOND), None);
    queue.grow(A, u32::MAX).unwrap();
    queue.grow(A, u32::MAX).unwrap();
    assert_eq!(std::iter::from_fn(|| queue.poll(SECOND)).count(), 13);
}

#[test]
fn limits_are_kept() {
    let limits = Options {
        max_messages: 3,
        max_octets: 1_000,
        max_message: 700,
        max_consumers: 1,
        ..Options::default()
    };
    let mut queue = Queue::new(name(), limits);
    let of = |size: usize| Put {
        message: Message::from(vec![7; size]),
        ..Put::default()
    };
    assert_eq!(queue.put(of(700), SECOND), Err(Refusal::TooLarge));
    let frames = Message::from_frames(vec![Frame::new(); 10]);
    let many = Put {
        message: frames,
        ..Put::default()
    };
    assert_eq!(queue.put(many, SECOND), Err(Refusal::TooLarge));
    queue.put(of(500), SECOND).unwrap();
    assert_eq!(queue.put(of(500), SECOND), Err(Refusal::Full));
    for _ in 0..2 {
        queue.put(of(0), SECOND).unwrap();
    }
    assert_eq!(queue.put(of(0), SECOND), Err(Refusal::Full));
    assert_eq!((queue.counts().refused, queue.counts().queued), (4, 3));
    queue.grow(A, 1).unwrap();
    assert_eq!(queue.grow(B, 1), Err(TooManyConsumers { limit: 1 }));
    let first = queue.poll(SECOND).unwrap();
    assert_eq!(queue.put(of(0), SECOND), Err(Refusal::Full));
    queue.ack(A, first.tag).unwrap();
    queue.put(of(0), SECOND).unwrap();
}

#[test]
fn a_dead_letter_tells_why() {
    let mut queue = Queue::new(name(), Options::default());
    queue.put(put(1), SECOND).unwrap();
    queue.grow(A, 1).unwrap();
    let tag = queue.poll(SECOND).unwrap().tag;
    let long = "x".repeat(300);
    queue
        .nack(A, tag, Nack::DeadLetter, &long, 3 * SECOND)
        .unwrap();
    let letter = queue.poll_dead().unwrap();
    let death = &letter.history.deaths()[0];
    assert_eq!((death.cause, death.first), (Cause::Rejected, 3 * SECOND));
    assert_eq!((death.detail.len(), death.count), (MAX_DETAIL, 1));
    assert_eq!((queue.len(), queue.octets(), queue.dead()), (0, 0, 1));
    assert_eq!(queue.counts().died(Cause::Rejected), 1);
    // What is looked at stays, and can be taken before it is shown.
    queue.put(put(2), SECOND).unwrap();
    queue.grow(A, 1).unwrap();
    let tag = queue.poll(SECOND).unwrap().tag;
    queue.nack(A, tag, Nack::DeadLetter, "", SECOND).unwrap();
    let all: Vec<_> = queue.dead_letters(None).collect();
    assert_eq!((all.len(), &all[0]), (2, &letter));
    assert_eq!(DeadId::new(all[1].id.number()), all[1].id);
    assert!(queue.dead_letters(Some(letter.id)).eq([all[1].clone()]));
    assert!(queue.dead_taken(all[1].id) && !queue.dead_taken(all[1].id));
    assert_eq!((queue.dead(), queue.poll_dead()), (1, None));
    // It dies once more in the queue where it is put next.
    let mut other = Queue::new("dead".parse().unwrap(), Options::default());
    let again = Put {
        history: letter.history,
        ttl: Some(SECOND),
        ..put(1)
    };
    other.put(again, SECOND).unwrap();
    other.handle_timeout(2 * SECOND);
    let letter = other.poll_dead().unwrap();
    let causes: Vec<_> = letter.history.deaths().iter().map(|it| it.cause).collect();
    assert_eq!(causes, [Cause::Rejected, Cause::Expired]);
}

#[test]
fn nothing_counts_before_it_is_stored() {
    let mut queue = Queue::new(name(), durable());
    queue.grow(A, 10).unwrap();
    let first = queue.put(from(1, 1, 0), SECOND).unwrap();
    let second = queue.put(from(1, 2, 1), SECOND).unwrap();
    let again = queue.put(from(1, 1, 0), SECOND).unwrap();
    assert!(!queue.is_stored(first) && !queue.is_stored(again));
    assert_eq!(queue.poll(SECOND), None);
    // What the store was not given it cannot have.
    queue.stored(second);
    assert!(!queue.is_stored(first));
    let (receipt, _) = queue.poll_store().unwrap();
    assert_eq!(receipt, first);
    queue.stored(receipt);
    assert!(queue.is_stored(first) && !queue.is_stored(again));
    assert_eq!(queue.poll(SECOND).map(|it| number(&it.message)), Some(0));
    assert_eq!(queue.poll(SECOND), None);
    queue.withdraw();
    assert_eq!((queue.len(), queue.counts().withdrawn), (1, 1));
    // Its number is free again, and that of the other is not.
    assert!(queue.put(from(1, 2, 1), SECOND).is_ok());
    assert_eq!(queue.counts().duplicates, 1);
    assert_eq!(queue.len(), 2);
}

#[test]
fn a_store_that_is_behind_holds_up_puts_and_deliveries() {
    let mut queue = Queue::new(name(), durable());
    queue.grow(A, 1).unwrap();
    let first = queue.put(put(0), SECOND).unwrap();
    _ = queue.poll_store();
    queue.stored(first);
    for number in 1..=MAX_BACKLOG {
        queue.put(put(number), SECOND).unwrap();
    }
    assert_eq!(queue.put(put(0), SECOND), Err(Refusal::Busy));
    assert_eq!(queue.poll(SECOND), None);
    let (receipt, _) = queue.poll_store().unwrap();
    queue.stored(receipt);
    assert!(queue.poll(SECOND).is_some());
}

type Shown = (u64, u64, Priority, Option<Duration>, u32, Option<Cause>);

/// What a queue consists of, but for its consumers.
#[derive(Debug, PartialEq)]
struct Contents {
    messages: Vec<Shown>,
    histories: Vec<History>,
    windows: Vec<(ProducerId, Window)>,
    epoch: Epoch,
    sizes: (usize, usize, usize),
}

fn contents(queue: &Queue) -> Contents {
    let messages = queue.messages.iter().map(|(id, entry)| {
        let cause = entry.cause_of_death();
        let body = number(&entry.message);
        (
            *id,
            body,
            entry.priority,
            entry.expires,
            entry.attempts,
            cause,
        )
    });
    let entries = queue.messages.values();
    let windows = queue.windows.entries();
    Contents {
        messages: messages.collect(),
        histories: entries.map(|entry| entry.history.clone()).collect(),
        windows: windows.map(|(id, window)| (id, window.clone())).collect(),
        epoch: queue.epoch,
        sizes: (queue.live, queue.octets, queue.dead()),
    }
}

/// A queue under load, its log, and how many records it took until something counted.
struct Stored {
    queue: Queue,
    random: Seeded,
    log: Vec<u8>,
    /// Where records end.
    ends: Vec<usize>,
    polled: Option<Receipt>,
    accepted: BTreeMap<u64, u64>,
    gone: BTreeMap<u64, u64>,
    now: Duration,
}

impl Stored {
    fn new(seed: u64) -> Self {
        let limits = Options {
            max_messages: 20,
            overflow: Overflow::DropOldest,
            max_attempts: Some(3),
            max_dead: 5,
            max_producers: 2,
            lease: SECOND,
            ..durable()
        };
        Self {
            queue: Queue::new(name(), limits),
            random: Seeded::new(seed),
            log: Vec::new(),
            ends: vec![0],
            polled: None,
            accepted: BTreeMap::new(),
            gone: BTreeMap::new(),
            now: SECOND,
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit
    }

    fn step(&mut self, step: u64) {
        let records = |queue: &Queue| queue.journal.last().0;
        match self.below(12) {
            0..4 => {
                let producer = self.below(3) as u8;
                let ttl = (self.below(4) == 0).then_some(SECOND / 3);
                let put = Put {
                    ttl,
                    priority: Priority::new(self.below(3) as u8),
                    ..from(producer, 1 + step - step % (1 + self.below(3)), step)
                };
                let before = self.queue.counts().queued;
                let receipt = self.queue.put(put, self.now);
                if let Ok(receipt) = receipt
                    && self.queue.counts().queued > before
                {
                    self.accepted.insert(step, receipt.0);
                }
            }
            4..7 => {
                if let Some(delivery) = self.queue.poll(self.now) {
                    let Delivery { consumer, tag, .. } = delivery;
                    match self.below(4) {
                        0 => {}
                        1 => self
                            .queue
                            .nack(consumer, tag, Nack::Requeue, "", self.now)
                            .unwrap(),
                        2 => self
                            .queue
                            .nack(consumer, tag, Nack::DeadLetter, "", self.now)
                            .unwrap(),
                        _ => {
                            self.queue.ack(consumer, tag).unwrap();
                            let body = number(&delivery.message);
                            self.gone.insert(body, records(&self.queue));
                        }
                    }
                }
            }
            7 => {
                let consumer = ConsumerId(self.below(2));
                self.queue.grow(consumer, 3).unwrap();
            }
            8 if self.below(3) == 0 => self.queue.lost(A, self.now),
            9 => {
                self.now += SECOND / 10;
                self.queue.handle_timeout(self.now);
                if let Some(letter) = self.queue.poll_dead() {
                    assert!(self.queue.dead_taken(letter.id));
                }
            }
            10 if self.below(10) == 0 => {
                let node = NodeId::from_octets([7; 32]);
                let epoch = Epoch::new(self.queue.epoch.number() + 1, node);
                self.queue.note_epoch(epoch);
            }
            10 if self.below(10) == 0 => {
                self.queue.withdraw();
                let stored = self.queue.journal.stored();
                let accepted = &mut self.accepted;
                accepted.retain(|_, receipt| *receipt <= stored);
            }
            _ => self.store(),
        }
    }

    fn store(&mut self) {
        for _ in 0..self.below(6) {
            if let Some((receipt, record)) = self.queue.poll_store() {
                record.encode(&mut self.log);
                self.ends.push(self.log.len());
                self.polled = Some(receipt);
            }
        }
        if let Some(receipt) = self.polled
            && self.below(2) == 0
        {
            self.queue.stored(receipt);
        }
    }

    fn restore(&self, log: &[u8]) -> Queue {
        let mut reader = LogReader::new(log);
        let records: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
        Queue::restore(name(), self.queue.options.clone(), records).unwrap()
    }
}

/// The messages that were dead letters and are gone.
fn buried(log: &[u8]) -> BTreeSet<u64> {
    let mut dying = BTreeMap::new();
    let mut bodies = BTreeMap::new();
    let mut buried = BTreeSet::new();
    for record in LogReader::new(log).map(Result::unwrap) {
        match record {
            Record::Put { id, message, .. } => _ = bodies.insert(id, number(&message)),
            Record::Dead { id, .. } => _ = dying.insert(id, bodies[&id]),
            Record::Done { id } => buried.extend(dying.get(&id)),
            _ => {}
        }
    }
    buried
}

#[test]
fn wherever_a_log_is_cut_nothing_accepted_is_lost_and_nothing_acked_comes_back() {
    for seed in 0..60 {
        let mut stored = Stored::new(seed);
        for step in 0..300 {
            stored.step(step);
        }
        for _ in 0..60 {
            let cut = stored.random.next_u64() as usize % (stored.log.len() + 1);
            let whole = stored.ends.iter().filter(|end| **end <= cut).count() as u64 - 1;
            let queue = stored.restore(&stored.log[..cut]);
            let there: Vec<_> = contents(&queue).messages;
            let buried = buried(&stored.log[..cut]);
            for (body, receipt) in stored.accepted.iter().filter(|(_, at)| **at <= whole) {
                let acked = stored.gone.get(body).is_some_and(|at| *at <= whole);
                let is_there = there.iter().any(|message| message.1 == *body);
                let expected = !acked && !buried.contains(body);
                assert_eq!(
                    is_there, expected,
                    "seed {seed}, {whole} records: {body}/{receipt}"
                );
            }
            assert_eq!(queue.doubtful, queue.next_id);
        }
        // At its end it is what it was.
        while let Some((receipt, record)) = stored.queue.poll_store() {
            record.encode(&mut stored.log);
            stored.queue.stored(receipt);
        }
        assert_eq!(
            contents(&stored.restore(&stored.log)),
            contents(&stored.queue)
        );
    }
}

#[test]
fn a_snapshot_stands_for_all_records_before_it() {
    for seed in 0..60 {
        let mut stored = Stored::new(seed);
        for step in 0..400 {
            stored.step(step);
            if stored.below(50) == 0 {
                let (receipt, records) = stored.queue.snapshot();
                stored.log.clear();
                records.for_each(|record| record.encode(&mut stored.log));
                stored.queue.stored(receipt);
                stored.polled = Some(receipt);
                let restored = stored.restore(&stored.log);
                assert_eq!(contents(&restored), contents(&stored.queue), "seed {seed}");
            }
        }
        while let Some((_, record)) = stored.queue.poll_store() {
            record.encode(&mut stored.log);
        }
        assert_eq!(
            contents(&stored.restore(&stored.log)),
            contents(&stored.queue)
        );
    }
}

#[test]
fn records_of_no_queue_are_refused() {
    let restore = |records: Vec<Record>| {
        let restored = Queue::restore(name(), Options::default(), records);
        restored.map(|queue| queue.len())
    };
    let entry = |id| Record::Put {
        id,
        origin: None,
        priority: Priority::default(),
        expires: None,
        attempts: 0,
        redelivered: false,
        dead: None,
        history: History::default(),
        message: Message::new(),
    };
    let dead = |id| Record::Dead {
        id,
        cause: Cause::Expired,
        at: 0,
        detail: String::new(),
    };
    assert_eq!(restore(vec![entry(1), entry(9)]), Ok(2));
    for id in [0, 9, u64::MAX] {
        let order = Err(RestoreError::Order { id });
        assert_eq!(restore(vec![entry(9), entry(id)]), order);
    }
    let unknown = Err(RestoreError::Unknown { id: 2 });
    for record in [
        Record::Attempt { id: 2, attempt: 1 },
        dead(2),
        Record::Done { id: 2 },
        Record::Withdrawn {
            id: 2,
            origin: None,
        },
    ] {
        assert_eq!(restore(vec![entry(1), record]), unknown);
    }
    assert_eq!(restore(vec![entry(2), dead(2), dead(2)]), unknown);
}

/// A million messages, in and out, and a restore: in seconds, also without optimisation.
#[test]
fn a_million_messages_are_fine() {
    const MANY: u64 = 1_000_000;
    let mut queue = Queue::new(name(), Options::default());
    for number in 0..MANY {
        let ttl = Some(SECOND + Duration::from_millis(number % 1_000));
        queue.put(Put { ttl, ..put(number) }, SECOND).unwrap();
    }
    assert_eq!(queue.put(put(0), SECOND), Err(Refusal::Full));
    queue.grow(A, MAX_CREDIT).unwrap();
    for number in 0..MANY / 2 {
        let delivery = queue.poll(SECOND).unwrap();
        assert_eq!(delivery.message, Message::from(number.to_be_bytes()));
        queue.ack(A, delivery.tag).unwrap();
        queue.grow(A, 1).unwrap();
    }
    queue.handle_timeout(3 * SECOND);
    assert_eq!(queue.counts().died(Cause::Expired), MANY / 2);
    assert_eq!((queue.len(), queue.octets()), (0, 0));
}

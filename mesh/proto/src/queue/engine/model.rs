//! The queue against a list of all messages, searched from the front.

use super::super::death::Cause;
use super::super::window::{ProducerId, WINDOW};
use super::*;
use crate::crypto::{Randomness as _, Seeded};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Ready,
    Out { tag: u64, consumer: u64, until: u64 },
    Dead { cause: Cause, shown: bool },
    Gone,
}

#[derive(Debug)]
struct Item {
    priority: u8,
    expires: Option<u64>,
    attempts: u32,
    redelivered: bool,
    place: Place,
}

/// The rules, said plainly. The number of a message is its place in the list.
#[derive(Debug, Default)]
struct List {
    items: Vec<Item>,
    accepted: Vec<(u8, u64)>,
    /// Whose turn it is, with their credit.
    turns: Vec<(u64, u32)>,
    tags: u64,
    dropped: u64,
}

const MESSAGES: usize = 12;
const DEAD: usize = 4;
const ATTEMPTS: u32 = 3;
const LEASE: u64 = 50;

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl List {
    fn live(&self) -> usize {
        let live = |item: &&Item| matches!(item.place, Place::Ready | Place::Out { .. });
        self.items.iter().filter(live).count()
    }

    fn dead(&self) -> usize {
        let dead = |item: &&Item| matches!(item.place, Place::Dead { .. });
        self.items.iter().filter(dead).count()
    }

    /// `None` is a duplicate.
    fn put(
        &mut self,
        origin: (u8, u64),
        priority: u8,
        expires: Option<u64>,
        drops: bool,
        now: u64,
    ) -> Result<bool, Refusal> {
        let own = self
            .accepted
            .iter()
            .filter(|(producer, _)| *producer == origin.0);
        let highest = own.map(|(_, sequence)| *sequence).max().unwrap_or(0);
        if origin.1 == 0 || origin.1 + WINDOW <= highest {
            return Err(Refusal::Sequence);
        }
        if self.accepted.contains(&origin) {
            return Ok(false);
        }
        self.expire(now);
        if self.live() >= MESSAGES {
            let ready = self.items.iter().enumerate();
            let ready = ready.filter(|(_, item)| item.place == Place::Ready);
            let oldest = ready.min_by_key(|(id, item)| (item.priority, *id));
            match oldest.map(|(id, _)| id) {
                Some(id) if drops => self.die(id, Cause::OverLength),
                _ => return Err(Refusal::Full),
            }
        }
        self.accepted.push(origin);
        self.items.push(Item {
            priority,
            expires,
            attempts: 0,
            redelivered: false,
            place: Place::Ready,
        });
        Ok(true)
    }

    fn die(&mut self, id: usize, cause: Cause) {
        let shown = false;
        self.items[id].place = Place::Dead { cause, shown };
        if self.dead() > DEAD {
            let waits = |item: &Item| matches!(item.place, Place::Dead { shown: false, .. });
            if let Some(oldest) = self.items.iter_mut().find(|item| waits(item)) {
                oldest.place = Place::Gone;
                self.dropped += 1;
            }
        }
    }

    fn expire(&mut self, now: u64) {
        let over =
            |item: &Item| item.place == Place::Ready && item.expires.is_some_and(|at| at <= now);
        let mut due: Vec<_> = (0..self.items.len())
            .filter(|id| over(&self.items[*id]))
            .collect();
        due.sort_by_key(|id| (self.items[*id].expires, *id));
        due.into_iter().for_each(|id| self.die(id, Cause::Expired));
    }

    fn give_back(&mut self, id: usize, now: u64) {
        let item = &mut self.items[id];
        item.redelivered = true;
        item.place = Place::Ready;
        if item.attempts >= ATTEMPTS {
            self.die(id, Cause::TooManyAttempts);
        } else if item.expires.is_some_and(|at| at <= now) {
            self.die(id, Cause::Expired);
        }
    }

    fn handle_timeout(&mut self, now: u64) {
        loop {
            let out = self.items.iter().enumerate();
            let due = out.filter_map(|(id, item)| match item.place {
                Place::Out { tag, until, .. } if until <= now => Some((until, tag, id)),
                _ => None,
            });
            let Some((_, _, id)) = due.min() else {
                break;
            };
            self.give_back(id, now);
        }
        self.expire(now);
    }

    fn find(&self, tag: u64, consumer: u64) -> Option<usize> {
        let is = |item: &Item| matches!(item.place, Place::Out { tag: t, consumer: c, .. } if (t, c) == (tag, consumer));
        self.items.iter().position(is)
    }

    fn lost(&mut self, consumer: u64, now: u64) {
        self.turns.retain(|(id, _)| *id != consumer);
        let own =
            |item: &Item| matches!(item.place, Place::Out { consumer: c, .. } if c == consumer);
        let mut own: Vec<_> = (0..self.items.len())
            .filter(|id| own(&self.items[*id]))
            .collect();
        own.sort_by_key(|id| match self.items[*id].place {
            Place::Out { tag, .. } => tag,
            _ => 0,
        });
        own.into_iter().for_each(|id| self.give_back(id, now));
    }

    /// The message, the consumer and the tag.
    fn poll(&mut self, now: u64) -> Option<(usize, u64, u64)> {
        self.handle_timeout(now);
        let ready = self.items.iter().enumerate();
        let ready = ready.filter(|(_, item)| item.place == Place::Ready);
        let (id, _) = ready.min_by_key(|(id, item)| (9 - item.priority, *id))?;
        if self.turns.is_empty() {
            return None;
        }
        let (consumer, credit) = self.turns.remove(0);
        if credit > 1 {
            self.turns.push((consumer, credit - 1));
        }
        self.tags += 1;
        let tag = self.tags;
        let until = now + LEASE;
        let item = &mut self.items[id];
        item.attempts += 1;
        item.place = Place::Out {
            tag,
            consumer,
            until,
        };
        Some((id, consumer, tag))
    }
}

fn options(drops: bool) -> Options {
    Options {
        max_messages: MESSAGES,
        overflow: match drops {
            true => Overflow::DropOldest,
            false => Overflow::Refuse,
        },
        lease: at(LEASE),
        max_attempts: Some(ATTEMPTS),
        max_dead: DEAD,
        ..Options::default()
    }
}

struct Both {
    queue: Queue,
    list: List,
    random: Seeded,
    drops: bool,
    now: u64,
}

impl Both {
    fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit
    }

    fn put(&mut self) {
        let producer = self.below(3) as u8;
        let mut sequence = self.below(40) + self.list.accepted.len() as u64 / 4;
        sequence += 2 * WINDOW * u64::from(self.below(300) == 0);
        let priority = self.below(4) as u8;
        let ttl = (self.below(3) == 0).then(|| self.below(60));
        let put = Put {
            origin: Some(Origin {
                producer: ProducerId([producer; 16]),
                sequence,
            }),
            priority: Priority::new(priority),
            ttl: ttl.map(at),
            message: Message::from((self.list.items.len() as u64).to_be_bytes()),
            ..Put::default()
        };
        let before = self.queue.counts().duplicates;
        let done = self.queue.put(put, at(self.now));
        let new = done.map(|_| self.queue.counts().duplicates == before);
        let expires = ttl.map(|ttl| self.now + ttl);
        let origin = (producer, sequence);
        let expected = self
            .list
            .put(origin, priority, expires, self.drops, self.now);
        assert_eq!(new, expected);
    }

    fn poll(&mut self) {
        let delivery = self.queue.poll(at(self.now));
        let expected = self.list.poll(self.now);
        let found = delivery.as_ref().map(|delivery| {
            let octets: [u8; 8] = delivery.message.first().as_slice().try_into().unwrap();
            let id = u64::from_be_bytes(octets) as usize;
            (id, delivery.consumer.0, delivery.tag.0)
        });
        assert_eq!(found, expected);
        if let Some((delivery, (id, ..))) = delivery.zip(expected) {
            let item = &self.list.items[id];
            let said = (delivery.attempt, delivery.redelivered);
            assert_eq!(said, (item.attempts, item.redelivered));
        }
    }

    fn answer(&mut self) {
        let tag = self.list.tags.saturating_sub(self.below(8));
        let consumer = self.below(3);
        let open = self.list.find(tag, consumer);
        let name = (ConsumerId(consumer), Tag(tag));
        let now = at(self.now);
        let done = match self.below(5) {
            0 => {
                open.into_iter()
                    .for_each(|id| self.list.give_back(id, self.now));
                self.queue.nack(name.0, name.1, Nack::Requeue, "", now)
            }
            1 => {
                open.into_iter()
                    .for_each(|id| self.list.die(id, Cause::Rejected));
                self.queue.nack(name.0, name.1, Nack::DeadLetter, "no", now)
            }
            2 => {
                let until = self.now + self.below(100);
                if let Some(id) = open {
                    self.list.items[id].place = Place::Out {
                        tag,
                        consumer,
                        until,
                    };
                }
                self.queue.extend(name.0, name.1, at(until))
            }
            _ => {
                open.into_iter()
                    .for_each(|id| self.list.items[id].place = Place::Gone);
                self.queue.ack(name.0, name.1)
            }
        };
        assert_eq!(done.is_ok(), open.is_some());
    }

    fn grow(&mut self) {
        let consumer = self.below(3);
        let credit = self.below(4) as u32;
        self.queue.grow(ConsumerId(consumer), credit).unwrap();
        match self.list.turns.iter_mut().find(|(id, _)| *id == consumer) {
            Some((_, has)) => *has += credit,
            None if credit > 0 => self.list.turns.push((consumer, credit)),
            None => {}
        }
    }

    fn bury(&mut self) {
        let letter = self.queue.poll_dead();
        let mut items = self.list.items.iter_mut().enumerate();
        let expected = items.find_map(|(id, item)| match &mut item.place {
            Place::Dead { shown, cause } if !*shown => {
                *shown = true;
                Some((id, *cause))
            }
            _ => None,
        });
        let kept = self.list.items.iter().enumerate();
        let kept = kept.filter(|(_, item)| matches!(item.place, Place::Dead { .. }));
        let bodies = kept.map(|(id, _)| Message::from((id as u64).to_be_bytes()));
        let all: Vec<_> = self.queue.dead_letters(None).collect();
        assert!(bodies.eq(all.iter().map(|letter| letter.message.clone())));
        for (at, letter) in all.iter().enumerate() {
            assert!(
                self.queue
                    .dead_letters(Some(letter.id))
                    .eq(all[at + 1..].iter().cloned())
            );
        }
        let found = letter.as_ref().map(|letter| letter.cause);
        assert_eq!(found, expected.map(|(_, cause)| cause));
        if let Some((letter, (id, cause))) = letter.zip(expected) {
            assert_eq!(letter.message, Message::from((id as u64).to_be_bytes()));
            let deaths = letter.history.deaths();
            assert_eq!((deaths.len(), deaths[0].cause), (1, cause));
            if self.below(2) == 0 {
                assert!(self.queue.dead_taken(letter.id));
                assert!(!self.queue.dead_taken(letter.id));
                self.list.items[id].place = Place::Gone;
            }
        }
    }

    fn compare(&self) {
        let Self { queue, list, .. } = self;
        assert_eq!(queue.len(), list.live());
        assert_eq!(queue.dead(), list.dead());
        assert_eq!(queue.counts().dead_dropped, list.dropped);
        let moments = list.items.iter().filter_map(|item| match item.place {
            Place::Ready => item.expires,
            Place::Out { until, .. } => Some(until),
            Place::Dead { .. } | Place::Gone => None,
        });
        assert_eq!(queue.next_timeout(), moments.min().map(at));
        assert_eq!(queue.octets() > 0, list.live() > 0);
    }
}

#[test]
fn a_queue_does_what_a_list_does() {
    for seed in 0..300 {
        let drops = seed % 2 == 0;
        let mut both = Both {
            queue: Queue::new("jobs".parse().unwrap(), options(drops)),
            list: List::default(),
            random: Seeded::new(seed),
            drops,
            now: 1,
        };
        for _ in 0..400 {
            match both.below(16) {
                0..5 => both.put(),
                5..8 => both.poll(),
                8..11 => both.answer(),
                11 => both.grow(),
                12 => both.bury(),
                13 => both.now += both.below(20),
                14 => {
                    both.queue.handle_timeout(at(both.now));
                    both.list.handle_timeout(both.now);
                }
                _ if both.below(4) == 0 => {
                    let consumer = both.below(3);
                    both.queue.lost(ConsumerId(consumer), at(both.now));
                    both.list.lost(consumer, both.now);
                }
                _ => {}
            }
            both.compare();
        }
    }
}

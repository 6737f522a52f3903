//! The queue itself: what is put, delivered, acked and given up.
//!
//! ```text
//!          put             stored          poll             ack
//!  (none) -----> Unstored -------> Ready ---------> Out ---------> (gone)
//!                    |               |  <-----------  |
//!                    |               |   nack, lost,  | nack, too many
//!                    |  expired,     |   lease over   | attempts, expired
//!                    |  over length  v                |
//!                    +-----------> Dead <-------------+ --dead_taken--> (gone)
//! ```
//!
//! Messages are numbered as they come, and go out by priority and number, so what goes back has its
//! old place. Without a store nothing is ever unstored.
//!
//! Every operation takes O(log n), but for what happens to many messages at once.
//!
//! Invariant: each message is in one state, and only messages in the right one are in the index of
//! it.

mod consumers;
mod counts;
mod dead;
mod delivery;
mod durable;
#[cfg(test)]
mod model;
mod put;
mod ready;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use consumers::{ConsumerId, MAX_CREDIT, TooManyConsumers};
pub use counts::Counts;
pub use dead::{DeadId, DeadLetter};
pub use delivery::{Delivery, Nack, Stale, Tag};
pub use durable::{MAX_BACKLOG, Receipt, RestoreError};
pub use put::{MAX_FRAMES, MAX_MESSAGE, Put, Refusal};

use self::consumers::Consumers;
use self::dead::Dead;
use self::durable::Journal;
use self::put::cost;
use self::ready::Ready;
use super::Epoch;
use super::death::{Cause, History};
use super::options::{Options, Overflow, Priority, QueueName};
use super::record::Record;
use super::to_millis;
use super::window::{Origin, Seen, Windows};
use crate::message::Message;

/// An acked queue.
#[derive(Debug)]
pub struct Queue {
    name: QueueName,
    options: Options,
    messages: BTreeMap<u64, Entry>,
    next_id: u64,
    /// Messages with lower numbers may have been delivered elsewhere.
    doubtful: u64,
    /// Messages that are not dead, and their octets.
    live: usize,
    octets: usize,
    ready: Ready,
    /// When those expire that are not out.
    expiries: BTreeSet<(Duration, u64)>,
    consumers: Consumers,
    out: BTreeMap<Tag, Out>,
    leases: BTreeSet<(Duration, Tag)>,
    next_tag: u64,
    windows: Windows,
    dead: Dead,
    journal: Journal,
    /// Puts that are not stored: which record that takes, and where they came from.
    unstored: VecDeque<(Receipt, u64, Option<Origin>)>,
    epoch: Epoch,
    counts: Counts,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    cost: usize,
    priority: Priority,
    expires: Option<Duration>,
    attempts: u32,
    redelivered: bool,
    history: History,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unstored,
    Ready,
    Out,
    Dead(Cause),
}

#[derive(Debug)]
struct Out {
    id: u64,
    consumer: ConsumerId,
    until: Duration,
}

impl Queue {
    /// An empty queue.
    pub fn new(name: QueueName, options: Options) -> Self {
        Self {
            name,
            messages: BTreeMap::new(),
            next_id: 1,
            doubtful: 0,
            live: 0,
            octets: 0,
            ready: Ready::default(),
            expiries: BTreeSet::new(),
            consumers: Consumers::new(options.max_consumers),
            out: BTreeMap::new(),
            leases: BTreeSet::new(),
            next_tag: 1,
            windows: Windows::new(options.max_producers),
            dead: Dead::default(),
            journal: Journal::new(options.durable),
            unstored: VecDeque::new(),
            epoch: Epoch::NONE,
            counts: Counts::default(),
            options,
        }
    }

    /// Its name.
    pub fn name(&self) -> &QueueName {
        &self.name
    }

    /// Its limits and habits.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Messages that are neither acked nor dead.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Their octets, as limits count them.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Deliveries that are open.
    pub fn open(&self) -> usize {
        self.out.len()
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        let mut counts = self.counts;
        counts.forgotten_producers = self.windows.forgotten();
        counts
    }

    /// Queues a message. It is accepted as soon as the receipt [is stored](Self::is_stored), which it
    /// is at once without a store. Receipts are never lower than earlier ones.
    ///
    /// # Errors
    /// The message is not queued.
    pub fn put(&mut self, put: Put, now: Duration) -> Result<Receipt, Refusal> {
        let seen = put.origin.map_or(Seen::Never, |it| self.windows.seen(it));
        if seen == Seen::Before {
            self.counts.duplicates += 1;
            // The earlier one was written down before, so whatever is stored up to here has it.
            return Ok(self.journal.last());
        }
        let admitted = match seen {
            Seen::Unknown => Err(Refusal::Sequence),
            _ => self.make_room(&put, now),
        };
        if let Err(refusal) = admitted {
            self.counts.refused += 1;
            return Err(refusal);
        }
        Ok(self.take_in(put, now))
    }

    fn make_room(&mut self, put: &Put, now: Duration) -> Result<(), Refusal> {
        let cost = cost(&put.message, &put.history);
        let most = self.options.max_octets.min(self.options.max_message);
        if cost > most.min(MAX_MESSAGE) || put.message.len() > MAX_FRAMES {
            return Err(Refusal::TooLarge);
        }
        if self.journal.has_failed {
            return Err(Refusal::Store);
        }
        if self.journal.is_behind() {
            return Err(Refusal::Busy);
        }
        self.expire(now);
        let Options {
            max_messages,
            max_octets,
            overflow,
            ..
        } = self.options;
        let fits = |messages, octets| messages < max_messages && octets + cost <= max_octets;
        if fits(self.live, self.octets) {
            return Ok(());
        }
        let (messages, octets) = (self.ready.len(), self.ready.octets());
        if overflow == Overflow::Refuse || !fits(self.live - messages, self.octets - octets) {
            return Err(Refusal::Full);
        }
        while !fits(self.live, self.octets) {
            let Some(oldest) = self.ready.last_in_line() else {
                return Err(Refusal::Full);
            };
            self.die(oldest, Cause::OverLength, "", now);
        }
        Ok(())
    }

    fn take_in(&mut self, put: Put, now: Duration) -> Receipt {
        let id = self.next_id;
        self.next_id += 1;
        let ttl = put.ttl.into_iter().chain(self.options.ttl).min();
        let expires = ttl.map(|ttl| Duration::from_millis(to_millis(now.saturating_add(ttl))));
        let cost = cost(&put.message, &put.history);
        let entry = Entry {
            cost,
            priority: put.priority,
            expires,
            attempts: 0,
            redelivered: put.redelivered,
            history: put.history,
            message: put.message,
            state: State::Unstored,
        };
        if let Some(origin) = put.origin {
            self.windows.note(origin);
        }
        self.journal.emit(|| entry.record(id, put.origin));
        self.expiries.extend(expires.map(|at| (at, id)));
        self.live += 1;
        self.octets += cost;
        self.messages.insert(id, entry);
        self.counts.queued += 1;
        let receipt = self.journal.last();
        if self.is_stored(receipt) {
            self.make_ready(id);
        } else {
            self.unstored.push_back((receipt, id, put.origin));
        }
        receipt
    }

    /// Puts a message in line that is in no index but that of expiries.
    fn make_ready(&mut self, id: u64) {
        if let Some(entry) = self.messages.get_mut(&id) {
            entry.state = State::Ready;
            self.ready.insert(entry.priority, id, entry.cost);
        }
    }

    /// Lets a consumer have so many more deliveries, up to [`MAX_CREDIT`]. One that is not known is
    /// from now on.
    ///
    /// # Errors
    /// It is not known, and there are [`Options::max_consumers`] already.
    pub fn grow(&mut self, consumer: ConsumerId, credit: u32) -> Result<(), TooManyConsumers> {
        self.consumers.grow(consumer, credit)
    }

    /// Takes back what credit a consumer has. Its deliveries stay open.
    pub fn pause(&mut self, consumer: ConsumerId) {
        self.consumers.pause(consumer);
    }

    /// A consumer is gone: what it did not ack goes back to its old place.
    pub fn lost(&mut self, consumer: ConsumerId, now: Duration) {
        for tag in self.consumers.remove(consumer) {
            if let Ok(id) = self.close(consumer, tag) {
                self.give_back(id, "", now);
            }
        }
    }

    /// All messages that are there may be delivered elsewhere from now on: they are flagged as
    /// redelivered.
    pub fn doubt(&mut self) {
        self.doubtful = self.next_id;
    }

    /// The next delivery. Consumers with credit take turns.
    pub fn poll(&mut self, now: Duration) -> Option<Delivery> {
        self.handle_timeout(now);
        let (priority, id) = self.ready.first()?;
        if self.journal.is_behind() {
            return None;
        }
        let tag = Tag(self.next_tag);
        let consumer = self.consumers.take_turn(tag)?;
        self.next_tag += 1;
        let entry = self.messages.get_mut(&id)?;
        self.ready.remove(priority, id, entry.cost);
        if let Some(at) = entry.expires {
            self.expiries.remove(&(at, id));
        }
        entry.state = State::Out;
        entry.redelivered |= id < self.doubtful;
        entry.attempts = entry.attempts.saturating_add(1);
        let attempt = entry.attempts;
        self.journal.emit(|| Record::Attempt { id, attempt });
        let until = now.saturating_add(self.options.lease);
        self.leases.insert((until, tag));
        let out = Out {
            id,
            consumer,
            until,
        };
        self.out.insert(tag, out);
        self.counts.delivered += 1;
        self.counts.redelivered += u64::from(entry.redelivered);
        Some(Delivery {
            consumer,
            tag,
            attempt,
            redelivered: entry.redelivered,
            priority,
            ttl: entry.expires.map(|at| at.saturating_sub(now)),
            history: entry.history.clone(),
            message: entry.message.clone(),
        })
    }

    /// A consumer is done with a message.
    ///
    /// # Errors
    /// The delivery is not open; counted.
    pub fn ack(&mut self, consumer: ConsumerId, tag: Tag) -> Result<(), Stale> {
        let id = self.close(consumer, tag)?;
        self.forget(id);
        self.journal.emit(|| Record::Done { id });
        self.counts.acked += 1;
        Ok(())
    }

    /// A consumer does not want a message, and says why, in up to
    /// [`MAX_DETAIL`](super::death::MAX_DETAIL) octets. That stays with it when it becomes a dead letter.
    ///
    /// # Errors
    /// The delivery is not open; counted.
    pub fn nack(
        &mut self,
        consumer: ConsumerId,
        tag: Tag,
        nack: Nack,
        detail: &str,
        now: Duration,
    ) -> Result<(), Stale> {
        let id = self.close(consumer, tag)?;
        match nack {
            Nack::Requeue => self.give_back(id, detail, now),
            Nack::DeadLetter => self.die(id, Cause::Rejected, detail, now),
        }
        Ok(())
    }

    /// Gives a consumer until then for a delivery, instead of [`Options::lease`].
    ///
    /// # Errors
    /// The delivery is not open; counted.
    pub fn extend(&mut self, consumer: ConsumerId, tag: Tag, until: Duration) -> Result<(), Stale> {
        let out = self
            .out
            .get_mut(&tag)
            .filter(|out| out.consumer == consumer);
        let Some(out) = out else {
            self.counts.stale += 1;
            return Err(Stale { tag });
        };
        self.leases.remove(&(out.until, tag));
        out.until = until;
        self.leases.insert((until, tag));
        Ok(())
    }

    /// When something expires or a lease is over.
    pub fn next_timeout(&self) -> Option<Duration> {
        let expiry = self.expiries.first().map(|(at, _)| *at);
        let lease = self.leases.first().map(|(at, _)| *at);
        expiry.into_iter().chain(lease).min()
    }

    /// Makes dead letters of what expired, and takes back what is out for too long.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some((_, tag)) = self.leases.first().copied().filter(|(at, _)| *at <= now) {
            self.counts.timed_out += 1;
            match self.end(tag) {
                Some(id) => self.give_back(id, "", now),
                None => _ = self.leases.pop_first(),
            }
        }
        self.expire(now);
    }

    fn expire(&mut self, now: Duration) {
        while let Some((_, id)) = self.expiries.first().copied().filter(|(at, _)| *at <= now) {
            self.die(id, Cause::Expired, "", now);
        }
    }

    /// Ends a delivery; its message is in no index then.
    fn close(&mut self, consumer: ConsumerId, tag: Tag) -> Result<u64, Stale> {
        let open = self.out.get(&tag).filter(|out| out.consumer == consumer);
        let ended = open.is_some().then(|| self.end(tag)).flatten();
        self.counts.stale += u64::from(ended.is_none());
        ended.ok_or(Stale { tag })
    }

    fn end(&mut self, tag: Tag) -> Option<u64> {
        let out = self.out.remove(&tag)?;
        self.leases.remove(&(out.until, tag));
        self.consumers.closed(out.consumer, tag);
        Some(out.id)
    }

    /// Puts a message back in line that was delivered, unless it came to its end.
    fn give_back(&mut self, id: u64, detail: &str, now: Duration) {
        let Some(entry) = self.messages.get_mut(&id) else {
            return;
        };
        entry.redelivered = true;
        let most = self.options.max_attempts.map(|most| most.max(1));
        if most.is_some_and(|most| entry.attempts >= most) {
            self.die(id, Cause::TooManyAttempts, detail, now);
        } else if entry.expires.is_some_and(|at| at <= now) {
            self.die(id, Cause::Expired, detail, now);
        } else {
            self.expiries.extend(entry.expires.map(|at| (at, id)));
            self.counts.returned += 1;
            self.make_ready(id);
        }
    }

    /// Takes a message out of the index that its state says.
    fn unlink(&mut self, id: u64) {
        let Some(entry) = self.messages.get(&id) else {
            return;
        };
        if entry.state == State::Ready {
            self.ready.remove(entry.priority, id, entry.cost);
        }
        if let Some(at) = entry.expires {
            self.expiries.remove(&(at, id));
        }
        if let State::Dead(_) = entry.state {
            self.dead.remove(id, entry.cost);
        } else {
            self.live -= 1;
            self.octets -= entry.cost;
        }
    }

    /// A message is gone, whatever its state.
    fn forget(&mut self, id: u64) {
        self.unlink(id);
        self.messages.remove(&id);
    }
}

impl Entry {
    fn cause_of_death(&self) -> Option<Cause> {
        match self.state {
            State::Dead(cause) => Some(cause),
            State::Unstored | State::Ready | State::Out => None,
        }
    }

    /// What a store keeps of it.
    fn record(&self, id: u64, origin: Option<Origin>) -> Record {
        Record::Put {
            id,
            origin,
            priority: self.priority,
            expires: self.expires.map(to_millis),
            attempts: self.attempts,
            redelivered: self.redelivered,
            dead: self.cause_of_death(),
            history: self.history.clone(),
            message: self.message.clone(),
        }
    }
}

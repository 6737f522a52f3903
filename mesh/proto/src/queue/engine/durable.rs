//! The seam to a store: what must be written down before it counts, and a queue made of that again.
//!
//! A store takes [records](Queue::poll_store), writes them, and says [how far](Queue::stored) it came.
//! A put waits for its record: before, it is neither accepted nor delivered. An ack does not: if its
//! record is lost, the message comes again. Records of attempts do not either, so all messages of a
//! restored queue are flagged as redelivered.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::Epoch;
use super::super::options::{Options, QueueName};
use super::super::record::Record;
use super::{Entry, Queue, State, cost};

/// Records that wait for the store, at most; beyond, nothing is put or delivered until it has caught
/// up. Acks, nacks, expiry and lost consumers add one record for each message.
pub const MAX_BACKLOG: u64 = 65_536;

/// How far a store has to come until something counts. Earlier ones are lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt(pub(super) u64);

/// What is wrong with a store's records. They are not those of one queue, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// A message's number is not above all before.
    #[error("the store has message {id} out of order")]
    Order {
        /// Its number.
        id: u64,
    },
    /// A record is about a message that is not there, or is dead already.
    #[error("the store has a record of message {id}, which is not there")]
    Unknown {
        /// Its number.
        id: u64,
    },
}

#[derive(Debug)]
pub(super) struct Journal {
    durable: bool,
    records: VecDeque<Record>,
    /// How many records there were, and how many are stored.
    emitted: u64,
    stored: u64,
    /// The store took nothing last.
    pub(super) has_failed: bool,
}

impl Journal {
    pub(super) fn new(durable: bool) -> Self {
        Self {
            durable,
            records: VecDeque::new(),
            emitted: 0,
            stored: 0,
            has_failed: false,
        }
    }

    #[inline]
    pub(super) fn emit(&mut self, record: impl FnOnce() -> Record) {
        if self.durable {
            self.records.push_back(record());
            self.emitted += 1;
        }
    }

    pub(super) fn last(&self) -> Receipt {
        Receipt(self.emitted)
    }

    pub(super) fn is_behind(&self) -> bool {
        self.emitted - self.stored >= MAX_BACKLOG
    }

    #[cfg(test)]
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    fn polled(&self) -> u64 {
        self.emitted - self.records.len() as u64
    }
}

impl Queue {
    /// The next record to be stored, and what to say when it is.
    pub fn poll_store(&mut self) -> Option<(Receipt, Record)> {
        let record = self.journal.records.pop_front()?;
        Some((Receipt(self.journal.polled()), record))
    }

    /// The store has everything up to there; what was not polled yet does not count.
    pub fn stored(&mut self, up_to: Receipt) {
        let journal = &mut self.journal;
        journal.has_failed = false;
        journal.stored = up_to.0.min(journal.polled()).max(journal.stored);
        while let Some((receipt, id, _)) = self.unstored.front().copied()
            && self.is_stored(receipt)
        {
            self.unstored.pop_front();
            let waits = |entry: &Entry| entry.state == State::Unstored;
            if self.messages.get(&id).is_some_and(waits) {
                self.make_ready(id);
            }
        }
    }

    /// Whether the store has come that far.
    #[inline]
    pub fn is_stored(&self, receipt: Receipt) -> bool {
        receipt.0 <= self.journal.stored
    }

    /// The highest epoch that was [noted](Self::note_epoch).
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Notes the epoch of a keeper, which should not act before the receipt is stored.
    pub fn note_epoch(&mut self, epoch: Epoch) -> Receipt {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.journal.emit(|| Record::Epoch(epoch));
        }
        self.journal.last()
    }

    /// Gives up what is put and not stored, and with it not accepted: the keeper steps down, or its
    /// store failed, and the producers put it elsewhere or later.
    pub fn withdraw(&mut self) {
        while let Some((_, id, origin)) = self.unstored.pop_front() {
            // It may be a dead letter that is gone already.
            if !self.messages.contains_key(&id) {
                continue;
            }
            self.forget(id);
            if let Some(origin) = origin {
                self.windows.withdraw(origin);
            }
            self.journal.emit(|| Record::Withdrawn { id, origin });
            self.counts.withdrawn += 1;
        }
    }

    /// The store takes nothing now. What is put and not stored is given up, and nothing is put until
    /// the store has written something again. All else goes on; what it does may be forgotten if the
    /// queue is lost before that, so that messages come again.
    pub fn store_failed(&mut self) {
        self.journal.has_failed = true;
        self.withdraw();
    }

    /// Everything that a store has to keep, instead of all records before, polled or not. It counts
    /// as stored by the receipt.
    pub fn snapshot(&mut self) -> (Receipt, impl Iterator<Item = Record> + '_) {
        self.journal.records.clear();
        let epoch = (self.epoch > Epoch::NONE).then_some(Record::Epoch(self.epoch));
        let messages = self.messages.iter();
        let puts = messages.map(|(id, entry)| entry.record(*id, None));
        let windows = self.windows.entries();
        let windows = windows.map(|(producer, window)| Record::Producer {
            producer,
            window: Box::new(window.clone()),
        });
        let records = epoch.into_iter().chain(puts).chain(windows);
        (self.journal.last(), records)
    }

    /// The queue that a store's records are of, as it was but without consumers. It has a store,
    /// whatever the options say.
    ///
    /// # Errors
    /// The records are not those of one queue, in order.
    pub fn restore(
        name: QueueName,
        options: Options,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<Self, RestoreError> {
        let durable = true;
        let mut queue = Self::new(name, Options { durable, ..options });
        for record in records {
            queue.apply(record)?;
        }
        let ids: Vec<u64> = queue.messages.keys().copied().collect();
        ids.into_iter().for_each(|id| queue.restore_place(id));
        queue.doubt();
        Ok(queue)
    }

    fn apply(&mut self, record: Record) -> Result<(), RestoreError> {
        match record {
            Record::Epoch(epoch) => self.epoch = self.epoch.max(epoch),
            Record::Put { .. } => return self.apply_put(record),
            Record::Attempt { id, attempt } => self.restored(id)?.attempts = attempt,
            Record::Dead {
                id,
                cause,
                at,
                detail,
            } => {
                let name = self.name.clone();
                let entry = self.restored(id)?;
                entry.state = State::Dead(cause);
                let at = Duration::from_millis(at);
                entry.history.note(&name, cause, &detail, at);
            }
            Record::Done { id } => {
                let gone = self.messages.remove(&id);
                gone.ok_or(RestoreError::Unknown { id })?;
            }
            Record::Withdrawn { id, origin } => {
                let gone = self.messages.remove(&id);
                gone.ok_or(RestoreError::Unknown { id })?;
                origin.into_iter().for_each(|it| self.windows.withdraw(it));
            }
            Record::Producer { producer, window } => self.windows.set(producer, *window),
        }
        Ok(())
    }

    fn apply_put(&mut self, record: Record) -> Result<(), RestoreError> {
        let Record::Put {
            id,
            origin,
            priority,
            expires,
            attempts,
            redelivered,
            dead,
            history,
            message,
        } = record
        else {
            return Ok(());
        };
        let order = RestoreError::Order { id };
        if id < self.next_id {
            return Err(order);
        }
        self.next_id = id.checked_add(1).ok_or(order)?;
        origin.into_iter().for_each(|it| self.windows.note(it));
        let entry = Entry {
            cost: cost(&message, &history),
            priority,
            expires: expires.map(Duration::from_millis),
            attempts,
            redelivered,
            history,
            message,
            state: dead.map_or(State::Ready, State::Dead),
        };
        self.messages.insert(id, entry);
        Ok(())
    }

    /// A message that is there, and not dead.
    fn restored(&mut self, id: u64) -> Result<&mut Entry, RestoreError> {
        let entry = self.messages.get_mut(&id);
        let live = entry.filter(|entry| entry.cause_of_death().is_none());
        live.ok_or(RestoreError::Unknown { id })
    }

    /// Puts a restored message in the index that it belongs to.
    fn restore_place(&mut self, id: u64) {
        let Some(entry) = self.messages.get(&id) else {
            return;
        };
        if entry.cause_of_death().is_some() {
            return self.dead.insert(id, entry.cost);
        }
        self.live += 1;
        self.octets += entry.cost;
        self.expiries.extend(entry.expires.map(|at| (at, id)));
        self.make_ready(id);
    }
}

//! A queue for peers: what they put and take, as long as this node keeps it.
//!
//! ```text
//!  claim --> (patience is over, epoch is stored) --> holds: MOVED to all who asked
//!                                                      |
//!            MOVED to all <-- steps down <-- observe --+
//! ```
//!
//! Only what is verified is observed. An epoch that a peer goes by is a [rumour](Keeper::rumour):
//! its commands are not done, but nobody becomes keeper, or ceases to be, by a peer's word.
//!
//! When it steps down, deliveries are taken back, and what is not stored is given up, unanswered: its
//! producers put it to the next keeper. What was accepted stays in the [queue](Keeper::queue), for
//! its node to consume, put to the next keeper, flagged as redelivered, and ack.
//!
//! Invariant: it accepts and delivers only while it holds its epoch.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::command::Command;
use super::engine::{ConsumerId, Delivery, Put, Queue, Receipt, Refusal, TooManyConsumers};
use super::epoch::{ClaimError, Epoch, Observed, Tenure};
use super::record::Record;
use super::window::WINDOW;
use crate::trust::id::NodeId;

/// A peer's connection, by a number that its caller chose and does not use again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// A peer broke the rules, or takes more than there is. Its connection closes; the caller says then
/// that it is [lost](Keeper::lost).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// It sent what only the other side sends.
    #[error("peer sent a command that is for its own side")]
    Direction,
    /// It put more than it may without waiting for answers.
    #[error("peer has more than {} puts under way", WINDOW)]
    Puts,
    /// It is a consumer too many.
    #[error(transparent)]
    Consumers(#[from] TooManyConsumers),
    /// It delivered more than it had credit for, or one delivery twice.
    #[error("peer delivered what it may not")]
    Delivery,
    /// It answered a put that was not made.
    #[error("peer answered a put that was not made")]
    Answer,
}

/// That a put is accepted.
#[derive(Debug, Clone, Copy)]
struct Answer {
    receipt: Receipt,
    peer: PeerId,
    start: u64,
    sequence: u64,
}

#[derive(Debug, Default)]
struct Peer {
    /// Answers that it did not get yet.
    waiting: u64,
    /// What it subscribed with last.
    subscription: u64,
    /// The last epoch that it was told.
    told: Option<Epoch>,
}

/// A queue for peers. See the [module](self).
#[derive(Debug)]
pub struct Keeper {
    tenure: Tenure,
    queue: Queue,
    /// Up to where the epoch is stored.
    epoch_stored: Receipt,
    holds: bool,
    peers: BTreeMap<PeerId, Peer>,
    /// What is accepted as soon as it is stored.
    answers: VecDeque<Answer>,
    out: VecDeque<(PeerId, Command)>,
    /// Whether the last turn was the deliveries'.
    delivers: bool,
    rumour: Epoch,
    fenced: u64,
}

impl Keeper {
    /// A node with a queue, which may have been kept before, that is not its keeper yet.
    pub fn new(node: NodeId, mut queue: Queue) -> Self {
        Self {
            tenure: Tenure::new(node, queue.epoch()),
            epoch_stored: queue.note_epoch(Epoch::NONE),
            holds: false,
            queue,
            peers: BTreeMap::new(),
            answers: VecDeque::new(),
            out: VecDeque::new(),
            delivers: false,
            rumour: Epoch::NONE,
            fenced: 0,
        }
    }

    /// The queue.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The queue, for snapshots and dead letters. While it is held, all consumers are peers, with the
    /// peer's number; a consumer that empties it afterwards has a number that no peer has.
    pub fn queue_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// The epoch in which it keeps the queue, if it does.
    pub fn held(&self) -> Option<Epoch> {
        self.tenure.held().filter(|_| self.holds)
    }

    /// Whether a claim is not good yet, or not stored.
    pub fn is_claiming(&self) -> bool {
        self.tenure.is_claiming() || self.tenure.held().is_some() && !self.holds
    }

    /// The highest epoch that it knows.
    pub fn known(&self) -> Epoch {
        self.tenure.known()
    }

    /// The highest epoch above its own that a peer went by; to be verified and
    /// [observed](Self::observe).
    pub fn rumour(&self) -> Option<Epoch> {
        (self.rumour > self.known()).then_some(self.rumour)
    }

    /// Commands in another epoch, which were not done.
    pub fn fenced(&self) -> u64 {
        self.fenced
    }

    /// Claims the queue, as [`Tenure::claim`] does.
    ///
    /// # Errors
    /// There is no higher epoch.
    pub fn claim(&mut self, now: Duration, patience: Duration) -> Result<Epoch, ClaimError> {
        self.claim_from(0, now, patience)
    }

    /// Claims the queue, as [`Tenure::claim_from`] does.
    ///
    /// # Errors
    /// There is no higher epoch.
    pub fn claim_from(
        &mut self,
        least: u64,
        now: Duration,
        patience: Duration,
    ) -> Result<Epoch, ClaimError> {
        let epoch = self.tenure.claim_from(least, now, patience)?;
        self.epoch_stored = self.queue.note_epoch(epoch);
        self.handle_timeout(now);
        Ok(epoch)
    }

    /// Hears of an epoch that is verified, and steps down if it is higher.
    pub fn observe(&mut self, epoch: Epoch, now: Duration) -> Observed {
        let observed = self.tenure.observe(epoch);
        match observed {
            Observed::Older | Observed::Known => return observed,
            Observed::Newer => {}
            Observed::SteppedDown => self.step_down(now),
        }
        self.queue.note_epoch(epoch);
        self.tell_all();
        observed
    }

    fn step_down(&mut self, now: Duration) {
        self.holds = false;
        self.answers.clear();
        self.out.clear();
        self.queue.withdraw();
        self.queue.doubt();
        for (peer, state) in &mut self.peers {
            state.waiting = 0;
            self.queue.lost(ConsumerId(peer.0), now);
        }
    }

    /// A peer's connection is gone.
    pub fn lost(&mut self, peer: PeerId, now: Duration) {
        if self.peers.remove(&peer).is_some() {
            self.queue.lost(ConsumerId(peer.0), now);
        }
    }

    /// Does what a peer says.
    ///
    /// # Errors
    /// The connection must close.
    pub fn handle(&mut self, peer: PeerId, command: Command, now: Duration) -> Result<(), Misuse> {
        if let Command::Accepted { .. }
        | Command::Refused { .. }
        | Command::Deliver { .. }
        | Command::Moved { .. } = command
        {
            return Err(Misuse::Direction);
        }
        let state = self.peers.entry(peer).or_default();
        let epoch = command.epoch();
        if self.tenure.held().filter(|_| self.holds) != Some(epoch) {
            self.fenced += 1;
            self.rumour = self.rumour.max(epoch);
            self.tell(peer);
            return Ok(());
        }
        let consumer = ConsumerId(peer.0);
        match command {
            Command::Subscribe {
                subscription,
                credit,
                ..
            } => {
                state.subscription = subscription;
                self.queue.lost(consumer, now);
                self.queue.grow(consumer, credit)?;
            }
            Command::Credit { credit, .. } => self.queue.grow(consumer, credit)?,
            // Those that are not open any more were counted.
            Command::Ack { tags, .. } => {
                for tag in tags {
                    _ = self.queue.ack(consumer, tag);
                }
            }
            Command::Nack {
                tag, nack, detail, ..
            } => _ = self.queue.nack(consumer, tag, nack, &detail, now),
            Command::Extend { tag, lease, .. } => {
                _ = self.queue.extend(consumer, tag, now.saturating_add(lease));
            }
            put => return self.put(peer, put, now),
        }
        Ok(())
    }

    fn put(&mut self, peer: PeerId, command: Command, now: Duration) -> Result<(), Misuse> {
        let Command::Put {
            epoch,
            start,
            origin,
            priority,
            ttl,
            redelivered,
            history,
            message,
        } = command
        else {
            return Err(Misuse::Direction);
        };
        let state = self.peers.entry(peer).or_default();
        if state.waiting >= WINDOW {
            return Err(Misuse::Puts);
        }
        state.waiting += 1;
        let put = Put {
            origin: Some(origin),
            priority,
            ttl,
            redelivered,
            history,
            message,
        };
        let sequence = origin.sequence;
        match self.queue.put(put, now) {
            Ok(receipt) => self.answers.push_back(Answer {
                receipt,
                peer,
                start,
                sequence,
            }),
            Err(refusal) => self.out.push_back((
                peer,
                Command::Refused {
                    epoch,
                    start,
                    sequence,
                    refusal,
                },
            )),
        }
        Ok(())
    }

    /// Tells a peer who the keeper is, unless that is not certain yet or it was told.
    fn tell(&mut self, peer: PeerId) {
        let epoch = self.tenure.known();
        let uncertain = epoch == Epoch::NONE || epoch.holder() == self.tenure.node() && !self.holds;
        if !uncertain
            && let Some(state) = self.peers.get_mut(&peer)
            && state.told.replace(epoch) != Some(epoch)
        {
            self.out.push_back((peer, Command::Moved { epoch }));
        }
    }

    fn tell_all(&mut self) {
        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.tell(peer));
    }

    /// What to send next, and to whom. Answers and deliveries take turns.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<(PeerId, Command)> {
        self.delivers = !self.delivers;
        if self.delivers {
            self.poll_delivery(now).or_else(|| self.poll_answer())
        } else {
            self.poll_answer().or_else(|| self.poll_delivery(now))
        }
    }

    fn poll_delivery(&mut self, now: Duration) -> Option<(PeerId, Command)> {
        let epoch = self.held()?;
        let Delivery {
            consumer,
            tag,
            attempt,
            redelivered,
            priority,
            history,
            message,
            ..
        } = self.queue.poll(now)?;
        let peer = PeerId(consumer.0);
        let subscribed = self.peers.get(&peer);
        let command = Command::Deliver {
            epoch,
            subscription: subscribed.map_or(0, |state| state.subscription),
            tag,
            attempt,
            redelivered,
            priority,
            history,
            message,
        };
        Some((peer, command))
    }

    fn poll_answer(&mut self) -> Option<(PeerId, Command)> {
        while let Some((peer, command)) = self.out.pop_front() {
            let Some(state) = self.peers.get_mut(&peer) else {
                continue;
            };
            if let Command::Refused { .. } = command {
                state.waiting -= 1;
            }
            return Some((peer, command));
        }
        let epoch = self.held()?;
        self.poll_accepted(epoch)
    }

    /// Answers as many puts at once as follow each other.
    fn poll_accepted(&mut self, epoch: Epoch) -> Option<(PeerId, Command)> {
        let Answer {
            peer,
            start,
            sequence: first,
            ..
        } = loop {
            let answer = self.pop_answer(|_| true)?;
            if self.peers.contains_key(&answer.peer) {
                break answer;
            }
        };
        let mut last = first;
        while let Some(next) = self.pop_answer(|next| {
            (next.peer, next.start) == (peer, start) && last.checked_add(1) == Some(next.sequence)
        }) {
            last = next.sequence;
        }
        if let Some(state) = self.peers.get_mut(&peer) {
            state.waiting -= last - first + 1;
        }
        let command = Command::Accepted {
            epoch,
            start,
            first,
            last,
        };
        Some((peer, command))
    }

    fn pop_answer(&mut self, wanted: impl Fn(&Answer) -> bool) -> Option<Answer> {
        let answer = self.answers.front()?;
        let is_stored = self.queue.is_stored(answer.receipt);
        (is_stored && wanted(answer)).then(|| self.answers.pop_front())?
    }

    /// As [`Queue::poll_store`].
    pub fn poll_store(&mut self) -> Option<(Receipt, Record)> {
        self.queue.poll_store()
    }

    /// As [`Queue::stored`].
    pub fn stored(&mut self, up_to: Receipt) {
        self.queue.stored(up_to);
        self.take_hold();
    }

    /// The store takes nothing now, as [`Queue::store_failed`]: what waits for it is refused.
    pub fn store_failed(&mut self) {
        self.queue.store_failed();
        let Some(epoch) = self.tenure.held() else {
            return;
        };
        let queue = &self.queue;
        let out = &mut self.out;
        self.answers.retain(|answer| {
            let is_stored = queue.is_stored(answer.receipt);
            if !is_stored {
                let Answer {
                    peer,
                    start,
                    sequence,
                    ..
                } = *answer;
                let refusal = Refusal::Store;
                let refused = Command::Refused {
                    epoch,
                    start,
                    sequence,
                    refusal,
                };
                out.push_back((peer, refused));
            }
            is_stored
        });
    }

    /// When something is due.
    pub fn next_timeout(&self) -> Option<Duration> {
        let claim = self.tenure.next_timeout();
        claim.into_iter().chain(self.queue.next_timeout()).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.tenure.handle_timeout(now);
        self.take_hold();
        self.queue.handle_timeout(now);
    }

    /// Begins to keep the queue as soon as the claim is good and stored.
    fn take_hold(&mut self) {
        if !self.holds && self.tenure.held().is_some() && self.queue.is_stored(self.epoch_stored) {
            self.holds = true;
            self.tell_all();
        }
    }
}

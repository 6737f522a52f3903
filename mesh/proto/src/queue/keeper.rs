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
//! its node to consume, put to the next keeper, and ack.
//!
//! Invariant: it accepts and delivers only while it holds its epoch.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::command::Command;
use super::engine::{ConsumerId, Delivery, Put, Queue, Receipt, TooManyConsumers};
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
        let epoch = self.tenure.claim(now, patience)?;
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

    /// What to send next, and to whom.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<(PeerId, Command)> {
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
        if let Some(accepted) = self.poll_accepted(epoch) {
            return Some(accepted);
        }
        let delivery = self.queue.poll(now)?;
        let Delivery {
            consumer,
            tag,
            attempt,
            redelivered,
            priority,
            history,
            message,
        } = delivery;
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

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::super::window::{Origin, ProducerId};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PEER: PeerId = PeerId(1);
    const OTHER: PeerId = PeerId(2);

    fn node(number: u8) -> NodeId {
        NodeId::from_octets([number; 32])
    }

    fn keeper(durable: bool) -> Keeper {
        let options = Options {
            durable,
            max_messages: 5,
            ..Options::default()
        };
        Keeper::new(node(1), Queue::new("jobs".parse().unwrap(), options))
    }

    fn put(epoch: Epoch, sequence: u64) -> Command {
        Command::Put {
            epoch,
            start: 4,
            origin: Origin {
                producer: ProducerId([1; 16]),
                sequence,
            },
            priority: super::super::Priority::default(),
            ttl: None,
            redelivered: false,
            history: super::super::History::default(),
            message: "job".into(),
        }
    }

    fn due(keeper: &mut Keeper) -> Vec<(PeerId, Command)> {
        std::iter::from_fn(|| keeper.poll_transmit(SECOND)).collect()
    }

    fn store(keeper: &mut Keeper) {
        let last = std::iter::from_fn(|| keeper.poll_store()).last();
        last.into_iter()
            .for_each(|(receipt, _)| keeper.stored(receipt));
    }

    #[test]
    fn it_keeps_the_queue_when_its_claim_is_good_and_stored() {
        let mut keeper = keeper(true);
        keeper.handle(PEER, put(Epoch::NONE, 1), SECOND).unwrap();
        let epoch = keeper.claim(SECOND, SECOND).unwrap();
        keeper.handle(OTHER, put(epoch, 1), SECOND).unwrap();
        store(&mut keeper);
        assert!(keeper.is_claiming() && due(&mut keeper).is_empty());
        assert_eq!(keeper.next_timeout(), Some(2 * SECOND));
        keeper.handle_timeout(2 * SECOND);
        assert_eq!((keeper.held(), keeper.fenced()), (Some(epoch), 2));
        let moved = |peer, epoch| (peer, Command::Moved { epoch });
        assert_eq!(due(&mut keeper), [moved(PEER, epoch), moved(OTHER, epoch)]);
        // Who was told is not told again.
        keeper.handle(PEER, put(Epoch::NONE, 1), SECOND).unwrap();
        assert_eq!(due(&mut keeper), []);
        let higher = Epoch::new(5, node(2));
        keeper.handle(PEER, put(higher, 1), SECOND).unwrap();
        assert_eq!(
            (keeper.rumour(), keeper.held()),
            (Some(higher), Some(epoch))
        );
        assert_eq!(keeper.observe(higher, SECOND), Observed::SteppedDown);
        assert_eq!((keeper.rumour(), keeper.held()), (None, None));
        assert_eq!(
            due(&mut keeper),
            [moved(PEER, higher), moved(OTHER, higher)]
        );
        assert_eq!(keeper.queue().epoch(), higher);
    }

    #[test]
    fn puts_are_answered_when_they_are_stored_many_at_once() {
        let mut keeper = keeper(true);
        let epoch = keeper.claim(SECOND, Duration::ZERO).unwrap();
        store(&mut keeper);
        for (peer, sequence) in [
            (PEER, 1),
            (PEER, 2),
            (OTHER, 3),
            (PEER, 3),
            (PEER, 9),
            (PEER, 10),
        ] {
            keeper.handle(peer, put(epoch, sequence), SECOND).unwrap();
        }
        // The other peer's 3 is the first's as well; five messages are queued, and a sixth is not.
        keeper.handle(PEER, put(epoch, 11), SECOND).unwrap();
        assert_eq!(keeper.queue().len(), 5);
        let refused = Command::Refused {
            epoch,
            start: 4,
            sequence: 11,
            refusal: super::super::Refusal::Full,
        };
        assert_eq!(due(&mut keeper), [(PEER, refused)]);
        store(&mut keeper);
        let accepted = |peer, first, last| {
            (
                peer,
                Command::Accepted {
                    epoch,
                    start: 4,
                    first,
                    last,
                },
            )
        };
        let expected = [
            accepted(PEER, 1, 2),
            accepted(OTHER, 3, 3),
            accepted(PEER, 3, 3),
            accepted(PEER, 9, 10),
        ];
        assert_eq!(due(&mut keeper), expected);
    }

    #[test]
    fn what_is_not_stored_is_given_up_with_the_epoch() {
        let mut keeper = keeper(true);
        let epoch = keeper.claim(SECOND, Duration::ZERO).unwrap();
        store(&mut keeper);
        keeper.handle(PEER, put(epoch, 1), SECOND).unwrap();
        store(&mut keeper);
        keeper.handle(PEER, put(epoch, 2), SECOND).unwrap();
        let subscribe = Command::Subscribe {
            epoch,
            subscription: 1,
            credit: 1,
        };
        keeper.handle(OTHER, subscribe, SECOND).unwrap();
        let sent = due(&mut keeper);
        assert!(matches!(
            sent[1].1,
            Command::Deliver {
                subscription: 1,
                ..
            }
        ));
        keeper.observe(Epoch::new(2, node(2)), SECOND);
        assert_eq!((keeper.queue().len(), keeper.queue().open()), (1, 0));
        assert_eq!(keeper.queue().counts().withdrawn, 1);
        store(&mut keeper);
        assert!(
            due(&mut keeper)
                .iter()
                .all(|(_, it)| matches!(it, Command::Moved { .. }))
        );
    }

    #[test]
    fn peers_that_break_the_rules_are_told_which() {
        let mut keeper = keeper(true);
        let epoch = keeper.claim(SECOND, Duration::ZERO).unwrap();
        store(&mut keeper);
        let moved = Command::Moved { epoch };
        assert_eq!(keeper.handle(PEER, moved, SECOND), Err(Misuse::Direction));
        for _ in 0..WINDOW {
            keeper.handle(PEER, put(epoch, 1), SECOND).unwrap();
        }
        assert_eq!(
            keeper.handle(PEER, put(epoch, 1), SECOND),
            Err(Misuse::Puts)
        );
        keeper.lost(PEER, SECOND);
        store(&mut keeper);
        assert_eq!(due(&mut keeper), []);
    }
}

//! The side that takes messages: how many it wants, and which it has.
//!
//! ```text
//!  connected --SUBSCRIBE--> --DELIVER--> open --ack, nack--> ACK, NACK, and CREDIT for others
//!                                         |
//!                                         +--extend--> EXTEND, and it stays open
//!      ^                                  |
//!      +-------- lost, MOVED -------------+--> stale: the keeper delivers it again
//! ```
//!
//! Invariant: no more messages are open or on their way than the credit says; what is acked was
//! delivered over this link, in this epoch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::command::{Command, MAX_TAGS};
use super::death::{History, cut};
use super::engine::{MAX_CREDIT, Nack, Stale, Tag};
use super::epoch::Epoch;
use super::keeper::Misuse;
use super::options::Priority;
use crate::message::Message;
use crate::trust::id::NodeId;

/// A delivery: which, and since which start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkId {
    start: u64,
    tag: Tag,
}

/// A message to work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// What it is acked by.
    pub id: WorkId,
    /// How often it was delivered by this queue, with this time.
    pub attempt: u32,
    /// Whether a worker may have seen it before.
    pub redelivered: bool,
    /// How urgent it is.
    pub priority: Priority,
    /// Where it died before.
    pub history: History,
    /// The message.
    pub message: Message,
}

/// A worker. See the [module](self).
#[derive(Debug)]
pub struct Worker {
    credit: u32,
    known: Epoch,
    link: Option<NodeId>,
    /// How often it started over.
    start: u64,
    subscribed: bool,
    /// What the keeper may still deliver.
    granted: u32,
    /// What is to be granted for deliveries that ended.
    due: u32,
    open: BTreeSet<Tag>,
    acks: VecDeque<Tag>,
    nacks: VecDeque<(Tag, Nack, String)>,
    /// For how long deliveries are wanted that are open.
    leases: BTreeMap<Tag, Duration>,
    stale: u64,
}

impl Worker {
    /// A worker that has so many messages at a time, from 1 to [`MAX_CREDIT`].
    pub fn new(credit: u32) -> Self {
        Self {
            credit: credit.clamp(1, MAX_CREDIT),
            known: Epoch::NONE,
            link: None,
            start: 0,
            subscribed: false,
            granted: 0,
            due: 0,
            open: BTreeSet::new(),
            acks: VecDeque::new(),
            nacks: VecDeque::new(),
            leases: BTreeMap::new(),
            stale: 0,
        }
    }

    /// The highest epoch that it knows; its holder is the one to connect to.
    pub fn known(&self) -> Epoch {
        self.known
    }

    /// Deliveries that are open.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// What keepers sent that are keepers no more; it did not count.
    pub fn stale(&self) -> u64 {
        self.stale
    }

    /// There is a link to a node, instead of the one before. What is open is stale.
    pub fn connected(&mut self, node: NodeId) {
        self.link = Some(node);
        self.start_over();
    }

    /// The link is gone. What is open is stale: it is delivered again, here or elsewhere.
    pub fn lost(&mut self) {
        self.link = None;
        self.start_over();
    }

    /// Hears of an epoch. Deliveries of lower ones do not count from now on.
    pub fn observe(&mut self, epoch: Epoch) {
        if epoch > self.known {
            self.known = epoch;
            self.start_over();
        }
    }

    fn start_over(&mut self) {
        self.start += 1;
        self.subscribed = false;
        self.granted = 0;
        self.due = 0;
        self.open.clear();
        self.acks.clear();
        self.nacks.clear();
        self.leases.clear();
    }

    /// Takes what the keeper sent: work, if it is a delivery that counts.
    ///
    /// # Errors
    /// The keeper broke the rules; the connection must close.
    pub fn handle(&mut self, command: Command) -> Result<Option<Work>, Misuse> {
        match command {
            Command::Moved { epoch } if epoch >= self.known => {
                self.known = epoch;
                self.start_over();
                Ok(None)
            }
            Command::Deliver {
                epoch,
                subscription,
                ..
            } if self.counts(epoch, subscription) => self.deliver(command),
            Command::Moved { .. } | Command::Deliver { .. } => {
                self.stale += 1;
                Ok(None)
            }
            _ => Err(Misuse::Direction),
        }
    }

    /// Whether this is the keeper's answer to the last SUBSCRIBE.
    fn counts(&self, epoch: Epoch, subscription: u64) -> bool {
        let ours = self.subscribed && subscription == self.start;
        ours && epoch == self.known && self.link == Some(epoch.holder())
    }

    fn deliver(&mut self, command: Command) -> Result<Option<Work>, Misuse> {
        let Command::Deliver {
            tag,
            attempt,
            redelivered,
            priority,
            history,
            message,
            ..
        } = command
        else {
            return Err(Misuse::Direction);
        };
        if self.granted == 0 || !self.open.insert(tag) {
            return Err(Misuse::Delivery);
        }
        self.granted -= 1;
        let start = self.start;
        Ok(Some(Work {
            id: WorkId { start, tag },
            attempt,
            redelivered,
            priority,
            history,
            message,
        }))
    }

    /// A message is done.
    ///
    /// # Errors
    /// The link or the keeper is another by now; the message is delivered again.
    pub fn ack(&mut self, id: WorkId) -> Result<(), Stale> {
        self.close(id)?;
        self.acks.push_back(id.tag);
        Ok(())
    }

    /// A message is not wanted, with the reason, in up to
    /// [`MAX_DETAIL`](super::death::MAX_DETAIL) octets.
    ///
    /// # Errors
    /// The link or the keeper is another by now; the message is delivered again.
    pub fn nack(&mut self, id: WorkId, nack: Nack, detail: &str) -> Result<(), Stale> {
        self.close(id)?;
        self.nacks.push_back((id.tag, nack, cut(detail).to_owned()));
        Ok(())
    }

    /// Asks the keeper for so much time from now on, instead of what is left.
    ///
    /// # Errors
    /// The link or the keeper is another by now; the message is delivered again.
    pub fn extend(&mut self, id: WorkId, lease: Duration) -> Result<(), Stale> {
        let tag = id.tag;
        if !self.is_open(id) {
            return Err(Stale { tag });
        }
        self.leases.insert(tag, lease);
        Ok(())
    }

    /// Whether a delivery counts: it was not closed, over the link and by the keeper that there are.
    pub fn is_open(&self, WorkId { start, tag }: WorkId) -> bool {
        start == self.start && self.open.contains(&tag)
    }

    fn close(&mut self, WorkId { start, tag }: WorkId) -> Result<(), Stale> {
        if start != self.start || !self.open.remove(&tag) {
            return Err(Stale { tag });
        }
        self.leases.remove(&tag);
        self.due += 1;
        Ok(())
    }

    /// The next command for the node that the link goes to.
    pub fn poll_transmit(&mut self) -> Option<Command> {
        self.link?;
        let epoch = self.known;
        if !self.subscribed {
            self.subscribed = true;
            self.granted = self.credit;
            return Some(Command::Subscribe {
                epoch,
                subscription: self.start,
                credit: self.credit,
            });
        }
        if let Some((tag, lease)) = self.leases.pop_first() {
            return Some(Command::Extend { epoch, tag, lease });
        }
        if let Some((tag, nack, detail)) = self.nacks.pop_front() {
            return Some(Command::Nack {
                epoch,
                tag,
                nack,
                detail,
            });
        }
        if !self.acks.is_empty() {
            let some = self.acks.len().min(MAX_TAGS);
            let tags = self.acks.drain(..some).collect();
            return Some(Command::Ack { epoch, tags });
        }
        // Half of it at a time, so that a credit is not sent for each message.
        if self.due < self.credit.div_ceil(2) {
            return None;
        }
        let credit = std::mem::take(&mut self.due);
        self.granted += credit;
        Some(Command::Credit { epoch, credit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_octets([number; 32])
    }

    fn epoch(number: u64, holder: u8) -> Epoch {
        Epoch::new(number, node(holder))
    }

    fn deliver(epoch: Epoch, subscription: u64, tag: u64) -> Command {
        Command::Deliver {
            epoch,
            subscription,
            tag: Tag(tag),
            attempt: 1,
            redelivered: false,
            priority: Priority::default(),
            history: History::default(),
            message: Message::from("job"),
        }
    }

    fn due(worker: &mut Worker) -> Vec<Command> {
        std::iter::from_fn(|| worker.poll_transmit()).collect()
    }

    #[test]
    fn credit_follows_what_is_done() {
        let mut worker = Worker::new(4);
        assert_eq!(due(&mut worker), []);
        let epoch = epoch(1, 1);
        worker.observe(epoch);
        worker.connected(node(1));
        let subscription = match &due(&mut worker)[..] {
            [
                Command::Subscribe {
                    subscription,
                    credit: 4,
                    ..
                },
            ] => *subscription,
            other => panic!("{other:?}"),
        };
        let take = |worker: &mut Worker, tag| {
            let work = worker.handle(deliver(epoch, subscription, tag));
            work.map(|work| work.unwrap().id)
        };
        let ids: Vec<_> = (1..=4).map(|tag| take(&mut worker, tag).unwrap()).collect();
        assert_eq!(take(&mut worker, 5), Err(Misuse::Delivery));
        worker.ack(ids[0]).unwrap();
        assert_eq!(worker.ack(ids[0]), Err(Stale { tag: Tag(1) }));
        let tags = vec![Tag(1)];
        assert_eq!(due(&mut worker), [Command::Ack { epoch, tags }]);
        worker.nack(ids[1], Nack::DeadLetter, "no").unwrap();
        let expected = [
            Command::Nack {
                epoch,
                tag: Tag(2),
                nack: Nack::DeadLetter,
                detail: "no".to_owned(),
            },
            Command::Credit { epoch, credit: 2 },
        ];
        assert_eq!(due(&mut worker), expected);
        assert_eq!(worker.open(), 2);
        let lease = Duration::from_secs(5);
        worker.extend(ids[2], lease).unwrap();
        worker.extend(ids[3], lease).unwrap();
        worker.ack(ids[3]).unwrap();
        assert_eq!(worker.extend(ids[3], lease), Err(Stale { tag: Tag(4) }));
        let tag = Tag(3);
        let expected = [
            Command::Extend { epoch, tag, lease },
            Command::Ack {
                epoch,
                tags: vec![Tag(4)],
            },
        ];
        assert_eq!(due(&mut worker), expected);
        take(&mut worker, 6).unwrap();
        assert_eq!(take(&mut worker, 6), Err(Misuse::Delivery));
    }

    #[test]
    fn work_of_another_keeper_or_link_is_stale() {
        let mut worker = Worker::new(4);
        worker.connected(node(1));
        assert_eq!(due(&mut worker).len(), 1);
        let first = epoch(1, 1);
        worker.handle(Command::Moved { epoch: first }).unwrap();
        let Some(Command::Subscribe { subscription, .. }) = worker.poll_transmit() else {
            panic!("it subscribes anew");
        };
        let work = worker.handle(deliver(first, subscription, 1));
        let id = work.unwrap().unwrap().id;
        let mut ignored = 0;
        for (epoch, subscription) in [(first, subscription + 1), (epoch(0, 1), subscription)] {
            let work = worker.handle(deliver(epoch, subscription, 2));
            ignored += 1;
            assert_eq!((work, worker.stale()), (Ok(None), ignored));
        }
        worker.lost();
        worker.connected(node(1));
        assert_eq!(worker.ack(id), Err(Stale { tag: Tag(1) }));
        // The same tag again is not the same work.
        let Some(Command::Subscribe { subscription, .. }) = worker.poll_transmit() else {
            panic!("it subscribes anew");
        };
        let work = worker.handle(deliver(first, subscription, 1));
        assert_ne!(work.unwrap().unwrap().id, id);
        assert!(worker.ack(id).is_err() && worker.open() == 1);
        let second = epoch(2, 2);
        worker.handle(Command::Moved { epoch: second }).unwrap();
        let work = worker.handle(deliver(second, subscription, 3));
        assert_eq!((work, worker.known()), (Ok(None), second));
    }
}

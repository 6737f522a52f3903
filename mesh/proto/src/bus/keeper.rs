//! A publisher that numbers its messages, keeps their history, and brings late joiners up to date.
//!
//! It keeps the last messages of each topic, the retained values, or both; a snapshot has each
//! message once, by sequence. A snapshot is taken when it is asked for and given out piece by piece
//! while other messages are published: it shares the messages, so that it costs little.
//!
//! It takes the joiner's word for nothing but what it wants: who may have what is decided before
//! [`Keeper::handle_ask`]. Which messages are exchanged stands in [`snapshot`](super::snapshot).
//!
//! Invariant: sequences rise by 1, and the mark of a snapshot is published before any message that
//! the snapshot does not hold.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::publication::Publication;
use super::replay::{Kept, Replay};
use super::retained::Retained;
use super::snapshot::{Ask, Reply, mark_topic};
use crate::trust::NodeId;

/// Snapshots that are under way at a time; who asks beyond is told to ask again.
pub const MAX_SNAPSHOTS: usize = 64;

/// What a question gets at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To be published on the bus now, before anything else. The snapshot comes by
    /// [`Keeper::poll_reply`].
    Mark(Box<Publication>),
    /// To be sent to the joiner: there is no snapshot now.
    Busy(Reply),
}

/// Counters of a keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Snapshots that were taken.
    pub snapshots: u64,
    /// Of these, the ones that were given out to the end.
    pub finished: u64,
    /// Questions that were told to come again.
    pub busy: u64,
    /// Messages that expired between the snapshot and their turn.
    pub expired: u64,
}

/// A publisher that keeps its history.
#[derive(Debug)]
pub struct Keeper {
    origin: NodeId,
    sequence: u64,
    replay: Replay,
    retained: Retained,
    /// By joiner.
    snapshots: BTreeMap<u32, Snapshot>,
    counts: Counts,
}

#[derive(Debug)]
struct Snapshot {
    attempt: u32,
    sequence: u64,
    parts: VecDeque<Arc<Kept>>,
    sent: u64,
}

impl Keeper {
    /// A publisher that has published nothing. `origin` must be new whenever the sequence begins
    /// again, as the id of a node is.
    pub fn new(origin: NodeId, replay: Replay, retained: Retained) -> Self {
        Self {
            origin,
            sequence: 0,
            replay,
            retained,
            snapshots: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// Numbers a message, names its origin and keeps it. The caller publishes it before it calls
    /// anything else here.
    pub fn publish(&mut self, publication: &mut Publication, now: Duration) {
        self.sequence += 1;
        publication.header.sequence = self.sequence;
        publication.header.origin = Some(self.origin);
        self.replay.put(publication, now);
        self.retained.put(publication, now);
    }

    /// Takes a snapshot for a joiner, in place of one that it has not taken to the end.
    pub fn handle_ask(&mut self, joiner: u32, ask: &Ask) -> Answer {
        let attempt = ask.attempt;
        let full = self.snapshots.len() >= MAX_SNAPSHOTS;
        if full && !self.snapshots.contains_key(&joiner) {
            self.counts.busy += 1;
            return Answer::Busy(Reply::Busy { attempt });
        }
        let mut parts = self.replay.matching(&ask.filter);
        parts.extend(self.retained.matching(&ask.filter));
        let sequence = |kept: &Arc<Kept>| kept.publication().header.sequence;
        parts.sort_by_key(sequence);
        parts.dedup_by_key(|kept| sequence(kept));
        let snapshot = Snapshot {
            attempt,
            sequence: self.sequence,
            parts: parts.into(),
            sent: 0,
        };
        self.snapshots.insert(joiner, snapshot);
        self.counts.snapshots += 1;
        let mut mark = Publication::new(mark_topic(ask.mark), "");
        mark.header.sequence = self.sequence;
        mark.header.origin = Some(self.origin);
        Answer::Mark(Box::new(mark))
    }

    /// The next piece of a joiner's snapshot, to be sent at `now`; `None` when there is none.
    pub fn poll_reply(&mut self, joiner: u32, now: Duration) -> Option<Reply> {
        let snapshot = self.snapshots.get_mut(&joiner)?;
        let attempt = snapshot.attempt;
        while let Some(kept) = snapshot.parts.pop_front() {
            let Some(publication) = kept.aged(now) else {
                self.counts.expired += 1;
                continue;
            };
            snapshot.sent += 1;
            return Some(Reply::Part {
                attempt,
                publication: Box::new(publication),
            });
        }
        let (sequence, count) = (snapshot.sequence, snapshot.sent);
        self.snapshots.remove(&joiner);
        self.counts.finished += 1;
        Some(Reply::End {
            attempt,
            sequence,
            count,
        })
    }

    /// Lets go what is under way for a joiner that left.
    pub fn forget(&mut self, joiner: u32) {
        self.snapshots.remove(&joiner);
    }

    /// When the next message that is kept expires.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let deadlines = [self.replay.poll_timeout(), self.retained.poll_timeout()];
        deadlines.into_iter().flatten().min()
    }

    /// Lets go what has expired.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.replay.handle_timeout(now);
        self.retained.handle_timeout(now);
    }

    /// The sequence of the message that was published last; 0 before the first.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The last messages of each topic.
    pub fn replay(&self) -> &Replay {
        &self.replay
    }

    /// The retained values.
    pub fn retained(&self) -> &Retained {
        &self.retained
    }

    /// The counters.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Filter;
    use crate::bus::replay::Limits;

    fn keeper(per_topic: usize) -> Keeper {
        let limits = Limits {
            per_topic,
            ..Limits::default()
        };
        let (replay, retained) = (Replay::new(limits), Retained::new(Limits::default()));
        Keeper::new(NodeId::from_octets([1; 32]), replay, retained)
    }

    fn publish(keeper: &mut Keeper, topic: &str, retain: bool, expiry: Option<Duration>) {
        let mut publication = Publication::new(topic.parse().unwrap(), "body");
        publication.header.retain = retain;
        publication.header.expiry = expiry;
        keeper.publish(&mut publication, Duration::ZERO);
        assert_eq!(publication.header.sequence, keeper.sequence());
    }

    fn ask(attempt: u32) -> Ask {
        Ask {
            mark: 1,
            attempt,
            filter: Filter::all(),
        }
    }

    #[test]
    fn a_snapshot_is_what_was_there_when_it_was_asked_for() {
        let mut keeper = keeper(1);
        publish(&mut keeper, "a", true, None);
        publish(&mut keeper, "a", false, None);
        publish(&mut keeper, "b", true, None);
        publish(&mut keeper, "c", false, Some(Duration::from_secs(1)));
        let Answer::Mark(mark) = keeper.handle_ask(5, &ask(3)) else {
            panic!("no mark");
        };
        assert_eq!(mark.header.sequence, 4);
        publish(&mut keeper, "b", true, None);
        let mut sequences = Vec::new();
        let now = Duration::from_secs(1);
        while let Some(reply) = keeper.poll_reply(5, now) {
            match reply {
                Reply::Part { publication, .. } => sequences.push(publication.header.sequence),
                reply => {
                    let end = Reply::End {
                        attempt: 3,
                        sequence: 4,
                        count: 3,
                    };
                    assert_eq!(reply, end);
                }
            }
        }
        assert_eq!(sequences, [1, 2, 3], "each once, and one expired");
        let counts = keeper.counts();
        assert_eq!((counts.finished, counts.expired), (1, 1));
    }

    #[test]
    fn snapshots_under_way_are_few() {
        let mut keeper = keeper(1);
        publish(&mut keeper, "a", false, None);
        for joiner in 0..MAX_SNAPSHOTS as u32 {
            assert!(matches!(
                keeper.handle_ask(joiner, &ask(1)),
                Answer::Mark(_)
            ));
        }
        let busy = Answer::Busy(Reply::Busy { attempt: 2 });
        assert_eq!(keeper.handle_ask(1_000, &ask(2)), busy);
        assert!(matches!(keeper.handle_ask(0, &ask(2)), Answer::Mark(_)));
        keeper.forget(3);
        assert!(matches!(keeper.handle_ask(1_000, &ask(3)), Answer::Mark(_)));
        assert_eq!(keeper.poll_reply(3, Duration::ZERO), None);
        assert_eq!(keeper.counts().busy, 1);
    }
}

//! A late joiner: the history of one keeper first, then its updates, without a gap and without a
//! double (after the Clone pattern, RFC 12).
//!
//! ```text
//!            ask, or time is up
//!          ┌───────────────────┐
//!          v                   │
//!  ──> joining ── snapshot and mark ──> live
//!          ^                             │
//!          └───── the bus was cut off ───┘
//! ```
//!
//! While it joins it holds the updates that come, asks for a snapshot until it has one, and waits for
//! the mark that says that its subscription holds (see [`snapshot`](super::snapshot)). Then it gives
//! out what the snapshot and the updates have, each message once, in the order of their sequence.
//! Once it is live, it gives out each update as it comes, and only messages that it has seen are left
//! out: updates may overtake each other by as much as [`window::SPAN`](super::window::SPAN).
//!
//! What it holds is bounded. An update that finds no room makes the one of the lowest sequence go, and the
//! snapshot must then reach that far; messages of a snapshot go the same way, oldest first.
//!
//! What it does not notice: an update that the keeper's publisher dropped because this subscriber was
//! slow. [`Joiner::restart`] brings that back, as far as the keeper still has it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use super::publication::Publication;
use super::snapshot::{Ask, Reply, mark_topic};
use super::topic::{Filter, Topic};
use super::window::Window;

/// How long the first question may go without an answer before the next; each is given twice the time
/// of the one before.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// The longest time between questions.
pub const MAX_PATIENCE: Duration = Duration::from_secs(8);

/// What a joiner may hold, once of updates and once of the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages. Default 10,000.
    pub messages: usize,
    /// Octets of their memory. Default 16 MiB.
    pub octets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages: 10_000,
            octets: 16 << 20,
        }
    }
}

/// What comes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing for the subscriber.
    Nothing,
    /// An update for the subscriber.
    Deliver(Box<Publication>),
    /// The joiner is live: all that it held, in the order of sequence. From now on updates pass, and
    /// the subscription to the mark's topic may be taken back.
    Live(Vec<Publication>),
}

/// The keeper broke the rules. It misbehaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// A message that should have a sequence has none.
    #[error("the keeper sent a message without a sequence")]
    Unnumbered,
    /// A part of the snapshot is not of the topics that were asked for.
    #[error("the keeper's snapshot has topics that were not asked for")]
    Foreign,
    /// A part of the snapshot was published after it was taken.
    #[error("the keeper's snapshot has message {found} but ends at {end}")]
    Beyond {
        /// The sequence of the part.
        found: u64,
        /// Where the snapshot ends.
        end: u64,
    },
}

/// Counters of a joiner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Updates and parts that came twice, or came after a snapshot that reached further.
    pub doubles: u64,
    /// Updates that found no room; a snapshot brought them.
    pub overrun: u64,
    /// Parts of a snapshot that found no room and are lost.
    pub shed: u64,
    /// Messages whose time was over before the joiner was live.
    pub expired: u64,
    /// Answers to questions that were asked anew, and their parts.
    pub stale: u64,
    /// Times that a question had no good answer in time.
    pub retries: u64,
}

/// A late joiner of one keeper.
#[derive(Debug)]
pub struct Joiner {
    filter: Filter,
    mark: u64,
    mark_topic: Topic,
    live: bool,
    /// The number of the last question; 0 before the first.
    attempt: u32,
    /// A question is to be asked.
    due: bool,
    deadline: Option<Duration>,
    patience: Duration,
    /// Parts that came with this attempt.
    received: u64,
    parts: Pile,
    /// Where the snapshot ends, once it is complete.
    end: Option<u64>,
    updates: Pile,
    /// The lowest sequence of a mark that came: from there on no update is missing.
    marked: Option<u64>,
    /// The highest sequence of an update that found no room.
    overrun: u64,
    seen: Window,
    counts: Counts,
}

impl Joiner {
    /// A joiner of the topics that `filter` chooses. `mark` is a random number, from a good source
    /// where others could guess it.
    ///
    /// The caller subscribes to `filter` and then to [`Joiner::mark_topic`] at the keeper, and
    /// passes on what comes.
    pub fn new(filter: Filter, mark: u64, limits: Limits) -> Self {
        Self {
            filter,
            mark,
            mark_topic: mark_topic(mark),
            live: false,
            attempt: 0,
            due: true,
            deadline: None,
            patience: PATIENCE,
            received: 0,
            parts: Pile::new(limits),
            end: None,
            updates: Pile::new(limits),
            marked: None,
            overrun: 0,
            seen: Window::default(),
            counts: Counts::default(),
        }
    }

    /// What the joiner wants.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// To be subscribed to while the joiner is not live, after the filter and on the same connection.
    pub fn mark_topic(&self) -> &Topic {
        &self.mark_topic
    }

    /// Whether updates pass.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// The counters.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Joins again after the subscription was lost, with a new random number for the mark. What was
    /// given out before is not given out again.
    pub fn restart(&mut self, mark: u64) {
        self.mark = mark;
        self.mark_topic = mark_topic(mark);
        self.live = false;
        self.marked = None;
        self.patience = PATIENCE;
        self.ask_anew();
    }

    /// The question to send to the keeper now, if one is due.
    pub fn poll_ask(&mut self, now: Duration) -> Option<Ask> {
        if !std::mem::take(&mut self.due) {
            return None;
        }
        self.attempt = self.attempt.wrapping_add(1);
        self.deadline = Some(now.saturating_add(self.patience));
        Some(Ask {
            mark: self.mark,
            attempt: self.attempt,
            filter: self.filter.clone(),
        })
    }

    /// When [`Joiner::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.deadline
    }

    /// Asks again when an answer, or the next part of it, is overdue.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.counts.retries += 1;
            self.patience = (self.patience * 2).min(MAX_PATIENCE);
            self.ask_anew();
        }
    }

    /// Takes in a message of the keeper that came on the bus. One that the filter does not choose
    /// is not for this joiner.
    ///
    /// # Errors
    /// The keeper broke the rules.
    pub fn handle_update(
        &mut self,
        publication: Publication,
        now: Duration,
    ) -> Result<Step, JoinError> {
        let sequence = publication.header.sequence;
        if publication.topic == self.mark_topic {
            // Before a keeper's first message, this is 0.
            self.marked = Some(self.marked.map_or(sequence, |lowest| lowest.min(sequence)));
            return Ok(self.go_live(now));
        }
        if !self.filter.matches(&publication.topic) {
            return Ok(Step::Nothing);
        }
        if sequence == 0 {
            return Err(JoinError::Unnumbered);
        }
        if self.live {
            if self.seen.note(sequence) {
                return Ok(Step::Deliver(Box::new(publication)));
            }
            self.counts.doubles += 1;
        } else if !self.seen.is_fresh(sequence) || self.updates.contains(sequence) {
            self.counts.doubles += 1;
        } else {
            for shed in self.updates.insert(publication, now) {
                self.overrun = self.overrun.max(shed);
                self.counts.overrun += 1;
            }
        }
        Ok(Step::Nothing)
    }

    /// Takes in an answer of the keeper.
    ///
    /// # Errors
    /// The keeper broke the rules.
    pub fn handle_reply(&mut self, reply: Reply, now: Duration) -> Result<Step, JoinError> {
        let (Reply::Part { attempt, .. } | Reply::End { attempt, .. } | Reply::Busy { attempt }) =
            reply;
        if self.live || self.due || self.end.is_some() || attempt != self.attempt {
            self.counts.stale += 1;
            return Ok(Step::Nothing);
        }
        match reply {
            // The question is asked again when its time is up.
            Reply::Busy { .. } => Ok(Step::Nothing),
            Reply::Part { publication, .. } => {
                self.take_part(*publication, now)?;
                Ok(Step::Nothing)
            }
            Reply::End {
                sequence, count, ..
            } => {
                if let Some(found) = self.parts.highest().filter(|&found| found > sequence) {
                    let end = sequence;
                    return Err(JoinError::Beyond { found, end });
                }
                if count == self.received {
                    self.end = Some(sequence);
                }
                Ok(self.go_live(now))
            }
        }
    }

    fn take_part(&mut self, part: Publication, now: Duration) -> Result<(), JoinError> {
        let sequence = part.header.sequence;
        if sequence == 0 {
            return Err(JoinError::Unnumbered);
        }
        if !self.filter.matches(&part.topic) {
            return Err(JoinError::Foreign);
        }
        self.received += 1;
        self.deadline = Some(now.saturating_add(self.patience));
        if self.seen.is_fresh(sequence) && !self.parts.contains(sequence) {
            self.counts.shed += self.parts.insert(part, now).len() as u64;
        } else {
            self.counts.doubles += 1;
        }
        Ok(())
    }

    fn ask_anew(&mut self) {
        self.due = true;
        self.deadline = None;
        self.received = 0;
        self.end = None;
        self.parts.take();
    }

    /// Becomes live if nothing is missing between the snapshot and the updates.
    fn go_live(&mut self, now: Duration) -> Step {
        let (Some(end), Some(marked)) = (self.end, self.marked) else {
            return Step::Nothing;
        };
        if self.live || marked > end || self.overrun > end {
            return Step::Nothing;
        }
        let mut all = self.parts.take();
        for (sequence, update) in self.updates.take() {
            self.counts.doubles += u64::from(all.insert(sequence, update).is_some());
        }
        self.live = true;
        self.deadline = None;
        let mut ready = Vec::with_capacity(all.len());
        self.seen.raise(end);
        for (sequence, (publication, since)) in all {
            // Up to the snapshot's end all count as seen already.
            self.seen.note(sequence);
            match publication.aged(now.saturating_sub(since)) {
                Some(publication) => ready.push(publication),
                None => self.counts.expired += 1,
            }
        }
        Step::Live(ready)
    }
}

/// Messages by sequence and since when, within limits.
#[derive(Debug)]
struct Pile {
    limits: Limits,
    messages: BTreeMap<u64, (Publication, Duration)>,
    octets: usize,
}

impl Pile {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            messages: BTreeMap::new(),
            octets: 0,
        }
    }

    fn contains(&self, sequence: u64) -> bool {
        self.messages.contains_key(&sequence)
    }

    fn highest(&self) -> Option<u64> {
        self.messages
            .last_key_value()
            .map(|(&sequence, _)| sequence)
    }

    /// Adds a message whose sequence is not there, and returns the sequences of those that went for
    /// it.
    fn insert(&mut self, publication: Publication, now: Duration) -> Vec<u64> {
        self.octets += publication.footprint();
        let sequence = publication.header.sequence;
        self.messages.insert(sequence, (publication, now));
        let mut shed = Vec::new();
        while (self.messages.len() > self.limits.messages || self.octets > self.limits.octets)
            && let Some((lowest, (publication, _))) = self.messages.pop_first()
        {
            self.octets -= publication.footprint();
            shed.push(lowest);
        }
        shed
    }

    fn take(&mut self) -> BTreeMap<u64, (Publication, Duration)> {
        self.octets = 0;
        std::mem::take(&mut self.messages)
    }
}

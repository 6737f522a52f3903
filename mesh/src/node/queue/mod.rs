//! Acked queues on a node: producers, workers, and the keeper between them.
//!
//! ```text
//!  Producer ── put ──> keeper ── job ──> Worker
//!           <─ accepted ─┘  <──── ack ────┘
//! ```
//!
//! A message that was accepted is delivered until a worker has acked it, or it is a dead letter. It comes
//! again, flagged as redelivered, if its worker died, gave it back or was too slow; it may then come
//! after later ones.
//!
//! Each queue has one keeper at a time, found by its name. By default it is the node of the first
//! producer: *accepted* then means that the message is in that node's memory, **and it is lost with
//! that node**. A node that [keeps the queue](Node::keep_queue) in a [store](crate::store::Store) accepts
//! what is on its disk.
//!
//! Who becomes keeper says so in its record, with an epoch above all that it knows; who hears of a
//! higher epoch steps down, and puts what it has to the higher one. Of two that claim a queue at the
//! same time, or that a cut network kept apart, one stays, as soon as they hear of each other.
//! Producers and workers follow the highest epoch that they know and never go back. Epochs are numbered
//! by clocks, so that one that was forgotten by all others is not the highest for long; a node whose
//! clock is more than a day ahead of the others' keeps no queue for them.
//!
//! Whoever is trusted may put, take, and keep; with [permissions](crate::manual::mesh#permissions), who has
//! `push` for the queue may put, who has `pull` may take, and who has `serve` may keep it, and put what it
//! kept.
//!
//! | limit | |
//! |---|---|
//! | messages, octets, dead letters, consumers, producers of a queue | [`QueueOptions`] |
//! | messages of a producer under way | [`ProducerOptions::window`] |
//! | jobs of a worker | its credit, [`DEFAULT_CREDIT`] unless told otherwise |
//! | what a peer leaves unread | [`MAX_UNREAD`] commands, then it is disconnected and counted |
//! | octets of a message | [`MAX_PUT`] |
//!
//! The [engine](withy_proto::queue) decides; here are its sockets, clock, disk and tasks: one task for
//! each producer, worker and keeper.
//!
//! Invariant: what is told to be accepted was accepted by the engine, and stored if there is a store.

mod client;
mod error;
mod heir;
mod job;
mod keeper;
mod keeping;
mod offers;
mod peer;
mod producer;
mod tenure;
#[cfg(test)]
mod tests;
mod worker;
mod writer;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

pub use error::{KeepError, PutError, StaleJob};
pub use job::Job;
pub use keeper::{QueueKeeper, QueueStats};
pub use keeping::MAX_UNREAD;
pub use producer::{KEEPER_WAIT, Producer, ProducerOptions, Putting};
pub use tenure::{ABSENCE, PATIENCE};
pub use withy_proto::queue::producer::Push as Put;
pub use withy_proto::queue::{
    Cause, Counts, DeadId, DeadLetter, Death, Epoch, History, Options as QueueOptions, Overflow,
    Priority, ProducerId, QueueName, Refusal, WINDOW,
};
pub use worker::{DEFAULT_CREDIT, Worker};

use super::{NameError, Node};
use crate::identity::since_epoch;
use crate::store::Store;

/// Octets of a message that any queue takes, at most; a queue's own limit is lower by default.
pub const MAX_PUT: usize = 63 * 1024 * 1024;

/// Commands that a task takes in before it does anything else.
const TURN: usize = 256;

impl Node {
    /// Puts messages into an acked queue. If nobody keeps it within [`KEEPER_WAIT`], this node does, in
    /// its memory, until it is closed.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let home = withy::Home::at(folder.path().join("home"));
    /// # let node = withy::Node::builder().home(&home).runtime_directory(folder.path().join("run"));
    /// # let node = node.build().await?;
    /// let producer = node.producer("jobs")?;
    /// let worker = node.worker("jobs")?; // on any node
    ///
    /// producer.put("dig").await?; // accepted
    /// let job = worker.recv().await?;
    /// assert_eq!(job.message.first(), "dig");
    /// job.ack()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// It is no name, or the node was closed.
    pub fn producer(&self, queue: impl AsRef<str>) -> Result<Producer, NameError> {
        self.producer_with(queue, ProducerOptions::default())
    }

    /// As [`producer`](Self::producer), with options.
    ///
    /// # Errors
    /// As [`producer`](Self::producer).
    pub fn producer_with(
        &self,
        queue: impl AsRef<str>,
        options: ProducerOptions,
    ) -> Result<Producer, NameError> {
        Producer::new(self, parse(queue.as_ref())?, options)
    }

    /// Takes jobs from an acked queue, [`DEFAULT_CREDIT`] at a time.
    ///
    /// # Errors
    /// It is no name, or the node was closed.
    pub fn worker(&self, queue: impl AsRef<str>) -> Result<Worker, NameError> {
        self.worker_with(queue, DEFAULT_CREDIT)
    }

    /// As [`worker`](Self::worker), with so many jobs at a time, from 1 to
    /// [`MAX_CREDIT`](withy_proto::queue::MAX_CREDIT). With 1, no job waits here for another one to end.
    ///
    /// # Errors
    /// As [`worker`](Self::worker).
    pub fn worker_with(&self, queue: impl AsRef<str>, credit: u32) -> Result<Worker, NameError> {
        Worker::new(self, parse(queue.as_ref())?, credit)
    }

    /// Keeps an acked queue, in memory or in a store, for as long as the returned handle lives. Whoever
    /// kept it before steps down, and puts what it has to this node; so does this node when another
    /// one takes over, and it comes back if that one is gone for [`ABSENCE`].
    ///
    /// It holds the queue after [`PATIENCE`], in which a higher claim may be heard of.
    ///
    /// # Errors
    /// It is no name, this node keeps it already, or the store does not open.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call keeps nothing.
    pub async fn keep_queue(
        &self,
        queue: impl AsRef<str>,
        options: QueueOptions,
        store: Store,
    ) -> Result<QueueKeeper, KeepError> {
        QueueKeeper::open(self, parse(queue.as_ref())?, options, store).await
    }
}

fn parse(name: &str) -> Result<QueueName, NameError> {
    name.parse().map_err(|_| NameError::Name {
        name: name.to_owned(),
    })
}

/// The time since the Unix epoch as it was when the process first asked, and has gone on since: a clock
/// that is set does not make messages expire.
fn now() -> Duration {
    static START: LazyLock<(Instant, Duration)> = LazyLock::new(|| (Instant::now(), since_epoch()));
    let (start, time) = *START;
    time + start.elapsed()
}

/// Whole milliseconds of a moment, as epochs are numbered.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Waits until a moment, or for ever.
async fn deadline(at: Option<Duration>) {
    match at {
        // A timer takes a millisecond at least.
        Some(at) if at <= now() => tokio::task::yield_now().await,
        Some(at) => tokio::time::sleep(at.saturating_sub(now())).await,
        None => std::future::pending().await,
    }
}

//! Acked queues: a message stays until a worker has said that it is done.
//!
//! ```text
//!             PUT              record                 DELIVER
//!  Producer ------> Keeper --> Queue <--> store     ------> Worker
//!           <------                                 <------
//!           ACCEPTED                                 ACK
//! ```
//!
//! | part | what it is |
//! |---|---|
//! | [`Queue`] | the messages, their consumers and their dead letters |
//! | [`Record`], [`LogReader`] | what a store keeps, and how it is read again |
//! | [`Epoch`], [`Tenure`] | who may keep the queue: one at a time |
//! | [`Keeper`] | a queue for peers, as long as it has the tenure |
//! | [`Producer`], [`Worker`] | the peers' sides |
//! | [`Command`] | what they say to each other |
//!
//! A message comes at least once. It comes again when its worker was lost, was too slow or gave it
//! back, when the keeper was lost before it stored the ACK, and when a producer did not hear that it
//! was accepted; whatever may have come before is flagged as redelivered. A put with the number of
//! an earlier one is answered as accepted and not queued again, as long as the keeper remembers the
//! earlier one: [`WINDOW`] numbers of each producer.
//!
//! Without a store, accepted means: in the keeper's memory. With one, it means: stored.
//!
//! Moments are durations since one fixed moment. Where there is a store, or where messages with a
//! history move from one node to another, it has to be the Unix epoch; what is stored or sent has
//! milliseconds.
//!
//! Invariant: a message that was accepted is delivered until it is acked, or it is a dead letter
//! and counted as such.

pub mod command;
pub mod death;
mod engine;
pub mod epoch;
pub mod keeper;
pub mod log;
mod options;
pub mod producer;
pub mod record;
#[cfg(test)]
mod simulation;
mod window;
pub mod worker;

pub use command::{Command, CommandError};
pub use death::{Cause, Death, History};
pub use engine::{
    ConsumerId, Counts, DeadId, DeadLetter, Delivery, MAX_BACKLOG, MAX_CREDIT, MAX_FRAMES,
    MAX_MESSAGE, Nack, Put, Queue, Receipt, Refusal, RestoreError, Stale, Tag, TooManyConsumers,
};
pub use epoch::{ClaimError, Epoch, Observed, Tenure};
pub use keeper::{Keeper, Misuse, PeerId};
pub use log::{LogError, LogReader};
pub use options::{Options, Overflow, Priority, QueueName, QueueNameError};
pub use producer::Producer;
pub use record::{Record, RecordError};
pub use window::{Origin, ProducerId, WINDOW, Window};
pub use worker::Worker;

use std::time::Duration;

/// Whole milliseconds of a moment, rounded up: nothing expires too early.
fn to_millis(moment: Duration) -> u64 {
    let millis = moment.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

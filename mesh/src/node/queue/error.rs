//! Why a queue is not kept, a message not accepted, or a job not closed.

use withy_proto::queue::Refusal;

use super::Put;
use crate::node::NameError;
use crate::store::StoreError;

/// Why a node does not keep a queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The name cannot be used. Local misuse, unless the node was closed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is an epoch above which there is no other; no honest node comes that far.
    #[error(transparent)]
    Epoch(#[from] withy_proto::queue::ClaimError),
}

/// Why a message was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// The keeper does not take it, or it expired before its acceptance was heard of: then it may be
    /// queued all the same.
    #[error("{refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// The message, flagged as redelivered if another keeper may have it.
        put: Box<Put>,
    },
    /// It is larger than anything that a queue takes. Local misuse.
    #[error("the message is too large for queues: {} octets in {} frames", put.message.size(), put.message.len())]
    TooLarge {
        /// The message.
        put: Box<Put>,
    },
    /// The node was closed before the message was taken.
    #[error("the node is closed")]
    Closed {
        /// The message.
        put: Box<Put>,
    },
    /// The node was closed before it heard what became of the message. It may be queued or not.
    #[error("the node was closed, and the message may be queued or not")]
    Unknown,
}

/// A job is not this worker's any more: its keeper, or the link to it, is another one, or it was out for
/// too long. The message comes again, to whoever takes it, flagged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the job was given to somebody else meanwhile, or will be")]
pub struct StaleJob;

//! Why a request to a service has no reply.

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// Until the deadline nobody who serves the name was reached: either nobody does, or not in a
    /// network of ours, or he is not trusted. Nothing was done, unless an idempotent request lost
    /// instances before.
    #[error("no instance of {name}; {peers} peers known")]
    NoInstance {
        /// The name.
        name: String,
        /// How many other nodes are known and trusted.
        peers: usize,
    },
    /// The instance is known, and was not reached until the deadline. It did nothing.
    #[error("the instance was not reached in time")]
    NotReached,
    /// The instance is gone, or sent what is no reply. The request may have been done; whether to ask
    /// again is for the caller to decide, unless it says that the request is
    /// [idempotent](super::Request::idempotent).
    #[error("the instance that was asked is gone: the request may have been done")]
    PeerGone,
    /// The instance took the request up, and says that it failed.
    #[error("the request failed: {reason}")]
    Failed {
        /// Why, in the instance's words, without control characters; perhaps empty.
        reason: String,
    },
    /// The deadline passed before a reply came. The request may have been done; a reply that still
    /// comes is counted and dropped.
    #[error("no reply came in time: the request may have been done")]
    TooLate,
    /// No instance that there is has room for more. Nothing was done; try again later.
    #[error("all instances are busy")]
    Busy,
    /// No instance that there is understands the request: they are of other versions. Nothing was done.
    #[error("no instance understands the request")]
    Unknown,
    /// The node was closed. What was sent may have been done.
    #[error("the node is closed")]
    Closed,
}

impl ServiceError {
    /// Whether the request may have been done, wholly or in part.
    pub const fn may_be_done(&self) -> bool {
        matches!(
            self,
            Self::PeerGone | Self::Failed { .. } | Self::TooLate | Self::Closed
        )
    }
}

//! Why there is no way through a relay.

use withy_proto::relay::{MessageError, Why};

/// Why a peer was not reached through a relay. It may be later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoCircuit {
    /// The relay is not known any more, or it is not known who is to be reached.
    #[error("the relay is not known")]
    Unknown,
    /// The relay was not reached.
    #[error("the relay {0} is not reached")]
    NotReached(String),
    /// The relay, or one behind it, refused.
    #[error("the relay {relay} says: {why}")]
    Refused {
        /// Which was asked.
        relay: String,
        /// What it says.
        why: Why,
    },
    /// The relay did not answer in time, or closed the connection.
    #[error("the relay {0} did not answer")]
    Silent(String),
    /// What the relay said was malformed. The peer misbehaved, or is of a later version.
    #[error("the relay {relay}: {error}")]
    Malformed {
        /// Which was asked.
        relay: String,
        /// What was wrong.
        error: MessageError,
    },
}

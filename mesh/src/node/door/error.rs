//! Why there is no door.

use withy_proto::Endpoint;
use withy_proto::endpoint::EndpointError;

use crate::error::BindError;
use crate::node::NameError;

/// Why a door was not opened. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// There is no endpoint to listen at. Local misuse.
    #[error("the door has no endpoint")]
    NoEndpoint,
    /// An endpoint is malformed. Local misuse.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The door listens at `tcp://` and `ipc://` endpoints. Local misuse.
    #[error("{0}: the door listens at tcp:// and ipc:// endpoints only")]
    Scheme(Endpoint),
    /// Others than the programs of this host would reach it without proving who they are. Local misuse.
    #[error(
        "{0}: without CURVE keys or PLAIN users the door listens on this host only, as at \
         tcp://127.0.0.1:5555 or ipc:///run/door"
    )]
    Open(Endpoint),
    /// Others on the way would read passwords and messages. Local misuse.
    #[error(
        "{0}: PLAIN shows passwords and messages to whoever is on the way; use CURVE, or say that it \
         may be insecure"
    )]
    Clear(Endpoint),
    /// A name has two endpoints. Local misuse.
    #[error("{0:?} has an endpoint already")]
    Twice(String),
    /// A name cannot be used on the node.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An endpoint cannot be listened at.
    #[error(transparent)]
    Bind(#[from] BindError),
}

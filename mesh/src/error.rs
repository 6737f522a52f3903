//! What can go wrong, one type for each operation. A failed send gives the message back.

use std::sync::Arc;

use withy_proto::endpoint::EndpointError;
use withy_proto::trust::IdError;
use withy_proto::{Endpoint, Message};
pub use withy_transports::ListenError;

use crate::identity::IdentityError;
use crate::node::{NameError, NodeError};

/// Why a socket could not be bound. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The endpoint is malformed. Local misuse.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// What the socket was given does not fit the endpoint. Local misuse.
    #[error("{endpoint} {why}")]
    Unfit {
        /// The endpoint.
        endpoint: Endpoint,
        /// Why.
        #[source]
        why: Unfit,
    },
    /// The transport refused. Retrying may help when the address was in use.
    #[error("cannot bind {endpoint}: {source}")]
    Transport {
        /// The endpoint.
        endpoint: Endpoint,
        /// Why.
        source: ListenError,
    },
    /// The endpoint is a name on the mesh, and there is no node.
    #[error("there is no node: {0}")]
    Mesh(#[from] Box<NodeError>),
    /// The endpoint is a name on the mesh, which the socket does not get.
    #[error("cannot bind {endpoint}: {source}")]
    Name {
        /// The endpoint.
        endpoint: Endpoint,
        /// Why.
        source: NameError,
    },
    /// There is no tokio runtime here. Local misuse.
    #[error("a socket needs a tokio runtime: call this inside one, or use withy::blocking")]
    NoRuntime,
    /// The socket is closed. Local misuse.
    #[error("the socket is closed")]
    Closed,
}

/// Why a socket cannot connect. Nothing changed. That a peer is not there is no error: it is
/// tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The endpoint is malformed. Local misuse.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// What the socket was given does not fit the endpoint. Local misuse.
    #[error("{endpoint} {why}")]
    Unfit {
        /// The endpoint.
        endpoint: Endpoint,
        /// Why.
        #[source]
        why: Unfit,
    },
    /// The id of an endpoint names nobody. Local misuse.
    #[error("the endpoint's id: {0}")]
    Peer(#[from] IdError),
    /// The routing id for [`Router::connect_as`](crate::Router::connect_as) is none. Local misuse.
    #[error("a routing id has 1 to 255 octets, the first of them not zero")]
    RoutingId,
    /// There is no tokio runtime here. Local misuse.
    #[error("a socket needs a tokio runtime: call this inside one, or use withy::blocking")]
    NoRuntime,
    /// The socket is closed. Local misuse.
    #[error("the socket is closed")]
    Closed,
}

/// Why what a socket was given to prove who it is does not fit an endpoint.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// The endpoint is, or can be reached from, another host, and what passes could be read on the way
    /// with this mechanism, which follows from what the socket was given.
    #[error(
        "may leave this host, and {0} can be read on the way: give the socket an identity or \
         CURVE keys, use a loopback, ipc or inproc endpoint, or say insecure() (--insecure)"
    )]
    Insecure(&'static str),
    /// The transport proves identities with a mechanism of its own, and the socket was given keys for
    /// this one.
    #[error(
        "proves identities itself, and the socket was given {0}: give it an identity, or nothing, which means the user's own"
    )]
    Mechanism(&'static str),
    /// The transport proves identities, and there is none.
    #[error("needs an identity: {0}")]
    Identity(#[source] Arc<IdentityError>),
}

/// Why a socket could not be built. Local misuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}; accepted: {accepted}")]
pub struct BuildError {
    /// The option.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
    /// The form that is accepted.
    pub accepted: &'static str,
}

/// Why a message was not sent. It comes back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// No peer has room, or none is connected. Try again later.
    #[error("no peer has room for the message")]
    Full(Message),
    /// The time was up before a peer had room. Try again later.
    #[error("no peer had room for the message in time")]
    Timeout(Message),
    /// No peer has the routing id in the first frame.
    #[error("no peer has this routing id")]
    Unroutable(Message),
    /// The peer that asked is gone.
    #[error("the peer that asked is gone")]
    PeerGone(Message),
    /// The message has one frame, and the first names the peer. Local misuse.
    #[error("a ROUTER's message needs a routing id in front")]
    NoIdentity(Message),
    /// A REQ has a request outstanding, or a REP none. Local misuse.
    #[error("it is not this socket's turn to send")]
    NotYourTurn(Message),
    /// The socket is closed. Local misuse.
    #[error("the socket is closed")]
    Closed(Message),
}

impl SendError {
    /// The message.
    pub fn into_message(self) -> Message {
        match self {
            Self::Full(message)
            | Self::Timeout(message)
            | Self::Unroutable(message)
            | Self::PeerGone(message)
            | Self::NoIdentity(message)
            | Self::NotYourTurn(message)
            | Self::Closed(message) => message,
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Timeout(_) | Self::Unroutable(_))
    }
}

/// Why nothing was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[repr(u64)]
pub enum ReceiveError {
    /// Nothing is there.
    #[error("no message is there")]
    Empty,
    /// The time was up before a message came.
    #[error("no message came in time")]
    Timeout,
    /// A REQ has no request outstanding. Local misuse.
    #[error("it is not this socket's turn to receive")]
    NotYourTurn,
    /// The peer that was asked is gone, and the request with it.
    #[error("the peer that was asked is gone")]
    PeerGone,
    /// The socket is closed. Local misuse.
    #[error("the socket is closed")]
    Closed,
}

/// Why a request has no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The time was up before the request could be sent. It was not, and comes back.
    #[error("no peer took the request in time")]
    NotSent(Message),
    /// The time was up before the reply came. The peer may have acted on the request; a late reply
    /// is counted and dropped.
    #[error("no reply came in time")]
    Timeout,
    /// The peer is gone. It may have acted on the request.
    #[error("the peer that was asked is gone")]
    PeerGone,
    /// The socket is closed. Local misuse.
    #[error("the socket is closed")]
    Closed,
}

/// The socket was closed meanwhile. Local misuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the socket is closed")]
pub struct Closed;

/// An endpoint that the socket is not bound or connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the socket does not use {0}")]
pub struct UnknownEndpoint(pub Endpoint);

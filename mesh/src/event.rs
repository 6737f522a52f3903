//! What happens to a socket's connections, as events.
//!
//! Events are declared here once; the monitor streams them and the log repeats them. What each
//! means and when it comes is told in the manual: [monitoring](crate::manual::monitoring).

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast;
pub use withy_proto::mechanism::zap::User;
pub use withy_proto::mechanism::{Proven, Suite};
pub use withy_proto::pattern::outgoing::AttachError;
pub use withy_proto::quic::OrderError;
use withy_proto::trust::{IdentityId, NodeId};
use withy_proto::zmtp::metadata::Metadata;
pub use withy_proto::zmtp::{ConnectionError, DecodeError};
use withy_proto::{Endpoint, SocketType};
pub use withy_transports::{AcceptError, DialError};
use withy_transports::{QuicError, StreamsError};

use crate::error::Unfit;
use crate::identity::IdentityError;

/// Events that a monitor may fall behind by; older ones are counted as missed.
pub const MONITOR_CAPACITY: usize = 1_024;

/// Something that happened at an endpoint.
#[derive(Debug, Clone)]
pub struct Event {
    /// The endpoint that was bound or connected.
    pub endpoint: Endpoint,
    /// What happened.
    pub kind: EventKind,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.endpoint, self.kind)
    }
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EventKind {
    /// The socket listens.
    Listening,
    /// The socket no longer listens.
    Unbound {
        /// Why, unless this side wanted it: the listening socket broke.
        error: Option<Arc<AcceptError>>,
    },
    /// A link is up; the handshake starts.
    Accepted {
        /// The peer's address.
        address: String,
    },
    /// A connection is being made.
    Dialing,
    /// A connection could not be made.
    DialFailed {
        /// Why.
        reason: DialFailure,
        /// How long until the next attempt; `None` when there is none, since reconnecting is off or
        /// would not help.
        delay: Option<std::time::Duration>,
    },
    /// An incoming link was refused, or accepting failed.
    AcceptFailed {
        /// Why.
        reason: AcceptFailure,
    },
    /// The handshake failed.
    HandshakeFailed {
        /// The peer's address.
        address: String,
        /// Why.
        reason: HandshakeFailure,
    },
    /// A peer is connected. Subscriptions were sent before.
    Connected(Arc<PeerInfo>),
    /// Messages for a peer are dropped, since it has no room. This comes once, and again only after
    /// everything that waited for the peer was written.
    Dropping {
        /// Who.
        peer: Arc<PeerInfo>,
        /// Messages dropped for it since it connected.
        dropped: u64,
    },
    /// A peer is gone.
    Disconnected {
        /// Who.
        peer: Arc<PeerInfo>,
        /// Why.
        reason: Reason,
    },
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening => f.write_str("listening"),
            Self::Unbound { error: None } => f.write_str("no longer listening"),
            Self::Unbound { error: Some(error) } => write!(f, "no longer listening: {error}"),
            Self::Accepted { address } => write!(f, "accepted {address}"),
            Self::Dialing => f.write_str("connecting"),
            Self::DialFailed {
                reason,
                delay: Some(delay),
            } => write!(f, "{reason}; next attempt in {delay:.1?}"),
            Self::DialFailed {
                reason,
                delay: None,
            } => write!(f, "{reason}; not tried again"),
            Self::AcceptFailed { reason } => write!(f, "not accepted: {reason}"),
            Self::HandshakeFailed { address, reason } => {
                write!(f, "handshake with {address} failed: {reason}")
            }
            Self::Connected(peer) => write!(f, "connected to {peer}"),
            Self::Dropping { peer, dropped } => {
                write!(f, "{peer} has no room: {dropped} messages dropped so far")
            }
            Self::Disconnected { peer, reason } => write!(f, "{peer} is gone: {reason}"),
        }
    }
}

/// A peer, as its handshake showed it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Whether it made the connection.
    pub accepted: bool,
    /// The node that this side connected to, which is proven except within the process.
    pub(crate) meant: Option<Box<(IdentityId, NodeId)>>,
    /// What carries the link, as the scheme of its endpoint.
    pub transport: &'static str,
    /// Its network address.
    pub address: String,
    /// Our address on this link.
    pub local: String,
    /// Its socket type.
    pub kind: SocketType,
    /// Its routing id, empty when it announced none.
    pub identity: Vec<u8>,
    /// The mechanism.
    pub mechanism: &'static str,
    /// Who the authenticator says it is; without a name where there is none.
    pub user: User,
    /// The public key that it proved: with CURVE its own, with NOISE its identity's.
    pub key: Option<[u8; 32]>,
    /// What NOISE proved of it: identity, node, network and roles, and with which cipher.
    pub proven: Option<Box<Proven>>,
    /// The properties that it announced in READY (RFC 37 §3.4): its own claims.
    pub metadata: Metadata,
    /// Whether it is Withy, too.
    pub withy: bool,
}

impl fmt::Display for PeerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ({}", self.kind, self.address, self.mechanism)?;
        if !self.user.id.is_empty() {
            write!(f, ", {}", self.user.id)?;
        }
        f.write_str(")")
    }
}

/// Why a connection could not be made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DialFailure {
    /// There was no link.
    #[error("{0}")]
    Link(#[source] Arc<DialError>),
    /// The endpoint is a name on the mesh, and there is no node.
    #[error("there is no node: {0}")]
    Mesh(#[source] Arc<crate::node::NodeError>),
    /// No relay led to the peer.
    #[error("{0}")]
    Relay(#[source] Arc<crate::node::NoCircuit>),
    /// There was one, and its handshake failed; [`EventKind::HandshakeFailed`] says the same.
    #[error(transparent)]
    Handshake(#[from] HandshakeFailure),
}

impl DialFailure {
    /// Whether trying again cannot help, since the endpoint or the options are wrong.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Link(error) => error.is_permanent(),
            Self::Mesh(_) => true,
            Self::Handshake(HandshakeFailure::NotTaken(error)) => error.is_permanent(),
            Self::Handshake(_) | Self::Relay(_) => false,
        }
    }
}

/// Why an incoming link was not accepted.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptFailure {
    /// As many peers as may connect are connected.
    #[error("{address}: max_connections ({limit}) are open")]
    TooManyConnections {
        /// The peer's address.
        address: String,
        /// As configured.
        limit: usize,
    },
    /// The transport accepted none: a shortage, or a process that the ipc filter does not name.
    #[error("{0}")]
    Link(#[source] Arc<AcceptError>),
}

/// Why a handshake failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeFailure {
    /// The peer broke the protocol, is incompatible, or one side refused the other.
    #[error(transparent)]
    Protocol(#[from] ConnectionError),
    /// The deadline passed; progress does not move it.
    #[error("the handshake was not over within {0:?}")]
    Timeout(std::time::Duration),
    /// The link broke.
    #[error("the link broke during the handshake: {0}")]
    Link(String),
    /// The peer did not take the link.
    #[error("the peer did not take the link: {0}")]
    NotTaken(QuicError),
    /// The peer that made the link gave it up before the handshake was over, as those do that reached
    /// this side on another way first.
    #[error("the peer gave the connection up during the handshake: {0}")]
    Abandoned(String),
    /// The link asks for an identity, and this side has none.
    #[error("this side has no identity: {0}")]
    Identity(#[source] Arc<IdentityError>),
    /// The link proves identities with a mechanism of its own, and this socket was given another.
    #[error("this side was given {0}, and the link has a mechanism of its own")]
    Mechanism(&'static str),
    /// The socket has no place for this peer: it tries again.
    #[error("there is no place for the peer: {0}")]
    NoPlace(AttachError),
    /// The peer asks for a resource, and no socket here has this name: it tries again.
    #[error("there is no resource {0:?} here")]
    NoResource(String),
    /// As many peers use the resource as may: it tries again.
    #[error("as many as may use {0:?} do")]
    Full(String),
    /// The peer may not use the resource that it asks for.
    #[error("the peer has no permission for {0:?}")]
    NotPermitted(String),
    /// As many peers as may connect are connected; they were not when the link came in.
    #[error("max_connections ({0}) are open")]
    TooManyConnections(usize),
    /// Too many handshakes are under way: the oldest, this one, made room for a newcomer.
    #[error("more than max_handshakes ({0}) were under way, and this was the oldest")]
    TooMany(usize),
}

impl HandshakeFailure {
    /// Whether the sides are incompatible, or one broke the protocol or refused the other.
    pub(crate) fn is_protocol(&self) -> bool {
        matches!(self, Self::Protocol(_))
    }
}

impl From<Unfit> for HandshakeFailure {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Identity(source) => Self::Identity(source),
            Unfit::Mechanism(mechanism) | Unfit::Insecure(mechanism) => Self::Mechanism(mechanism),
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The peer closed the link.
    PeerClosed,
    /// The peer sent an ERROR command.
    PeerError(String),
    /// The peer broke the protocol or went over a limit.
    Protocol(DecodeError),
    /// The peer broke the rules of a link over several streams.
    Streams(OrderError),
    /// The peer's subscriptions went over a limit.
    Subscriptions(String),
    /// What the peer sent is none of what the application takes.
    Application(String),
    /// The peer may be here no longer, as the permissions are now.
    NotPermitted,
    /// The peer did not answer heartbeats.
    Silent,
    /// The peer is no longer at the address at which it was reached, as it says itself.
    Moved,
    /// The link broke.
    Link(String),
    /// The subscriber was too slow, and the publisher disconnects those.
    Overflow,
    /// Another connection took the routing id over.
    HandedOver,
    /// The peer's identity or membership was revoked, or it is trusted no longer.
    Distrusted(String),
    /// The peer owes a reply that nobody waits for any more.
    Abandoned,
    /// The endpoint was disconnected or unbound, or the socket closed.
    Closed,
}

impl Reason {
    /// Whether the peer broke the protocol or went over a limit.
    pub(crate) fn is_offence(&self) -> bool {
        matches!(
            self,
            Self::Protocol(_) | Self::Streams(_) | Self::Subscriptions(_) | Self::Application(_)
        )
    }

    /// Whether the link broke or was closed by the peer, rather than by this side.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self, Self::PeerClosed | Self::Link(_))
    }

    /// Whether the peer may not have read what was sent last.
    pub(crate) fn leaves_doubt(&self) -> bool {
        self.is_loss() || matches!(self, Self::Silent | Self::Moved)
    }

    pub(crate) fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => Self::PeerClosed,
            _ => Self::Link(error.to_string()),
        }
    }
}

impl From<StreamsError> for Reason {
    fn from(error: StreamsError) -> Self {
        match error {
            StreamsError::Closed => Self::PeerClosed,
            StreamsError::Lost(error) => Self::from_io(&error),
            StreamsError::Decode(error) => Self::Protocol(error),
            StreamsError::Order(error) => Self::Streams(error),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("the peer closed the connection"),
            Self::PeerError(reason) => write!(f, "the peer sent ERROR {reason:?}"),
            Self::Protocol(error) => error.fmt(f),
            Self::Streams(error) => error.fmt(f),
            Self::Subscriptions(error)
            | Self::Application(error)
            | Self::Link(error)
            | Self::Distrusted(error) => f.write_str(error),
            Self::NotPermitted => f.write_str("the peer has no permission any more"),
            Self::Silent => f.write_str("the peer did not answer heartbeats"),
            Self::Moved => f.write_str("the peer is at another address"),
            Self::Overflow => f.write_str("the subscriber was too slow"),
            Self::HandedOver => f.write_str("another connection took the routing id over"),
            Self::Abandoned => f.write_str("the peer owed a reply that nobody waits for"),
            Self::Closed => f.write_str("closed on this side"),
        }
    }
}

/// Hands events to whoever monitors.
#[derive(Debug, Default)]
pub(crate) struct Events(OnceLock<broadcast::Sender<Event>>);

impl Events {
    pub(crate) fn emit(&self, event: Event) {
        log(&event);
        if let Some(sender) = self.0.get() {
            let _ = sender.send(event);
        }
    }

    /// The channel is made for the first monitor: sockets without one do not pay for it.
    pub(crate) fn monitor(&self) -> Monitor {
        let sender = self
            .0
            .get_or_init(|| broadcast::Sender::new(MONITOR_CAPACITY));
        Monitor {
            receiver: sender.subscribe(),
            missed: 0,
        }
    }
}

/// The events of a socket from the moment on that it was asked for.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use withy::EventKind;
///
/// let pull = withy::Pull::new();
/// let mut monitor = pull.monitor();
/// let endpoint = pull.bind_to("tcp://127.0.0.1:*").await?;
/// # let push = withy::Push::connect(&endpoint)?;
/// while let Some(event) = monitor.next().await {
///     println!("{event}");
///     if let EventKind::Connected(peer) = event.kind {
///         assert_eq!(peer.mechanism, "NULL");
///         break;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Monitor {
    receiver: broadcast::Receiver<Event>,
    missed: u64,
}

impl Monitor {
    /// Waits for the next event; `None` once the socket is gone.
    ///
    /// # Cancel safety
    /// Cancel-safe: no event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => self.missed += missed,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// The next event, if it is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.try_recv() {
                Ok(event) => return Some(event),
                Err(broadcast::error::TryRecvError::Lagged(missed)) => self.missed += missed,
                Err(_) => return None,
            }
        }
    }

    /// Events that were missed because this monitor was more than [`MONITOR_CAPACITY`] behind.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

fn log(event: &Event) {
    let endpoint = &event.endpoint;
    match &event.kind {
        EventKind::Connected(peer) => {
            tracing::info!(%endpoint, address = peer.address, kind = %peer.kind, "connected")
        }
        EventKind::Disconnected { peer, reason } if reason.is_offence() => {
            tracing::warn!(%endpoint, address = peer.address, %reason, "disconnected an offender");
        }
        EventKind::Disconnected { peer, reason } => {
            tracing::info!(%endpoint, address = peer.address, %reason, "disconnected");
        }
        EventKind::HandshakeFailed {
            address,
            reason: HandshakeFailure::Abandoned(why),
        } => {
            tracing::debug!(%endpoint, address, why, "a handshake was abandoned");
        }
        EventKind::HandshakeFailed { address, reason } => {
            tracing::warn!(%endpoint, address, %reason, "handshake failed");
        }
        EventKind::AcceptFailed { reason } => {
            tracing::warn!(%endpoint, %reason, "accept failed");
        }
        EventKind::Unbound { error: Some(error) } => {
            tracing::warn!(%endpoint, %error, "no longer listening");
        }
        kind => tracing::debug!(%endpoint, ?kind, "socket"),
    }
}

#[cfg(all(test, not(withy_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_takes_no_such_links_is_not_dialled_again() {
        let untaken = |error| DialFailure::from(HandshakeFailure::NotTaken(error));
        assert!(untaken(QuicError::NoCommonProtocol).is_permanent());
        assert!(!untaken(QuicError::Refused).is_permanent());
    }
}

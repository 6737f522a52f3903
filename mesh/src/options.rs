//! Options of a socket, grouped by concern. All have defaults that are safe and bounded.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

pub use withy_proto::pattern::outgoing::{Balance, Overflow};
pub use withy_proto::pattern::pipe::HighWaterMark;
pub use withy_proto::pattern::publish::Verbose;
pub use withy_proto::peer::{Heartbeat, Reconnect};
pub use withy_proto::quic::Priority;
pub use withy_proto::rate::RateLimit;
pub use withy_proto::zmtp::Limits;
pub use withy_transports::{
    DialOptions, KeepAlive, ListenOptions, Login, PeerFilter, QuicOptions, Socks5, TcpOptions,
};

use withy_proto::SocketType;
use withy_proto::pattern::outgoing::SendOptions;

use crate::driver::buffer;
use crate::driver::resources::{Guard, Hosts};
use crate::node::{Circuits, Node};
use crate::security::Security;

/// How many connections there may be, and how long one may take to be established.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections that a socket has accepted, from the end of their handshakes until they end;
    /// those that it made itself do not count. One more is refused. Default 16,384.
    pub max_connections: usize,
    /// Handshakes of accepted connections at one time. One more ends the oldest. Default 1,024.
    pub max_handshakes: usize,
    /// From the link to the end of the handshake; progress does not move it. Default 10 s.
    pub handshake_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            max_handshakes: 1_024,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// How much is read of a connection and written to it at a time, where it is one of octets (tcp, ipc);
/// over QUIC and inside the process it changes nothing.
///
/// The defaults are the fastest. Less makes many peers take turns sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// The most octets of one read (libzmq: IN_BATCH_SIZE). Default 256 KiB.
    pub read: usize,
    /// The most octets of one write (libzmq: OUT_BATCH_SIZE). Default no limit: all that waits, which the
    /// high-water mark bounds.
    pub write: usize,
    /// Whoever sends a message to one peer writes it before `send` returns, unless the connection takes
    /// no more. Default `false`: where messages follow each other soon, those that wait are written
    /// together.
    pub at_once: bool,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            read: buffer::LARGE,
            write: usize::MAX,
            at_once: false,
        }
    }
}

/// Options of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestOptions {
    /// How long a request waits for its reply. Default 30 s; `None` waits for ever.
    pub timeout: Option<Duration>,
    /// Put a request id into every envelope (libzmq: REQ_CORRELATE), so that many requests are
    /// in flight to peers that do not announce it. Default off.
    pub correlate: bool,
    /// The lock-step `send` may be called again without a reply; the old request is forgotten
    /// (libzmq: REQ_RELAXED). Default off.
    pub relaxed: bool,
    /// How long a connection may owe the reply of an abandoned request before a new request
    /// replaces the connection. Default 1 s.
    pub grace: Duration,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self {
            timeout: Some(Duration::from_secs(30)),
            correlate: false,
            relaxed: false,
            grace: Duration::from_secs(1),
        }
    }
}

/// Options of an XPUB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct XPubOptions {
    /// Which subscriptions the application sees.
    pub(crate) verbose: Verbose,
    /// The application decides on each subscription itself (libzmq: XPUB_MANUAL).
    pub(crate) manual: bool,
    /// Sent to each subscriber when it connects (libzmq: XPUB_WELCOME_MSG).
    pub(crate) welcome: Option<withy_proto::Message>,
}

/// The octets that wait for one peer, where sending waits for whichever peer has room: nothing is
/// lost by a shorter queue, and large messages that fit into a cache are sent up to twice as fast.
pub(crate) const WAITING_OCTETS: usize = 4 * 1024 * 1024;

static DIAL: LazyLock<Arc<DialOptions>> = LazyLock::new(Arc::default);
static LISTEN: LazyLock<Arc<ListenOptions>> = LazyLock::new(Arc::default);
static SELDOM_SET: LazyLock<Arc<SeldomSet>> = LazyLock::new(Arc::default);

/// Everything that a builder collects.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) send: SendOptions,
    pub(crate) receive_high_water_mark: HighWaterMark,
    pub(crate) conflate_received: bool,
    pub(crate) limits: Limits,
    pub(crate) rate: RateLimit,
    pub(crate) identity: Vec<u8>,
    pub(crate) probe_router: bool,
    pub(crate) correlate_envelopes: bool,
    pub(crate) unordered: bool,
    /// Somebody receives at all times: nobody has to look after what is not taken.
    pub(crate) attended: bool,
    pub(crate) priority: Priority,
    pub(crate) security: Security,
    /// Of all sockets that have the defaults in one place, as [`Options::listen`].
    pub(crate) dial: Arc<DialOptions>,
    pub(crate) listen: Arc<ListenOptions>,
    /// Whether it matters who sent a message though he has left.
    pub(crate) remember_departed: bool,
    /// Who may subscribe to what.
    pub(crate) guard: Option<Arc<dyn Guard>>,
    /// The node that resolves names on the mesh.
    pub(crate) node: Option<Node>,
    /// The ways through relays, of a node.
    pub(crate) circuits: Option<Circuits>,
    /// The sockets that share this one's endpoints.
    pub(crate) hosts: Option<Arc<dyn Hosts>>,
    /// As what the socket shows itself to peers, if that is another type than its own.
    pub(crate) shown_as: Option<SocketType>,
    /// As [`Options::listen`], and read as if they were fields here.
    pub(crate) seldom_set: Arc<SeldomSet>,
}

/// Options that most sockets leave as they are, and that thousands of sockets would keep thousands of
/// times.
#[derive(Debug, Clone)]
pub(crate) struct SeldomSet {
    pub(crate) batching: Batching,
    pub(crate) reconnect: Reconnect,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) connections: ConnectionLimits,
    pub(crate) request: RequestOptions,
    pub(crate) xpub: XPubOptions,
    pub(crate) linger: Duration,
}

impl Default for SeldomSet {
    fn default() -> Self {
        Self {
            batching: Batching::default(),
            reconnect: Reconnect::default(),
            heartbeat: Heartbeat::default(),
            connections: ConnectionLimits::default(),
            request: RequestOptions::default(),
            xpub: XPubOptions::default(),
            linger: Duration::from_secs(5),
        }
    }
}

impl Deref for Options {
    type Target = SeldomSet;

    #[inline]
    fn deref(&self) -> &SeldomSet {
        &self.seldom_set
    }
}

impl DerefMut for Options {
    /// Whoever sets one has them for himself from then on.
    fn deref_mut(&mut self) -> &mut SeldomSet {
        Arc::make_mut(&mut self.seldom_set)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            send: SendOptions::default(),
            receive_high_water_mark: HighWaterMark::default(),
            conflate_received: false,
            limits: Limits::default(),
            rate: RateLimit::default(),
            identity: Vec::new(),
            probe_router: false,
            correlate_envelopes: false,
            unordered: false,
            attended: false,
            priority: Priority::default(),
            security: Security::default(),
            dial: Arc::clone(&DIAL),
            listen: Arc::clone(&LISTEN),
            remember_departed: false,
            guard: None,
            node: None,
            circuits: None,
            hosts: None,
            shown_as: None,
            seldom_set: Arc::clone(&SELDOM_SET),
        }
    }
}

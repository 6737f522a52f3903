//! Options of a socket, grouped by concern. All have defaults that are safe and bounded.

use std::time::Duration;

pub use withy_proto::pattern::outgoing::{Balance, Overflow, SendOptions};
pub use withy_proto::pattern::pipe::HighWaterMark;
pub use withy_proto::pattern::publish::Verbose;
pub use withy_proto::rate::RateLimit;
pub use withy_proto::zmtp::Limits;
pub use withy_transports::{
    DialOptions, KeepAlive, ListenOptions, Login, PeerFilter, Socks5, TcpOptions,
};

use crate::security::Security;

/// How a lost or failed connection is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// The delay before the first attempt; it doubles up to `max`. Default 100 ms.
    pub initial: Duration,
    /// The longest delay. Default 1 s. Each delay is drawn from its upper half, so that many
    /// peers do not come at once.
    pub max: Duration,
    /// Whether it is tried again at all. Default `true`.
    pub enabled: bool,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
            enabled: true,
        }
    }
}

/// How a silent peer is noticed (RFC 37 §3.4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// `None` (default): towards Withy peers only. libzmq peers are asked when it is
    /// `Some(true)`; `Some(false)` asks nobody.
    pub enabled: Option<bool>,
    /// A PING is sent after this much silence. Default 5 s.
    pub interval: Duration,
    /// The connection is closed after this much silence. Default 15 s.
    pub timeout: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            enabled: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(15),
        }
    }
}

impl Heartbeat {
    pub(crate) fn enabled_for(&self, withy: bool) -> bool {
        self.enabled.unwrap_or(withy)
    }
}

/// How many connections there may be, and how long one may take to be established.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections that a socket accepts. Default 16,384.
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
pub struct XPubOptions {
    /// Which subscriptions the application sees.
    pub verbose: Verbose,
    /// The application decides on each subscription itself (libzmq: XPUB_MANUAL).
    pub manual: bool,
    /// Sent to each subscriber when it connects (libzmq: XPUB_WELCOME_MSG).
    pub welcome: Option<withy_proto::Message>,
}

/// Everything that a builder collects.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) send: SendOptions,
    pub(crate) receive_high_water_mark: HighWaterMark,
    pub(crate) conflate_received: bool,
    pub(crate) limits: Limits,
    pub(crate) rate: RateLimit,
    pub(crate) identity: Vec<u8>,
    pub(crate) reconnect: Reconnect,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) connections: ConnectionLimits,
    pub(crate) request: RequestOptions,
    pub(crate) xpub: XPubOptions,
    pub(crate) probe_router: bool,
    pub(crate) correlate_envelopes: bool,
    pub(crate) linger: Duration,
    pub(crate) security: Security,
    pub(crate) dial: DialOptions,
    pub(crate) listen: ListenOptions,
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
            reconnect: Reconnect::default(),
            heartbeat: Heartbeat::default(),
            connections: ConnectionLimits::default(),
            request: RequestOptions::default(),
            xpub: XPubOptions::default(),
            probe_router: false,
            correlate_envelopes: false,
            linger: Duration::from_secs(5),
            security: Security::default(),
            dial: DialOptions::default(),
            listen: ListenOptions::default(),
        }
    }
}

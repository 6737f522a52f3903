//! Sockets with options: one builder, and each socket type offers what applies to it.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::Authenticator;
use crate::error::BuildError;
use crate::identity::Identity;
use crate::node::Node;
use crate::options::{
    Balance, Batching, ConnectionLimits, Heartbeat, HighWaterMark, Options, Overflow, Priority,
    RateLimit, Reconnect, RequestOptions, Verbose, WAITING_OCTETS,
};
use crate::security::{Mechanism, Password};
use crate::socket::{
    AnySocket, Dealer, Owner, Pair, Publisher, Pull, Push, Receives, Req, Router, Sends, Socket,
    Subscriber, XPub,
};
use crate::trust::Trust;
use withy_proto::crypto::keys::{KeyPair, PublicKey};
use withy_proto::mechanism::plain;
use withy_proto::pattern;
use withy_proto::{Message, SocketType};
use zeroize::Zeroizing;

/// The longest ZAP domain in octets (RFC 27).
const MAX_DOMAIN: usize = 255;
/// The longest timeout of heartbeats: whoever wants none says so.
const MAX_HEARTBEAT: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Collects the options of a socket of type `S`.
///
/// ```
/// use std::time::Duration;
/// use withy::Push;
///
/// let push = Push::builder().send_high_water_mark(10_000).linger(Duration::from_secs(1)).build()?;
/// # Ok::<(), withy::BuildError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder<S> {
    kind: SocketType,
    options: Options,
    socket: PhantomData<fn() -> S>,
}

impl<S: Socket> Builder<S> {
    pub(crate) fn new(kind: SocketType) -> Self {
        let mut options = Options::default();
        if matches!(
            kind.row().sends,
            pattern::Sends::InTurn | pattern::Sends::ToOne
        ) {
            options.send.high_water_mark.octets = WAITING_OCTETS;
        }
        Self {
            kind,
            options,
            socket: PhantomData,
        }
    }

    /// Makes the socket. It is not bound or connected yet.
    ///
    /// # Errors
    /// An option is out of range; the error names it.
    pub fn build(self) -> Result<S, BuildError> {
        self.check()?;
        Ok(S::from_owner(Owner::new(self.kind, self.options)))
    }

    /// The largest message that a peer may send, in octets of all frames. Default 64 MiB. A peer
    /// that sends more is disconnected.
    pub fn max_message_size(mut self, octets: usize) -> Self {
        self.options.limits.max_message_size = octets;
        self
    }

    /// The most frames of a message that a peer may send. Default 1,024. A peer that sends more
    /// is disconnected.
    pub fn max_parts(mut self, parts: usize) -> Self {
        self.options.limits.max_parts = parts;
        self
    }

    /// How fast each peer may send; what it sends beyond waits in the network. Default no limit.
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.options.rate = limit;
        self
    }

    /// How much is read and written at a time.
    pub fn batching(mut self, batching: Batching) -> Self {
        self.options.batching = batching;
        self
    }

    /// How lost connections are made again.
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.options.reconnect = reconnect;
        self
    }

    /// How silent peers are noticed.
    pub fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.options.heartbeat = heartbeat;
        self
    }

    /// How many connections there may be, and how long a handshake may take.
    pub fn connection_limits(mut self, limits: ConnectionLimits) -> Self {
        self.options.connections = limits;
        self
    }

    /// How long `close` waits for messages to leave. Default 5 s.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.options.linger = linger;
        self
    }

    /// Gives the order of sent messages up over QUIC: small ones travel on several streams, so that a
    /// lost packet holds few of them up, and large ones let small ones pass: where small ones alone
    /// fill the path, large ones wait. Default `false`: the messages of one connection arrive in the
    /// order in which they were sent. Requests and replies between REQ and REP are always sent like
    /// this. Over tcp, ipc and inproc it changes nothing.
    pub fn unordered(mut self, unordered: bool) -> Self {
        self.options.unordered = unordered;
        self
    }

    /// Which sockets are sent first of those that share a QUIC connection: those of this process that
    /// talk to the same node. What controls connections goes before all of them. Default
    /// [`Priority::Normal`]. Over tcp, ipc and inproc it changes nothing.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options.priority = priority;
        self
    }

    /// How connections are made: TCP options, SOCKS5 proxy, timeouts.
    pub fn dial_options(mut self, options: withy_transports::DialOptions) -> Self {
        self.options.dial = Arc::new(options);
        self
    }

    /// How the socket listens: TCP options, backlog, peers that may use an ipc endpoint.
    pub fn listen_options(mut self, options: withy_transports::ListenOptions) -> Self {
        self.options.listen = Arc::new(options);
        self
    }

    /// Encrypts with CURVE as the server, the side whose key clients must know (RFC 26). Clients
    /// are put to the [`authenticator`](Self::authenticator); without one all are refused, unless
    /// [`allow_any_client`](Self::allow_any_client) is set. Binding or connecting does not decide
    /// which side is the server.
    pub fn curve_server(mut self, keys: KeyPair) -> Self {
        let keys = Box::new(keys);
        self.options.security.mechanism = Mechanism::CurveServer { keys };
        self
    }

    /// Encrypts with CURVE as a client of the server that has the key `server` (RFC 26).
    pub fn curve_client(mut self, keys: KeyPair, server: PublicKey) -> Self {
        let (keys, server) = (Box::new(keys), Box::new(server));
        self.options.security.mechanism = Mechanism::CurveClient { keys, server };
        self
    }

    /// Encrypts with NOISE, and proves an identity: the mechanism of Withy nodes. Peers have to be
    /// [trusted](Self::trust); without more, those of the same identity are. Which side binds does
    /// not matter.
    pub fn identity(mut self, identity: &Identity) -> Self {
        self.options.security.mechanism = Mechanism::Noise(identity.clone());
        self
    }

    /// The node by which names on the mesh (`mesh://NAME`) are offered and found, with its identity and
    /// its trust. Default: one that all sockets of the process share, with default options.
    pub fn node(mut self, node: &Node) -> Self {
        self.options.node = Some(node.clone());
        self
    }

    /// Whom this socket trusts, where peers prove identities. Default: nodes of its own identity.
    pub fn trust(mut self, trust: &Trust) -> Self {
        self.options.security.trust = trust.clone();
        self
    }

    /// Lets peers in that prove an identity without a key agreement that withstands quantum
    /// computers. Default: they are refused.
    pub fn allow_classical(mut self) -> Self {
        self.options.security.allow_classical = true;
        self
    }

    /// Shows a name and a password (RFC 24), 255 octets each at most. They travel in clear: on
    /// other addresses than loopback and ipc this needs [`insecure`](Self::insecure).
    pub fn plain_client(
        mut self,
        username: impl Into<Vec<u8>>,
        password: impl Into<Vec<u8>>,
    ) -> Self {
        self.options.security.mechanism = Mechanism::PlainClient {
            username: username.into().into(),
            password: Box::new(Password(Zeroizing::new(password.into()))),
        };
        self
    }

    /// Asks clients for a name and a password (RFC 24), and puts them to the
    /// [`authenticator`](Self::authenticator); without one all are refused.
    pub fn plain_server(mut self) -> Self {
        self.options.security.mechanism = Mechanism::PlainServer;
        self
    }

    /// A server without an authenticator accepts every client: with CURVE whatever its key, with
    /// PLAIN whatever its password.
    pub fn allow_any_client(mut self) -> Self {
        self.options.security.allow_any_client = true;
        self
    }

    /// Asks `authenticator` about each peer that connects: servers of PLAIN and CURVE about their
    /// clients, and without keys both sides about the other's address. Peers over inproc are of
    /// this process, and are not asked about.
    pub fn authenticator(mut self, authenticator: impl Authenticator + 'static) -> Self {
        self.options.security.authenticator = Some(Arc::new(authenticator));
        self
    }

    /// The ZAP domain that the authenticator is asked with (RFC 27). Default empty.
    pub fn zap_domain(mut self, domain: impl Into<String>) -> Self {
        self.options.security.domain = domain.into().into();
        self
    }

    /// Sends frames in records that nothing encrypts: for measuring what records cost, between
    /// sockets that both say so. As open to all as NULL.
    #[doc(hidden)]
    pub fn null_in_records(mut self) -> Self {
        self.options.security.mechanism = Mechanism::NullInRecords;
        self
    }

    /// Lets what can be read on the way leave this host: NULL and PLAIN on addresses that are not
    /// loopback, ipc or inproc.
    pub fn insecure(mut self) -> Self {
        self.options.security.insecure = true;
        self
    }

    fn check(&self) -> Result<(), BuildError> {
        let options = &self.options;
        let error = |field, reason: &str, accepted| {
            Err(BuildError {
                field,
                reason: reason.to_owned(),
                accepted,
            })
        };
        if options.rate.messages == Some(0) || options.rate.octets == Some(0) {
            return error(
                "rate_limit",
                "nothing could ever be received",
                "at least 1 a second",
            );
        }
        if options.batching.read == 0 || options.batching.write == 0 {
            return error(
                "batching",
                "nothing could ever be read or written",
                "1 to usize::MAX octets",
            );
        }
        let marks = [
            options.send.high_water_mark,
            options.receive_high_water_mark,
        ];
        if marks.iter().any(|mark| mark.messages == 0) {
            return error(
                "high_water_mark",
                "it is 0, which libzmq reads as unlimited",
                "1 to usize::MAX messages",
            );
        }
        if marks.iter().any(|mark| mark.octets == 0) {
            return error(
                "high_water_mark",
                "nothing could ever be queued",
                "1 to usize::MAX octets",
            );
        }
        if options.limits.max_parts == 0 {
            return error(
                "max_parts",
                "no message has 0 frames",
                "1 to usize::MAX frames",
            );
        }
        if options.identity.len() > withy_proto::zmtp::connection::MAX_IDENTITY {
            return error("routing_id", "it is too long", "1 to 255 octets");
        }
        if options.identity.first() == Some(&0) {
            return error(
                "routing_id",
                "it starts with a zero octet",
                "1 to 255 octets, the first not zero",
            );
        }
        if let Mechanism::PlainClient { username, password } = &options.security.mechanism
            && username.len().max(password.0.len()) > plain::MAX_CREDENTIAL
        {
            return error(
                "plain_client",
                "the name or the password is too long",
                "up to 255 octets each",
            );
        }
        if let Mechanism::CurveClient { server, .. } = &options.security.mechanism
            && server.is_weak()
        {
            return error(
                "curve_client",
                "with the server's key no secret can be agreed on",
                "the server's public key as it was generated",
            );
        }
        if options.security.domain.len() > MAX_DOMAIN {
            return error("zap_domain", "it is too long", "up to 255 octets");
        }
        let heartbeat = options.heartbeat;
        if heartbeat.interval.is_zero()
            || heartbeat.timeout < heartbeat.interval
            || heartbeat.timeout > MAX_HEARTBEAT
        {
            return error(
                "heartbeat",
                "the interval and the timeout do not fit together",
                "0 < interval <= timeout <= 365 days",
            );
        }
        let reconnect = options.reconnect;
        if reconnect.initial.is_zero() || reconnect.max < reconnect.initial {
            return error(
                "reconnect",
                "the delays do not fit together",
                "0 < initial <= max",
            );
        }
        let limits = options.connections;
        if limits.max_connections == 0
            || limits.max_handshakes == 0
            || limits.handshake_timeout.is_zero()
        {
            return error(
                "connection_limits",
                "no peer could ever connect",
                "all three above 0",
            );
        }
        if options.send.max_subscriptions == 0 {
            return error(
                "max_subscriptions",
                "nobody could ever subscribe",
                "1 to usize::MAX subscriptions",
            );
        }
        if options.request.relaxed && !options.request.correlate {
            return error(
                "relaxed",
                "replies could not be told apart",
                "relaxed together with correlate",
            );
        }
        Ok(())
    }
}

impl<S: Sends> Builder<S> {
    /// How many messages may wait for one peer. Default 1,000, as in libzmq.
    pub fn send_high_water_mark(mut self, messages: usize) -> Self {
        self.options.send.high_water_mark.messages = messages;
        self
    }

    /// How many octets may wait for one peer. Default 4 MiB where `send` waits for any peer that
    /// has room (PUSH, DEALER, PAIR, REQ), 16 MiB elsewhere.
    pub fn send_high_water_octets(mut self, octets: usize) -> Self {
        self.options.send.high_water_mark.octets = octets;
        self
    }
}

impl<S: Receives> Builder<S> {
    /// How much may be read of one peer while the application is away.
    pub fn receive_high_water_mark(mut self, mark: HighWaterMark) -> Self {
        self.options.receive_high_water_mark = mark;
        self
    }
}

macro_rules! immediate {
    ($($socket:ty),+) => {$(
        impl Builder<$socket> {
            /// Accepts messages only while a peer is connected (libzmq: IMMEDIATE). Default off:
            /// they wait for a connection that is being made.
            pub fn immediate(mut self) -> Self {
                self.options.send.immediate = true;
                self
            }
        }
    )+};
}
immediate!(Push, Dealer, Pair, AnySocket);

macro_rules! conflate {
    ($($socket:ty),+) => {$(
        impl Builder<$socket> {
            /// Keeps only the newest message for each peer, whatever the high-water marks, and the
            /// newest that each sent (libzmq: CONFLATE). Messages of one frame only.
            pub fn conflate(mut self) -> Self {
                self.options.send.conflate = true;
                self.options.conflate_received = true;
                self
            }
        }
    )+};
}
conflate!(Push, Pull, Publisher, Subscriber, Dealer, AnySocket);

macro_rules! routing_id {
    ($($socket:ty),+) => {$(
        impl Builder<$socket> {
            /// The name by which a ROUTER knows this socket, 1 to 255 octets, the first not zero.
            pub fn routing_id(mut self, id: impl Into<Vec<u8>>) -> Self {
                self.options.identity = id.into();
                self
            }

            /// Sends an empty message to each ROUTER that connects (libzmq: PROBE_ROUTER).
            pub fn probe_router(mut self) -> Self {
                self.options.probe_router = true;
                self
            }
        }
    )+};
}
routing_id!(Req, Dealer, Router, AnySocket);

macro_rules! publishes {
    ($($socket:ty),+) => {$(
        impl Builder<$socket> {
            /// What happens to a message for a subscriber that has no room. Default
            /// [`Overflow::DropNewest`].
            pub fn overflow(mut self, overflow: Overflow) -> Self {
                self.options.send.overflow = overflow;
                self
            }

            /// Sends to those that did not subscribe (libzmq: INVERT_MATCHING); set it on the
            /// subscribers, too.
            pub fn invert_matching(mut self) -> Self {
                self.options.send.invert_matching = true;
                self
            }

            /// The most subscriptions of one peer. Default 100,000.
            pub fn max_subscriptions(mut self, subscriptions: usize) -> Self {
                self.options.send.max_subscriptions = subscriptions;
                self
            }

            /// The longest topic of a subscription in octets. Default 64 KiB.
            pub fn max_topic(mut self, octets: usize) -> Self {
                self.options.send.max_topic = octets;
                self
            }
        }
    )+};
}
publishes!(Publisher, XPub, AnySocket);

impl Builder<Push> {
    /// To whom the next message goes. Default [`Balance::RoundRobin`].
    pub fn balance(mut self, balance: Balance) -> Self {
        self.options.send.balance = balance;
        self
    }
}

impl Builder<Subscriber> {
    /// Takes what was *not* subscribed (libzmq: INVERT_MATCHING); set it on the publisher, too.
    pub fn invert_matching(mut self) -> Self {
        self.options.send.invert_matching = true;
        self
    }
}

impl Builder<Router> {
    /// Drops and counts messages for unknown peers instead of reporting them, and those for a
    /// known peer without room instead of waiting (libzmq: ROUTER_MANDATORY off).
    pub fn drop_unroutable(mut self) -> Self {
        self.options.send.mandatory = false;
        self
    }

    /// Gives a routing id to whoever claims it last (libzmq: ROUTER_HANDOVER). Default: only to a
    /// peer that proved the same key, or when the old connection missed heartbeats.
    pub fn handover(mut self) -> Self {
        self.options.send.handover = true;
        self
    }

    /// Announces that replies carry the request's id, so that a Withy REQ has many requests in
    /// flight. Say so only if your replies return the whole envelope, as a REP does.
    pub fn correlate(mut self) -> Self {
        self.options.correlate_envelopes = true;
        self
    }
}

impl Builder<Req> {
    /// Timeouts and envelopes of requests.
    pub fn request_options(mut self, options: RequestOptions) -> Self {
        self.options.request = options;
        self
    }

    /// How long a request waits for its reply. Default 30 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.options.request.timeout = Some(timeout);
        self
    }
}

impl Builder<XPub> {
    /// Which subscriptions the application sees. Default: the first and the last of a topic.
    pub fn verbose(mut self, verbose: Verbose) -> Self {
        self.options.xpub.verbose = verbose;
        self
    }

    /// Leaves each subscription to the application (libzmq: XPUB_MANUAL). It hears of everything
    /// that a peer asks for, and of the end of each when the peer leaves.
    pub fn manual(mut self) -> Self {
        self.options.xpub.manual = true;
        self
    }

    /// Sends a message to each subscriber when it connects (libzmq: XPUB_WELCOME_MSG).
    pub fn welcome(mut self, message: impl Into<Message>) -> Self {
        self.options.xpub.welcome = Some(message.into());
        self
    }
}

//! What the caller may choose about dialling and listening, with the defaults.
//!
//! Reconnecting, handshakes and queues of messages are not the transports' business.

use std::fmt;
use std::time::Duration;

use withy_proto::Endpoint;
use withy_proto::crypto::sign::SigningKey;
use zeroize::Zeroizing;

use crate::Credentials;

/// How to dial.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DialOptions {
    /// Options of `tcp` sockets.
    pub tcp: TcpOptions,
    /// Options of `quic` connections.
    pub quic: QuicOptions,
    /// A proxy for all `tcp` endpoints, loopback ones too; default none.
    pub socks5: Option<Socks5>,
    /// How long one step may take: looking a name up, connecting to one of its addresses, handshake
    /// included with `quic`, the exchange with a proxy, waiting for room in the queue of an `ipc`
    /// listener; default 5 s.
    ///
    /// Addresses are tried side by side, so that a name with n addresses takes at most n × 250 ms
    /// longer than one. `inproc` waits without a limit until its name is bound. A dial that makes a `quic`
    /// connection is over when that is there: whether the listener takes the link shows when it is read.
    pub connect_timeout: Duration,
    /// Messages that may wait on an `inproc` link towards the peer; default 1000.
    pub inproc_capacity: usize,
}

impl DialOptions {
    /// Whether a dial with these options is known to stay on this machine.
    ///
    /// Other than [`Endpoint::is_local`], this knows that a proxy takes traffic elsewhere.
    pub fn is_local(&self, endpoint: &Endpoint) -> bool {
        let proxied = self.socks5.is_some() && matches!(endpoint, Endpoint::Tcp(_));
        endpoint.is_local() && !proxied
    }
}

impl Default for DialOptions {
    fn default() -> Self {
        Self {
            tcp: TcpOptions::default(),
            quic: QuicOptions::default(),
            socks5: None,
            connect_timeout: Duration::from_secs(5),
            inproc_capacity: INPROC_CAPACITY,
        }
    }
}

/// How to listen.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Options of `tcp` sockets, for the listening one and the accepted ones.
    pub tcp: TcpOptions,
    /// Options of `quic` connections.
    pub quic: QuicOptions,
    /// Which processes an `ipc` listener accepts; default all.
    pub ipc_filter: PeerFilter,
    /// Connections that may wait to be accepted; default 1024, and the system may cut it.
    pub backlog: u32,
    /// Messages that may wait on an accepted `inproc` link towards the peer; default 1000.
    pub inproc_capacity: usize,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            tcp: TcpOptions::default(),
            quic: QuicOptions::default(),
            ipc_filter: PeerFilter::default(),
            backlog: 1024,
            inproc_capacity: INPROC_CAPACITY,
        }
    }
}

const INPROC_CAPACITY: usize = 1000;

/// Options of `tcp` sockets.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TcpOptions {
    /// Sends small segments at once instead of waiting for acknowledgements; default true.
    pub no_delay: bool,
    /// Probes an idle connection; default none, since ZMTP has heartbeats of its own.
    pub keep_alive: Option<KeepAlive>,
    /// The send buffer of the system in octets; default the system's.
    pub send_buffer: Option<u32>,
    /// The receive buffer of the system in octets; default the system's.
    pub receive_buffer: Option<u32>,
    /// The type-of-service octet, or traffic class with IPv6; default the system's.
    pub tos: Option<u8>,
    /// The interface that packets must pass, by name; default any. Linux and Android only.
    pub bind_to_device: Option<String>,
    /// Prefers IPv6: `*` and `[::]` listen on IPv4 and IPv6, and an interface name means its IPv6
    /// address, with `quic`, too; default false. A host name is dialled at all its addresses either way.
    pub ipv6: bool,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            no_delay: true,
            keep_alive: None,
            send_buffer: None,
            receive_buffer: None,
            tos: None,
            bind_to_device: None,
            ipv6: false,
        }
    }
}

/// Options of `quic` connections.
///
/// Links of one process with the same node key to the same address share a connection; the options
/// of the dial that made it hold for all of them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QuicOptions {
    /// This node's key, which the handshake proves to the peer; default none, and without it neither
    /// dialling nor listening works.
    pub node_key: Option<SigningKey>,
    /// The node key that a dial expects of the peer; default none: any key is good until somebody
    /// judges it. It means nothing to a listener.
    pub expected_key: Option<[u8; 32]>,
    /// The node key that the peer of a dial is thought to have, without which any other is as good; default
    /// none. A link to a node that made a connection to this one, from the address that is dialled and in the
    /// same network, goes over that: no other is made.
    pub likely_key: Option<[u8; 32]>,
    /// Also accepts the classical X25519 alone with a peer that lacks the hybrid X25519MLKEM768;
    /// default false. What was recorded of such a connection a quantum computer can read some day.
    pub allow_classical: bool,
    /// The secrets of the networks that we belong to; default none, which is the network of those
    /// without one. A dial shows itself as a member of the first, and a listener answers the members
    /// of any and nobody else. A [listener](crate::Listener::set_networks) can be told of others later.
    pub networks: Vec<Secret>,
    /// Octets that one stream may have received before they are read; default 1 MiB. A link cannot be
    /// faster than this for each round trip, except with large messages.
    ///
    /// A link has up to 9 streams in each direction: for commands, 4 for small messages (1 where their
    /// order is kept) and 4 for large ones. A connection may have received 11 times as much for each of
    /// its links, of the most that it had at a time, so that those which are not read hold no other up.
    /// A peer that is not [admitted](crate::QuicReader::admit) yet gets 64 KiB at most.
    pub stream_receive_window: u32,
    /// Octets that all links of one connection together may have written before the peer has
    /// acknowledged them, for each of its links, of the most that it had at a time; default 8 MiB, which
    /// is what the streams for messages of one may have. Writers are told to wait above it.
    pub send_window: u32,
    /// Links that a peer may open on one connection at a time; default 256, and 8 at most until it is
    /// [admitted](crate::QuicReader::admit). Above it dials make another connection. Each costs the
    /// listener 200 octets, used or not.
    pub max_links: u32,
    /// Probes an idle connection this often; default 5 s. It also keeps NATs open.
    pub keep_alive: Duration,
    /// A connection from which nothing was heard for so long is lost; default 20 s. The smaller value
    /// of both sides counts.
    pub idle_timeout: Duration,
    /// How long a listener lets a handshake take, and a new link say what it is; default 5 s.
    pub handshake_timeout: Duration,
    /// Handshakes that a listener has under way at a time; default 128, each of 70 KB. Above it the
    /// oldest is given up if it has lasted half a second, since a good peer is done within a few round
    /// trips; else the newcomer gets no answer, and tries again. One that came to nothing costs as much
    /// for one more second: with these there are no more than twice as many.
    pub max_handshakes: usize,
    /// Handshakes under way from which on a peer must first show that it receives at its address,
    /// for one more round trip; default 64.
    pub retry_mark: usize,
    /// Connections that a listener has at a time, handshakes and those that linger included; default
    /// 16,384. Above it the oldest that has had no [admitted](crate::QuicReader::admit) link for half a
    /// second is given up; if there is none, new peers get no answer, and try again.
    pub max_connections: usize,
    /// How long a connection may have no [admitted](crate::QuicReader::admit) link at the side that
    /// listens, from its start or the end of the last one; default 15 s, and after the end of a link as
    /// long as `linger` at least.
    pub admission_timeout: Duration,
    /// How long what a closed link had written is sent again until the peer has it; default 10 s.
    pub linger: Duration,
    /// How long a connection that was dialled stays after its last link, for the next dial to the same peer
    /// and for links that the peer opens back; default zero. The peer ends it after its
    /// `admission_timeout`.
    pub spare: Duration,
    /// Octets of the system's buffers of each socket, as far as it grants them; default 2 MiB. The dials of
    /// a node in a network share as many sockets as there are processors, and 16 at most, for each runtime,
    /// IP version and value of this, apart for loopback.
    pub socket_buffer: u32,
}

impl Default for QuicOptions {
    fn default() -> Self {
        Self {
            node_key: None,
            expected_key: None,
            likely_key: None,
            allow_classical: false,
            networks: Vec::new(),
            stream_receive_window: 1 << 20,
            send_window: 8 << 20,
            max_links: 256,
            keep_alive: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(20),
            handshake_timeout: Duration::from_secs(5),
            max_handshakes: 128,
            retry_mark: 64,
            max_connections: 16_384,
            admission_timeout: Duration::from_secs(15),
            linger: Duration::from_secs(10),
            spare: Duration::ZERO,
            socket_buffer: 2 << 20,
        }
    }
}

/// A secret of 32 octets. It is wiped when dropped, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// The octets.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Secret {
    fn from(octets: [u8; 32]) -> Self {
        Self(Zeroizing::new(octets))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How to probe an idle TCP connection; what is `None` is left to the system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeepAlive {
    /// How long the connection is idle before the first probe, in whole seconds.
    pub idle: Option<Duration>,
    /// The time between probes, in whole seconds.
    pub interval: Option<Duration>,
    /// How many unanswered probes end the connection.
    pub count: Option<u32>,
}

/// A SOCKS5 proxy (RFC 1928). Host names are resolved by the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socks5 {
    /// Where the proxy is: a `tcp` endpoint.
    pub proxy: Endpoint,
    /// What to log in with (RFC 1929), in clear text; without it no login is offered.
    pub login: Option<Login>,
}

/// A user name and password of 1 to 255 octets each.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Which processes an `ipc` listener accepts: those that any of the lists names.
///
/// With all three lists empty everyone is accepted. A process is judged by the credentials that it
/// had when it connected; of its groups only the effective one counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerFilter {
    /// User ids.
    pub uids: Vec<u32>,
    /// Group ids.
    pub gids: Vec<u32>,
    /// Process ids.
    pub pids: Vec<i32>,
}

impl PeerFilter {
    /// Whether everyone is accepted.
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty() && self.pids.is_empty()
    }

    /// Whether a process is accepted; one without known credentials only if everyone is.
    pub fn accepts(&self, peer: Option<&Credentials>) -> bool {
        self.is_empty()
            || peer.is_some_and(|peer| {
                self.uids.contains(&peer.uid)
                    || self.gids.contains(&peer.gid)
                    || peer.pid.is_some_and(|pid| self.pids.contains(&pid))
            })
    }
}

#[cfg(test)]
mod tests {
    use withy_proto::crypto::Provider;

    use super::*;

    #[test]
    fn a_filter_accepts_whom_any_list_names() {
        let peer = Credentials {
            pid: Some(3),
            uid: 1,
            gid: 2,
        };
        let filter = |uids: &[u32], gids: &[u32], pids: &[i32]| PeerFilter {
            uids: uids.into(),
            gids: gids.into(),
            pids: pids.into(),
        };
        for (filter, accepts) in [
            (filter(&[], &[], &[]), true),
            (filter(&[1], &[], &[]), true),
            (filter(&[9], &[2], &[]), true),
            (filter(&[9], &[9], &[3]), true),
            (filter(&[2], &[1], &[1]), false),
            (filter(&[9], &[], &[]), false),
        ] {
            assert_eq!(filter.accepts(Some(&peer)), accepts, "{filter:?}");
            assert_eq!(filter.accepts(None), filter.is_empty());
        }
        let unnamed = Credentials { pid: None, ..peer };
        assert!(!filter(&[], &[], &[3]).accepts(Some(&unnamed)));
    }

    #[test]
    fn a_proxied_dial_is_not_local() {
        let tcp: Endpoint = "tcp://127.0.0.1:1".parse().unwrap();
        let ipc: Endpoint = "ipc:///a".parse().unwrap();
        let mut options = DialOptions::default();
        assert!(options.is_local(&tcp));
        options.socks5 = Some(Socks5 {
            proxy: tcp.clone(),
            login: None,
        });
        assert!(!options.is_local(&tcp));
        assert!(options.is_local(&ipc));
    }

    #[test]
    fn keys_and_network_secrets_are_not_printed() {
        let options = QuicOptions {
            node_key: Some(SigningKey::from_seed(Provider::Real, &[0xab; 32])),
            networks: vec![Secret::from([0xab; 32])],
            ..QuicOptions::default()
        };
        let printed = format!("{options:?}").to_lowercase();
        assert!(
            !printed.contains("171") && !printed.contains("ab, "),
            "{printed}"
        );
    }

    #[test]
    fn a_password_is_not_printed() {
        let login = Login {
            user: "ada".into(),
            password: "hunter2".into(),
        };
        assert!(!format!("{login:?}").contains("hunter2"));
    }
}

//! UDP endpoints with our limits, for dialling and for listening.
//!
//! The connections of a listener share its socket; which one a dial gets is not decided here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, Runtime,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};

use super::socket::{self, Guard, Guarded};
use super::tag::{self, Gate};
use crate::options::QuicOptions;

/// Octets of a datagram over a loopback interface. quinn sends ten at a time in one buffer, which
/// the system silently refuses above 65,507 octets.
const LOOPBACK_MTU: u16 = 6_500;
const _: () = assert!(LOOPBACK_MTU as usize * 10 <= 65_507);

/// Octets of a datagram over Ethernet: 1500 less the headers of IPv6 and UDP.
const NETWORK_MTU: u16 = 1_452;

/// Octets of a datagram that any network takes (RFC 9000 §14).
const MIN_MTU: u16 = 1_200;

/// By how much at least a search goes on that looks for what a network takes: more than half of the way, so
/// that the first probe shows that it is Ethernet's, and another one comes only where it is not. Each costs
/// both sides a packet and an answer, for each of many connections.
const STEP: u16 = (NETWORK_MTU - MIN_MTU) / 2 + 1;

/// When one that was lost on loopback is sent again; on networks quinn's ten minutes are enough.
const PROBE_AGAIN: Duration = Duration::from_secs(10);

/// What a round trip is taken to last before one was measured. RFC 9002 §6.2.2 wants 333 ms. With less
/// a first packet that was lost, or ignored under a flood, is sent again after 0.3 s and not after a
/// second, and a handshake that was given up is forgotten after one second and not after three, until
/// which it costs as much as before. A peer that is farther away gets its first packets twice.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// How many later packets may arrive before one is taken for lost. RFC 9002 §6.1.1 wants 3 at least, which
/// takes what Wi-Fi reorders for a full path and crawls.
const OVERTAKEN: u32 = 16;

/// Round trips after which a packet is taken for lost when a later one has arrived. RFC 9002 §6.1.2 wants
/// 9/8; RFC 8985 §6.2 grows to two where packets are reordered, and quinn cannot adapt.
const LATE: f32 = 2.0;

/// First packets that wait until they are judged, which happens at once.
const MAX_INCOMING: usize = 4_096;

/// Octets that may wait behind one first packet until it is judged, and behind all.
const INCOMING_BUFFER: u64 = 16 << 10;
const INCOMING_BUFFERS: u64 = 8 << 20;

/// Links that a peer may open until one of them is [admitted](Grant). quinn sets a table up for all
/// of them, which would make a half-open peer expensive.
const EARLY_LINKS: u32 = 8;

/// Streams for messages that a peer may open until a link is admitted.
const EARLY_STREAMS: u32 = 8;

/// Octets that a peer may have sent and we not read until a link is admitted: enough that no handshake
/// of ZMTP waits for it.
const EARLY_WINDOW: u32 = 64 << 10;

/// Streams for messages that a peer may open for each link: as many as it has at most, and two more,
/// since quinn keeps up to an eighth of what there is to itself. So it does with octets.
const STREAMS: u32 = (withy_proto::quic::LANES + withy_proto::quic::MAX_LARGE) as u32 + 2;

/// How long the answer to a retry is good.
const RETRY_LIFETIME: Duration = Duration::from_secs(15);

/// Opens a socket to dial `remote` from.
pub(super) fn dialling(remote: SocketAddr, options: &QuicOptions) -> io::Result<Endpoint> {
    let ip = match (remote.ip(), is_loopback(remote)) {
        (IpAddr::V4(_), true) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        (IpAddr::V4(_), false) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        (IpAddr::V6(_), true) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        (IpAddr::V6(_), false) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = socket::open((ip, 0).into(), options.socket_buffer, false)?;
    let guard = Guard::new(None, options.handshake_timeout)?;
    begin(socket, &guard, None, mtu(remote))
}

/// How to dial `remote` over a socket of [`dialling`]; whether the peer may open links [back](super::back).
pub(super) fn client(
    tls: QuicClientConfig,
    remote: SocketAddr,
    options: &QuicOptions,
    back: bool,
) -> ClientConfig {
    let network = tag::shown(&options.networks);
    let network = crate::options::Secret::from(*network);
    let mut config = ClientConfig::new(Arc::new(tls));
    let links = if back {
        EARLY_LINKS.min(options.max_links)
    } else {
        0
    };
    config.transport_config(Arc::new(transport(options, mtu(remote), links)));
    config.initial_dst_cid_provider(Arc::new(move || tag::first(network.expose())));
    config
}

/// What a listener takes peers with: those over loopback and the others.
#[derive(Debug, Clone)]
pub(super) struct Serving {
    loopback: Arc<ServerConfig>,
    network: Arc<ServerConfig>,
}

impl Serving {
    pub(super) fn new(tls: QuicServerConfig, options: &QuicOptions) -> Self {
        let mut config = ServerConfig::with_crypto(Arc::new(tls));
        config
            .migration(true)
            .max_incoming(MAX_INCOMING)
            .incoming_buffer_size(INCOMING_BUFFER)
            .incoming_buffer_size_total(INCOMING_BUFFERS)
            .retry_token_lifetime(RETRY_LIFETIME);
        let links = options.max_links;
        let with = |mtu| {
            let mut config = config.clone();
            config.transport_config(Arc::new(transport(options, mtu, EARLY_LINKS.min(links))));
            Arc::new(config)
        };
        Self {
            loopback: with(LOOPBACK_MTU),
            network: with(NETWORK_MTU),
        }
    }

    pub(super) fn of(&self, remote: SocketAddr) -> Arc<ServerConfig> {
        match is_loopback(remote) {
            true => Arc::clone(&self.loopback),
            false => Arc::clone(&self.network),
        }
    }
}

/// Opens a socket to listen on.
pub(super) fn listening(
    address: SocketAddr,
    serving: &Serving,
    options: &QuicOptions,
    dual_stack: bool,
) -> io::Result<(Endpoint, Arc<Guard>)> {
    let socket = socket::open(address, options.socket_buffer, dual_stack)?;
    let gate = Gate::new(&options.networks);
    let guard = Guard::new(Some(gate), options.handshake_timeout)?;
    let config = ServerConfig::clone(&serving.network);
    let endpoint = begin(socket, &guard, Some(config), LOOPBACK_MTU)?;
    Ok((endpoint, guard))
}

fn begin(
    socket: std::net::UdpSocket,
    guard: &Arc<Guard>,
    server: Option<ServerConfig>,
    mtu: u16,
) -> io::Result<Endpoint> {
    let mut config = EndpointConfig::default();
    let ids = guard.ids();
    config.cid_generator(move || Box::new(ids.clone()));
    config.max_udp_payload_size(mtu).map_err(io::Error::other)?;
    let runtime = Arc::new(TokioRuntime);
    let socket = Arc::new(Guarded {
        socket: runtime.wrap_udp_socket(socket)?,
        guard: Arc::clone(guard),
        // As many as the system puts into one, of 64 KiB at most.
        segments: usize::from(u16::MAX).div_ceil(mtu.into()),
    });
    Endpoint::new_with_abstract_socket(config, server, socket, runtime)
}

fn transport(options: &QuicOptions, mtu: u16, links: u32) -> TransportConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(mtu);
    if mtu == LOOPBACK_MTU {
        // It is known, so that one probe shows it. A search costs as much as the rest of a handshake.
        discovery.minimum_change(mtu - MIN_MTU);
        discovery.interval(PROBE_AGAIN);
    } else {
        discovery.minimum_change(STEP);
    }
    let mut config = TransportConfig::default();
    let idle = u64::try_from(options.idle_timeout.as_millis()).unwrap_or(u64::MAX);
    let idle = VarInt::from_u64(idle).unwrap_or(VarInt::MAX);
    config
        .max_concurrent_bidi_streams(links.into())
        .max_concurrent_uni_streams(EARLY_STREAMS.into())
        .datagram_receive_buffer_size(None)
        .stream_receive_window(options.stream_receive_window.into())
        .receive_window(EARLY_WINDOW.into())
        .send_window(options.send_window.into())
        .initial_rtt(INITIAL_RTT)
        .initial_mtu(MIN_MTU)
        .packet_threshold(OVERTAKEN)
        .time_threshold(LATE)
        .keep_alive_interval(Some(options.keep_alive))
        .max_idle_timeout(Some(IdleTimeout::from(idle)))
        .mtu_discovery_config(Some(discovery));
    config
}

/// What the peer of a connection gets once a link of it is admitted. Whoever has only proven a node's
/// key may be anybody, and costs no more than the early limits.
///
/// Streams and octets are granted for each link, as many as it may have at most, so that a link which
/// nobody reads takes none of another's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    links: u32,
    /// Octets that may wait on one stream.
    window: u32,
    /// Octets that we may have under way for each link.
    send: u32,
}

impl Grant {
    /// Of a connection over which the peer opens links, or we do.
    pub(super) fn new(options: &QuicOptions, peer_opens: bool) -> Self {
        Self {
            links: if peer_opens { options.max_links } else { 0 },
            window: options.stream_receive_window,
            send: options.send_window,
        }
    }

    /// Gives it to a connection with so many links.
    pub(super) fn give(self, connection: &Connection, links: usize) {
        let links = u32::try_from(links).unwrap_or(u32::MAX);
        let streams = links.saturating_mul(STREAMS);
        // The control streams as well.
        let window = u64::from(links) * u64::from(STREAMS + 1) * u64::from(self.window);
        connection.set_max_concurrent_bi_streams(self.links.into());
        connection.set_max_concurrent_uni_streams(streams.into());
        // What all links have under way is no less than what each may have: of streams that wait for
        // more, quinn asks the latest first, and others starve.
        connection.set_send_window(u64::from(links) * u64::from(self.send));
        connection.set_receive_window(VarInt::from_u64(window).unwrap_or(VarInt::MAX));
    }
}

fn mtu(remote: SocketAddr) -> u16 {
    match is_loopback(remote) {
        true => LOOPBACK_MTU,
        false => NETWORK_MTU,
    }
}

pub(super) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

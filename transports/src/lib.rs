//! The transports of Withy: how links come about, over Unix systems and tokio.
//!
//! A transport turns an [`Endpoint`] into a [`Link`]: [`dial`] makes one, a [`Listener`] accepts
//! many. What is said over a link, handshakes and reconnecting included, is not known here.
//! Adding a transport means one file and one row in [`TRANSPORTS`](self#the-table).
//!
//! # The table
//!
//! | scheme | link | dial | listen |
//! |---|---|---|---|
//! | `tcp` | bytes | all addresses of a name, source address, SOCKS5 | wildcards, interface names |
//! | `quic` | bytes | all addresses of a name; one connection for each pair of nodes | wildcards, interface names |
//! | `ipc` | bytes | paths and abstract names | the same, and `*` for a fresh path |
//! | `inproc` | messages | before the name is bound, too | |
//! | `fd`, `systemd` | bytes | | an inherited `tcp` or `ipc` socket |

mod error;
mod inherited;
mod inproc;
mod interface;
mod ipc;
mod memory;
mod options;
pub mod pipe;
pub mod processor;
mod quic;
mod resolve;
mod sockopt;
mod socks5;
mod stream;
mod tcp;

use std::pin::Pin;

use withy_proto::Endpoint;

pub use error::{AcceptError, DialError, ListenError, PathTooLong, Refused};
pub use interface::all as interface_addresses;
pub use memory::{CHUNK, Far, MemoryReader, MemoryWriter, link as memory_link};
pub use options::{
    DialOptions, KeepAlive, ListenOptions, Login, PeerFilter, QuicOptions, Secret, Socks5,
    TcpOptions,
};
pub use quic::{QuicError, QuicReader, QuicWriter, Streams, StreamsError, lingered};
pub use socks5::Socks5Error;
pub use stream::{ByteReader, ByteWriter};

/// What travels over a link between two sockets of one process.
pub type Parcel = withy_proto::zmtp::Item;

/// A way to a peer, of the kind that its transport offers.
#[derive(Debug)]
pub enum Link {
    /// A stream of bytes in both directions, to be framed and secured.
    Bytes(ByteReader, ByteWriter),
    /// A pipe within this process, which needs neither.
    Messages(pipe::End<Parcel>),
}

/// A link, and whom it links.
#[derive(Debug)]
pub struct Connected {
    /// The link.
    pub link: Link,
    /// Our own address, in the form of [`Peer::address`].
    pub local: String,
    /// The other side.
    pub peer: Peer,
}

/// The other side of a link, as the transport knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its address: `127.0.0.1:5555` or `[::1]:5555` with `tcp` and `quic`, what the proxy was asked for behind
    /// a proxy, `ipc:` and the path or `@name` that both use with `ipc`, `inproc:` and the name with
    /// `inproc`.
    pub address: String,
    /// Its process, where the system vouches for it: with `ipc`.
    pub credentials: Option<Credentials>,
    /// What it proved before the link was there: with `quic`.
    pub proven: Option<Proven>,
}

/// What the handshake under a `quic` link proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The ed25519 node key of the peer.
    pub key: [u8; 32],
    /// Whether a post-quantum key agreement protects the link: it does unless both sides allow the
    /// classical one.
    pub post_quantum: bool,
    /// The secret of the network that the tag of the dial named; `None` with the tag of those without
    /// one. That the peer knows the secret is not proven by it, since tags can be taken from others.
    pub network: Option<Secret>,
    /// Octets that both ends of this link have, and no other link: exported from the TLS session
    /// (RFC 8446 §7.5). They are no secret; what is said with them was said on this link.
    pub binding: [u8; 32],
}

/// The process at the other side of an `ipc` link, as it was when it connected or bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// The process id, where the system tells it.
    pub pid: Option<i32>,
    /// The effective user id.
    pub uid: u32,
    /// The effective group id.
    pub gid: u32,
}

/// Makes a link to an endpoint.
///
/// `inproc` waits until its name is bound; the other transports fail if nobody listens.
///
/// # Errors
///
/// [`DialError`]; nothing stays open.
///
/// # Cancel safety
///
/// Cancel safe: dropping the future ends the attempt.
pub async fn dial(endpoint: &Endpoint, options: &DialOptions) -> Result<Connected, DialError> {
    match transport(endpoint) {
        Some(transport) => (transport.dial)(endpoint, options).await,
        None => Err(DialError::not_dialable(endpoint, NO_ROW)),
    }
}

/// Listens on an endpoint.
///
/// # Errors
///
/// [`ListenError`]; nothing stays open.
///
/// # Cancel safety
///
/// Cancel safe: dropping the future ends the attempt.
pub async fn listen(endpoint: &Endpoint, options: &ListenOptions) -> Result<Listener, ListenError> {
    match transport(endpoint) {
        Some(transport) => (transport.listen)(endpoint, options).await,
        None => Err(ListenError::not_bindable(endpoint, NO_ROW)),
    }
}

/// An endpoint that is listened on, until this is dropped.
///
/// Dropping it closes the socket, and removes the socket file that it made. Links that were accepted
/// stay.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    accepting: Accepting,
}

#[derive(Debug)]
enum Accepting {
    Tcp(tcp::Accepting),
    Quic(quic::Accepting),
    Ipc(ipc::Accepting),
    Inproc(inproc::Accepting),
}

impl Listener {
    /// The endpoint that is really listened on: names and wildcard ports are resolved.
    ///
    /// A wildcard host is the wildcard address: `tcp://0.0.0.0:5555` or `tcp://[::]:5555`. An
    /// inherited socket has the endpoint of its address, unless that is no endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Answers the members of these networks from now on, as if they had been in
    /// [`QuicOptions::networks`]: with `quic`, with others it does nothing. Connections that are there
    /// stay.
    pub fn set_networks(&self, networks: &[Secret]) {
        if let Accepting::Quic(quic) = &self.accepting {
            quic.set_networks(networks);
        }
    }

    /// Accepts the next connection.
    ///
    /// # Errors
    ///
    /// [`AcceptError`]; unless it is [`AcceptError::Failed`], the listener lives, and accepting can
    /// go on.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no connection is lost.
    pub async fn accept(&mut self) -> Result<Connected, AcceptError> {
        match &mut self.accepting {
            Accepting::Tcp(tcp) => tcp.accept().await,
            Accepting::Quic(quic) => quic.accept().await,
            Accepting::Ipc(ipc) => ipc.accept().await,
            Accepting::Inproc(inproc) => inproc.accept().await,
        }
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type Dial =
    for<'a> fn(&'a Endpoint, &'a DialOptions) -> BoxFuture<'a, Result<Connected, DialError>>;
type Listen =
    for<'a> fn(&'a Endpoint, &'a ListenOptions) -> BoxFuture<'a, Result<Listener, ListenError>>;

struct Transport {
    scheme: &'static str,
    dial: Dial,
    listen: Listen,
}

const TRANSPORTS: &[Transport] = &[
    Transport {
        scheme: "tcp",
        dial: |endpoint, options| Box::pin(tcp::dial(endpoint, options)),
        listen: |endpoint, options| Box::pin(tcp::listen(endpoint, options)),
    },
    Transport {
        scheme: "quic",
        dial: |endpoint, options| Box::pin(quic::dial(endpoint, options)),
        listen: |endpoint, options| Box::pin(quic::listen(endpoint, options)),
    },
    Transport {
        scheme: "ipc",
        dial: |endpoint, options| Box::pin(ipc::dial(endpoint, options)),
        listen: |endpoint, options| Box::pin(ipc::listen(endpoint, options)),
    },
    Transport {
        scheme: "inproc",
        dial: |endpoint, options| Box::pin(inproc::dial(endpoint, options)),
        listen: |endpoint, options| Box::pin(async { inproc::listen(endpoint, options) }),
    },
    Transport {
        scheme: "fd",
        dial: |endpoint, _| Box::pin(async { Err(inherited::not_dialable(endpoint)) }),
        listen: |endpoint, options| Box::pin(async { inherited::listen(endpoint, options) }),
    },
    Transport {
        scheme: "systemd",
        dial: |endpoint, _| Box::pin(async { Err(inherited::not_dialable(endpoint)) }),
        listen: |endpoint, options| Box::pin(async { inherited::listen(endpoint, options) }),
    },
];

fn transport(endpoint: &Endpoint) -> Option<&'static Transport> {
    let scheme = endpoint.scheme();
    TRANSPORTS
        .iter()
        .find(|transport| transport.scheme == scheme)
}

/// The error of an endpoint without a row.
const NO_ROW: &str = "there is no such transport";

/// The error of a row whose transport is handed an endpoint of another: the table is wrong.
const WRONG_ROW: &str = "its transport is registered under the wrong scheme";

//! What can go wrong when dialling, listening and accepting, and who is to do something about it.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use withy_proto::Endpoint;

use crate::socks5::Socks5Error;
use crate::{Peer, QuicError};

/// Why an endpoint could not be dialled. Nothing stays open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Local misuse: one cannot connect to such an endpoint, here or anywhere. Do not retry.
    #[error("cannot connect to {endpoint}: {reason}")]
    NotDialable {
        /// The endpoint.
        endpoint: Endpoint,
        /// Why not.
        reason: &'static str,
    },
    /// Local misuse: the path is too long for a socket address. Do not retry.
    #[error(transparent)]
    PathTooLong(#[from] PathTooLong),
    /// The name could not be resolved, or not in time. Retry: names and resolvers come and go.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The host or interface name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address accepted the connection. Retry.
    #[error("cannot connect to {endpoint}: {}", list(.failures))]
    Unreachable {
        /// The endpoint, or the proxy before it.
        endpoint: Endpoint,
        /// The addresses that were tried, and what each said.
        failures: Vec<(SocketAddr, io::Error)>,
    },
    /// Local misuse: `quic` needs a node key, and the options have none. Do not retry.
    #[error("cannot connect to {endpoint}: it needs a node key, and none is set")]
    NoNodeKey {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// No address led to a `quic` connection with whom we accept.
    #[error("cannot connect to {endpoint}: {}", list(.failures))]
    Quic {
        /// The endpoint.
        endpoint: Endpoint,
        /// The addresses that were tried, and what went wrong at each.
        failures: Vec<(SocketAddr, QuicError)>,
    },
    /// The `ipc` socket does not accept the connection. Retry.
    #[error("cannot connect to {endpoint}: {source}")]
    Ipc {
        /// The endpoint.
        endpoint: Endpoint,
        /// What the system said.
        source: io::Error,
    },
    /// The proxy did not make the connection.
    #[error("cannot connect to {endpoint} through the proxy: {source}")]
    Proxy {
        /// The endpoint.
        endpoint: Endpoint,
        /// What the proxy said.
        source: Socks5Error,
    },
}

impl DialError {
    pub(crate) fn not_dialable(endpoint: &Endpoint, reason: &'static str) -> Self {
        let endpoint = endpoint.clone();
        Self::NotDialable { endpoint, reason }
    }

    /// Whether trying again cannot help, since the endpoint or the options are wrong.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::NotDialable { .. } | Self::PathTooLong(_) | Self::NoNodeKey { .. } => true,
            Self::Quic { failures, .. } => {
                !failures.is_empty() && failures.iter().all(|(_, error)| error.is_permanent())
            }
            Self::Proxy { source, .. } => source.is_permanent(),
            Self::Resolve { .. } | Self::Unreachable { .. } | Self::Ipc { .. } => false,
        }
    }

    /// Whether the peer's machine answered, at one of its addresses at least, that nobody listens.
    pub fn is_refused(&self) -> bool {
        let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        match self {
            Self::Unreachable { failures, .. } => failures.iter().any(|(_, error)| refused(error)),
            Self::Ipc { source, .. } => refused(source),
            Self::Quic { failures, .. } => failures
                .iter()
                .any(|(_, error)| matches!(error, QuicError::Refused)),
            Self::Proxy { source, .. } => source.is_refused(),
            Self::NotDialable { .. }
            | Self::PathTooLong(_)
            | Self::NoNodeKey { .. }
            | Self::Resolve { .. } => false,
        }
    }
}

/// Why an endpoint could not be listened on. Nothing stays open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Local misuse: one cannot bind to such an endpoint, here or anywhere. Do not retry.
    #[error("cannot bind to {endpoint}: {reason}")]
    NotBindable {
        /// The endpoint.
        endpoint: Endpoint,
        /// Why not.
        reason: &'static str,
    },
    /// Local misuse: the path is too long for a socket address. Do not retry.
    #[error(transparent)]
    PathTooLong(#[from] PathTooLong),
    /// Local misuse: `quic` needs a node key, and the options have none. Do not retry.
    #[error("cannot bind to {endpoint}: it needs a node key, and none is set")]
    NoNodeKey {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// Someone listens there already. Retry once they do not.
    #[error("cannot bind to {endpoint}: the address is in use")]
    AddressInUse {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// The path of an `ipc` endpoint exists and is not a socket; it was left alone.
    #[error("cannot bind to ipc://{}: it exists and is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The name is neither of an interface nor of a host of this machine.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The host or interface name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// There is no such inherited socket, or it is not a listening stream socket.
    #[error("cannot take over {endpoint}: {reason}")]
    NotInherited {
        /// The endpoint.
        endpoint: Endpoint,
        /// Why not.
        reason: String,
    },
    /// The system refused: permissions, a path that does not exist, an address of another machine,
    /// an option that this system lacks.
    #[error("cannot bind to {endpoint}: {source}")]
    Io {
        /// The endpoint.
        endpoint: Endpoint,
        /// What the system said.
        source: io::Error,
    },
}

impl ListenError {
    pub(crate) fn not_bindable(endpoint: &Endpoint, reason: &'static str) -> Self {
        let endpoint = endpoint.clone();
        Self::NotBindable { endpoint, reason }
    }

    /// Sorts what the system said of an endpoint.
    pub(crate) fn from_io(endpoint: &Endpoint, source: io::Error) -> Self {
        let endpoint = endpoint.clone();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse { endpoint },
            _ => Self::Io { endpoint, source },
        }
    }
}

/// Why a connection was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The system is short of descriptors or memory, or the connection ended before it was
    /// accepted. The listener lives: accept again after [`AcceptError::BACKOFF`].
    #[error("a connection could not be accepted: {0}")]
    Transient(#[source] io::Error),
    /// The filter of the `ipc` listener does not name this process; its connection was closed. The
    /// listener lives: accept again at once.
    #[error("a process was turned away from {}", .0.address)]
    Filtered(Peer),
    /// A `quic` peer of our network did not finish its handshake, or did it wrong. The listener lives:
    /// accept again at once.
    #[error("a handshake with {} failed: {source}", peer.address)]
    Handshake {
        /// Its address.
        peer: Peer,
        /// What went wrong.
        source: QuicError,
    },
    /// A `quic` listener refused or gave up peers, had no room to tell of handshakes that failed, or
    /// withheld datagrams. It says so no more than once in [`AcceptError::QUIET`]. The listener lives: accept again at once.
    #[error("{0}")]
    Refused(Refused),
    /// The listening socket is broken, and stays so.
    #[error("the listener failed: {0}")]
    Failed(#[source] io::Error),
}

impl AcceptError {
    /// How long to wait before accepting again after [`AcceptError::Transient`].
    pub const BACKOFF: Duration = Duration::from_millis(100);

    /// The time between two times [`AcceptError::Refused`] of a listener, at least.
    pub const QUIET: Duration = Duration::from_secs(1);

    /// Whether the listener lives, and accepting again makes sense.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

/// What a `quic` listener refused since the last time that it said so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, thiserror::Error)]
#[error(
    "{newcomers} first packets found no place, {given_up} connections without an admitted link were \
     given up, {untold} more handshakes failed, and {withheld} datagrams to addresses that were not shown were withheld"
)]
#[non_exhaustive]
pub struct Refused {
    /// First packets that got no answer, since `max_handshakes` were under way or `max_connections`
    /// there. Peers send them again.
    pub newcomers: u64,
    /// Handshakes and connections that were given up: they had no admitted link for too long, or
    /// others needed the place.
    pub given_up: u64,
    /// Handshakes that failed, of which [`AcceptError::Handshake`] does not tell, since as many links
    /// and failures as the backlog holds waited to be accepted.
    pub untold: u64,
    /// Datagrams of handshakes that were not sent, since an address that may be another's gets no more
    /// than three times what came from it (RFC 9000 §8.1).
    pub withheld: u64,
}

impl Refused {
    /// Peers that did not get in.
    pub fn peers(&self) -> u64 {
        self.newcomers + self.given_up + self.untold
    }
}

/// The errors of accept(2) that blame the listening socket. All others are of one connection, of the
/// network under it or of a shortage, and pass.
impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> Self {
        use nix::errno::Errno;
        let broken = [Errno::EBADF, Errno::EINVAL, Errno::ENOTSOCK, Errno::EFAULT];
        let errno = error.raw_os_error().map(Errno::from_raw);
        match errno {
            Some(errno) if broken.contains(&errno) => Self::Failed(error),
            Some(_) => Self::Transient(error),
            // The runtime, not the system: its reactor is gone.
            None => Self::Failed(error),
        }
    }
}

/// A path that does not fit into a socket address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path {path:?} has {} octets, and a socket address holds at most {max}", path.len())]
pub struct PathTooLong {
    /// The path or abstract name.
    pub path: String,
    /// How many octets this system allows.
    pub max: usize,
}

fn list(failures: &[(SocketAddr, impl Display)]) -> String {
    if failures.is_empty() {
        return "it has no address that can be reached from the source".to_owned();
    }
    let each = failures
        .iter()
        .map(|(address, error)| format!("{address}: {error}"));
    each.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn only_a_broken_listener_is_given_up() {
        for errno in [
            Errno::EMFILE,
            Errno::ENFILE,
            Errno::ENOBUFS,
            Errno::ENOMEM,
            Errno::ECONNABORTED,
            Errno::EPROTO,
            Errno::EPERM,
            Errno::ENETDOWN,
        ] {
            let error = AcceptError::from(io::Error::from_raw_os_error(errno as i32));
            assert!(error.is_transient(), "{errno}");
        }
        for errno in [Errno::EBADF, Errno::EINVAL, Errno::ENOTSOCK] {
            let error = AcceptError::from(io::Error::from_raw_os_error(errno as i32));
            assert!(!error.is_transient(), "{errno}");
        }
        assert!(!AcceptError::from(io::Error::other("no reactor")).is_transient());
    }
}

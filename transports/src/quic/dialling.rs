//! The UDP sockets that this process dials from: a few for each runtime, shared by its connections.
//!
//! A socket costs more than the connection that it is for: a buffer of 2 MB that is cleared, a dozen
//! system calls and a task. So it stays for a while when its last connection has ended, and is shared
//! when there are as many as processors: one socket is served by one of them at a time.
//!
//! Invariant: a socket without a connection is closed after [`SPARE`], and with its runtime.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Weak};
use std::thread::available_parallelism;
use std::time::Duration;

use parking_lot::Mutex;
use quinn::{ClientConfig, ConnectError, Connecting, Endpoint};
use tokio::runtime::{Handle, Id};
use tokio::time::sleep;

use super::endpoint;
use super::tls::SERVER_NAME;
use crate::QuicError;
use crate::options::QuicOptions;

/// How long a socket without a connection stays.
const SPARE: Duration = Duration::from_secs(5);

/// Sockets of one [`Kind`], at most; fewer if there are fewer processors.
const SOCKETS: usize = 16;

/// How many there are. The system takes as long to tell as a socket to open.
static MOST: LazyLock<usize> =
    LazyLock::new(|| available_parallelism().map_or(1, usize::from).min(SOCKETS));

type Sockets = HashMap<Kind, Vec<Weak<Endpoint>>>;

static DIALLING: LazyLock<Mutex<Sockets>> = LazyLock::new(Mutex::default);

/// What connections must have in common to share a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    runtime: Id,
    ipv6: bool,
    loopback: bool,
    buffer: u32,
}

/// Begins a handshake with `remote`, and tells from which address.
pub(super) fn connect(
    config: &ClientConfig,
    remote: SocketAddr,
    options: &QuicOptions,
) -> Result<(Connecting, SocketAddr), QuicError> {
    let kind = Kind {
        runtime: Handle::current().id(),
        ipv6: remote.is_ipv6(),
        loopback: endpoint::is_loopback(remote),
        buffer: options.socket_buffer,
    };
    let socket = |error: io::Error| QuicError::Socket(error.to_string());
    loop {
        let endpoint = take(kind, remote, options).map_err(socket)?;
        match endpoint.connect_with(config.clone(), remote, SERVER_NAME) {
            // The system took the socket away.
            Err(ConnectError::EndpointStopping) => forget(&mut DIALLING.lock(), kind, &endpoint),
            connecting => return Ok((connecting?, endpoint.local_addr().map_err(socket)?)),
        }
    }
}

/// A socket with as few connections as there is.
fn take(kind: Kind, remote: SocketAddr, options: &QuicOptions) -> io::Result<Arc<Endpoint>> {
    let mut all = DIALLING.lock();
    let sockets = all.entry(kind).or_default();
    let living = sockets.iter().filter_map(Weak::upgrade);
    let idlest = living.map(|it| (it.open_connections(), it));
    let idlest = idlest.min_by_key(|(connections, _)| *connections);
    if let Some((connections, endpoint)) = idlest
        && (connections == 0 || sockets.len() >= *MOST)
    {
        return Ok(endpoint);
    }
    let endpoint = Arc::new(endpoint::dialling(remote, options)?);
    sockets.push(Arc::downgrade(&endpoint));
    // Those of runtimes that are gone.
    all.retain(|_, sockets| {
        sockets.retain(|it| it.strong_count() > 0);
        !sockets.is_empty()
    });
    drop(all);
    tokio::spawn(keep(kind, Arc::clone(&endpoint)));
    Ok(endpoint)
}

/// Keeps a socket until it was without a connection for a while.
async fn keep(kind: Kind, endpoint: Arc<Endpoint>) {
    loop {
        endpoint.wait_idle().await;
        sleep(SPARE).await;
        let mut all = DIALLING.lock();
        // Nobody takes it while the lock is held.
        if endpoint.open_connections() == 0 && Arc::strong_count(&endpoint) == 1 {
            return forget(&mut all, kind, &endpoint);
        }
    }
}

fn forget(all: &mut Sockets, kind: Kind, endpoint: &Arc<Endpoint>) {
    if let Some(sockets) = all.get_mut(&kind) {
        sockets.retain(|it| it.as_ptr() != Arc::as_ptr(endpoint));
        if sockets.is_empty() {
            all.remove(&kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::options::Secret;
    use crate::quic::tls;

    /// Somebody who never answers.
    fn mute() -> (std::net::UdpSocket, SocketAddr) {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    fn dial(remote: SocketAddr) -> (Connecting, SocketAddr) {
        let options = QuicOptions::default();
        let tls = tls::client(&Secret::from([2; 32]), None, false).unwrap();
        connect(&endpoint::client(tls, remote, &options), remote, &options).unwrap()
    }

    /// The sockets of a runtime that can still be had.
    fn sockets(runtime: Id) -> Vec<Arc<Endpoint>> {
        let all = DIALLING.lock();
        let of_runtime = all.iter().filter(|(kind, _)| kind.runtime == runtime);
        let sockets = of_runtime.flat_map(|(_, sockets)| sockets);
        sockets.filter_map(Weak::upgrade).collect()
    }

    fn here() -> Id {
        Handle::current().id()
    }

    #[tokio::test]
    async fn there_are_no_more_sockets_than_processors() {
        let (_mute, remote) = mute();
        let dials: Vec<_> = (0..3 * SOCKETS).map(|_| dial(remote)).collect();
        let bound: HashSet<_> = dials.iter().map(|(_, bound)| *bound).collect();
        let processors = available_parallelism().unwrap().get();
        assert_eq!(bound.len(), processors.min(SOCKETS));
        // Each has as many connections as the others.
        let counts: Vec<_> = sockets(here())
            .iter()
            .map(|it| it.open_connections())
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), dials.len());
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
    }

    #[tokio::test]
    async fn a_socket_whose_connection_has_ended_is_used_again() {
        let (_mute, remote) = mute();
        let (connecting, bound) = dial(remote);
        drop(connecting);
        let [socket] = &sockets(here())[..] else {
            panic!("one socket");
        };
        socket.wait_idle().await;
        assert_eq!(dial(remote).1, bound);
    }

    #[tokio::test]
    async fn a_socket_that_is_lost_is_replaced() {
        let (_mute, remote) = mute();
        let (_connecting, bound) = dial(remote);
        for socket in sockets(here()) {
            socket.close(0_u32.into(), b"");
            socket.wait_idle().await;
        }
        assert_ne!(dial(remote).1, bound);
        assert_eq!(sockets(here()).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_spare_socket_goes_after_a_while() {
        let (_mute, remote) = mute();
        drop(take(
            Kind {
                runtime: here(),
                ipv6: false,
                loopback: true,
                buffer: 1 << 16,
            },
            remote,
            &QuicOptions::default(),
        ));
        sleep(SPARE / 2).await;
        assert_eq!(sockets(here()).len(), 1);
        sleep(SPARE).await;
        assert!(DIALLING.lock().keys().all(|kind| kind.runtime != here()));
    }

    #[test]
    fn a_runtime_takes_its_sockets_along() {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().build().unwrap()
        };
        let (_mute, remote) = mute();
        let gone = runtime().block_on(async {
            let _dialled = dial(remote);
            here()
        });
        assert!(sockets(gone).is_empty());
        runtime().block_on(async { drop(dial(remote)) });
        assert!(DIALLING.lock().keys().all(|kind| kind.runtime != gone));
    }
}

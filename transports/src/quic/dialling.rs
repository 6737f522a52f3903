//! The UDP sockets that this process dials from: a few for each node key and network, shared by its
//! connections.
//!
//! A socket costs more than the connection that it is for: a buffer of 2 MB that is cleared, a dozen
//! system calls and a task. So it stays for a while when its last connection has ended, and is shared
//! when there are as many as processors: one socket is served by one of them at a time. What connections
//! share a socket for is theirs together: if the system takes it away, all of them are lost.
//!
//! Invariant: a socket that nobody can have any more, or that had no connection before and after
//! [`SPARE`], is closed with its last connection, and all of them with their runtime.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Weak};
use std::thread::available_parallelism;
use std::time::Duration;

use parking_lot::Mutex;
use quinn::{ClientConfig, ConnectError, Connecting, Connection, ConnectionError, Endpoint};
use tokio::runtime::{Handle, Id};
use tokio::time::sleep;
use withy_proto::crypto::tag::TAG;

use super::endpoint;
use super::tls::SERVER_NAME;
use crate::QuicError;
use crate::options::QuicOptions;

/// How long a socket without a connection stays.
const SPARE: Duration = Duration::from_secs(5);

/// Sockets of one [`Kind`], at most; fewer if there are fewer processors. Dials that need one at the
/// same moment may have one more each, which nobody shares.
const SOCKETS: usize = 16;

/// How many there are. The system takes as long to tell as a socket to open.
static MOST: LazyLock<usize> =
    LazyLock::new(|| available_parallelism().map_or(1, usize::from).min(SOCKETS));

type Sockets = HashMap<Kind, Vec<Weak<Endpoint>>>;

static DIALLING: LazyLock<Mutex<Sockets>> = LazyLock::new(Mutex::default);

/// Who dials. Others have ports of their own, so that nobody can tell that they are one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Dialler {
    pub(super) node: [u8; 32],
    /// Stands for the secret of the network.
    pub(super) network: [u8; TAG],
}

/// What connections must have in common to share a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    runtime: Id,
    dialler: Dialler,
    ipv6: bool,
    loopback: bool,
    buffer: u32,
}

/// A handshake that was begun.
#[derive(Debug)]
pub(super) struct Dialled {
    connecting: Connecting,
    /// The address that it is made from.
    pub(super) bound: SocketAddr,
    kind: Kind,
    endpoint: Weak<Endpoint>,
}

impl Dialled {
    /// Ends the handshake. If nobody answers, the next attempt is made from another port: what stands in
    /// the way may be somebody's memory of this one.
    pub(super) async fn finish(self) -> Result<Connection, ConnectionError> {
        let mut shunned = Shunned(Some((self.kind, self.endpoint)));
        let connected = self.connecting.await;
        if !matches!(connected, Err(ConnectionError::TimedOut)) {
            shunned.0 = None;
        }
        connected
    }
}

/// A socket that nobody gets any more once this is dropped, since its peer did not answer in time.
struct Shunned(Option<(Kind, Weak<Endpoint>)>);

impl Drop for Shunned {
    fn drop(&mut self) {
        if let Some((kind, endpoint)) = self.0.take() {
            forget(&mut DIALLING.lock(), kind, &endpoint);
        }
    }
}

/// Begins a handshake with `remote`.
pub(super) fn connect(
    config: &ClientConfig,
    remote: SocketAddr,
    options: &QuicOptions,
    dialler: Dialler,
) -> Result<Dialled, QuicError> {
    let kind = Kind {
        runtime: Handle::current().id(),
        dialler,
        ipv6: remote.is_ipv6(),
        loopback: endpoint::is_loopback(remote),
        buffer: options.socket_buffer,
    };
    let over = |endpoint: &Arc<Endpoint>| {
        let connecting = endpoint.connect_with(config.clone(), remote, SERVER_NAME)?;
        Ok(endpoint.local_addr().map(|bound| Dialled {
            connecting,
            bound,
            kind,
            endpoint: Arc::downgrade(endpoint),
        }))
    };
    let socket = |error: io::Error| QuicError::Socket(error.to_string());
    {
        let mut all = DIALLING.lock();
        // Under the lock, so that the next dial sees this one.
        while let Some(endpoint) = idlest(&all, kind) {
            match over(&endpoint) {
                // The system took it away.
                Err(ConnectError::EndpointStopping) => {
                    forget(&mut all, kind, &Arc::downgrade(&endpoint))
                }
                dialled => return dialled?.map_err(socket),
            }
        }
    }
    let endpoint = Arc::new(endpoint::dialling(remote, options).map_err(socket)?);
    // A new one is lost only with its runtime.
    let dialled = over(&endpoint)?.map_err(socket)?;
    share(kind, endpoint);
    Ok(dialled)
}

/// The socket with the fewest connections, if it has none or there may be no more sockets.
fn idlest(all: &Sockets, kind: Kind) -> Option<Arc<Endpoint>> {
    let sockets = all.get(&kind)?;
    let living = sockets.iter().filter_map(Weak::upgrade);
    let counted = living.map(|it| (it.open_connections(), it));
    let (connections, endpoint) = counted.min_by_key(|(connections, _)| *connections)?;
    (connections == 0 || sockets.len() >= *MOST).then_some(endpoint)
}

/// Lets others have a socket, unless there are enough by now.
fn share(kind: Kind, endpoint: Arc<Endpoint>) {
    let mut all = DIALLING.lock();
    // Those of runtimes that are gone.
    all.retain(|_, sockets| {
        sockets.retain(|it| it.strong_count() > 0);
        !sockets.is_empty()
    });
    let sockets = all.entry(kind).or_default();
    if sockets.len() < *MOST {
        sockets.push(Arc::downgrade(&endpoint));
        tokio::spawn(keep(kind, endpoint));
    }
}

/// Keeps a socket until it was without a connection for a while.
async fn keep(kind: Kind, endpoint: Arc<Endpoint>) {
    let this = Arc::downgrade(&endpoint);
    let spare = async {
        loop {
            endpoint.wait_idle().await;
            if !is_shared(&DIALLING.lock(), kind, &this) {
                return;
            }
            sleep(SPARE).await;
            let mut all = DIALLING.lock();
            // Nobody takes it while the lock is held.
            if endpoint.open_connections() == 0 {
                return forget(&mut all, kind, &this);
            }
        }
    };
    tokio::select! {
        () = spare => {}
        // A socket that only dials accepts nothing: this is how it tells that the system took it away.
        _ = endpoint.accept() => forget(&mut DIALLING.lock(), kind, &this),
    }
}

fn is_shared(all: &Sockets, kind: Kind, endpoint: &Weak<Endpoint>) -> bool {
    let mut sockets = all.get(&kind).into_iter().flatten();
    sockets.any(|it| it.ptr_eq(endpoint))
}

fn forget(all: &mut Sockets, kind: Kind, endpoint: &Weak<Endpoint>) {
    if let Some(sockets) = all.get_mut(&kind) {
        sockets.retain(|it| !it.ptr_eq(endpoint));
        if sockets.is_empty() {
            all.remove(&kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use withy_proto::crypto::Provider;
    use withy_proto::crypto::sign::SigningKey;

    use super::*;
    use crate::quic::tls;

    /// Somebody who never answers.
    fn mute() -> (std::net::UdpSocket, SocketAddr) {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    const DIALLER: Dialler = Dialler {
        node: [2; 32],
        network: [0; TAG],
    };

    fn dial(remote: SocketAddr) -> Dialled {
        dial_as(DIALLER, remote)
    }

    fn dial_as(dialler: Dialler, remote: SocketAddr) -> Dialled {
        let options = QuicOptions::default();
        let key = SigningKey::from_seed(Provider::Real, &[2; 32]);
        let tls = tls::client(&key, None, false).unwrap();
        let config = endpoint::client(tls, remote, &options, false);
        connect(&config, remote, &options, dialler).unwrap()
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
        let bound: HashSet<_> = dials.iter().map(|it| it.bound).collect();
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
        let dialled = dial(remote);
        let bound = dialled.bound;
        drop(dialled);
        let [socket] = &sockets(here())[..] else {
            panic!("one socket");
        };
        socket.wait_idle().await;
        assert_eq!(dial(remote).bound, bound);
    }

    #[tokio::test]
    async fn a_socket_that_is_lost_is_replaced() {
        let (_mute, remote) = mute();
        let dialled = dial(remote);
        for socket in sockets(here()) {
            socket.close(0_u32.into(), b"");
            socket.wait_idle().await;
        }
        assert_ne!(dial(remote).bound, dialled.bound);
        assert_eq!(sockets(here()).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_spare_socket_goes_after_a_while() {
        let (_mute, remote) = mute();
        let options = QuicOptions::default();
        let kind = Kind {
            runtime: here(),
            dialler: DIALLER,
            ipv6: false,
            loopback: true,
            buffer: options.socket_buffer,
        };
        share(kind, endpoint::dialling(remote, &options).unwrap().into());
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

    /// A peer's or a router's memory of the old port may be what stands in the way.
    #[tokio::test]
    async fn the_port_of_a_peer_that_does_not_answer_is_not_used_again() {
        let (_mute, remote) = mute();
        let dialled = dial(remote);
        let bound = dialled.bound;
        // Given up, as by a timeout.
        drop(tokio::time::timeout(Duration::ZERO, dialled.finish()).await);
        assert!(sockets(here()).is_empty());
        assert_ne!(dial(remote).bound, bound);
    }

    #[tokio::test]
    async fn nodes_and_networks_have_sockets_of_their_own() {
        let (_mute, remote) = mute();
        let one = dial(remote).bound;
        let others = [
            Dialler {
                node: [3; 32],
                ..DIALLER
            },
            Dialler {
                network: [1; TAG],
                ..DIALLER
            },
        ];
        for other in others {
            assert_ne!(dial_as(other, remote).bound, one);
        }
    }
}

//! Listening: peers are judged, shaken hands with side by side, and their links accepted.
//!
//! The loop that takes first packets never waits for a handshake, so that peers which stall do not
//! keep others out; when there are too many of them, the oldest are given up.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quinn::{Connecting, Endpoint, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::endpoint::{self, Grant, Serving};
use super::left;
use super::socket::Guard;
use super::tag::Verdict;
use super::tls;
use super::wire::Wire;
use crate::options::{QuicOptions, Secret};
use crate::{AcceptError, Connected, Peer, QuicError, tcp};

type Accepted = Result<Connected, AcceptError>;

/// A listening QUIC socket. Dropping it refuses new links; those that were accepted stay.
#[derive(Debug)]
pub(crate) struct Accepting {
    links: mpsc::Receiver<Accepted>,
    guard: Arc<Guard>,
    endpoint: Endpoint,
    taking: AbortHandle,
}

impl Accepting {
    pub(super) fn begin(
        address: SocketAddr,
        seed: &Secret,
        options: &QuicOptions,
        dual_stack: bool,
        backlog: u32,
    ) -> std::io::Result<Self> {
        let tls = tls::server(seed, options.allow_classical).map_err(std::io::Error::other)?;
        let serving = Serving::new(tls, options);
        let (endpoint, guard) = endpoint::listening(address, &serving, options, dual_stack)?;
        let (sender, links) = mpsc::channel(usize::try_from(backlog.max(1)).unwrap_or(1));
        let door = Door {
            endpoint: endpoint.clone(),
            guard: Arc::clone(&guard),
            serving,
            bound: endpoint.local_addr()?,
            links: sender,
            shaking: Arc::default(),
            places: Arc::new(Semaphore::new(options.max_connections)),
            options: options.clone(),
        };
        let taking = tokio::spawn(door.open()).abort_handle();
        Ok(Self {
            links,
            guard,
            endpoint,
            taking,
        })
    }

    pub(super) fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    pub(crate) fn set_networks(&self, networks: &[Secret]) {
        if let Some(gate) = self.guard.gate() {
            gate.set_networks(networks);
        }
    }

    pub(crate) async fn accept(&mut self) -> Accepted {
        let gone = || AcceptError::Failed(std::io::Error::other("the QUIC endpoint has ended"));
        self.links.recv().await.unwrap_or_else(|| Err(gone()))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        if let Ok(address) = self.local_addr() {
            left::note(address);
        }
        self.guard.close();
        self.taking.abort();
        self.endpoint.set_server_config(None);
    }
}

/// What the loop that takes first packets needs.
struct Door {
    endpoint: Endpoint,
    guard: Arc<Guard>,
    serving: Serving,
    bound: SocketAddr,
    links: mpsc::Sender<Accepted>,
    shaking: Arc<Shaking>,
    /// A place for each connection.
    places: Arc<Semaphore>,
    options: QuicOptions,
}

impl Door {
    async fn open(self) {
        while let Some(incoming) = self.endpoint.accept().await {
            self.take(incoming);
        }
    }

    fn take(&self, incoming: Incoming) {
        let from = incoming.remote_address();
        let place = Arc::clone(&self.places).try_acquire_owned();
        let (Some(gate), Ok(place)) = (self.guard.gate(), place) else {
            return incoming.ignore();
        };
        if !self.shaking.has_room(self.options.max_handshakes) {
            return incoming.ignore();
        }
        let validated = incoming.remote_address_validated();
        let crowded = self.shaking.count() >= self.options.retry_mark;
        match gate.judge(&incoming.orig_dst_cid(), from, validated, crowded) {
            Verdict::Ignore => incoming.ignore(),
            // It cannot fail before the address is validated.
            Verdict::Retry => drop(incoming.retry()),
            Verdict::Begin(network) => match incoming.accept_with(self.serving.of(from)) {
                Ok(connecting) => self.shake(connecting, from, network, place),
                Err(error) => report(&self.links, from, error.into()),
            },
        }
    }

    fn shake(
        &self,
        connecting: Connecting,
        from: SocketAddr,
        network: Option<Secret>,
        place: OwnedSemaphorePermit,
    ) {
        let links = self.links.clone();
        let (limit, linger) = (self.options.handshake_timeout, self.options.linger);
        let (bound, grant) = (self.bound, Grant::new(&self.options, true));
        self.shaking.begin(|begun| {
            tokio::spawn(async move {
                let shaken = shaken(connecting, limit).await;
                drop(begun);
                match shaken {
                    Ok((connection, proven)) => {
                        let proven = tls::Proven { network, ..proven };
                        let (wire, lease) =
                            Wire::new(connection, proven, bound, grant, linger, true, place);
                        wire.serve(lease, links, limit).await;
                    }
                    Err(error) => report(&links, from, error),
                }
            })
            .abort_handle()
        });
    }
}

/// How long a handshake is under way before it may be given up for another.
const PATIENCE: Duration = Duration::from_millis(500);

/// The handshakes under way, the oldest first.
#[derive(Default)]
struct Shaking {
    under_way: Mutex<BTreeMap<u64, (Instant, AbortHandle)>>,
    next: AtomicU64,
}

impl Shaking {
    fn count(&self) -> usize {
        self.under_way.lock().len()
    }

    /// Whether there is room for one more, if need be by giving the oldest up: a good peer is done
    /// within a few round trips, so that it is the likeliest to stall.
    fn has_room(&self, max: usize) -> bool {
        let mut under_way = self.under_way.lock();
        if under_way.len() < max {
            return true;
        }
        let oldest = under_way.first_entry();
        let Some(oldest) = oldest.filter(|oldest| oldest.get().0.elapsed() >= PATIENCE) else {
            return false;
        };
        let (_, oldest) = oldest.remove();
        drop(under_way);
        oldest.abort();
        true
    }

    fn begin(self: &Arc<Self>, start: impl FnOnce(Begun) -> AbortHandle) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut under_way = self.under_way.lock();
        // The task cannot remove itself before it is entered, since the lock is held.
        let task = start(Begun {
            shaking: Arc::clone(self),
            number,
        });
        under_way.insert(number, (Instant::now(), task));
    }
}

/// A handshake under way.
struct Begun {
    shaking: Arc<Shaking>,
    number: u64,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.shaking.under_way.lock().remove(&self.number);
    }
}

async fn shaken(
    connecting: Connecting,
    limit: Duration,
) -> Result<(quinn::Connection, tls::Proven), QuicError> {
    let connection = timeout(limit, connecting)
        .await
        .map_err(|_| QuicError::Timeout)??;
    let proven = tls::proven(&connection).ok_or(QuicError::NoCommonProtocol)?;
    Ok((connection, proven))
}

/// Tells of a failed handshake, unless too many links and failures wait to be heard of already.
fn report(links: &mpsc::Sender<Accepted>, from: SocketAddr, source: QuicError) {
    let address = tcp::canonical(from);
    let peer = Peer {
        address,
        ..Peer::default()
    };
    let _ = links.try_send(Err(AcceptError::Handshake { peer, source }));
}

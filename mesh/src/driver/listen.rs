//! Connections that peers make to this side.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use withy_proto::Endpoint;
use withy_transports::{AcceptError, Connected, Listener};

use super::core::Core;
use super::handshake::Side;
use super::link::Link;
use super::task::Task;
use crate::event::{AcceptFailure, EventKind, HandshakeFailure, PeerInfo};

/// One of the connections that a socket accepts, as long as it lives.
pub(crate) type Place = OwnedSemaphorePermit;

/// A connection that was taken in.
struct Taken {
    /// The socket that has it, which the listening one may have handed it over to.
    core: Arc<Core>,
    /// The listening one.
    host: Arc<Core>,
    place: Option<Place>,
    task: Box<Task>,
    link: Arc<Link>,
    peer: Arc<PeerInfo>,
}

impl Core {
    /// Accepts connections until it is stopped.
    pub(crate) fn serve(self: &Arc<Self>, listener: Listener) -> Endpoint {
        let endpoint = listener.endpoint().clone();
        let (number, stop) = {
            let mut endpoints = self.endpoints.lock();
            let active = endpoints.active(&endpoint);
            let known = (active.number, active.stop.clone());
            if endpoints.bound.capacity() == 0 {
                endpoints.bound.reserve_exact(1);
            }
            endpoints.bound.push(active);
            known
        };
        self.emit(&endpoint, EventKind::Listening);
        let core = Arc::clone(self);
        let served = endpoint.clone();
        self.spawn(async move {
            let error = core.accept(listener, &served, &stop).await.map(Arc::new);
            core.endpoints
                .lock()
                .bound
                .retain(|active| active.number != number);
            core.emit(&served, EventKind::Unbound { error });
        });
        endpoint
    }

    /// Returns the error of a listener that broke, `None` when it was stopped.
    async fn accept(
        self: &Arc<Self>,
        mut listener: Listener,
        endpoint: &Endpoint,
        stop: &CancellationToken,
    ) -> Option<AcceptError> {
        let security = &self.options.security;
        let mut changes = security.trust.changes();
        // It may have changed since the listener was made.
        changes.mark_changed();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return None,
                // Trust lives as long as we do.
                Ok(()) = changes.changed() => {
                    listener.set_networks(&security.networks());
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let error = match accepted {
                Ok(connected) => {
                    self.admit(connected, endpoint, stop);
                    continue;
                }
                Err(error) if !error.is_transient() => return Some(error),
                Err(error) => Arc::new(error),
            };
            let reason = AcceptFailure::Link(Arc::clone(&error));
            self.emit(endpoint, EventKind::AcceptFailed { reason });
            let counters = &self.counters;
            match &*error {
                AcceptError::Filtered(_) | AcceptError::Handshake { .. } => {
                    counters.refused.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                AcceptError::Refused(refused) => {
                    counters
                        .refused
                        .fetch_add(refused.peers(), Ordering::Relaxed);
                    counters
                        .withheld
                        .fetch_add(refused.withheld, Ordering::Relaxed);
                    continue;
                }
                _ => {}
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(AcceptError::BACKOFF) => {}
            }
        }
    }

    /// Takes a link in that came by no listener, for as long as this socket is open.
    pub(crate) fn take(self: &Arc<Self>, connected: Connected, endpoint: &Endpoint) {
        let stop = self.endpoints.lock().stop.child_token();
        self.admit(connected, endpoint, &stop);
    }

    /// Starts the handshake of a link, if there is a place for it.
    fn admit(
        self: &Arc<Self>,
        connected: Connected,
        endpoint: &Endpoint,
        stop: &CancellationToken,
    ) {
        let limits = self.options.connections;
        let address = connected.peer.address.clone();
        if self.places.available_permits() == 0 {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            let limit = limits.max_connections;
            let reason = AcceptFailure::TooManyConnections { address, limit };
            self.emit(endpoint, EventKind::AcceptFailed { reason });
            return;
        }
        self.emit(endpoint, EventKind::Accepted { address });
        let half_open = HalfOpen::new(self);
        let (core, endpoint, stop) = (Arc::clone(self), endpoint.clone(), stop.clone());
        // Boxed, link and all: an idle connection does not keep the memory of how it came about.
        let accepting = {
            let (core, endpoint, stop) = (Arc::clone(self), endpoint.clone(), stop.clone());
            Box::pin(async move { core.take_in(connected, &endpoint, &stop, half_open).await })
        };
        self.spawn(async move {
            match accepting.await {
                Some(taken) if Arc::ptr_eq(&taken.core, &core) => taken.run(&endpoint, &stop).await,
                Some(taken) => taken.hand_over(endpoint),
                None => {}
            }
        });
    }

    /// Shakes hands on a link and takes the connection in, if all goes well.
    async fn take_in(
        self: &Arc<Self>,
        connected: Connected,
        endpoint: &Endpoint,
        stop: &CancellationToken,
        half_open: HalfOpen,
    ) -> Option<Taken> {
        let (address, local) = (connected.peer.address.clone(), connected.local.clone());
        let shaken = tokio::select! {
            () = stop.cancelled() => return None,
            () = half_open.given_up.cancelled() => {
                Err(HandshakeFailure::TooMany(self.options.connections.max_handshakes))
            }
            shaken = self.handshake(connected, Side::Accepting) => shaken,
        };
        drop(half_open);
        match shaken {
            Ok(mut ready) => {
                let place = ready.place.take();
                let core = match ready.host.take() {
                    Some(host) => {
                        // It is of our runtime, and that socket may be of another.
                        ready.timer = None;
                        host
                    }
                    None => Arc::clone(self),
                };
                let (task, link, peer) =
                    core.establish(endpoint, ready, address, local, None).ok()?;
                Some(Taken {
                    core,
                    host: Arc::clone(self),
                    place,
                    task,
                    link,
                    peer,
                })
            }
            Err(reason) => {
                self.handshake_failed(endpoint, address, reason);
                None
            }
        }
    }
}

impl Taken {
    /// Drives the connection until it ends or is stopped.
    async fn run(self, endpoint: &Endpoint, stop: &CancellationToken) {
        let Self {
            core,
            host,
            place,
            task,
            link,
            peer,
        } = self;
        core.run(endpoint, task, &link, peer, place, &host, stop)
            .await;
    }

    /// Lets the socket that has the connection drive it, for as long as it is open itself.
    fn hand_over(self, endpoint: Endpoint) {
        let core = Arc::clone(&self.core);
        let stop = core.endpoints.lock().stop.child_token();
        core.spawn(async move { self.run(&endpoint, &stop).await });
    }
}

impl Core {
    /// Takes one of the places of accepted connections. Whoever is not through with its handshake
    /// has none, so that those who never finish keep nobody out.
    pub(super) fn take_place(&self) -> Result<Place, HandshakeFailure> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            HandshakeFailure::TooManyConnections(self.options.connections.max_connections)
        })
    }
}

/// The handshakes of accepted connections, the oldest first.
///
/// One too many ends the oldest: whoever is honest is through in a moment, and those who never
/// finish cannot keep newcomers out.
#[derive(Debug, Default)]
pub(crate) struct HalfOpens {
    next: u64,
    under_way: BTreeMap<u64, CancellationToken>,
}

/// One of them, while it lives.
struct HalfOpen {
    core: Arc<Core>,
    number: u64,
    given_up: CancellationToken,
}

impl HalfOpen {
    fn new(core: &Arc<Core>) -> Self {
        let given_up = CancellationToken::new();
        let mut half_open = core.half_open.lock();
        let number = half_open.next;
        half_open.next += 1;
        if half_open.under_way.len() >= core.options.connections.max_handshakes
            && let Some((_, oldest)) = half_open.under_way.pop_first()
        {
            oldest.cancel();
        }
        half_open.under_way.insert(number, given_up.clone());
        drop(half_open);
        Self {
            core: Arc::clone(core),
            number,
            given_up,
        }
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.core.half_open.lock().under_way.remove(&self.number);
    }
}

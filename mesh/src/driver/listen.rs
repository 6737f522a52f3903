//! Connections that peers make to this side.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;
use withy_proto::Endpoint;
use withy_transports::{AcceptError, Connected, Listener};

use super::core::Core;
use super::handshake::Side;
use super::task::Task;
use crate::event::{AcceptFailure, EventKind, HandshakeFailure, PeerInfo};

/// One of the connections that a socket accepts, as long as it lives.
#[derive(Debug)]
pub(crate) struct Place(Arc<Core>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.accepted.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A connection that was taken in.
struct Taken {
    /// The socket that has it, if the listening one handed it over.
    to: Option<Arc<Core>>,
    place: Option<Place>,
    task: Box<Task>,
    peer: Arc<PeerInfo>,
}

impl Core {
    /// Accepts connections until it is stopped.
    pub(crate) fn serve(self: &Arc<Self>, listener: Listener) -> Endpoint {
        let endpoint = listener.endpoint().clone();
        let (number, stop) = {
            let mut endpoints = self.endpoints.lock();
            let stop = endpoints.stop_of_another();
            let active = endpoints.active(&endpoint, stop);
            let known = (active.number, active.stop.clone());
            if endpoints.bound.capacity() == 0 {
                endpoints.bound.reserve_exact(1);
            }
            endpoints.bound.push(active);
            known
        };
        self.emit(&endpoint, EventKind::Listening);
        let core = Arc::clone(self);
        let served = Arc::new(endpoint.clone());
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
        endpoint: &Arc<Endpoint>,
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
                    self.admit(Box::new(connected), endpoint, stop);
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
        let stop = self.endpoints.lock().stop_of_another();
        let endpoint = Arc::new(endpoint.clone());
        self.admit(Box::new(connected), &endpoint, &stop);
    }

    /// Starts the handshake of a link, if there is a place for it.
    fn admit(
        self: &Arc<Self>,
        connected: Box<Connected>,
        endpoint: &Arc<Endpoint>,
        stop: &CancellationToken,
    ) {
        let limits = self.options.connections;
        let address = connected.peer.address.clone();
        if self.accepted.load(Ordering::Acquire) >= limits.max_connections {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            let limit = limits.max_connections;
            let reason = AcceptFailure::TooManyConnections { address, limit };
            self.emit(endpoint, EventKind::AcceptFailed { reason });
            return;
        }
        self.emit(endpoint, EventKind::Accepted { address });
        let half_open = HalfOpen::new(self);
        let (core, endpoint, stop) = (Arc::clone(self), Arc::clone(endpoint), stop.clone());
        // Boxed, link and all: an idle connection does not keep the memory of how it came about.
        let accepting = {
            let (core, endpoint, stop) = (Arc::clone(self), Arc::clone(&endpoint), stop.clone());
            Box::pin(async move { core.take_in(connected, &endpoint, &stop, half_open).await })
        };
        self.spawn(async move {
            let Some(taken) = accepting.await else {
                return;
            };
            let Taken {
                to,
                place,
                task,
                peer,
            } = taken;
            match to {
                None => core.run(&endpoint, task, peer, place, &core, &stop).await,
                Some(to) => {
                    // It drives the connection for as long as it is open itself.
                    let stop = to.endpoints.lock().stop_of_another();
                    Arc::clone(&to).spawn(async move {
                        to.run(&endpoint, task, peer, place, &core, &stop).await;
                    });
                }
            }
        });
    }

    /// Shakes hands on a link and takes the connection in, if all goes well.
    async fn take_in(
        self: &Arc<Self>,
        connected: Box<Connected>,
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
                let to = ready.host.take();
                if to.is_some() {
                    // It is of our runtime, and that socket may be of another.
                    ready.timer = None;
                }
                let core = to.as_ref().unwrap_or(self);
                let (task, peer) = core.establish(endpoint, ready, address, local, None).ok()?;
                Some(Taken {
                    to,
                    place,
                    task,
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

impl Core {
    /// Takes one of the places of accepted connections. Whoever is not through with its handshake
    /// has none, so that those who never finish keep nobody out.
    pub(super) fn take_place(self: &Arc<Self>) -> Result<Place, HandshakeFailure> {
        let limit = self.options.connections.max_connections;
        let another = |accepted| (accepted < limit).then_some(accepted + 1);
        let taken = self
            .accepted
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, another);
        if taken.is_err() {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(HandshakeFailure::TooManyConnections(limit));
        }
        Ok(Place(Arc::clone(self)))
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

//! Connections that peers make to this side.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use withy_proto::Endpoint;
use withy_transports::{Connected, Listener};

use super::core::Core;
use super::dial::Active;
use crate::event::{EventKind, HandshakeFailure};

/// How long accepting rests after it failed for want of resources.
const REST: Duration = Duration::from_millis(100);

impl Core {
    /// Accepts connections until it is stopped.
    pub(crate) fn serve(self: &Arc<Self>, listener: Listener) -> Endpoint {
        let endpoint = listener.endpoint().clone();
        let stop = CancellationToken::new();
        self.endpoints.lock().bound.push(Active {
            endpoint: endpoint.clone(),
            stop: stop.clone(),
        });
        self.emit(&endpoint, EventKind::Listening);
        let core = Arc::clone(self);
        let served = endpoint.clone();
        self.spawn(async move {
            core.accept(listener, &served, &stop).await;
            core.endpoints
                .lock()
                .bound
                .retain(|active| active.endpoint != served);
            core.emit(&served, EventKind::Unbound);
        });
        endpoint
    }

    async fn accept(
        self: &Arc<Self>,
        mut listener: Listener,
        endpoint: &Endpoint,
        stop: &CancellationToken,
    ) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(connected) => self.admit(connected, endpoint, stop),
                Err(error) => {
                    self.emit(
                        endpoint,
                        EventKind::AcceptFailed {
                            error: error.to_string(),
                        },
                    );
                    tokio::time::sleep(REST).await;
                }
            }
        }
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
        if *self.peers.borrow() >= limits.max_connections {
            let error = format!(
                "{address}: max_connections ({}) are open",
                limits.max_connections
            );
            self.emit(endpoint, EventKind::AcceptFailed { error });
            return;
        }
        if self.counters.half_open.load(Ordering::Relaxed) >= limits.max_handshakes {
            self.handshake_failed(
                endpoint,
                address,
                HandshakeFailure::TooMany(limits.max_handshakes),
            );
            return;
        }
        self.emit(endpoint, EventKind::Accepted { address });
        let half_open = HalfOpen::new(self);
        let (core, endpoint, stop) = (Arc::clone(self), endpoint.clone(), stop.clone());
        self.spawn(async move {
            let (address, local) = (connected.peer.address.clone(), connected.local.clone());
            // Boxed: an idle connection does not keep the memory of how it came about.
            let handshake = Box::pin(core.handshake(connected, true));
            let shaken = tokio::select! {
                () = stop.cancelled() => return,
                shaken = handshake => shaken,
            };
            drop(half_open);
            match shaken {
                Ok(ready) => {
                    if let Ok((task, link, peer)) = core.establish(&endpoint, ready, address, local)
                    {
                        core.run(&endpoint, task, &link, peer, &stop).await;
                    }
                }
                Err(reason) => core.handshake_failed(&endpoint, address, reason),
            }
        });
    }
}

/// Counts a handshake while it lives.
struct HalfOpen(Arc<Core>);

impl HalfOpen {
    fn new(core: &Arc<Core>) -> Self {
        core.counters.half_open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(core))
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.0.counters.half_open.fetch_sub(1, Ordering::Relaxed);
    }
}

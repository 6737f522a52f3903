//! Connections that this side makes, and makes again.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;
use withy_proto::pattern::PipeKey;
use withy_proto::pattern::outgoing::AttachError;
use withy_proto::peer::Backoff;
use withy_proto::zmtp::connection::Peer;
use withy_proto::{Endpoint, Message, SocketType};
use withy_transports::Connected;

use super::core::Core;
use super::handshake::{OsRandomness, Ready, Side};
use super::link::Link;
use super::listen::Place;
use super::task::{Said, Task};
use crate::event::{DialFailure, EventKind, HandshakeFailure, PeerInfo, Reason};

/// What a socket is bound to and connects to.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    pub(crate) bound: Vec<Active>,
    pub(crate) dialed: Vec<Active>,
    /// Stops them all, and connections whose listener is gone.
    pub(crate) stop: CancellationToken,
    /// Tells uses of one endpoint from each other.
    next: u64,
}

/// One endpoint in use.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) number: u64,
    pub(crate) endpoint: Endpoint,
    pub(crate) stop: CancellationToken,
}

/// What is dialled.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) endpoint: Endpoint,
    /// The routing id that the peer gets, whatever it announces (libzmq: CONNECT_ROUTING_ID).
    pub(crate) routing_id: Option<Vec<u8>>,
    /// The key that the peer has to have as its identity's or its node's.
    pub(crate) expected: Option<[u8; 32]>,
}

impl Endpoints {
    /// A new use of an endpoint.
    pub(crate) fn active(&mut self, endpoint: &Endpoint) -> Active {
        self.next += 1;
        Active {
            number: self.next,
            endpoint: endpoint.clone(),
            stop: self.stop.child_token(),
        }
    }
}

/// Stops a use of an endpoint that is not being stopped already; returns whether there was one.
pub(crate) fn stop(uses: &[Active], endpoint: &Endpoint) -> bool {
    let active = uses
        .iter()
        .find(|active| active.endpoint == *endpoint && !active.stop.is_cancelled());
    active.inspect(|active| active.stop.cancel()).is_some()
}

impl Core {
    /// Starts to connect to `endpoint`, and goes on until it is stopped.
    pub(crate) fn dial(self: &Arc<Self>, to: Dialed) {
        let (number, stop) = {
            let mut endpoints = self.endpoints.lock();
            let active = endpoints.active(&to.endpoint);
            let known = (active.number, active.stop.clone());
            endpoints.dialed.push(active);
            self.sending.lock().out.set_dialing(endpoints.dialed.len());
            known
        };
        self.room.notify_waiters();
        let core = Arc::clone(self);
        self.spawn(async move {
            core.keep_connected(&to, &stop).await;
            core.forget_dialed(number);
        });
    }

    fn forget_dialed(&self, number: u64) {
        let mut endpoints = self.endpoints.lock();
        endpoints.dialed.retain(|active| active.number != number);
        self.sending.lock().out.set_dialing(endpoints.dialed.len());
    }

    async fn keep_connected(self: &Arc<Self>, to: &Dialed, stop: &CancellationToken) {
        let endpoint = &to.endpoint;
        let mut backoff = Backoff::new(self.options.reconnect);
        let mut first = true;
        while !stop.is_cancelled() {
            self.emit(endpoint, EventKind::Dialing);
            // Boxed: an idle connection does not keep the memory of how it came about.
            let attempt = Box::pin(self.dial_once(to));
            let failed = tokio::select! {
                () = stop.cancelled() => return,
                attempt = attempt => match attempt {
                    Ok((task, link, peer)) => {
                        backoff.reset();
                        if !std::mem::take(&mut first) {
                            self.counters.reconnects.fetch_add(1, Ordering::Relaxed);
                        }
                        self.run(endpoint, task, &link, peer, None, stop).await;
                        None
                    }
                    Err(reason) => Some(reason),
                },
            };
            if stop.is_cancelled() {
                return;
            }
            let permanent = failed.as_ref().is_some_and(DialFailure::is_permanent);
            let again = self.options.reconnect.enabled && !permanent;
            let delay = again.then(|| backoff.next(&mut OsRandomness));
            if let Some(reason) = failed {
                self.emit(endpoint, EventKind::DialFailed { reason, delay });
            }
            let Some(delay) = delay else {
                return;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    async fn dial_once(
        self: &Arc<Self>,
        to: &Dialed,
    ) -> Result<(Task, Arc<Link>, Arc<PeerInfo>), DialFailure> {
        let endpoint = &to.endpoint;
        let connected = self.link(endpoint).await?;
        let (address, local) = (connected.peer.address.clone(), connected.local.clone());
        match self.handshake(connected, Side::Dialing(to)).await {
            Ok(ready) => self
                .establish(endpoint, ready, address, local)
                .map_err(|error| HandshakeFailure::NoPlace(error).into()),
            Err(reason) => {
                self.handshake_failed(endpoint, address, reason.clone());
                Err(reason.into())
            }
        }
    }

    async fn link(&self, endpoint: &Endpoint) -> Result<Connected, DialFailure> {
        let mut options = Cow::Borrowed(&self.options.dial);
        if matches!(endpoint, Endpoint::Quic(_)) {
            let quic = self.options.security.quic(&options.quic);
            options.to_mut().quic = quic.map_err(HandshakeFailure::from)?;
        }
        withy_transports::dial(endpoint, &options)
            .await
            .map_err(|error| DialFailure::Link(Arc::new(error)))
    }

    pub(crate) fn handshake_failed(
        &self,
        endpoint: &Endpoint,
        address: String,
        reason: HandshakeFailure,
    ) {
        self.counters
            .handshakes_failed
            .fetch_add(1, Ordering::Relaxed);
        self.emit(endpoint, EventKind::HandshakeFailed { address, reason });
    }

    /// Takes in an established connection, or refuses it.
    pub(crate) fn establish(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        ready: Ready,
        address: String,
        local: String,
    ) -> Result<(Task, Arc<Link>, Arc<PeerInfo>), AttachError> {
        let info = Arc::new(self.describe(&ready.established.peer, address, local));
        let _ = self.find_place(&ready.established.peer);
        let Ready {
            established,
            reader,
            writer,
            ..
        } = ready;
        match self.attach(established, reader, writer, Arc::clone(&info)) {
            Ok((link, peer)) => {
                let task = Task::new(Arc::clone(self), Arc::clone(&link), peer.extensions.withy);
                Ok((task, link, info))
            }
            Err(error) => {
                let failure = HandshakeFailure::NoPlace(error);
                self.handshake_failed(endpoint, info.address.clone(), failure);
                Err(error)
            }
        }
    }

    /// Whether there is a place for a peer; where another holds it without right, it is cleared.
    pub(crate) fn find_place(&self, peer: &Peer) -> Result<(), AttachError> {
        let place = self.sending.lock().out.may_attach(peer);
        if let Err(AttachError::IdentityTaken { holder, same_key }) = place
            && (same_key || self.is_silent(holder))
        {
            self.hand_over(holder);
            return Ok(());
        }
        place
    }

    fn is_silent(&self, holder: PipeKey) -> bool {
        let sending = self.sending.lock();
        matches!(sending.links.get(holder.index()), Some(Some(send_link)) if send_link.link.is_silent())
    }

    fn hand_over(&self, holder: PipeKey) {
        self.close_link(holder, Reason::HandedOver);
        // Nobody knows what a peer that fell silent has read.
        self.detach(holder, true);
    }

    /// What some options have said first on a new connection.
    pub(super) fn greet(&self, link: &Link, peer: &Peer) {
        let probes = matches!(
            self.kind,
            SocketType::Req | SocketType::Dealer | SocketType::Router
        );
        if self.options.probe_router && probes && peer.kind == SocketType::Router {
            let _ = self.try_send_to(link.key(), &mut Message::new());
        }
        if let Some(welcome) = &self.options.xpub.welcome {
            let _ = self.try_send_to(link.key(), &mut welcome.clone());
        }
    }

    fn describe(&self, peer: &Peer, address: String, local: String) -> PeerInfo {
        PeerInfo {
            address,
            local,
            kind: peer.kind,
            identity: peer.identity.clone(),
            mechanism: peer.mechanism,
            user: peer.user.clone(),
            key: peer.key,
            proven: peer.proven.clone(),
            metadata: peer.metadata.clone(),
            withy: peer.extensions.withy,
        }
    }

    /// Waits until the peer is trusted no longer, which costs memory only where it proved an
    /// identity.
    fn distrusted<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        peer: &'a PeerInfo,
        accepted: bool,
    ) -> Pin<Box<dyn Future<Output = String> + Send + 'a>> {
        match &peer.proven {
            Some(proven) => Box::pin(async move {
                let name = (!accepted).then(|| endpoint.to_string());
                let security = &self.options.security;
                security.distrusted(&proven.shown, name.as_deref()).await
            }),
            // Of no size: nothing is allocated.
            None => Box::pin(std::future::pending()),
        }
    }

    /// Drives a connection until it ends or is stopped.
    pub(crate) async fn run(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        mut task: Task,
        link: &Link,
        peer: Arc<PeerInfo>,
        place: Option<Place>,
        stop: &CancellationToken,
    ) {
        self.emit(endpoint, EventKind::Connected(Arc::clone(&peer)));
        let mut distrusted = self.distrusted(endpoint, &peer, place.is_some());
        let reason = loop {
            tokio::select! {
                why = &mut distrusted => break Reason::Distrusted(why),
                said = &mut task => match said {
                    // It was detached meanwhile.
                    Said::Drops(0) => {}
                    Said::Drops(dropped) => {
                        let peer = Arc::clone(&peer);
                        self.emit(endpoint, EventKind::Dropping { peer, dropped });
                    }
                    Said::Ended(reason) => break reason,
                },
                () = stop.cancelled() => break Reason::Closed,
            }
        };
        if reason.is_loss() {
            link.settled().await;
            self.read_rest(link.key());
        }
        self.detach(link.key(), reason.is_loss() || reason == Reason::Silent);
        link.shutdown();
        drop(distrusted);
        // Before anybody hears of it: there is a place for the next peer then.
        drop(place);
        self.peers.send_modify(|peers| *peers -= 1);
        if reason.is_offence() {
            self.counters
                .protocol_errors
                .fetch_add(1, Ordering::Relaxed);
        }
        self.emit(endpoint, EventKind::Disconnected { peer, reason });
    }
}

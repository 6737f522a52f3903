//! What all handles of a socket share, and the operations below the typed faces.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use withy_proto::endpoint::{EndpointError, Quic};
use withy_proto::mechanism::party::Expected;
use withy_proto::pattern::PipeKey;
use withy_proto::trust::{IdError, IdentityId, NodeId};
use withy_proto::{Endpoint, Message, SocketType};

use crate::driver::core::{Core, Phase};
use crate::driver::dial::{self, Dialed};
use crate::driver::receive::Nothing;
use crate::driver::send::Rejected;
use crate::driver::watched::Watched;
use crate::error::{BindError, Closed, ConnectError, ReceiveError, SendError, UnknownEndpoint};
use crate::event::{DialFailure, EventKind, Monitor, PeerInfo, Reason};
use crate::node::{Named, Node, Wants};
use crate::options::Options;
use crate::stats::Stats;

use super::PeerKey;

/// Shared by all handles of a socket; the last one to go closes it.
#[derive(Debug, Clone)]
pub struct Owner(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    core: Arc<Core>,
    /// What the socket is on the mesh, for as long as it lives, and by which endpoint the application
    /// asked for that.
    names: Mutex<Vec<(Option<Endpoint>, Named)>>,
}

impl Drop for Owned {
    /// Without `close`, what waits is sent in the background, for as long as `linger` says.
    fn drop(&mut self) {
        self.core.start_closing();
        if let Some(runtime) = self.core.runtime.get() {
            let core = Arc::clone(&self.core);
            runtime.spawn(async move {
                let linger = core.options.linger;
                core.finish_closing(linger).await;
            });
        }
    }
}

/// The key of an identity or of a node, from its printed form.
fn key_of(id: &str) -> Result<[u8; 32], IdError> {
    match id.parse::<IdentityId>() {
        Ok(identity) => Ok(*identity.as_octets()),
        Err(IdError::Kind { .. }) => id.parse::<NodeId>().map(|node| *node.as_octets()),
        Err(error) => Err(error),
    }
}

impl Owner {
    pub(crate) fn new(kind: SocketType, options: Options) -> Self {
        Self(Arc::new(Owned {
            core: Core::new(kind, options),
            names: Mutex::default(),
        }))
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0.core
    }

    /// Keeps a name on the mesh for as long as the socket lives.
    pub(crate) fn keep(&self, name: Named) {
        self.0.names.lock().push((None, name));
    }

    /// Connects to the sockets that are bound under a name on the mesh.
    fn connect_named(&self, endpoint: Endpoint, name: &str) -> Result<(), ConnectError> {
        let core = self.core();
        let wants = Wants::Sockets(core.kind, name.into());
        if let Some(node) = &core.options.node {
            let name = node.seek_for(core, wants);
            self.0.names.lock().push((Some(endpoint), name));
            return Ok(());
        }
        let owned = Arc::downgrade(&self.0);
        core.spawn(async move {
            let opened = Node::shared_one().await;
            let Some(owned) = owned.upgrade() else {
                return;
            };
            match opened {
                Ok(node) => {
                    let name = node.seek_for(&owned.core, wants);
                    owned.names.lock().push((Some(endpoint), name));
                }
                Err(error) => {
                    let reason = DialFailure::Mesh(Arc::new(error));
                    let delay = None;
                    owned
                        .core
                        .emit(&endpoint, EventKind::DialFailed { reason, delay });
                }
            }
        });
        Ok(())
    }

    /// Binds under a name on the mesh.
    async fn bind_named(&self, endpoint: Endpoint, name: &str) -> Result<Endpoint, BindError> {
        let core = self.core();
        let node = match &core.options.node {
            Some(node) => node.clone(),
            None => Node::shared_one().await.map_err(Box::new)?,
        };
        let named = node
            .put_socket(core, name)
            .map_err(|source| BindError::Name {
                endpoint: endpoint.clone(),
                source,
            })?;
        self.0.names.lock().push((Some(endpoint.clone()), named));
        Ok(endpoint)
    }

    /// Gives up what the socket is on the mesh by an endpoint; whether it is anything.
    fn give_up(&self, endpoint: &Endpoint, offered: bool) -> Result<(), UnknownEndpoint> {
        let mut names = self.0.names.lock();
        let known = |(known, name): &(Option<Endpoint>, Named)| {
            known.as_ref() == Some(endpoint) && name.is_offered() == offered
        };
        let at = names.iter().position(known);
        let named = at.map(|at| names.swap_remove(at));
        drop(names);
        let named = named.ok_or_else(|| UnknownEndpoint(endpoint.clone()))?;
        drop(named);
        Ok(())
    }

    pub(crate) fn connect(
        &self,
        endpoint: Result<Endpoint, EndpointError>,
    ) -> Result<(), ConnectError> {
        self.connect_as(endpoint, None)
    }

    pub(crate) fn connect_as(
        &self,
        endpoint: Result<Endpoint, EndpointError>,
        routing_id: Option<Vec<u8>>,
    ) -> Result<(), ConnectError> {
        let endpoint = endpoint?;
        let core = self.core();
        let security = &core.options.security;
        if let Err(why) = security.permits(&endpoint, core.options.dial.is_local(&endpoint)) {
            return Err(ConnectError::Unfit { endpoint, why });
        }
        let expected = match &endpoint {
            Endpoint::Quic(Quic { peer: Some(id), .. }) => {
                Some(Expected::Key(key_of(id.as_str())?))
            }
            _ => None,
        };
        if core.phase() != Phase::Open {
            return Err(ConnectError::Closed);
        }
        let runtime = Handle::try_current().map_err(|_| ConnectError::NoRuntime)?;
        core.runtime.get_or_init(|| runtime);
        if let Endpoint::Mesh(name) = &endpoint {
            let name = name.clone();
            return self.connect_named(endpoint, name.as_str());
        }
        core.dial(Dialed {
            ways: Mutex::new(vec![endpoint]),
            resource: None,
            host: None,
            guard: None,
            routing_id,
            expected,
            wish: Default::default(),
        });
        Ok(())
    }

    pub(crate) async fn bind(
        &self,
        endpoint: Result<Endpoint, EndpointError>,
    ) -> Result<Endpoint, BindError> {
        let endpoint = endpoint?;
        let core = self.core();
        let security = &core.options.security;
        let mut options = Cow::Borrowed(&*core.options.listen);
        let permitted = security.permits(&endpoint, endpoint.is_local());
        let permitted = permitted.and_then(|()| {
            if matches!(endpoint, Endpoint::Quic(_)) {
                let mut quic = security.quic(&core.options.listen.quic)?;
                // A peer has all of its time to become known.
                let known = quic.handshake_timeout + core.options.connections.handshake_timeout;
                quic.admission_timeout = quic.admission_timeout.max(known);
                options.to_mut().quic = quic;
            }
            Ok(())
        });
        if let Err(why) = permitted {
            return Err(BindError::Unfit { endpoint, why });
        }
        if core.phase() != Phase::Open {
            return Err(BindError::Closed);
        }
        let runtime = Handle::try_current().map_err(|_| BindError::NoRuntime)?;
        core.runtime.get_or_init(|| runtime);
        if let Endpoint::Mesh(name) = &endpoint {
            let name = name.clone();
            return self.bind_named(endpoint, name.as_str()).await;
        }
        match withy_transports::listen(&endpoint, &options).await {
            Ok(listener) => Ok(core.serve(listener)),
            Err(source) => Err(BindError::Transport { endpoint, source }),
        }
    }

    pub(crate) fn disconnect(&self, endpoint: &Endpoint) -> Result<(), UnknownEndpoint> {
        if matches!(endpoint, Endpoint::Mesh(_)) {
            return self.give_up(endpoint, false);
        }
        let known = dial::stop(&self.core().endpoints.lock().dialed, endpoint);
        known
            .then_some(())
            .ok_or_else(|| UnknownEndpoint(endpoint.clone()))
    }

    pub(crate) fn unbind(&self, endpoint: &Endpoint) -> Result<(), UnknownEndpoint> {
        if matches!(endpoint, Endpoint::Mesh(_)) {
            return self.give_up(endpoint, true);
        }
        let known = dial::stop(&self.core().endpoints.lock().bound, endpoint);
        known
            .then_some(())
            .ok_or_else(|| UnknownEndpoint(endpoint.clone()))
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let endpoints = self.core().endpoints.lock();
        let bound = endpoints.bound.iter().map(|active| active.endpoint.clone());
        let mut all: Vec<Endpoint> = bound.collect();
        drop(endpoints);
        let names = self.0.names.lock();
        let named = names.iter().filter(|(_, name)| name.is_offered());
        all.extend(named.filter_map(|(endpoint, _)| endpoint.clone()));
        all
    }

    pub(crate) async fn wait_peers(&self, peers: usize) -> Result<(), Closed> {
        self.wait_for(&self.core().peers, peers).await
    }

    pub(crate) async fn wait_subscribed(&self, subscriptions: usize) -> Result<(), Closed> {
        self.wait_for(&self.core().subscriptions, subscriptions)
            .await
    }

    /// Waits until a count is high enough.
    async fn wait_for(&self, count: &Watched<usize>, wanted: usize) -> Result<(), Closed> {
        let (mut count, mut phase) = (count.subscribe(), self.core().phase.subscribe());
        tokio::select! {
            _ = count.wait_for(|count| *count >= wanted) => Ok(()),
            _ = phase.wait_for(|phase| *phase != Phase::Open) => Err(Closed),
        }
    }

    pub(crate) fn monitor(&self) -> Monitor {
        self.core().events.monitor()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.core().stats()
    }

    pub(crate) async fn close(self) -> usize {
        let core = self.core();
        core.start_closing();
        core.finish_closing(core.options.linger).await
    }

    pub(crate) async fn flush(&self) {
        self.core().flushed().await;
    }

    // Sending.

    /// Sends `message` if nothing stands in the way, as it mostly is: this has no state that a future would
    /// have to keep. If not, [`Owner::send`] finds out why.
    #[inline]
    pub(crate) fn send_now(&self, message: &mut Message) -> Result<(), Rejected> {
        let core = self.core();
        match core.debt.load(Relaxed) {
            true => Err(Rejected::FULL),
            false => core.try_send(message),
        }
    }

    /// Sends `message` once there is room; what is left of it then is of no use. A cancelled call leaves
    /// it as it was.
    #[inline]
    pub(crate) async fn send(&self, message: &mut Message) -> Result<(), SendError> {
        match self.core().send(message).await {
            Ok(()) => Ok(()),
            Err(rejected) => Err(rejected.with(std::mem::take(message))),
        }
    }

    #[inline]
    pub(crate) fn try_send(&self, mut message: Message) -> Result<(), SendError> {
        match self.core().try_send(&mut message) {
            Ok(()) => Ok(()),
            Err(rejected) => Err(rejected.with(message)),
        }
    }

    pub(crate) async fn send_timeout(
        &self,
        mut message: Message,
        timeout: Duration,
    ) -> Result<(), SendError> {
        let core = self.core();
        let sent = match core.try_send(&mut message) {
            Err(Rejected::FULL) => {
                let sending = core.send_when_room(&mut message, Core::try_send);
                tokio::time::timeout(timeout, sending).await
            }
            sent => Ok(sent),
        };
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(rejected)) => Err(rejected.with(message)),
            Err(_) => Err(SendError::Timeout(message)),
        }
    }

    // Receiving.

    /// The next message, if one is there: as with [`Owner::send_now`], there is no future then. If not,
    /// [`Owner::recv_after`] goes on.
    #[inline]
    pub(crate) fn recv_now(&self) -> Result<Message, Nothing> {
        let mut message = Message::new();
        self.core().try_receive(&mut message)?;
        Ok(message)
    }

    pub(crate) async fn recv_after(&self, nothing: Nothing) -> Result<Message, ReceiveError> {
        if nothing == Nothing::Yield {
            tokio::task::yield_now().await;
        }
        let mut message = Message::new();
        self.core().receive(&mut message).await?;
        Ok(message)
    }

    #[inline]
    pub(crate) async fn recv(&self) -> Result<Message, ReceiveError> {
        match self.recv_now() {
            Ok(message) => Ok(message),
            Err(nothing) => self.recv_after(nothing).await,
        }
    }

    pub(crate) async fn recv_from(&self) -> Result<(Message, PeerKey), ReceiveError> {
        let mut message = Message::new();
        let key = self.core().receive(&mut message).await?;
        Ok((message, PeerKey(key)))
    }

    pub(crate) fn peer(&self, key: PeerKey) -> Option<Arc<PeerInfo>> {
        self.core().peer(key.0)
    }

    #[inline]
    pub(crate) fn try_recv(&self) -> Result<Message, ReceiveError> {
        self.try_recv_from().map(|(message, _)| message)
    }

    #[inline]
    pub(crate) fn try_recv_from(&self) -> Result<(Message, PeerKey), ReceiveError> {
        let mut message = Message::new();
        let mut yielded = false;
        loop {
            match self.core().try_receive(&mut message) {
                Ok(key) => return Ok((message, PeerKey(key))),
                // Twice means that peers send only what is not for the application.
                Err(Nothing::Yield) if !std::mem::replace(&mut yielded, true) => {}
                Err(nothing) => return Err(nothing.into()),
            }
        }
    }

    pub(crate) async fn recv_timeout(&self, timeout: Duration) -> Result<Message, ReceiveError> {
        tokio::time::timeout(timeout, self.recv())
            .await
            .unwrap_or(Err(ReceiveError::Timeout))
    }

    pub(crate) async fn recv_many(
        &self,
        messages: &mut Vec<Message>,
        max: usize,
    ) -> Result<usize, ReceiveError> {
        if max == 0 {
            return Ok(0);
        }
        let core = self.core();
        core.pay_debt().await;
        messages.push(self.recv().await?);
        let mut received = 1;
        while received < max {
            messages.push(Message::new());
            let place = messages.len() - 1;
            match core.try_receive(&mut messages[place]) {
                Ok(_) => {}
                Err(nothing) => {
                    messages.pop();
                    if matches!(nothing, Nothing::Yield) {
                        // Not here: a cancelled call may not leave messages behind.
                        core.debt.store(true, Relaxed);
                    }
                    break;
                }
            }
            received += 1;
        }
        Ok(received)
    }
}

impl From<Nothing> for ReceiveError {
    fn from(nothing: Nothing) -> Self {
        match nothing {
            Nothing::Empty | Nothing::Yield => Self::Empty,
            Nothing::Closed => Self::Closed,
        }
    }
}

impl Core {
    /// Waits until all that was sent so far was handed to the links.
    async fn flushed(&self) {
        loop {
            let mut drained = std::pin::pin!(self.drained.notified());
            drained.as_mut().enable();
            if self.sending.lock().out.is_drained() {
                return;
            }
            self.flushing.store(true, Relaxed);
            if self.sending.lock().out.is_drained() {
                return;
            }
            drained.await;
        }
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        {
            let receiving = self.receiving.lock();
            let counts = receiving.inc.counts();
            stats.received = counts.received;
            stats.discarded = counts.discarded;
            stats.ignored_commands = counts.unknown_commands;
            stats.unread = (receiving.inc.queued() + receiving.notices.len()) as u64;
        }
        {
            let mut sending = self.sending.lock();
            let counts = sending.out.counts();
            stats.sent = counts.sent;
            stats.dropped = counts.dropped;
            stats.uncertain = counts.uncertain;
            stats.queued = sending.out.queued() as u64;
            stats.ignored_commands += sending.out.publishing().ignored();
            stats.subscriptions = sending.out.publishing().subscriptions() as u64;
        }
        stats.peers = self.peers.get() as u64;
        let counters = &self.counters;
        stats.heartbeats = counters.heartbeats.load(Acquire);
        stats.round_trip = Duration::from_nanos(counters.round_trip.load(Relaxed));
        stats.connections = counters.connections.load(Relaxed);
        stats.reconnects = counters.reconnects.load(Relaxed);
        stats.handshakes_failed = counters.handshakes_failed.load(Relaxed);
        stats.refused = counters.refused.load(Relaxed);
        stats.withheld = counters.withheld.load(Relaxed);
        stats.protocol_errors = counters.protocol_errors.load(Relaxed);
        stats.denied = counters.denied.load(Relaxed);
        stats.late_replies = counters.late_replies.load(Relaxed);
        stats.malformed = counters.malformed.load(Relaxed);
        stats.ignored_commands += counters.unanswered_pings.load(Relaxed);
        stats.dropped += counters.notices_dropped.load(Relaxed);
        stats
    }

    /// Asks the connection of a pipe to end, since it owes what nobody waits for.
    pub(crate) fn abandon(&self, key: PipeKey) {
        self.close_link(key, Reason::Abandoned);
    }
}

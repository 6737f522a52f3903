//! Connections that this side makes, and makes again.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;

use tokio_util::sync::CancellationToken;
use withy_proto::mechanism::party::Expected;
use withy_proto::pattern::PipeKey;
use withy_proto::pattern::outgoing::AttachError;
use withy_proto::peer::Backoff;
use withy_proto::zmtp::connection::Peer;
use withy_proto::{Endpoint, Message, SocketType};
use withy_transports::Connected;

use super::core::Core;
use super::direct::Direct;
use super::handshake::{OsRandomness, Ready, Side};
use super::link::Link;
use super::listen::Place;
use super::resources::Guard;
use super::task::{Said, Task};
use super::wish::{Wanted, Wish};
use crate::event::{DialFailure, EventKind, HandshakeFailure, PeerInfo, Reason};

/// How long a QUIC connection to a node stays after its last link: who was met for gossip is often connected
/// to for a topic soon.
const SPARE: Duration = Duration::from_secs(10);

/// What a socket is bound to and connects to.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    pub(crate) bound: Vec<Active>,
    pub(crate) dialed: Vec<Active>,
    /// Stops all but what is dialled: listeners, the connections that came by them, which may outlive
    /// them, and those that came by neither. Most sockets of many have none.
    others: Option<CancellationToken>,
    /// All of them are stopped, and so is what comes.
    stopped: bool,
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
    /// The ways to the peer, the best first, of which there is at least one. Whoever changes them
    /// changes where the next connection is tried.
    pub(crate) ways: Mutex<Vec<Endpoint>>,
    /// The socket that is wanted there, where several share an endpoint.
    pub(crate) resource: Option<Box<str>>,
    /// Whose identity and trust the connection is made with, if not this socket's.
    pub(crate) host: Option<Arc<Core>>,
    /// Whether the peer may be connected to, once it has shown itself.
    pub(crate) guard: Option<Arc<dyn Guard>>,
    /// The routing id that the peer gets, whatever it announces (libzmq: CONNECT_ROUTING_ID).
    pub(crate) routing_id: Option<Vec<u8>>,
    /// Who the peer has to be.
    pub(crate) expected: Option<Expected>,
    /// Whether it is still wanted, where it is dialled until it is not.
    pub(crate) wish: Wish,
}

impl Dialed {
    /// Whether who was reached may be connected to.
    fn admits(&self, ready: &Ready) -> bool {
        let proven = ready.established.peer.proven.as_ref();
        let shown = proven.map(|proven| &proven.shown);
        self.guard.as_ref().is_none_or(|guard| guard.admits(shown))
    }

    /// The best way.
    pub(crate) fn first(&self) -> Endpoint {
        let ways = self.ways.lock();
        ways.first().expect("there is at least one").clone()
    }
}

/// A peer that this side connects to, until it is told to stop.
#[derive(Debug)]
pub(crate) struct Dial {
    to: Arc<Dialed>,
    stop: CancellationToken,
}

impl Dial {
    /// Goes on with these ways to the peer; whether it is not too late for that.
    pub(crate) fn renew(&self, ways: &[Endpoint]) -> bool {
        *self.to.ways.lock() = ways.to_vec();
        self.to.wish.turn(Wanted::No, Wanted::Yes);
        self.to.wish.get() == Wanted::Yes
    }

    /// Connects no more, and lets a connection end by itself: what the peer has sent still comes.
    pub(crate) fn retire(&self) {
        self.to.wish.turn(Wanted::Yes, Wanted::No);
    }

    /// Who the peer has to be, while it is wanted.
    pub(crate) fn wanted(&self) -> Option<Expected> {
        match self.to.wish.get() {
            Wanted::Yes => self.to.expected,
            Wanted::No | Wanted::Over => None,
        }
    }

    /// Whether it was retired, and its connection has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.to.wish.get() == Wanted::Over
    }

    /// Connects no more, and closes the connection.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }
}

/// Waits for a future, or for ever.
async fn maybe<F: Future<Output = ()> + Unpin>(future: &mut Option<F>) {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// A peer was not reached; the events say why.
#[derive(Debug)]
pub(crate) struct NotConnected;

/// A connection that a socket has.
type Taken = (Box<Task>, Arc<PeerInfo>);

/// A connection that was made, and where to.
type Made = Box<(Endpoint, Taken)>;

/// Why a connection was not made, and where to. Boxed as [`Made`]: who waits for it has several places
/// for it, and keeps them while the connection lasts.
type NotMade = Box<(Endpoint, DialFailure)>;

/// A connection that is not made again when it ends.
pub(crate) struct OneConnection(Made);

impl OneConnection {
    /// Who is at the other end.
    pub(crate) fn peer(&self) -> &PeerInfo {
        &self.0.1.1
    }

    /// Drives it until it ends, or ends it at once.
    pub(crate) async fn run(self, core: &Arc<Core>, goes_on: bool) {
        let (endpoint, (task, peer)) = *self.0;
        let stop = core.endpoints.lock().stop_of_another();
        if !goes_on {
            stop.cancel();
        }
        core.run(&endpoint, task, peer, None, core, &stop).await;
    }
}

/// A peer that was reached, and shook hands.
struct Reached {
    endpoint: Endpoint,
    ready: Box<Ready>,
    address: String,
    local: String,
}

impl Endpoints {
    /// A new use of an endpoint, which `stop` stops.
    pub(crate) fn active(&mut self, endpoint: &Endpoint, stop: CancellationToken) -> Active {
        self.next += 1;
        Active {
            number: self.next,
            endpoint: endpoint.clone(),
            stop,
        }
    }

    /// What stops a dial.
    fn stop_of_a_dial(&self) -> CancellationToken {
        let stop = CancellationToken::new();
        if self.stopped {
            stop.cancel();
        }
        stop
    }

    /// What stops a listener, or a connection that came by none.
    pub(crate) fn stop_of_another(&mut self) -> CancellationToken {
        let others = self.others.get_or_insert_default();
        if self.stopped {
            others.cancel();
        }
        others.child_token()
    }

    /// Stops them all.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        let dials = self.dialed.iter().map(|active| &active.stop);
        dials
            .chain(&self.others)
            .for_each(CancellationToken::cancel);
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
    /// Starts to connect to a peer, and goes on until it is stopped.
    pub(crate) fn dial(self: &Arc<Self>, to: Dialed) -> Dial {
        let to = Arc::new(to);
        let (number, stop) = {
            let mut endpoints = self.endpoints.lock();
            let stop = endpoints.stop_of_a_dial();
            let active = endpoints.active(&to.first(), stop);
            let known = (active.number, active.stop.clone());
            if endpoints.dialed.capacity() == 0 {
                // Many sockets have one: the memory of more comes with the next.
                endpoints.dialed.reserve_exact(1);
            }
            endpoints.dialed.push(active);
            self.sending.lock().out.set_dialing(endpoints.dialed.len());
            known
        };
        self.room.notify_waiters();
        let dial = Dial {
            to: Arc::clone(&to),
            stop: stop.clone(),
        };
        self.spawn(self.keep_connected(to, stop, number));
        dial
    }

    fn forget_dialed(&self, number: u64) {
        let mut endpoints = self.endpoints.lock();
        endpoints.dialed.retain(|active| active.number != number);
        self.sending.lock().out.set_dialing(endpoints.dialed.len());
    }

    /// Connects to a peer, and again, until it is stopped. Of one block, that has one place for what it
    /// was given: it lasts as long as the connection.
    fn keep_connected(
        self: &Arc<Self>,
        to: Arc<Dialed>,
        stop: CancellationToken,
        number: u64,
    ) -> impl Future<Output = ()> + Send + use<> {
        let core = Arc::clone(self);
        let mut backoff = Backoff::new(core.options.reconnect);
        let mut first = true;
        async move {
            while !stop.is_cancelled() {
                // Under one lock: who renews the dial sees that it is too late, or is heard.
                if to.wish.turn(Wanted::No, Wanted::Over) {
                    break;
                }
                // Boxed: an idle connection does not keep the memory of how it came about.
                let attempt = Box::pin(core.dial_in_turn(&to));
                let attempt = tokio::select! {
                    () = stop.cancelled() => break,
                    () = to.wish.retired() => continue,
                    attempt = attempt => attempt,
                };
                let failed = match attempt {
                    Ok(made) => {
                        backoff.reset();
                        if !std::mem::take(&mut first) {
                            core.counters.reconnects.fetch_add(1, Ordering::Relaxed);
                        }
                        let (endpoint, (task, peer)) = *made;
                        let host = to.host.as_ref().unwrap_or(&core);
                        let direct = Direct::watch(host, &to, &endpoint, &stop);
                        let until = direct.as_ref().map_or(&stop, Direct::found);
                        core.run(&endpoint, task, peer, None, host, until).await;
                        if until.is_cancelled() {
                            // At once, where there is a direct way.
                            continue;
                        }
                        None
                    }
                    Err(failed) => Some(failed),
                };
                if stop.is_cancelled() {
                    break;
                }
                // The ways to a resource may change.
                let permanent = to.resource.is_none()
                    && failed
                        .as_ref()
                        .is_some_and(|failed| failed.1.is_permanent());
                let again = core.options.reconnect.enabled && !permanent;
                let delay = again.then(|| backoff.next(&mut OsRandomness));
                if let Some((endpoint, reason)) = failed.map(|failed| *failed) {
                    core.emit(&endpoint, EventKind::DialFailed { reason, delay });
                }
                let Some(delay) = delay else {
                    break;
                };
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = to.wish.retired() => {}
                    () = tokio::time::sleep(delay) => {}
                }
            }
            to.wish.end();
            core.forget_dialed(number);
        }
    }

    /// Connects to a peer once. Who gets the connection has to run it.
    pub(crate) async fn connect_once(
        self: &Arc<Self>,
        to: &Arc<Dialed>,
        limit: Duration,
    ) -> Result<OneConnection, NotConnected> {
        // Links for gossip are few, and others learn of peers through them: they do not wait.
        let _counted = self.dialling().count();
        let attempt = Box::pin(tokio::time::timeout(limit, self.dial_once(to)));
        match attempt.await {
            Ok(Ok(made)) => Ok(OneConnection(made)),
            Ok(Err(failed)) => {
                let ((endpoint, reason), delay) = (*failed, None);
                self.emit(&endpoint, EventKind::DialFailed { reason, delay });
                Err(NotConnected)
            }
            Err(_) => Err(NotConnected),
        }
    }

    /// As [`dial_once`](Self::dial_once), for a node's socket when it is its turn among the node's dials.
    async fn dial_in_turn(self: &Arc<Self>, to: &Arc<Dialed>) -> Result<Made, NotMade> {
        // Boxed before it is handed on: many wait at once, and each of them has a place for it.
        let dial = Box::pin(self.dial_once(to));
        match &to.host {
            Some(host) => host.dialling().in_turn(dial).await,
            None => dial.await,
        }
    }

    async fn dial_once(self: &Arc<Self>, to: &Arc<Dialed>) -> Result<Made, NotMade> {
        let Reached {
            endpoint,
            ready,
            address,
            local,
        } = *self.reach(to).await?;
        match self.establish(&endpoint, ready, address, local, Some(to)) {
            Ok(taken) => Ok(Box::new((endpoint, taken))),
            Err(error) => {
                let reason = HandshakeFailure::NoPlace(error).into();
                Err(Box::new((endpoint, reason)))
            }
        }
    }

    /// Reaches a peer on the first of the ways that leads to it.
    async fn reach(self: &Arc<Self>, to: &Arc<Dialed>) -> Result<Box<Reached>, NotMade> {
        let mut ways = to.ways.lock().clone();
        if ways.len() == 1 {
            return self
                .try_way(to, ways.remove(0), &AtomicBool::default())
                .await;
        }
        ways.reverse();
        let dialling = to.host.as_ref().unwrap_or(self).dialling();
        let mut under_way = JoinSet::new();
        let mut failed = None;
        // Whether the last way was answered, and may lead to the peer.
        let mut answered = Arc::default();
        loop {
            if let Some(way) = ways.pop() {
                answered = Arc::new(AtomicBool::default());
                let (core, to) = (Arc::clone(self), Arc::clone(to));
                let answered = Arc::clone(&answered);
                under_way.spawn(async move { core.try_way(&to, way, &answered).await });
            }
            let head_start = async {
                if ways.is_empty() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(dialling.head_start()).await;
                // Then a handshake is under way, which has as much time.
                if answered.load(Ordering::Relaxed) {
                    tokio::time::sleep(dialling.head_start()).await;
                }
            };
            tokio::select! {
                Some(tried) = under_way.join_next() => match tried {
                    Ok(Ok(reached)) => return Ok(reached),
                    Ok(Err(error)) => failed = Some(error),
                    // It panicked, which the runtime reports.
                    Err(_) => {}
                },
                () = head_start => {}
            }
            if ways.is_empty() && under_way.is_empty() {
                match failed {
                    Some(error) => return Err(error),
                    None => std::future::pending().await,
                }
            }
        }
    }

    async fn try_way(
        self: &Arc<Self>,
        to: &Dialed,
        endpoint: Endpoint,
        answered: &AtomicBool,
    ) -> Result<Box<Reached>, NotMade> {
        self.emit(&endpoint, EventKind::Dialing);
        let connected = match self.link(to, &endpoint).await {
            Ok(connected) => connected,
            Err(reason) => return Err(Box::new((endpoint, reason))),
        };
        answered.store(true, Ordering::Relaxed);
        let (address, local) = (connected.peer.address.clone(), connected.local.clone());
        match self.handshake(connected, Side::Dialing(to)).await {
            Ok(ready) if !to.admits(&ready) => {
                let wanted = to.resource.as_deref().unwrap_or_default();
                let reason = HandshakeFailure::NotPermitted(wanted.to_owned());
                self.handshake_failed(&endpoint, address, reason.clone());
                Err(Box::new((endpoint, reason.into())))
            }
            Ok(ready) => Ok(Box::new(Reached {
                endpoint,
                ready,
                address,
                local,
            })),
            Err(reason) => {
                self.handshake_failed(&endpoint, address, reason.clone());
                Err(Box::new((endpoint, reason.into())))
            }
        }
    }

    async fn link(&self, to: &Dialed, endpoint: &Endpoint) -> Result<Box<Connected>, DialFailure> {
        if let Endpoint::Relay(relay) = endpoint {
            let host = to.host.as_deref().unwrap_or(self);
            if let Some(circuits) = &host.options.circuits {
                let open = circuits.open(relay.as_str(), to.expected);
                let opened = open.await.map(Box::new);
                return opened.map_err(|why| DialFailure::Relay(Arc::new(why)));
            }
        }
        let mut options = Cow::Borrowed(&*self.options.dial);
        if matches!(endpoint, Endpoint::Quic(_)) {
            let host = to.host.as_deref().unwrap_or(self);
            let quic = host.options.security.quic(&options.quic);
            let mut quic = quic.map_err(HandshakeFailure::from)?;
            quic.likely_key = to.expected.map(|expected| match expected {
                Expected::Node(_, node) => *node.as_octets(),
                Expected::Key(key) => key,
            });
            if to.resource.is_some() {
                quic.spare = SPARE;
            }
            options.to_mut().quic = quic;
        }
        let dialled = withy_transports::dial(endpoint, &options).await;
        dialled
            .map(Box::new)
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
        ready: Box<Ready>,
        address: String,
        local: String,
        dialed: Option<&Dialed>,
    ) -> Result<Taken, AttachError> {
        let meant = match dialed.and_then(|to| to.expected) {
            Some(Expected::Node(identity, node)) => Some(Box::new((identity, node))),
            _ => None,
        };
        let info = Arc::new(PeerInfo {
            accepted: dialed.is_none(),
            meant,
            transport: endpoint.scheme(),
            ..self.describe(&ready.established.peer, address, local)
        });
        let _ = self.find_place(&ready.established.peer);
        let Ready {
            established,
            reader,
            writer,
            timer,
            ..
        } = *ready;
        match self.attach(established, reader, writer, Arc::clone(&info)) {
            Ok((link, peer)) => {
                // Boxed: a future keeps more than one place for what it is handed.
                let (core, withy) = (Arc::clone(self), peer.extensions.withy);
                let task = Box::new(Task::new(core, link, withy, timer));
                Ok((task, info))
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
            accepted: false,
            meant: None,
            transport: "",
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
    fn distrusts<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        peer: &Arc<PeerInfo>,
    ) -> Pin<Box<dyn Future<Output = String> + Send + 'a>> {
        if peer.proven.is_none() {
            // Of no size: nothing is allocated.
            return Box::pin(std::future::pending());
        }
        Box::pin(self.options.security.distrusted(Arc::clone(peer), endpoint))
    }

    /// Drives a connection until it ends or is stopped; `host` is whose trust it was made with. Of one
    /// block, as the future that makes it.
    pub(crate) fn run<'a>(
        self: &'a Arc<Self>,
        endpoint: &'a Endpoint,
        mut task: Box<Task>,
        peer: Arc<PeerInfo>,
        place: Option<Place>,
        host: &'a Self,
        stop: &'a CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'a {
        self.emit(endpoint, EventKind::Connected(Arc::clone(&peer)));
        let mut distrusted = host.distrusts(endpoint, &peer);
        let mut watch = self.watch_with();
        async move {
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
                    // It never ends.
                    () = maybe(&mut watch) => {}
                }
            };
            drop(watch);
            let link = task.link();
            if reason.is_loss() {
                link.settled().await;
                self.read_rest(link.key());
            }
            self.detach(link.key(), reason.leaves_doubt());
            link.shutdown();
            drop(distrusted);
            // Before anybody hears of it: there is a place for the next peer then.
            drop(place);
            self.peers.change(|peers| {
                *peers -= 1;
                true
            });
            if reason.is_offence() {
                self.counters
                    .protocol_errors
                    .fetch_add(1, Ordering::Relaxed);
            }
            self.emit(endpoint, EventKind::Disconnected { peer, reason });
        }
    }
}

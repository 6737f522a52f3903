//! What all handles and tasks of a node share.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use withy_discovery::{
    Discovery, Expected, Kind, NetworkTag, PeerTag, Place, Record, Service, Time,
};
use withy_proto::SocketType;
use withy_proto::trust::{Network, Shown};

use super::bus::history::{History, Kept};
use super::engine::Dialled;
use super::interest::Interests;
use super::links::Links;
use super::offer::Offers;
use super::peer::{NodeEvent, Peer, Presence};
use super::relay::Relaying;
use super::stats::Multicast;
use super::verdicts::Verdicts;
use crate::driver::core::Core;
use crate::driver::resources::Resources;
use crate::error::Closed;
use crate::identity::{self, Identity};
use crate::options::Options;
use crate::security::Mechanism;
use crate::socket::Owner;
use crate::trust::Trust;

/// How long a goodbye may take in any case.
const GOODBYE: Duration = Duration::from_millis(500);

/// A node.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) identity: Identity,
    pub(super) trust: Trust,
    pub(super) own: PeerTag,
    pub(super) host: Place,
    pub(super) process: Place,
    pub(super) runtime: Handle,
    /// The sockets behind the node's endpoints.
    pub(super) resources: Arc<Resources>,
    /// The socket that listens, over which nodes gossip. A DEALER: its links are told apart by keys.
    pub(super) control: Owner,
    pub(super) state: Mutex<State>,
    pub(super) verdicts: Mutex<Verdicts>,
    /// What this node publishes, once it publishes anything.
    pub(super) bus: OnceLock<(Owner, Option<Arc<Kept>>)>,
    /// What is kept of it.
    pub(super) history: Option<History>,
    /// The most nodes that are remembered though they are not trusted; of more, the oldest are forgotten.
    pub(super) max_strangers: usize,
    /// What it has to do with circuits through relays.
    pub(super) relaying: Relaying,
    /// What came of dials; there is at most one for each that is under way.
    pub(super) dialled: UnboundedSender<Dialled>,
    /// Links for gossip that were to be opened.
    pub(super) dials: AtomicU64,
    /// Of these, those that met nobody, or somebody else.
    pub(super) dials_failed: AtomicU64,
    /// The engine has something to do.
    pub(super) work: Notify,
    /// How many other nodes are known and trusted.
    pub(super) known: watch::Sender<usize>,
    pub(super) events: broadcast::Sender<NodeEvent>,
    pub(super) started: Instant,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) discovery: Discovery,
    pub(super) offers: Offers,
    pub(super) interests: Interests,
    pub(super) links: Links,
    /// Nodes that were seen and are not trusted.
    pub(super) strangers: BTreeMap<PeerTag, Record>,
    /// How multicast went when it was last looked at.
    pub(super) multicast: Option<Multicast>,
}

impl Shared {
    pub(super) fn now(&self) -> Time {
        Time {
            monotonic: self.started.elapsed(),
            unix: identity::now(),
        }
    }

    /// Runs a task for as long as the node lives.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// The options of this node's sockets.
    pub(super) fn options(&self) -> Options {
        options(&self.identity, &self.trust)
    }

    /// A socket of this node, which others reach by the node's endpoints if it has a resource's name.
    pub(super) fn socket(&self, kind: SocketType, options: Options) -> Owner {
        let owner = Owner::new(kind, options);
        let _ = owner.core().runtime.set(self.runtime.clone());
        owner
    }

    pub(super) fn control(&self) -> &Arc<Core> {
        self.control.core()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Whether a node is trusted, as far as its record can show it: its identity is, or it knows the
    /// secret of a network. A handshake decides.
    pub(super) fn may_trust(&self, record: &Record) -> bool {
        if !self.trust.has_networks() {
            let shown = Shown::from(&record.content().certificate);
            let us = self.identity.id();
            let verdict = self.trust.judge(us, &shown, None, identity::now());
            return verdict.is_trusted();
        }
        let generation = self.trust.generation();
        let known = self.verdicts.lock().of(record, generation);
        known.unwrap_or_else(|| {
            let trusted = self.shows_network(record);
            self.verdicts.lock().keep(record, generation, trusted);
            trusted
        })
    }

    /// Whether a record shows one of our networks, in which its identity was not revoked.
    fn shows_network(&self, record: &Record) -> bool {
        let (identity, node) = (record.identity(), record.node());
        let shows = |network: &Network| {
            let tag = NetworkTag::of(&network.secret, identity, node);
            record.content().networks.contains(&tag)
        };
        self.trust.networks().iter().any(shows) && !self.trust.is_revoked(&identity)
    }

    /// Whether the node of a hint is trusted, as far as that can be told before it shows itself.
    pub(super) fn may_trust_hint(&self, expects: &Expected) -> bool {
        let (Expected::Both(identity, _) | Expected::Identity(identity)) = expects else {
            return true;
        };
        let networks = self.trust.networks();
        // Who announces himself to everybody is met in no network.
        networks.is_empty() && self.trust.may_accept(self.identity.id(), *identity)
    }

    pub(super) fn tell(&self, event: NodeEvent) {
        // Nobody may listen.
        let _ = self.events.send(event);
    }

    /// Whether a node that is trusted, or this one, offers something of a kind under a name.
    pub(super) fn is_offered(&self, kind: Kind, name: &str) -> bool {
        let state = self.state.lock();
        let mut peers = state.discovery.table().peers();
        let offers = |it: &Service| it.kind == kind && *it.name == *name;
        peers.any(|(tag, record)| {
            let services = &record.content().services;
            services.iter().any(offers) && (tag == self.own || self.may_trust(record))
        })
    }

    /// What is known of a node of the table.
    pub(super) fn peer(&self, state: &State, tag: PeerTag) -> Option<Peer> {
        let record = state.discovery.table().record(tag)?;
        let mut peer = Peer::new(record, self.presence(state, tag, record));
        peer.link = state.links.of(tag);
        if let (Some(link), Some(key)) = (&mut peer.link, state.links.key(tag)) {
            link.round_trip = self.control().round_trip(key);
        }
        Some(peer)
    }

    /// Whether a node of the table is there.
    pub(super) fn presence(&self, state: &State, tag: PeerTag, record: &Record) -> Presence {
        let suspected = withy_discovery::membership::State::Suspected;
        match state.discovery.membership().state(tag) {
            _ if !self.may_trust(record) => Presence::Untrusted,
            Some(found) if found == suspected => Presence::Suspected,
            _ => Presence::Present,
        }
    }

    pub(super) fn peers(&self) -> Vec<Peer> {
        let state = self.state.lock();
        let tags = state.discovery.table().peers().map(|(tag, _)| tag);
        let others = tags.filter(|tag| *tag != self.own);
        let mut peers: Vec<Peer> = others.filter_map(|tag| self.peer(&state, tag)).collect();
        let strangers = state.strangers.values();
        peers.extend(strangers.map(|record| Peer::new(record, Presence::Untrusted)));
        peers
    }

    pub(super) async fn wait_peers(&self, peers: usize) -> Result<(), Closed> {
        let mut known = self.known.subscribe();
        tokio::select! {
            _ = known.wait_for(|known| *known >= peers) => Ok(()),
            () = self.stop.cancelled() => Err(Closed),
        }
    }

    /// Ends the node: says goodbye, lets its tasks send what waits, and then closes its sockets.
    pub(super) async fn close(&self, linger: Duration) {
        let mut sockets = self.resources.cores();
        sockets.extend(self.state.lock().interests.cores());
        self.stop.cancel();
        self.tasks.close();
        let goodbye = linger.max(GOODBYE);
        let _ = tokio::time::timeout(goodbye, self.tasks.wait()).await;
        let mut closing = JoinSet::new();
        for core in sockets {
            core.start_closing();
            closing.spawn(async move { core.finish_closing(linger).await });
        }
        while closing.join_next().await.is_some() {}
        // What sockets sent last may be on its way to a relay.
        self.relaying.carrying.close();
        let _ = tokio::time::timeout(goodbye, self.relaying.carrying.wait()).await;
    }
}

/// The options of a node's sockets.
pub(super) fn options(identity: &Identity, trust: &Trust) -> Options {
    let mut options = Options::default();
    options.security.mechanism = Mechanism::Noise(identity.clone());
    options.security.trust = trust.clone();
    options
}

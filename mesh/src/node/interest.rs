//! What the sockets of this node want of others, by name: whoever offers it is connected to, for as long
//! as he does.
//!
//! Invariant: a socket has one connection, or one that is being made, to each node that offers what it
//! wants and is trusted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use withy_discovery::{Kind, PeerTag, Record, Service};
use withy_proto::bus::Filter;
use withy_proto::mechanism::party::Expected;
use withy_proto::trust::{IdentityId, NodeId};
use withy_proto::{Endpoint, SocketType};

use super::addresses;
use super::bus::history::{self, PROPERTY};
use super::guard::Permitted;
use super::shared::{Shared, State};
use crate::driver::core::Core;
use crate::driver::dial::{Dial, Dialed};
use crate::driver::resources::Guard;
use crate::event::Reason;

/// What is wanted.
#[derive(Debug, Clone)]
pub(crate) enum Wants {
    /// Publishers of topics that a filter chooses.
    Topics(Filter),
    /// Publishers of topics that one of these chooses.
    Several(BTreeSet<Filter>),
    /// Those of them who keep a history.
    Histories(Filter),
    /// Whoever offers something of a kind under a name.
    Named(Kind, Box<str>),
    /// The other end of a pair of this name. Both ends offer theirs; that with the lower tag dials.
    Pair(Box<str>),
    /// The others in a group, as with a pair.
    Group(Box<str>),
    /// Sockets that are bound under a name and talk to one of this type.
    Sockets(SocketType, Box<str>),
}

impl Wants {
    /// Whether something that a node offers is wanted.
    fn is_met_by(&self, service: &Service) -> bool {
        let named = |name: &str| *service.name == *name;
        match self {
            Self::Topics(filter) => {
                let scope = service.name.parse::<Filter>();
                service.kind == Kind::Publisher && scope.is_ok_and(|it| it.overlaps(filter))
            }
            Self::Several(filters) => {
                let scope = service.name.parse::<Filter>();
                let meets = |it: Filter| filters.iter().any(|filter| it.overlaps(filter));
                service.kind == Kind::Publisher && scope.is_ok_and(meets)
            }
            Self::Histories(filter) => {
                let kept = service.properties.iter().any(|(key, _)| **key == *PROPERTY);
                kept && Self::Topics(filter.clone()).is_met_by(service)
            }
            Self::Named(kind, name) => service.kind == *kind && named(name),
            Self::Pair(name) => service.kind == Kind::Pair && named(name),
            Self::Group(name) => service.kind == Kind::Group && named(name),
            Self::Sockets(ours, name) => {
                matches!(service.kind, Kind::Socket(theirs) if ours.accepts(theirs)) && named(name)
            }
        }
    }

    /// The resource that is asked for at whoever offers something.
    fn resource(&self, service: &Service) -> Box<str> {
        match self {
            Self::Histories(_) => history::RESOURCE.into(),
            _ => resource(service.kind, &service.name),
        }
    }

    /// Whether it matters who is at the other end, which is not proven within a process.
    fn is_proven(&self) -> bool {
        matches!(self, Self::Histories(_) | Self::Group(_))
    }

    /// Whether this side is the one that dials.
    fn dials(&self, own: PeerTag, theirs: PeerTag) -> bool {
        !matches!(self, Self::Pair(_) | Self::Group(_)) || own < theirs
    }
}

/// The resource of the socket that publishes all of a node's topics.
pub(super) const BUS: &str = "bus";

/// The resource of what a node offers.
pub(super) fn resource(kind: Kind, name: &str) -> Box<str> {
    match kind {
        Kind::Publisher => BUS.into(),
        kind => format!("{}/{name}", kind.number()).into(),
    }
}

/// What all sockets of a node want.
#[derive(Debug, Default)]
pub(super) struct Interests {
    next: u64,
    known: BTreeMap<u64, Known>,
}

#[derive(Debug)]
struct Known {
    wants: Wants,
    core: Weak<Core>,
    /// Who may offer it.
    guard: Arc<dyn Guard>,
    dials: BTreeMap<PeerTag, Dial>,
    /// Those of them whose nodes were gone: if they come back, their connections are made anew, since
    /// what waits in the old ones may be sent again only after as long as the node was gone.
    gone: BTreeSet<PeerTag>,
}

/// An interest for as long as this lives.
#[derive(Debug)]
pub(super) struct Interest {
    shared: Arc<Shared>,
    number: u64,
}

impl Shared {
    /// Connects a socket to whoever offers what it wants, from now on.
    pub(super) fn want(self: &Arc<Self>, wants: Wants, core: &Arc<Core>) -> Interest {
        let mut state = self.state.lock();
        let interests = &mut state.interests;
        interests.next += 1;
        let number = interests.next;
        let guard = Permitted::to_offer(self.identity.id(), &self.trust, &wants);
        let known = Known {
            guard: Arc::new(guard),
            wants,
            core: Arc::downgrade(core),
            dials: BTreeMap::new(),
            gone: BTreeSet::new(),
        };
        interests.known.insert(number, known);
        let tags: Vec<_> = state.discovery.table().peers().map(|it| it.0).collect();
        for tag in tags {
            self.look_for(&mut state, tag, Some(number));
        }
        drop(state);
        let shared = Arc::clone(self);
        Interest { shared, number }
    }

    /// Connects to a node, or lets it go, as its record now says.
    pub(super) fn look_again(&self, state: &mut State, tag: PeerTag) {
        self.look_for(state, tag, None);
    }

    /// As [`look_again`](Self::look_again), for one interest or for all.
    fn look_for(&self, state: &mut State, tag: PeerTag, only: Option<u64>) {
        let State {
            discovery,
            interests,
            links,
            ..
        } = state;
        let table = discovery.table();
        let ours = tag == self.own;
        let record = table.record(tag);
        let record = record.filter(|record| ours || self.may_trust(record));
        let candidates = table.candidates(tag, self.host, self.process);
        let mut ways: Vec<Endpoint> = candidates
            .into_iter()
            .filter_map(|address| address.to_string().parse().ok())
            .collect();
        ways.extend(self.ways_through(discovery, links, tag));
        let chosen = |number: &u64| only.is_none_or(|only| only == *number);
        for (_, known) in interests.known.iter_mut().filter(|it| chosen(it.0)) {
            known.look(self.own, self.control(), tag, record, &ways);
        }
    }

    fn forget_interest(&self, number: u64) {
        let known = self.state.lock().interests.known.remove(&number);
        known.iter().for_each(Known::stop);
    }
}

impl Interests {
    /// All sockets that want something.
    pub(super) fn cores(&self) -> Vec<Arc<Core>> {
        let known = self.known.values();
        known.filter_map(|known| known.core.upgrade()).collect()
    }

    /// Closes the connections to those that may not offer what is wanted any more.
    pub(super) fn look_at_permissions(&self) {
        for known in self.known.values() {
            let Some(core) = known.core.upgrade() else {
                continue;
            };
            for (key, peer) in core.links() {
                let shown = peer.proven.as_ref().map(|proven| &proven.shown);
                if !peer.accepted && !known.guard.admits(shown) {
                    core.close_link(key, Reason::NotPermitted);
                }
            }
        }
    }
}

impl Interest {
    /// Wants something else of the same kind from now on, of the same socket.
    pub(super) fn change(&self, wants: Wants) {
        let shared = &self.shared;
        let mut state = shared.state.lock();
        if let Some(known) = state.interests.known.get_mut(&self.number) {
            known.wants = wants;
        }
        let tags: Vec<_> = state.discovery.table().peers().map(|it| it.0).collect();
        for tag in tags {
            shared.look_for(&mut state, tag, Some(self.number));
        }
    }

    /// Those who offer what is wanted.
    pub(super) fn sought(&self) -> Vec<(IdentityId, NodeId)> {
        let state = self.shared.state.lock();
        let known = state.interests.known.get(&self.number);
        let dials = known.iter().flat_map(|known| known.dials.values());
        let sought = dials.filter_map(|dial| match dial.wanted() {
            Some(Expected::Node(identity, node)) => Some((identity, node)),
            _ => None,
        });
        sought.collect()
    }
}

impl Known {
    fn look(
        &mut self,
        own: PeerTag,
        host: &Arc<Core>,
        tag: PeerTag,
        record: Option<&Record>,
        ways: &[Endpoint],
    ) {
        let wants = &self.wants;
        let met = record.filter(|_| wants.dials(own, tag)).and_then(|record| {
            let mut services = record.content().services.iter();
            Some((record, services.find(|it| wants.is_met_by(it))?))
        });
        let Some((record, service)) = met else {
            if let Some(dial) = self.dials.get(&tag) {
                dial.retire();
                if record.is_none() {
                    self.gone.insert(tag);
                }
            }
            return;
        };
        let proven = wants.is_proven();
        let fits = |way: &&Endpoint| !proven || !matches!(way, Endpoint::Inproc(_));
        let ways: Vec<Endpoint> = ways.iter().filter(fits).cloned().collect();
        if ways.is_empty() {
            return;
        }
        if self.gone.remove(&tag)
            && let Some(dial) = self.dials.remove(&tag)
        {
            dial.stop();
        }
        let known = self.dials.get(&tag);
        if known.is_some_and(|dial| dial.renew(&ways)) {
            if let Some(core) = self.core.upgrade() {
                addresses::leave_old(&core, (record.identity(), record.node()), &ways);
            }
            return;
        }
        self.dials.retain(|_, dial| !dial.is_over());
        self.gone.retain(|tag| self.dials.contains_key(tag));
        if let Some(core) = self.core.upgrade() {
            let dial = core.dial(Dialed {
                ways: Mutex::new(ways),
                resource: Some(wants.resource(service)),
                host: Some(Arc::clone(host)),
                guard: Some(Arc::clone(&self.guard)),
                routing_id: None,
                expected: Some(Expected::Node(record.identity(), record.node())),
                wish: Default::default(),
            });
            self.dials.insert(tag, dial);
        }
    }

    fn stop(&self) {
        self.dials.values().for_each(Dial::stop);
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.shared.forget_interest(self.number);
    }
}

//! Reach beyond one hop: circuits through nodes that relay.
//!
//! ```text
//!  a socket of A ── pipe ── leg A─R ══ relay R ══ leg R─B ── pipe ── the listener of B
//! ```
//!
//! A way through a relay is one more way to a node, the last that is tried. What runs over it is the same
//! connection as over any other, handshake included, so that every pattern crosses, B decides on A, and R
//! sees who talks to whom and how much. What is decided is in [`withy_proto::relay`]; here are the
//! connections.
//!
//! - `door` takes who comes: those who ask for a circuit, for news of circuits, or for one of them.
//! - `onward` leads a circuit on: over the line of its target, to it, or to another relay.
//! - `lines` keeps a connection to some relays, over which a node hears of circuits that it has to fetch,
//!   since it is reached from nowhere else.
//! - `leg` is one connection to a door, `carry` what runs over it.
//!
//! Invariant: nothing waits without a limit: a relay keeps of each circuit what fits into the queues of its
//! legs, and who sends more is held up as by any slow link.

mod carry;
mod circuits;
mod door;
mod error;
mod leg;
mod lines;
mod onward;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use withy_discovery::{Discovery, Kind, PeerTag, membership};
use withy_proto::Endpoint;
use withy_proto::mechanism::party::Expected;
use withy_proto::relay::{Admission, Door, Limits, Party, Why};
use withy_proto::trust::{IdentityId, Shown};

pub(crate) use circuits::Circuits;
pub use error::NoCircuit;

use super::links::Links;
use super::shared::{Shared, State};
use crate::trust::{Principal, Verb};
use leg::Leg;

/// The resource of the door, and the name of what a relay offers.
const DOOR: &str = "relay";
/// What a relay offers is known by this name.
pub(super) const NAME: &str = "relay";

/// Circuits that end at a node and that others made.
const MAX_ENDS: usize = 1_024;
/// Those at the door, whatever they want: circuits, lines, and who did not say yet.
const MAX_GUESTS: usize = 2_048;
/// Nodes that a relay tells of circuits.
const MAX_LINES: usize = 1_024;
/// Circuits that wait to be fetched.
const MAX_WAITING: usize = 256;
/// Relays that a node has lines to.
const LINES: usize = 2;
/// Relays through which a node is tried at a time.
const WAYS: usize = 2;

/// How long somebody at the door may take to say what he wants.
const GREETING: Duration = Duration::from_secs(10);
/// How long a dial of a leg may take.
const DIAL: Duration = Duration::from_secs(2);
/// How long it may take by a way that is known to work: whoever is slow there has much to do.
const KNOWN_DIAL: Duration = Duration::from_secs(8);
/// How long an invitation waits to be followed.
const FETCH: Duration = Duration::from_secs(8);
/// Circuits that a node asks for at a time; more wait, so that those who come back to a relay all at once
/// are not too much for it.
const OPENING: usize = 8;
/// How long an answer may take, for each relay that may be on the way.
const PATIENCE: Duration = Duration::from_secs(4);

/// How a node relays for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    /// Circuits that lead through it at one time: one for each connection between two nodes. Default 1,024;
    /// one identity other than its own has half of them at most. Each takes up to 512 KiB while its ends
    /// are slow.
    pub circuits: usize,
    /// Of these, those that one node asked for. Default 256.
    pub per_node: usize,
    /// How long a circuit may carry nothing. Default 2 min.
    pub idle: Duration,
}

impl Default for Relay {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            circuits: limits.circuits,
            per_node: limits.per_origin,
            idle: Duration::from_secs(120),
        }
    }
}

/// What became of circuits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayCounters {
    /// Circuits that lead through this node now.
    pub relaying: usize,
    /// Circuits that end here now, and that others made.
    pub ending: usize,
    /// Nodes that are told here of circuits that lead to them.
    pub lines: usize,
    /// Relays that tell this node of circuits.
    pub relays: usize,
    /// Requests for circuits that were admitted, those that then came to nothing included.
    pub admitted: u64,
    /// Requests that were refused, by why.
    pub refused: BTreeMap<Why, u64>,
    /// Octets of others that this node carried on.
    pub octets: u64,
    /// Circuits that ended because they carried nothing for too long.
    pub idle: u64,
    /// Peers whose connection was closed because what they said was malformed, or too much.
    pub offenders: u64,
}

/// What a node has to do with circuits.
#[derive(Debug)]
pub(super) struct Relaying {
    /// How it relays, if it does.
    relay: Option<Relay>,
    admission: Mutex<Admission>,
    open: Mutex<Open>,
    /// Which relays there are, or which of them are reached, changed.
    changed: Notify,
    guests: AtomicUsize,
    octets: AtomicU64,
    idle: AtomicU64,
    offenders: AtomicU64,
    /// What carries circuits that end here: they end with their connections, after all else.
    pub(super) carrying: TaskTracker,
    /// Who may ask for a circuit.
    opening: Semaphore,
    /// How often direct ways are tried, half of it at least.
    again: Duration,
    /// Of tests: what this node carried on.
    #[cfg(test)]
    seen: Mutex<Vec<u8>>,
}

/// What is open.
#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// Who hears here of circuits to him.
    lines: BTreeMap<PeerTag, (u64, mpsc::Sender<u64>)>,
    /// Circuits that wait for one who was invited.
    waiting: BTreeMap<u64, (PeerTag, oneshot::Sender<Leg>)>,
    /// The circuits that lead through here, and for whom.
    through: BTreeMap<u64, Through>,
    /// The relays that this node has lines to.
    /// And by which way, if it made them over the network.
    relays: BTreeMap<PeerTag, Option<Endpoint>>,
    /// All legs, and to whom.
    legs: BTreeMap<u64, (PeerTag, CancellationToken)>,
}

/// A circuit that leads through here.
#[derive(Debug)]
struct Through {
    sender: Shown,
    target: IdentityId,
    stop: CancellationToken,
}

impl Relaying {
    pub(super) fn new(own: Party, relay: Option<Relay>, again: Option<Duration>) -> Self {
        let limits = relay.map(|relay| Limits {
            circuits: relay.circuits,
            per_origin: relay.per_node,
        });
        Self {
            relay,
            admission: Mutex::new(Admission::new(Door {
                own,
                relays: limits,
                ends: MAX_ENDS,
            })),
            open: Mutex::default(),
            changed: Notify::new(),
            guests: AtomicUsize::default(),
            octets: AtomicU64::default(),
            idle: AtomicU64::default(),
            offenders: AtomicU64::default(),
            carrying: TaskTracker::new(),
            opening: Semaphore::new(OPENING),
            again: again.unwrap_or(Duration::from_secs(60)),
            #[cfg(test)]
            seen: Mutex::default(),
        }
    }

    /// Which relays there are is another matter than before.
    pub(super) fn look_again(&self) {
        self.changed.notify_one();
    }

    /// Ends all legs to a node that is gone: a connection may take longer to notice that than its neighbours.
    pub(super) fn cut(&self, gone: PeerTag) {
        let legs: Vec<_> = {
            let open = self.open.lock();
            let legs = open.legs.values().filter(|(tag, _)| *tag == gone);
            legs.map(|(_, cut)| cut.clone()).collect()
        };
        legs.iter().for_each(CancellationToken::cancel);
    }

    /// Ends the circuits that the permissions allow no longer.
    pub(super) fn look_at_permissions(&self, shared: &Shared) {
        let denied: Vec<_> = {
            let open = self.open.lock();
            let circuits = open.through.values();
            let denied = circuits.filter(|it| !shared.may_relay(&it.sender, it.target));
            denied.map(|it| it.stop.clone()).collect()
        };
        denied.iter().for_each(CancellationToken::cancel);
    }

    pub(super) fn counters(&self) -> RelayCounters {
        let admission = self.admission.lock().counters();
        let open = self.open.lock();
        RelayCounters {
            relaying: admission.relaying,
            ending: admission.ending,
            lines: open.lines.len(),
            relays: open.relays.len(),
            admitted: admission.admitted,
            refused: admission.refused,
            octets: self.octets.load(Ordering::Relaxed),
            idle: self.idle.load(Ordering::Relaxed),
            offenders: self.offenders.load(Ordering::Relaxed),
        }
    }

    fn has_line(&self, relay: PeerTag) -> bool {
        self.open.lock().relays.contains_key(&relay)
    }

    fn offence(&self, peer: &crate::event::PeerInfo, what: &dyn std::fmt::Display) {
        self.offenders.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(address = peer.address, %what, "disconnected an offender at the relay's door");
    }
}

/// The party of a node.
const fn party(identity: IdentityId, node: withy_proto::trust::NodeId) -> Party {
    Party { identity, node }
}

/// The endpoint of an address that was dialled over the network.
fn way(transport: &str, address: &str) -> Option<Endpoint> {
    let is_network = matches!(transport, "quic" | "tcp");
    let text = is_network.then(|| format!("{transport}://{address}"))?;
    text.parse().ok()
}

fn tag_of(party: &Party) -> PeerTag {
    PeerTag::of(party.identity, party.node)
}

impl Shared {
    fn party(&self) -> Party {
        party(self.identity.id(), self.identity.node())
    }

    /// Whether somebody may have circuits here to an identity.
    fn may_relay(&self, sender: &Shown, target: IdentityId) -> bool {
        let whom = Principal::from(sender);
        match self.trust.permissions() {
            Some(rules) if !whom.is(&self.identity.id()) => {
                rules.allow(&whom, Verb::Relay, &target.to_string())
            }
            _ => true,
        }
    }

    /// The relays that are there and trusted, the best first: those to which there is a line, then those
    /// to which there is a link that no relay carries.
    fn relays(&self, discovery: &Discovery, links: &Links) -> Vec<PeerTag> {
        let instances = discovery.table().instances(Kind::Relay, NAME);
        let there = instances.filter(|(tag, record)| {
            let member = discovery.membership().state(*tag);
            *tag != self.own
                && !member.is_some_and(membership::State::is_gone)
                && self.may_trust(record)
        });
        let mut tags: Vec<PeerTag> = there.map(|(tag, _)| tag).collect();
        let is_near = |tag: PeerTag| links.of(tag).is_some_and(|link| link.transport != "relay");
        // Nodes have an order of their own among equals, so that not all take the same relay.
        let mixed = |tag: PeerTag| {
            let pairs = tag.as_octets().iter().zip(self.own.as_octets());
            pairs.fold(0_u64, |sum, (one, other)| sum << 4 ^ u64::from(one ^ other))
        };
        tags.sort_by_key(|tag| (!self.relaying.has_line(*tag), !is_near(*tag), mixed(*tag)));
        tags
    }

    /// The ways to a node through relays, to be tried last.
    pub(super) fn ways_through(
        &self,
        discovery: &Discovery,
        links: &Links,
        tag: PeerTag,
    ) -> Vec<Endpoint> {
        let record = discovery.table().record(tag);
        if tag == self.own || record.is_some_and(|record| record.content().host == self.host) {
            return Vec::new();
        }
        // Who has a line to here comes when he is invited, without another relay.
        let own = self.relaying.relay.map(|_| self.own);
        let relays = self.relays(discovery, links).into_iter();
        let others = own
            .into_iter()
            .chain(relays.filter(|relay| *relay != tag).take(WAYS));
        let way = |relay: PeerTag| format!("relay://{relay}").parse().ok();
        others.filter_map(way).collect()
    }

    /// The way by which this node has a line or a link to another, which may be none of its addresses: it
    /// was a seed, or a router leads to it.
    fn known_way(&self, state: &State, tag: PeerTag) -> Option<Endpoint> {
        if let Some(way) = self.relaying.open.lock().relays.get(&tag) {
            return way.clone();
        }
        let link = state.links.of(tag).filter(|_| state.links.is_made(tag))?;
        way(link.transport, &link.address)
    }

    /// The direct ways to a node for a leg.
    fn direct_ways(&self, state: &State, tag: PeerTag) -> Vec<Endpoint> {
        let table = state.discovery.table();
        let candidates = table.candidates(tag, self.host, self.process);
        let ways = candidates
            .into_iter()
            .filter_map(|it| it.to_string().parse().ok());
        // Within a process nothing is proven.
        ways.filter(|way| !matches!(way, Endpoint::Inproc(_)))
            .collect()
    }

    /// Goes to the door of a node that is known and trusted.
    async fn leg_to(self: &Arc<Self>, tag: PeerTag) -> Option<Leg> {
        let (known, ways, expected) = {
            let state = self.state.lock();
            let record = state.discovery.table().record(tag)?;
            if !self.may_trust(record) {
                return None;
            }
            let expected = Expected::Node(record.identity(), record.node());
            let known = self.known_way(&state, tag);
            (known, self.direct_ways(&state, tag), expected)
        };
        if let Some(known) = known {
            let dial = Leg::dial(self, vec![known], Some(expected), 2 * KNOWN_DIAL);
            // One that is only slow is not to be asked once more beside that.
            match tokio::time::timeout(KNOWN_DIAL, dial).await {
                Ok(Some(leg)) => return Some(leg),
                Ok(None) => {}
                Err(_) => return None,
            }
        }
        Leg::dial(self, ways, Some(expected), DIAL).await
    }

    /// What is known of the relays changed: other ways may lead to everybody.
    pub(super) fn relays_changed(&self, state: &mut State) {
        self.relaying.look_again();
        let tags: Vec<_> = state.discovery.table().peers().map(|it| it.0).collect();
        tags.into_iter().for_each(|tag| self.look_again(state, tag));
    }
}

/// Offers a node's door, and keeps lines to relays.
pub(super) fn start(shared: &Arc<Shared>) {
    door::open(shared);
    shared.spawn(lines::keep(Arc::clone(shared)));
}

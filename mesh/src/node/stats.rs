//! What a node counts.
//!
//! The counters are those of the engines and sockets, as they are; nothing is counted twice.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use withy_discovery::Kind;
pub use withy_discovery::gossip::Counters as GossipCounters;
pub use withy_discovery::hints::HintCounters;
pub use withy_discovery::mdns::{MdnsCounters, State as MulticastState};
pub use withy_discovery::membership::Counters as MemberCounters;
pub use withy_discovery::table::Counters as RecordCounters;

use super::peer::Presence;
use super::relay::RelayCounters;
use super::shared::Shared;
use crate::stats::Stats;

/// The counters of a node, at the moment of the call. They count from when it was made.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let home = withy::Home::at(folder.path().join("home"));
/// # let open = || withy::Node::builder().home(&home).runtime_directory(folder.path().join("run"));
/// let (one, two) = (open().build().await?, open().build().await?);
/// one.wait_peers(1).await?;
/// assert_eq!(one.stats().present, 1);
/// # two.close(std::time::Duration::from_secs(1)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStats {
    /// Other nodes that are there and trusted.
    pub present: usize,
    /// Other nodes that are trusted, and that somebody does not reach.
    pub suspected: usize,
    /// Nodes that were seen and are not trusted.
    pub untrusted: usize,
    /// Links over which this node gossips.
    pub links: usize,
    /// How many different names others offer, by kind; those that are not trusted left out.
    pub names: BTreeMap<Kind, usize>,
    /// Attempts to open a link for gossip.
    pub dials: u64,
    /// Of these, those that met nobody, or somebody else than was expected.
    pub dials_failed: u64,
    /// What became of records.
    pub records: RecordCounters,
    /// What became of members.
    pub members: MemberCounters,
    /// How much was said.
    pub gossip: GossipCounters,
    /// What became of hints: announcements, and addresses that were configured.
    pub hints: HintCounters,
    /// How multicast goes; `None` where it was not asked for.
    pub multicast: Option<Multicast>,
    /// What became of circuits through relays.
    pub relay: RelayCounters,
    /// The socket that listens, with the handshakes of all that reach the node.
    pub control: Stats,
    /// The socket that publishes on the bus; all zero as long as nothing is published.
    pub bus: Stats,
}

/// How multicast DNS goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Multicast {
    /// How it goes.
    pub state: MulticastState,
    /// How often what happened.
    pub counters: MdnsCounters,
}

impl Shared {
    pub(super) fn stats(&self) -> NodeStats {
        let mut stats = NodeStats {
            dials: self.dials.load(Ordering::Relaxed),
            dials_failed: self.dials_failed.load(Ordering::Relaxed),
            control: self.control.stats(),
            relay: self.relaying.counters(),
            ..NodeStats::default()
        };
        if let Some(bus) = self.bus.get() {
            stats.bus = bus.0.stats();
        }
        let state = self.state.lock();
        let mut names = std::collections::BTreeSet::new();
        for (tag, record) in state.discovery.table().peers() {
            if tag == self.own {
                continue;
            }
            match self.presence(&state, tag, record) {
                Presence::Untrusted => {
                    stats.untrusted += 1;
                    continue;
                }
                Presence::Suspected => stats.suspected += 1,
                Presence::Present => stats.present += 1,
            }
            let offers = record.content().services.iter();
            names.extend(offers.map(|it| (it.kind, &*it.name)));
        }
        for (kind, _) in names {
            *stats.names.entry(kind).or_default() += 1;
        }
        stats.untrusted += state.strangers.len();
        stats.links = state.links.len();
        stats.records = *state.discovery.table().counters();
        stats.members = *state.discovery.membership().counters();
        stats.gossip = *state.discovery.gossip().counters();
        stats.hints = *state.discovery.hint_counters();
        stats.multicast.clone_from(&state.multicast);
        stats
    }
}

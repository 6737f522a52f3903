//! What a node knows and does of others at most.

use withy_discovery::dials::DialLimits;
use withy_discovery::gossip::Spread;
use withy_discovery::membership::Membership;
use withy_discovery::{Config, Record, table};

use crate::error::BuildError;

/// What a node knows of others at most, and what it does to find them. The defaults are for a mesh of some
/// hundreds of nodes.
///
/// ```
/// use withy::node::NodeLimits;
///
/// let limits = NodeLimits { nodes: 4_096, record_octets: 8 << 20, ..NodeLimits::default() };
/// let builder = withy::Node::builder().limits(limits);
/// # assert_eq!(NodeLimits::default().links, 8);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLimits {
    /// Nodes that are known, this one included; more are refused and counted. Those on a local network have
    /// a quarter at most, and what one neighbour tells of three quarters. Default 2,048; at most 4,096.
    pub nodes: usize,
    /// Of these, nodes of one identity other than this node's. Default 256.
    pub nodes_per_identity: usize,
    /// Of these, nodes that one sender of multicast announces. Default 32.
    pub nodes_per_sender: usize,
    /// Octets of the records of all nodes, of 8 KiB each at most. Default 4 MiB.
    pub record_octets: usize,
    /// Names that all nodes offer, of 64 each at most. Default 16,384.
    pub names: usize,
    /// Nodes that were seen and are not trusted, which are remembered; of more, the oldest are forgotten.
    /// Default 256; at most 4,096.
    pub strangers: usize,
    /// Addresses and announcements that wait to be dialled, half of them at most by nodes of which nothing
    /// is known. Default 256; at most 4,096.
    pub hints: usize,
    /// Dials for gossip at one time, half of them at most for what one source told. Default 16; at most
    /// 256.
    pub dials: usize,
    /// Links for gossip. This node opens no more than five, and closes what others open beyond this; links
    /// to the two neighbours on the ring of all nodes stay. Each costs a heartbeat a second. Default 8; at
    /// least 3, at most 64.
    pub links: usize,
    /// Octets of gossip a second that go out over each link. Default 64 KiB; at least 16 KiB. No more than
    /// others take.
    pub gossip_sent: u64,
    /// Octets of gossip a second that are taken from each link, with as much at once; what is more is
    /// dropped and counted. Default 128 KiB; at least 16 KiB.
    pub gossip_taken: u64,
}

impl Default for NodeLimits {
    fn default() -> Self {
        let (table, dials, spread) = (
            table::Limits::default(),
            DialLimits::default(),
            Spread::default(),
        );
        Self {
            nodes: table.nodes,
            nodes_per_identity: table.per_identity,
            nodes_per_sender: table.per_sender,
            record_octets: table.octets,
            names: table.instances,
            strangers: 256,
            hints: dials.hints,
            dials: dials.at_once,
            links: spread.links,
            gossip_sent: spread.out,
            gossip_taken: spread.taken,
        }
    }
}

impl NodeLimits {
    /// The most that [`nodes`](Self::nodes) may be.
    pub const MAX_NODES: usize = Membership::MAX_MEMBERS;

    /// Whether a node can keep to them.
    pub(super) fn check(&self) -> Result<(), BuildError> {
        let most = Self::MAX_NODES;
        let octets = |octets: u64| usize::try_from(octets).unwrap_or(usize::MAX);
        // The least and the most of each.
        let all = [
            ("nodes", self.nodes, 2, most, "2 to 4096"),
            (
                "nodes_per_identity",
                self.nodes_per_identity,
                1,
                usize::MAX,
                "1 or more",
            ),
            (
                "nodes_per_sender",
                self.nodes_per_sender,
                1,
                usize::MAX,
                "1 or more",
            ),
            (
                "record_octets",
                self.record_octets,
                2 * Record::MAX,
                usize::MAX,
                "16384 or more",
            ),
            ("names", self.names, 1, usize::MAX, "1 or more"),
            ("strangers", self.strangers, 0, most, "0 to 4096"),
            ("hints", self.hints, 2, most, "2 to 4096"),
            ("dials", self.dials, 1, 256, "1 to 256"),
            ("links", self.links, 3, 64, "3 to 64"),
            (
                "gossip_sent",
                octets(self.gossip_sent),
                16 << 10,
                usize::MAX,
                "16384 or more",
            ),
            (
                "gossip_taken",
                octets(self.gossip_taken),
                16 << 10,
                usize::MAX,
                "16384 or more",
            ),
        ];
        for (field, value, least, most, accepted) in all {
            if !(least..=most).contains(&value) {
                return Err(BuildError {
                    field,
                    reason: format!(
                        "{value} is too {}",
                        if value < least { "few" } else { "many" }
                    ),
                    accepted,
                });
            }
        }
        Ok(())
    }

    /// What the discovery is told.
    pub(super) fn config(&self) -> Config {
        Config {
            limits: table::Limits {
                nodes: self.nodes,
                per_identity: self.nodes_per_identity,
                per_sender: self.nodes_per_sender,
                octets: self.record_octets,
                instances: self.names,
                ..table::Limits::default()
            },
            dials: DialLimits {
                at_once: self.dials,
                per_origin: self.dials.div_ceil(2),
                hints: self.hints,
                ..DialLimits::default()
            },
            spread: Spread {
                links: self.links,
                out: self.gossip_sent,
                taken: self.gossip_taken,
                ..Spread::default()
            },
            ..Config::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_discovery() {
        let (ours, theirs) = (NodeLimits::default().config(), Config::default());
        NodeLimits::default().check().unwrap();
        assert_eq!(ours.limits, theirs.limits);
        assert_eq!((ours.dials, ours.spread), (theirs.dials, theirs.spread));
    }

    #[test]
    fn what_no_node_can_keep_to_is_refused_by_name() {
        let good = NodeLimits::default();
        let bad = [
            (
                NodeLimits { nodes: 1, ..good },
                "nodes: 1 is too few; accepted: 2 to 4096",
            ),
            (
                NodeLimits {
                    nodes: 4_097,
                    ..good
                },
                "nodes: 4097 is too many; accepted: 2 to 4096",
            ),
            (
                NodeLimits { links: 2, ..good },
                "links: 2 is too few; accepted: 3 to 64",
            ),
            (
                NodeLimits { dials: 0, ..good },
                "dials: 0 is too few; accepted: 1 to 256",
            ),
            (
                NodeLimits {
                    gossip_sent: 9,
                    ..good
                },
                "gossip_sent: 9 is too few; accepted: 16384 or more",
            ),
        ];
        for (limits, says) in bad {
            assert_eq!(limits.check().unwrap_err().to_string(), says);
        }
    }
}

//! What the table holds at most, whom its records come from, and why some are refused.

use core::net::IpAddr;

use withy_proto::trust::IdentityId;

use crate::peer::PeerTag;
use crate::record::RecordError;

/// The most that a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Nodes. Default 2,048.
    pub nodes: usize,
    /// Nodes of one identity that is not ours. Default 256.
    pub per_identity: usize,
    /// Nodes that one sender of multicast announces. Default 32.
    pub per_sender: usize,
    /// Octets of all records. Default 4 MiB.
    pub octets: usize,
    /// Services of all nodes. Default 16,384.
    pub instances: usize,
    /// Events that nobody took yet; those beyond are counted, and [`Event::Lagged`] tells of it.
    /// Default 8,192.
    ///
    /// [`Event::Lagged`]: super::Event::Lagged
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nodes: 2_048,
            per_identity: 256,
            per_sender: 32,
            octets: 4 * 1024 * 1024,
            instances: 16_384,
            events: 8_192,
        }
    }
}

/// Whom a record came from. A node is charged to the origin that brought it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// This node itself.
    Own,
    /// A file of another node on this host.
    Host,
    /// A multicast announcement from this address.
    Mdns(IpAddr),
    /// A neighbour.
    Gossip(PeerTag),
    /// The configuration.
    Fixed,
    /// A file that an operator keeps.
    File,
}

impl Origin {
    /// The most nodes that are charged to it. What anybody on a LAN can send leaves most of the
    /// table to others, and what a neighbour can send leaves some of it.
    pub(super) const fn quota(self, limits: &Limits) -> usize {
        match self {
            Self::Own => 1,
            Self::Host | Self::Fixed | Self::File => limits.nodes,
            Self::Mdns(_) => limits.per_sender,
            Self::Gossip(_) => limits.nodes - limits.nodes / 4,
        }
    }
}

/// What became of a record that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learnt {
    /// The node was not known.
    New,
    /// It replaced an older one.
    Newer,
    /// It is the one that the table has.
    Known,
    /// The table has a newer one.
    Stale,
}

impl Learnt {
    /// Whether the table changed.
    pub const fn is_news(self) -> bool {
        matches!(self, Self::New | Self::Newer)
    }
}

/// Two identities use one name that is pinned to the first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name {name:?} is pinned to {pinned}, but {found} uses it")]
pub struct Conflict {
    /// The name.
    pub name: Box<str>,
    /// Whose it is.
    pub pinned: IdentityId,
    /// Who else uses it.
    pub found: IdentityId,
}

/// Why a record is refused. The table stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is not a record, or does not verify. Its origin misbehaved, or a clock is wrong.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It is about this node, which speaks for itself.
    #[error("the record is about this node")]
    Ourselves,
    /// It is of other networks than ours.
    #[error("the record is of another network")]
    Foreign,
    /// It was announced from an address that is not among those in it.
    #[error("the record came from {sender}, which is not among its addresses")]
    Elsewhere {
        /// Where it came from.
        sender: IpAddr,
    },
    /// Its node is dead or has left, as far as the mesh knows, and did not say otherwise.
    #[error("the node of the record is gone")]
    Gone,
    /// Its origin brought too many nodes already.
    #[error("its origin brought {nodes} nodes already")]
    Origin {
        /// How many.
        nodes: usize,
    },
    /// Its identity has too many nodes already.
    #[error("its identity has {nodes} nodes already")]
    Identity {
        /// How many.
        nodes: usize,
    },
    /// The table has no room for its node or its octets.
    #[error("the table is full")]
    Full,
    /// The table has no room for its services.
    #[error("the table has no room for its {services} services")]
    Names {
        /// How many it has.
        services: usize,
    },
    /// It uses a name that is pinned to another identity.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

/// How often what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Records that changed the table.
    pub learnt: u64,
    /// Records that the table had.
    pub known: u64,
    /// Records that were older than what the table had.
    pub stale: u64,
    /// Records with the sequence number of another record of their node.
    pub suspicious: u64,
    /// Nodes that left because nobody renewed their record.
    pub expired: u64,
    /// Refused: not a record, or one that does not verify.
    pub invalid: u64,
    /// Refused: about this node.
    pub ourselves: u64,
    /// Refused: of another network.
    pub foreign: u64,
    /// Refused: announced from elsewhere.
    pub elsewhere: u64,
    /// Refused: of a node that is gone.
    pub gone: u64,
    /// Refused: over the quota of an origin or an identity.
    pub over_quota: u64,
    /// Refused: the table had no room.
    pub full: u64,
    /// Refused: a pinned name of another identity.
    pub conflicts: u64,
    /// Events that nobody took in time.
    pub events_dropped: u64,
}

impl Counters {
    pub(super) const fn refused(&mut self, refusal: &Refusal) {
        let counter = match refusal {
            Refusal::Record(_) => &mut self.invalid,
            Refusal::Ourselves => &mut self.ourselves,
            Refusal::Foreign => &mut self.foreign,
            Refusal::Elsewhere { .. } => &mut self.elsewhere,
            Refusal::Gone => &mut self.gone,
            Refusal::Origin { .. } | Refusal::Identity { .. } => &mut self.over_quota,
            Refusal::Full | Refusal::Names { .. } => &mut self.full,
            Refusal::Conflict(_) => &mut self.conflicts,
        };
        *counter += 1;
    }
}

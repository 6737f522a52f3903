//! What a hint says, and the dial that it asks for.

use std::net::SocketAddr;

use withy_proto::trust::{IdentityId, NodeId};

use crate::peer::PeerTag;
use crate::record::Address;

/// Something that may be worth a dial.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// It was heard on the local network.
    Heard(Heard),
    /// It was configured. These addresses are of one node, which may be far away.
    Seed {
        /// Where it listens.
        addresses: Vec<Address>,
        /// Who it is.
        expects: Expected,
    },
}

/// An answer of DNS-SD, before anything in it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The name of the instance, without the service.
    pub instance: Box<str>,
    /// The TXT record.
    pub txt: Vec<u8>,
    /// The port of the SRV record.
    pub port: u16,
    /// What the A and AAAA records say, with the interface of those that are link-local. The port of
    /// each is ignored.
    pub addresses: Vec<SocketAddr>,
}

/// Who should be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Whoever is trusted.
    Anyone,
    /// Any node of an identity.
    Identity(IdentityId),
    /// A node, whoever's it is.
    Node(NodeId),
    /// A node of an identity.
    Both(IdentityId, NodeId),
    /// The node that is known by this, since its ids were not for all to read.
    Peer(PeerTag),
}

impl Expected {
    /// Whether who proved to be a node of an identity is who should be there.
    pub fn fits(&self, identity: IdentityId, node: NodeId) -> bool {
        match self {
            Self::Anyone => true,
            Self::Identity(expected) => *expected == identity,
            Self::Node(expected) => *expected == node,
            Self::Both(owner, expected) => *owner == identity && *expected == node,
            Self::Peer(expected) => *expected == PeerTag::of(identity, node),
        }
    }
}

/// A dial that a hint asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// What [`Discovery::try_ended`](crate::Discovery::try_ended) has to be told.
    pub tag: PeerTag,
    /// Who should be there; anybody else is not to be used.
    pub expects: Expected,
    /// Where, in no order. A link-local IPv6 address has the number of its interface.
    pub addresses: Vec<Address>,
}

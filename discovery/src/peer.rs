//! What a peer is known by among its neighbours.

use std::fmt;

use withy_proto::crypto::hash;
use withy_proto::trust::{IdentityId, NodeId, domain};

/// A node of an identity, in 16 octets: the beginning of SHA-256 over a domain string, the identity
/// and the node.
///
/// A node id alone is unique only among those of one identity. Whoever wants to can make two peers
/// of his own with one tag, at the cost of 2^64 hashes; nobody can make a peer with the tag of
/// another's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerTag([u8; Self::SIZE]);

impl PeerTag {
    /// Its octets.
    pub const SIZE: usize = 16;

    /// The tag of a node of an identity.
    pub fn of(identity: IdentityId, node: NodeId) -> Self {
        let parts = [domain::PEER_TAG, identity.as_octets(), node.as_octets()];
        let hash = hash::sha256(&parts);
        let mut tag = [0; Self::SIZE];
        tag.copy_from_slice(&hash[..Self::SIZE]);
        Self(tag)
    }

    /// A tag from its octets.
    pub const fn from_octets(octets: [u8; Self::SIZE]) -> Self {
        Self(octets)
    }

    /// Its octets.
    pub const fn as_octets(&self) -> &[u8; Self::SIZE] {
        &self.0
    }
}

/// In hexadecimal.
impl fmt::Display for PeerTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for PeerTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

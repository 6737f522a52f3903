//! What the mechanisms that prove an identity have in common: what a side shows and wants, and how
//! it looks at what the peer shows.

use zeroize::Zeroizing;

use super::HandshakeError;
use crate::crypto::Provider;
use crate::crypto::keys::KeyPair;
use crate::trust::Certificate;
use crate::trust::credentials::{Credentials, Shown};
use crate::trust::id::{IdentityId, NetworkId, NodeId};

/// The secret of those who are in no network. It is none.
pub const OPEN: [u8; 32] = *b"withy: a mesh without a network!";

/// The property in which the authority of a network sends a member what confirms its invitation, or
/// renews its membership: a [proof](crate::trust::membership) that is a membership.
pub const MEMBERSHIP: &str = "X-Membership";

/// Where a handshake takes place: in a network, or in none.
#[derive(Clone)]
pub struct Realm {
    /// The network.
    pub network: Option<NetworkId>,
    /// Its secret; [`OPEN`] without a network.
    pub secret: Zeroizing<[u8; 32]>,
    /// What we show of ourselves there.
    pub credentials: Credentials,
}

impl Realm {
    /// Outside of any network, with a certificate of our node.
    pub fn open(certificate: Certificate) -> Self {
        Self {
            network: None,
            secret: Zeroizing::new(OPEN),
            credentials: Credentials {
                certificate,
                proof: None,
            },
        }
    }
}

impl std::fmt::Debug for Realm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Realm")
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

/// What a side shakes hands with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The X25519 keys that our node certificate names.
    pub keys: KeyPair,
    /// Where peers may be met. An initiator uses the first.
    pub realms: Vec<Realm>,
    /// A peer that does without ML-KEM is let in.
    pub allow_classical: bool,
    /// The initiator does without ML-KEM itself.
    pub classical: bool,
    /// The processor has AES.
    pub has_aes: bool,
    /// Who the peer must be, if that is known.
    pub expected: Option<Expected>,
    /// The time, in seconds since the Unix epoch.
    pub now: u64,
}

impl Settings {
    /// The strict ones: with ML-KEM only, without AES, with whoever is trusted.
    pub fn new(keys: KeyPair, realms: Vec<Realm>, now: u64) -> Self {
        Self {
            keys,
            realms,
            allow_classical: false,
            classical: false,
            has_aes: false,
            expected: None,
            now,
        }
    }
}

/// Who a peer has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Who has this key as his identity's or, where the link proved his node's, as that.
    Key([u8; 32]),
    /// This node of this identity.
    Node(IdentityId, NodeId),
}

/// What the peer proved that it holds, which its certificate has to name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holds {
    /// An X25519 key, in a Noise handshake.
    Noise(Option<[u8; 32]>),
    /// The node's key, in the handshake of QUIC.
    Node([u8; 32]),
}

/// Holds what a peer shows against what it proved and what we want.
pub(super) fn check(
    settings: &Settings,
    provider: Provider,
    realm: &Realm,
    shown: &Credentials,
    holds: Holds,
    command: &'static str,
) -> Result<Shown, HandshakeError> {
    let shown = shown.verify(provider, realm.network, settings.now)?;
    let names = match holds {
        Holds::Noise(key) => key == Some(*shown.noise.as_octets()),
        Holds::Node(key) => key == *shown.node.as_octets(),
    };
    if !names {
        return Err(HandshakeError::Malformed {
            command,
            reason: "its certificate names another key than the one that was proven",
        });
    }
    // In a Noise handshake the node's key is not proven: an identity may name any node.
    let proven = |key: [u8; 32]| match holds {
        Holds::Noise(_) => false,
        Holds::Node(node) => key == node,
    };
    let fits = match settings.expected {
        None => true,
        Some(Expected::Key(key)) => key == *shown.identity.as_octets() || proven(key),
        Some(Expected::Node(identity, node)) => (identity, node) == (shown.identity, shown.node),
    };
    match fits {
        true => Ok(shown),
        false => Err(HandshakeError::OtherPeer {
            found: shown.identity,
        }),
    }
}

/// What a refused peer is told. It has proven who it is, and nobody else can read it.
pub(super) const fn refusal(status: u16) -> &'static str {
    match status {
        300 => "not now, try again later",
        500 => "the authenticator failed",
        _ => "your identity is not trusted here",
    }
}

//! What a judgement is asked for, and what it says.

use std::fmt;

use crate::trust::id::{IdentityId, NetworkId};
use crate::trust::roles::Roles;

/// What a session with a peer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Messages between the two, and nothing else.
    Messages,
    /// Requests of the peer run a command here.
    Command,
    /// Traffic of the peer is carried on from here, or through here.
    Carry,
    /// The peer answers requests as a service.
    Service,
    /// The peer carries our traffic as a relay.
    Relay,
    /// The peer speaks for clients of other protocols.
    Gateway,
    /// The peer connects us with outside brokers.
    Bridge,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 7] = [
        Self::Messages,
        Self::Command,
        Self::Carry,
        Self::Service,
        Self::Relay,
        Self::Gateway,
        Self::Bridge,
    ];

    /// The role that a peer needs that is trusted as a member of a network.
    pub const fn role(self) -> Roles {
        match self {
            Self::Messages | Self::Command | Self::Carry => Roles::MEMBER,
            Self::Service => Roles::SERVICE,
            Self::Relay => Roles::RELAY,
            Self::Gateway => Roles::GATEWAY,
            Self::Bridge => Roles::BRIDGE,
        }
    }

    /// Whether code is run or traffic of others carried, for which first use and insecure are too
    /// weak.
    pub const fn is_strict(self) -> bool {
        !matches!(self, Self::Messages)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Messages => "messages",
            Self::Command => "commands",
            Self::Carry => "carried traffic",
            Self::Service => "a service",
            Self::Relay => "a relay",
            Self::Gateway => "a gateway",
            Self::Bridge => "a bridge",
        })
    }
}

/// Whether a peer is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It is.
    Trusted(Why),
    /// It is not; no session is opened with it.
    Untrusted {
        /// Why not.
        reason: Reason,
    },
}

impl Verdict {
    /// Whether the peer is trusted.
    pub const fn is_trusted(&self) -> bool {
        matches!(self, Self::Trusted(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trusted(why) => write!(f, "trusted: {why}"),
            Self::Untrusted { reason } => write!(f, "not trusted: {reason}"),
        }
    }
}

/// Why a peer is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It has our own identity.
    SameIdentity,
    /// Its identity was accepted.
    Accepted,
    /// It is a member of a network that we belong to.
    Network(NetworkId),
    /// Its name was pinned to its identity when it was first used.
    Pinned,
    /// Its name is used for the first time.
    FirstUse,
    /// Anybody is.
    Insecure,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameIdentity => f.write_str("the same identity"),
            Self::Accepted => f.write_str("an accepted identity"),
            Self::Network(network) => write!(f, "a member of the network {network}"),
            Self::Pinned => f.write_str("a pinned name"),
            Self::FirstUse => f.write_str("the first use of a name"),
            Self::Insecure => f.write_str("anybody is"),
        }
    }
}

/// Why a peer is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing speaks for it.
    #[error("the identity was not accepted")]
    Unknown,
    /// The name was pinned to another identity: the peer changed its key, or is somebody else.
    #[error("THE IDENTITY CHANGED: the name is pinned to {pinned}, and {found} answered")]
    Changed {
        /// Whom the name is pinned to.
        pinned: IdentityId,
        /// Who answered.
        found: IdentityId,
    },
    /// The identity was revoked.
    #[error("the identity was revoked")]
    Revoked,
    /// The membership or invitation was revoked.
    #[error("the membership {serial} of the network {network} was revoked")]
    RevokedSerial {
        /// The network.
        network: NetworkId,
        /// The serial.
        serial: u64,
    },
    /// The certificate was valid once.
    #[error("the certificate expired")]
    Expired,
    /// It was a member of the network once.
    #[error("the membership of the network {network} ended")]
    Ended {
        /// The network.
        network: NetworkId,
    },
    /// It is a member of the network, but not for this.
    #[error("the member of the network {network} lacks the role {role}")]
    Role {
        /// The network.
        network: NetworkId,
        /// The role that it lacks.
        role: Roles,
    },
    /// What speaks for it is enough for messages, and not for this.
    #[error("{why} is not enough for {purpose}")]
    TooWeak {
        /// What speaks for it.
        why: Why,
        /// What was asked for.
        purpose: Purpose,
    },
    /// It would be trusted on first use, but its name cannot be pinned.
    #[error("the name cannot be pinned: it is too long, or there are too many")]
    NotPinned,
}

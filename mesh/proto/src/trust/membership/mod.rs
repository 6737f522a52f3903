//! Membership of a network: what the network's authority signs, and how a peer's proof of it is
//! verified.
//!
//! ```text
//!  membership   octet 0    network, ed25519 public key of the authority
//!                    32    member, identity
//!                    64    roles, u32
//!                    68    serial, u64
//!                    76    not before, not after, u64 each
//!                    92    signature by the authority over "withy network membership 1"
//!                   156    and octets 0 to 91
//!
//!  invitation   octet 0    network
//!                    32    key of the invitation, ed25519
//!                    64    roles, serial, not before, not after, as above
//!                    92    flags: 1 = single use, all others 0
//!                    93    signature by the authority over "withy network invitation 1"
//!                   157    and octets 0 to 92
//!
//!  redeemed     octet 0    invitation
//!                   157    member, identity
//!                   189    signature by the invitation's key over "withy invitation redemption 1"
//!                   253    and octets 0 to 188
//!
//!  proof        octet 0    1 = membership, 2 = redeemed invitation, and then that
//! ```
//!
//! Numbers are big-endian. A version that changes one of the forms takes a new tag and a new domain
//! string.
//!
//! A redeemed invitation counts as membership until the invitation expires; the authority replaces
//! it by a membership when it meets its holder. Only there is single use enforced: other nodes cannot
//! know who else redeemed the same invitation.

mod confirmation;
mod invitation;

pub use confirmation::ConfirmationError;
pub use invitation::{Invitation, Redeemed};

use super::domain;
use super::id::{IdentityId, NetworkId};
use super::roles::Roles;
use super::signature::Signature;
use super::validity::{Validity, ValidityError};
use crate::crypto::Provider;
use crate::crypto::sign::{SIGNATURE, SigningKey};
use crate::fields::{Fields, join};

/// What a membership or an invitation grants, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// What its holder may be.
    pub roles: Roles,
    /// The number that it is revoked by. The authority draws it.
    pub serial: u64,
    /// From when until when.
    pub validity: Validity,
}

impl Grant {
    const SIZE: usize = 4 + 8 + Validity::SIZE;

    fn encode(&self) -> [u8; Self::SIZE] {
        join(&[
            &self.roles.bits().to_be_bytes(),
            &self.serial.to_be_bytes(),
            &self.validity.encode(),
        ])
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            roles: Roles::from_bits(fields.u32()?),
            serial: fields.u64()?,
            validity: Validity::decode(fields)?,
        })
    }
}

/// The authority's word that an identity is a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    network: NetworkId,
    member: IdentityId,
    grant: Grant,
    signature: Signature,
}

impl Membership {
    /// The octets of its binary form.
    pub const SIZE: usize = Self::BODY + SIGNATURE;

    const BODY: usize = 2 * 32 + Grant::SIZE;

    /// Signs a membership with the key of a network's authority.
    pub fn issue(authority: &SigningKey, member: IdentityId, grant: Grant) -> Self {
        let mut membership = Self {
            network: NetworkId::of(authority),
            member,
            grant,
            signature: Signature([0; SIGNATURE]),
        };
        membership.signature = Signature::new(authority, domain::MEMBERSHIP, &membership.body());
        membership
    }

    /// The network.
    pub const fn network(&self) -> NetworkId {
        self.network
    }

    /// Who is a member.
    pub const fn member(&self) -> IdentityId {
        self.member
    }

    /// What the member may be, and for how long.
    pub const fn grant(&self) -> Grant {
        self.grant
    }

    fn verify(&self, provider: Provider) -> Result<(), MembershipError> {
        let body = self.body();
        let is_by = |signer| {
            self.signature
                .is_by(provider, signer, domain::MEMBERSHIP, &body)
        };
        if is_by(self.network.as_octets()) {
            Ok(())
        } else if is_by(self.member.as_octets()) {
            Err(MembershipError::SelfSigned)
        } else {
            Err(MembershipError::Forged)
        }
    }

    fn body(&self) -> [u8; Self::BODY] {
        join(&[
            self.network.as_octets(),
            self.member.as_octets(),
            &self.grant.encode(),
        ])
    }

    pub(super) fn encode(&self) -> [u8; Self::SIZE] {
        join(&[&self.body(), &self.signature.0])
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            network: NetworkId::from_octets(fields.array()?),
            member: IdentityId::from_octets(fields.array()?),
            grant: Grant::read(fields)?,
            signature: Signature(fields.array()?),
        })
    }
}

/// How an identity shows that it belongs to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// By a membership.
    Membership(Membership),
    /// By an invitation that it redeemed.
    Redeemed(Redeemed),
}

impl Proof {
    /// The octets of its longest binary form.
    pub const MAX_SIZE: usize = 1 + Redeemed::SIZE;

    const MEMBERSHIP: u8 = 1;
    const REDEEMED: u8 = 2;

    /// The network.
    pub const fn network(&self) -> NetworkId {
        match self {
            Self::Membership(membership) => membership.network,
            Self::Redeemed(redeemed) => redeemed.invitation().network(),
        }
    }

    /// Who belongs to it.
    pub const fn member(&self) -> IdentityId {
        match self {
            Self::Membership(membership) => membership.member,
            Self::Redeemed(redeemed) => redeemed.member(),
        }
    }

    /// What it grants, and for how long.
    pub const fn grant(&self) -> Grant {
        match self {
            Self::Membership(membership) => membership.grant,
            Self::Redeemed(redeemed) => redeemed.invitation().grant(),
        }
    }

    /// The binary form.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Membership(it) => [&[Self::MEMBERSHIP], &it.encode()[..]].concat(),
            Self::Redeemed(it) => [&[Self::REDEEMED], &it.encode()[..]].concat(),
        }
    }

    /// A proof from the beginning of octets, and how many of them it took; nothing is verified yet.
    ///
    /// # Errors
    /// The tag or a flag is unknown, or octets are missing.
    pub fn decode(octets: &[u8]) -> Result<(Self, usize), MembershipError> {
        let mut fields = Fields::new(octets);
        let proof = match fields.octet().ok_or(MembershipError::CutShort)? {
            Self::MEMBERSHIP => Membership::read(&mut fields).map(Self::Membership),
            Self::REDEEMED => Redeemed::read(&mut fields)?.map(Self::Redeemed),
            found => return Err(MembershipError::Tag { found }),
        };
        let proof = proof.ok_or(MembershipError::CutShort)?;
        Ok((proof, octets.len() - fields.rest().len()))
    }

    /// The roles that `member` has in `network`, if this proves any.
    ///
    /// # Errors
    /// It does not; what costs least is looked at first.
    pub fn verify(
        &self,
        provider: Provider,
        network: NetworkId,
        member: IdentityId,
        now: u64,
    ) -> Result<Roles, MembershipError> {
        if self.network() != network {
            let found = self.network();
            return Err(MembershipError::Network { found });
        }
        if self.member() != member {
            let found = self.member();
            return Err(MembershipError::Member { found });
        }
        let grant = self.grant();
        grant.validity.check(now)?;
        match self {
            Self::Membership(membership) => membership.verify(provider)?,
            Self::Redeemed(redeemed) => redeemed.verify(provider)?,
        }
        Ok(grant.roles)
    }
}

impl From<Membership> for Proof {
    fn from(membership: Membership) -> Self {
        Self::Membership(membership)
    }
}

impl From<Redeemed> for Proof {
    fn from(redeemed: Redeemed) -> Self {
        Self::Redeemed(redeemed)
    }
}

/// Why a proof of membership is refused. The peer is to blame, unless a clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// Octets are missing.
    #[error("the proof of membership is cut short")]
    CutShort,
    /// It is of a kind that is not known here; the peer is newer.
    #[error("the proof of membership is of kind {found}, which is not known here")]
    Tag {
        /// The tag.
        found: u8,
    },
    /// An invitation has flags that are not known here; the peer is newer.
    #[error("the invitation has flags {found:#04x}, some of which are not known here")]
    Flags {
        /// All flags.
        found: u8,
    },
    /// It is for another network.
    #[error("the membership is of another network, {found}")]
    Network {
        /// That network.
        found: NetworkId,
    },
    /// It is of another identity.
    #[error("the membership is of another identity, {found}")]
    Member {
        /// That identity.
        found: IdentityId,
    },
    /// It is not valid now.
    #[error("the membership {0}")]
    Validity(#[from] ValidityError),
    /// The member signed it, not the network's authority.
    #[error("the membership is signed by the member itself, not by the network's authority")]
    SelfSigned,
    /// The signature is not the authority's over this membership or invitation.
    #[error("the membership is not signed by the network's authority")]
    Forged,
    /// The invitation holds, but its key did not sign it over to this identity.
    #[error("the invitation is not signed over to this identity")]
    Redemption,
}

#[cfg(test)]
mod tests;

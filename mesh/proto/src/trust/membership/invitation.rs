//! Invitations: memberships for whoever holds a key.

use super::{Grant, MembershipError};
use crate::crypto::Provider;
use crate::crypto::sign::{PUBLIC, SIGNATURE, SigningKey};
use crate::fields::{Fields, join};
use crate::trust::domain;
use crate::trust::id::{IdentityId, NetworkId};
use crate::trust::signature::Signature;

const SINGLE_USE: u8 = 1;

/// The authority's word that whoever holds the invitation's key may name a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invitation {
    network: NetworkId,
    key: [u8; PUBLIC],
    grant: Grant,
    single_use: bool,
    signature: Signature,
}

impl Invitation {
    /// The octets of its binary form.
    pub const SIZE: usize = Self::BODY + SIGNATURE;

    const BODY: usize = 2 * 32 + Grant::SIZE + 1;

    /// Signs an invitation with the key of a network's authority. `key` is the public key of a
    /// fresh key that goes to the invited along with it.
    pub fn issue(
        authority: &SigningKey,
        key: [u8; PUBLIC],
        grant: Grant,
        single_use: bool,
    ) -> Self {
        let mut invitation = Self {
            network: NetworkId::of(authority),
            key,
            grant,
            single_use,
            signature: Signature([0; SIGNATURE]),
        };
        invitation.signature = Signature::new(authority, domain::INVITATION, &invitation.body());
        invitation
    }

    /// Signs the invitation over to an identity. `key` is the secret half of the invitation's key;
    /// with another, what comes out verifies nowhere.
    pub fn redeem(self, key: &SigningKey, member: IdentityId) -> Redeemed {
        let mut redeemed = Redeemed {
            invitation: self,
            member,
            signature: Signature([0; SIGNATURE]),
        };
        redeemed.signature = Signature::new(key, domain::REDEMPTION, &redeemed.body());
        redeemed
    }

    /// The network.
    pub const fn network(&self) -> NetworkId {
        self.network
    }

    /// The public key whose holder may redeem it.
    pub const fn key(&self) -> &[u8; PUBLIC] {
        &self.key
    }

    /// What it grants, and until when it can be redeemed and counts as a membership.
    pub const fn grant(&self) -> Grant {
        self.grant
    }

    /// Whether the authority confirms one identity only.
    pub const fn is_single_use(&self) -> bool {
        self.single_use
    }

    /// Whether the authority signed it.
    pub(in crate::trust) fn verify(&self, provider: Provider) -> Result<(), MembershipError> {
        let signer = self.network.as_octets();
        let body = self.body();
        match self
            .signature
            .is_by(provider, signer, domain::INVITATION, &body)
        {
            true => Ok(()),
            false => Err(MembershipError::Forged),
        }
    }

    fn body(&self) -> [u8; Self::BODY] {
        join(&[
            self.network.as_octets(),
            &self.key,
            &self.grant.encode(),
            &[u8::from(self.single_use) * SINGLE_USE],
        ])
    }

    pub(in crate::trust) fn encode(&self) -> [u8; Self::SIZE] {
        join(&[&self.body(), &self.signature.0])
    }

    /// `None` when octets are missing.
    pub(in crate::trust) fn read(fields: &mut Fields<'_>) -> Result<Option<Self>, MembershipError> {
        let read = |fields: &mut Fields<'_>| {
            let network = NetworkId::from_octets(fields.array()?);
            let (key, grant) = (fields.array()?, Grant::read(fields)?);
            let (flags, signature) = (fields.octet()?, Signature(fields.array()?));
            let invitation = Self {
                network,
                key,
                grant,
                single_use: flags & SINGLE_USE != 0,
                signature,
            };
            Some((invitation, flags))
        };
        match read(fields) {
            Some((_, found)) if found & !SINGLE_USE != 0 => Err(MembershipError::Flags { found }),
            read => Ok(read.map(|(invitation, _)| invitation)),
        }
    }
}

/// An invitation that was signed over to an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redeemed {
    invitation: Invitation,
    member: IdentityId,
    signature: Signature,
}

impl Redeemed {
    /// The octets of its binary form.
    pub const SIZE: usize = Self::BODY + SIGNATURE;

    const BODY: usize = Invitation::SIZE + 32;

    /// The invitation.
    pub const fn invitation(&self) -> &Invitation {
        &self.invitation
    }

    /// Who redeemed it.
    pub const fn member(&self) -> IdentityId {
        self.member
    }

    pub(super) fn verify(&self, provider: Provider) -> Result<(), MembershipError> {
        self.invitation.verify(provider)?;
        let (signer, body) = (&self.invitation.key, self.body());
        match self
            .signature
            .is_by(provider, signer, domain::REDEMPTION, &body)
        {
            true => Ok(()),
            false => Err(MembershipError::Redemption),
        }
    }

    fn body(&self) -> [u8; Self::BODY] {
        join(&[&self.invitation.encode(), self.member.as_octets()])
    }

    pub(super) fn encode(&self) -> [u8; Self::SIZE] {
        join(&[&self.body(), &self.signature.0])
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Option<Self>, MembershipError> {
        let Some(invitation) = Invitation::read(fields)? else {
            return Ok(None);
        };
        let read = |fields: &mut Fields<'_>| {
            Some(Self {
                invitation,
                member: IdentityId::from_octets(fields.array()?),
                signature: Signature(fields.array()?),
            })
        };
        Ok(read(fields))
    }
}

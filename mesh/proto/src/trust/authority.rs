//! The authority of a network: who holds its signing key invites and confirms members.
//!
//! It says who a member is, not who is revoked: that is for each node's policy.

use super::id::{IdentityId, NetworkId};
use super::membership::{Grant, Invitation, Membership, MembershipError, Proof};
use super::name::Name;
use super::network::{Network, Secret};
use super::roles::Roles;
use super::ticket::Ticket;
use super::used_invitations::{ClaimError, UsedInvitations};
use super::validity::Validity;
use crate::crypto::sign::SigningKey;
use crate::crypto::{Provider, Randomness};

/// What a ticket grants. The default is a plain member, invited for a day, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What the member may be besides [`Roles::MEMBER`], which is always granted.
    pub roles: Roles,
    /// For how long the ticket can be used, in seconds.
    pub lifetime: u64,
    /// Whether the ticket is confirmed for one identity only.
    pub single_use: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            roles: Roles::MEMBER,
            lifetime: Ticket::LIFETIME,
            single_use: true,
        }
    }
}

/// A network and its signing key.
#[derive(Debug, Clone)]
pub struct Authority {
    key: SigningKey,
    network: Network,
}

impl Authority {
    /// How long a membership lives, in seconds: a year.
    pub const MEMBERSHIP_LIFETIME: u64 = 365 * 24 * 60 * 60;

    /// Makes a network.
    pub fn create(provider: Provider, name: Name, randomness: &mut dyn Randomness) -> Self {
        let key = SigningKey::generate(provider, randomness);
        Self::restore(key, name, Secret::generate(randomness))
    }

    /// The authority of a network that was made before.
    pub fn restore(key: SigningKey, name: Name, secret: Secret) -> Self {
        let id = NetworkId::of(&key);
        let network = Network { id, name, secret };
        Self { key, network }
    }

    /// The network.
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// The signing key, for a file that only its owner can read.
    pub const fn expose_key(&self) -> &SigningKey {
        &self.key
    }

    /// Signs a membership. [`Roles::MEMBER`] is always granted.
    pub fn membership(&self, member: IdentityId, grant: Grant) -> Membership {
        let roles = grant.roles | Roles::MEMBER;
        Membership::issue(&self.key, member, Grant { roles, ..grant })
    }

    /// A ticket for whoever holds it.
    pub fn invite(
        &self,
        provider: Provider,
        terms: Terms,
        now: u64,
        randomness: &mut dyn Randomness,
    ) -> Ticket {
        let key = SigningKey::generate(provider, randomness);
        let grant = Grant {
            roles: terms.roles | Roles::MEMBER,
            serial: randomness.next_u64(),
            validity: Validity::starting(now, terms.lifetime),
        };
        let invitation = Invitation::issue(&self.key, key.public(), grant, terms.single_use);
        let Network { name, secret, .. } = self.network.clone();
        Ticket::with_invitation(name, secret, invitation, &key)
    }

    /// A ticket for one identity, which needs no confirmation. The membership in it lives for
    /// [`MEMBERSHIP_LIFETIME`](Self::MEMBERSHIP_LIFETIME).
    pub fn invite_identity(
        &self,
        member: IdentityId,
        terms: Terms,
        now: u64,
        randomness: &mut dyn Randomness,
    ) -> Ticket {
        let grant = Grant {
            roles: terms.roles,
            serial: randomness.next_u64(),
            validity: Validity::starting(now, Self::MEMBERSHIP_LIFETIME),
        };
        let membership = self.membership(member, grant);
        let Network { name, secret, .. } = self.network.clone();
        Ticket::with_membership(name, secret, membership, now.saturating_add(terms.lifetime))
    }

    /// Replaces a redeemed invitation by a membership; a proof that is a membership stays what it
    /// is. The membership has the invitation's serial, so that revoking it revokes all who came by
    /// the invitation.
    ///
    /// The caller asks its policy first: who is revoked is not known here.
    ///
    /// # Errors
    /// The proof does not hold, or the invitation was used by another identity.
    pub fn confirm(
        &self,
        provider: Provider,
        proof: &Proof,
        used: &mut UsedInvitations,
        now: u64,
    ) -> Result<Membership, ConfirmError> {
        let member = proof.member();
        proof.verify(provider, self.network.id, member, now)?;
        let redeemed = match proof {
            Proof::Membership(membership) => return Ok(*membership),
            Proof::Redeemed(redeemed) => redeemed,
        };
        let invited = redeemed.invitation().grant();
        if redeemed.invitation().is_single_use() {
            used.claim(invited.serial, member, invited.validity.expires(), now)?;
        }
        let validity = Validity::starting(now, Self::MEMBERSHIP_LIFETIME);
        Ok(self.membership(
            member,
            Grant {
                validity,
                ..invited
            },
        ))
    }
}

/// Why an invitation is not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfirmError {
    /// The proof does not hold.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// It was used, or cannot be remembered.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Seeded;
    use crate::trust::{TicketError, ValidityError};

    const NOW: u64 = 1_800_000_000;
    const REAL: Provider = Provider::Real;

    const ADA: IdentityId = IdentityId::from_octets([1; 32]);
    const BOB: IdentityId = IdentityId::from_octets([2; 32]);

    fn authority() -> (Authority, Seeded) {
        let mut randomness = Seeded::new(1);
        let name = "home".parse().unwrap();
        let authority = Authority::create(REAL, name, &mut randomness);
        (authority, randomness)
    }

    #[test]
    fn an_invitation_for_a_single_use_is_confirmed_for_one_identity() {
        let (authority, mut randomness) = authority();
        let ticket = authority.invite(REAL, Terms::default(), NOW, &mut randomness);
        let [ada, bob] = [ADA, BOB].map(|who| ticket.redeem(REAL, who, NOW).unwrap().proof);
        let mut used = UsedInvitations::new();
        let mut confirm = |proof| authority.confirm(REAL, proof, &mut used, NOW + 60);
        let membership = confirm(&ada).unwrap();
        assert_eq!(membership.member(), ADA);
        assert_eq!(membership.grant().serial, ada.grant().serial);
        assert_eq!(membership.grant().validity.not_before, NOW + 60);
        let refused = ConfirmError::Claim(ClaimError::Used { by: ADA });
        assert_eq!(confirm(&bob), Err(refused));
        // The answer was lost; a membership stays what it is.
        assert_eq!(confirm(&ada), Ok(membership));
        assert_eq!(confirm(&membership.into()), Ok(membership));

        let id = authority.network().id;
        let later = NOW + Authority::MEMBERSHIP_LIFETIME;
        let verified = Proof::from(membership).verify(REAL, id, ADA, later);
        assert_eq!(verified, Ok(Roles::MEMBER));
    }

    #[test]
    fn an_invitation_for_many_is_confirmed_for_many_until_it_expires() {
        let (authority, mut randomness) = authority();
        let terms = Terms {
            roles: Roles::RELAY,
            lifetime: 60,
            single_use: false,
        };
        let ticket = authority.invite(REAL, terms, NOW, &mut randomness);
        let mut used = UsedInvitations::new();
        for who in [ADA, BOB] {
            let proof = ticket.redeem(REAL, who, NOW).unwrap().proof;
            let membership = authority.confirm(REAL, &proof, &mut used, NOW).unwrap();
            assert_eq!(membership.member(), who);
            assert_eq!(membership.grant().roles, Roles::MEMBER | Roles::RELAY);
            let late = authority.confirm(REAL, &proof, &mut used, NOW + 361);
            let expired = MembershipError::Validity(ValidityError::Expired { seconds: 301 });
            assert_eq!(late, Err(expired.into()));
        }
        assert_eq!(used.entries().count(), 0);
    }

    #[test]
    fn another_network_confirms_nothing() {
        let (authority, mut randomness) = authority();
        let ticket = authority.invite(REAL, Terms::default(), NOW, &mut randomness);
        let proof = ticket.redeem(REAL, ADA, NOW).unwrap().proof;
        let other = Authority::create(REAL, "other".parse().unwrap(), &mut randomness);
        let mut used = UsedInvitations::new();
        let refused = other.confirm(REAL, &proof, &mut used, NOW);
        let found = authority.network().id;
        assert_eq!(refused, Err(MembershipError::Network { found }.into()));
        assert_eq!(used.entries().count(), 0);
    }

    #[test]
    fn an_identity_that_is_known_gets_its_membership_in_the_ticket() {
        let (authority, mut randomness) = authority();
        let ticket = authority.invite_identity(ADA, Terms::default(), NOW, &mut randomness);
        assert_eq!(ticket.member(), Some(ADA));
        let joined = ticket.redeem(REAL, ADA, NOW).unwrap();
        assert!(matches!(joined.proof, Proof::Membership(_)));
        assert_eq!(joined.network.id, authority.network().id);
        let refused = ticket.redeem(REAL, BOB, NOW).unwrap_err();
        assert_eq!(refused, TicketError::Identity { member: ADA });
        let late = ticket.redeem(REAL, ADA, NOW + Ticket::LIFETIME + 301);
        let expired = ValidityError::Expired { seconds: 301 };
        assert_eq!(late.unwrap_err(), TicketError::Validity(expired));
    }

    #[test]
    fn nothing_prints_a_secret() {
        let (authority, mut randomness) = authority();
        let ticket = authority.invite(REAL, Terms::default(), NOW, &mut randomness);
        let shown = format!("{authority:?}");
        assert!(shown.contains("SigningKey(..)") && shown.contains("Secret(..)"));
        assert!(format!("{ticket:?}").ends_with("expires: 1800086400, .. }"));
        let joined = ticket.redeem(REAL, ADA, NOW).unwrap();
        assert!(format!("{joined:?}").contains("Secret(..)"));
    }
}

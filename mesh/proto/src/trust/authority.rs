//! The authority of a network: who holds its signing key invites and confirms members.
//!
//! It says who a member is, not who is revoked: that is for each node's policy.

use super::credentials::{By, Shown, Standing};
use super::id::{IdentityId, NetworkId};
use super::membership::{Grant, Invitation, Membership};
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

    /// What the network has to say to a member that shows itself: the membership that confirms an
    /// invitation, or that renews a membership of which more than half is over. `None` where nothing
    /// is due, or it is of another network.
    ///
    /// It has the serial of what it replaces, so that revoking an invitation revokes all who came by
    /// it, and for a renewal its lifetime.
    ///
    /// The caller asks its policy first: who is revoked is not known here.
    ///
    /// # Errors
    /// The invitation was used by another identity, or its use cannot be remembered.
    pub fn confirm(
        &self,
        shown: &Shown,
        used: &mut UsedInvitations,
        now: u64,
    ) -> Result<Option<Membership>, ClaimError> {
        let ours = |standing: &Standing| standing.network == self.network.id;
        let due = |standing: &Standing| standing.is_due(now);
        let Some(standing) = shown.standing.filter(ours).filter(due) else {
            return Ok(None);
        };
        let (member, grant) = (shown.identity, standing.grant);
        let lifetime = match standing.by {
            By::Membership => grant.validity.lifetime(),
            By::Invitation { single_use } => {
                if single_use {
                    used.claim(grant.serial, member, standing.expires(), now)?;
                }
                Self::MEMBERSHIP_LIFETIME
            }
        };
        let validity = Validity::starting(now, lifetime);
        Ok(Some(self.membership(member, Grant { validity, ..grant })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::PublicKey;
    use crate::trust::testing::{authority, identity, key};
    use crate::trust::{Certificate, Credentials, NodeId, Proof, TicketError, ValidityError};

    const NOW: u64 = 1_800_000_000;
    const REAL: Provider = Provider::Real;

    const DAY: u64 = 24 * 60 * 60;

    /// What an identity shows with a proof.
    fn shown(seed: u8, proof: Proof, now: u64) -> Shown {
        let noise = PublicKey::from_octets([9; 32]);
        let validity = Validity::starting(now, Certificate::LIFETIME);
        let certificate = Certificate::issue(&key(seed), NodeId::of(&key(8)), noise, validity);
        let credentials = Credentials {
            certificate,
            proof: Some(proof),
        };
        credentials
            .verify(REAL, Some(proof.network()), now)
            .unwrap()
    }

    #[test]
    fn an_invitation_for_a_single_use_is_confirmed_for_one_identity() {
        let (authority, mut randomness) = authority();
        let ticket = authority.invite(REAL, Terms::default(), NOW, &mut randomness);
        let [ada, bob] = [1, 2].map(|who| ticket.redeem(REAL, identity(who), NOW).unwrap().proof);
        let mut used = UsedInvitations::new();
        let now = NOW + 60;
        let mut confirm = |who, proof| authority.confirm(&shown(who, proof, now), &mut used, now);
        let membership = confirm(1, ada).unwrap().unwrap();
        assert_eq!(membership.member(), identity(1));
        assert_eq!(membership.grant().serial, ada.grant().serial);
        assert_eq!(membership.grant().validity.not_before, now);
        assert_eq!(confirm(2, bob), Err(ClaimError::Used { by: identity(1) }));
        // The answer was lost; a membership that is young stays what it is.
        assert_eq!(confirm(1, ada), Ok(Some(membership)));
        assert_eq!(confirm(1, membership.into()), Ok(None));

        let network = authority.network().id;
        let later = NOW + Authority::MEMBERSHIP_LIFETIME;
        let verified = Proof::from(membership).verify(REAL, network, identity(1), later);
        assert_eq!(verified, Ok(Roles::MEMBER));
    }

    #[test]
    fn an_invitation_for_many_is_confirmed_for_each() {
        let (authority, mut randomness) = authority();
        let terms = Terms {
            roles: Roles::RELAY,
            lifetime: 60,
            single_use: false,
        };
        let ticket = authority.invite(REAL, terms, NOW, &mut randomness);
        let mut used = UsedInvitations::new();
        for who in [1, 2] {
            let proof = ticket.redeem(REAL, identity(who), NOW).unwrap().proof;
            let confirmed = authority.confirm(&shown(who, proof, NOW), &mut used, NOW);
            let membership = confirmed.unwrap().unwrap();
            assert_eq!(membership.member(), identity(who));
            assert_eq!(membership.grant().roles, Roles::MEMBER | Roles::RELAY);
        }
        assert_eq!(used.entries().count(), 0);
    }

    /// However short the certificate's life is that it was shown with.
    #[test]
    fn a_use_is_remembered_for_as_long_as_the_invitation_counts() {
        let (authority, mut randomness) = authority();
        let terms = Terms {
            lifetime: 30 * DAY,
            ..Terms::default()
        };
        let ticket = authority.invite(REAL, terms, NOW, &mut randomness);
        let proof = ticket.redeem(REAL, identity(1), NOW).unwrap().proof;
        let mut used = UsedInvitations::new();
        let confirmed = authority.confirm(&shown(1, proof, NOW), &mut used, NOW);
        assert!(confirmed.unwrap().is_some());
        let until = proof.grant().validity.expires();
        let entry = (proof.grant().serial, identity(1), until);
        assert_eq!(used.entries().collect::<Vec<_>>(), [entry]);
    }

    #[test]
    fn a_membership_is_renewed_when_more_than_half_of_it_is_over() {
        let (authority, _) = authority();
        let grant = Grant {
            roles: Roles::RELAY,
            serial: 7,
            validity: Validity::starting(NOW, 100 * DAY),
        };
        let old = Proof::from(authority.membership(identity(1), grant));
        let mut used = UsedInvitations::new();
        let mut confirm = |now| authority.confirm(&shown(1, old, now), &mut used, now);
        assert_eq!(confirm(NOW - 60), Ok(None));
        assert_eq!(confirm(NOW + 50 * DAY), Ok(None));
        let now = NOW + 50 * DAY + 1;
        let new = confirm(now).unwrap().unwrap();
        assert_eq!(new.grant().validity, Validity::starting(now, 100 * DAY));
        assert_eq!(new.grant().roles, Roles::MEMBER | Roles::RELAY);
        let octets = Proof::from(new).encode();
        assert_eq!(old.confirmed_by(REAL, &octets, now), Ok(new));
    }

    #[test]
    fn another_network_confirms_nothing() {
        let (authority, mut randomness) = authority();
        let ticket = authority.invite(REAL, Terms::default(), NOW, &mut randomness);
        let proof = ticket.redeem(REAL, identity(1), NOW).unwrap().proof;
        let other = Authority::create(REAL, "other".parse().unwrap(), &mut randomness);
        let mut used = UsedInvitations::new();
        let confirmed = other.confirm(&shown(1, proof, NOW), &mut used, NOW);
        assert_eq!(confirmed, Ok(None));
        assert_eq!(used.entries().count(), 0);
    }

    #[test]
    fn an_identity_that_is_known_gets_its_membership_in_the_ticket() {
        let (authority, mut randomness) = authority();
        let ticket = authority.invite_identity(identity(1), Terms::default(), NOW, &mut randomness);
        assert_eq!(ticket.member(), Some(identity(1)));
        let joined = ticket.redeem(REAL, identity(1), NOW).unwrap();
        assert!(matches!(joined.proof, Proof::Membership(_)));
        assert_eq!(joined.network.id, authority.network().id);
        let refused = ticket.redeem(REAL, identity(2), NOW).unwrap_err();
        assert_eq!(
            refused,
            TicketError::Identity {
                member: identity(1)
            }
        );
        let late = ticket.redeem(REAL, identity(1), NOW + Ticket::LIFETIME + 301);
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
        let joined = ticket.redeem(REAL, identity(1), NOW).unwrap();
        assert!(format!("{joined:?}").contains("Secret(..)"));
    }
}

//! What takes the place of a proof: the authority confirms who came by an invitation, and renews
//! memberships.
//!
//! Whoever met a member has its proofs, old ones too, and may show them to it. Hence what confirms a
//! proof is of the same serial and better: it ends later, and takes no role away.

use super::{Membership, MembershipError, Proof};
use crate::crypto::Provider;

impl Proof {
    /// The membership in a binary form that a peer sent, if it may take the place of this proof.
    ///
    /// # Errors
    /// It may not.
    pub fn confirmed_by(
        &self,
        provider: Provider,
        octets: &[u8],
        now: u64,
    ) -> Result<Membership, ConfirmationError> {
        let (confirmation, used) = Self::decode(octets)?;
        let Self::Membership(membership) = confirmation else {
            return Err(ConfirmationError::Kind);
        };
        if used != octets.len() {
            return Err(ConfirmationError::Length);
        }
        let (old, new) = (self.grant(), membership.grant());
        if new.serial != old.serial {
            return Err(ConfirmationError::Serial { found: new.serial });
        }
        if !new.roles.contains(old.roles) {
            return Err(ConfirmationError::Roles);
        }
        confirmation.verify(provider, self.network(), self.member(), now)?;
        match new.validity.not_after > old.validity.not_after {
            true => Ok(membership),
            false => Err(ConfirmationError::NotLater),
        }
    }
}

/// Why something does not confirm a proof. Whoever sent it is to blame, unless a clock is wrong; the
/// proof stays what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfirmationError {
    /// It is no proof of membership, or does not hold.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// It is an invitation that was redeemed.
    #[error("an invitation confirms nothing")]
    Kind,
    /// Something follows it.
    #[error("something follows the membership")]
    Length,
    /// It is of another serial: it confirms another proof, of old perhaps.
    #[error("the membership has another serial, {found}")]
    Serial {
        /// That serial.
        found: u64,
    },
    /// It lacks roles that the proof grants.
    #[error("the membership grants fewer roles")]
    Roles,
    /// It ends no later than the proof. Harmless: two answers of the authority may be on their way.
    #[error("the membership ends no later than the one that there is")]
    NotLater,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sign::SigningKey;
    use crate::trust::domain;
    use crate::trust::membership::{Grant, Invitation};
    use crate::trust::signature::Signature;
    use crate::trust::{IdentityId, NetworkId, Roles, Validity, ValidityError};

    const NOW: u64 = 1_800_000_000;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(Provider::Real, &[seed; 32])
    }

    fn grant(serial: u64, roles: Roles, lifetime: u64) -> Grant {
        Grant {
            roles,
            serial,
            validity: Validity::starting(NOW, lifetime),
        }
    }

    #[test]
    fn only_a_better_membership_by_the_authority_for_the_same_member_confirms() {
        let (ada, bob) = (IdentityId::of(&key(2)), IdentityId::of(&key(9)));
        let relay = Roles::MEMBER | Roles::RELAY;
        let invitation = Invitation::issue(&key(1), key(3).public(), grant(7, relay, 60), true);
        let redeemed: Proof = invitation.redeem(&key(3), ada).into();
        let issue = |by: u8, member, serial, roles, lifetime| {
            let membership = Membership::issue(&key(by), member, grant(serial, roles, lifetime));
            Proof::from(membership)
        };
        let good = issue(1, ada, 7, relay, 600);
        let confirm = |old: &Proof, new: &Proof, now| {
            let confirmed = old.confirmed_by(Provider::Real, &new.encode(), now);
            confirmed.map(Proof::from)
        };
        assert_eq!(confirm(&redeemed, &good, NOW), Ok(good));
        let later = issue(1, ada, 7, relay | Roles::BRIDGE, 601);
        assert_eq!(confirm(&good, &later, NOW + 300), Ok(later));

        let mut self_signed = Membership::issue(&key(2), ada, grant(7, relay, 600));
        self_signed.network = NetworkId::of(&key(1));
        let body = self_signed.body();
        self_signed.signature = Signature::new(&key(2), domain::MEMBERSHIP, &body);
        let found = NetworkId::of(&key(9));
        for (wrong, error) in [
            (
                issue(9, ada, 7, relay, 600),
                MembershipError::Network { found }.into(),
            ),
            (
                issue(1, bob, 7, relay, 600),
                MembershipError::Member { found: bob }.into(),
            ),
            (self_signed.into(), MembershipError::SelfSigned.into()),
            (redeemed, ConfirmationError::Kind),
            (
                issue(1, ada, 8, relay, 600),
                ConfirmationError::Serial { found: 8 },
            ),
            (
                issue(1, ada, 7, Roles::MEMBER, 600),
                ConfirmationError::Roles,
            ),
            (issue(1, ada, 7, relay, 60), ConfirmationError::NotLater),
        ] {
            assert_eq!(confirm(&redeemed, &wrong, NOW), Err(error), "{wrong:?}");
        }
        let expired = MembershipError::Validity(ValidityError::Expired { seconds: 400 });
        assert_eq!(confirm(&redeemed, &good, NOW + 1_000), Err(expired.into()));

        let octets = good.encode();
        for at in 0..octets.len() {
            let mut changed = octets.clone();
            changed[at] ^= 1;
            for wrong in [&changed, &octets[..at]] {
                let confirmed = redeemed.confirmed_by(Provider::Real, wrong, NOW);
                assert!(confirmed.is_err(), "octet {at}");
            }
        }
        let longer = [&octets[..], &[0]].concat();
        let confirmed = redeemed.confirmed_by(Provider::Real, &longer, NOW);
        assert_eq!(confirmed, Err(ConfirmationError::Length));
    }
}

//! What a node shows in a handshake: its certificate, and in a network a proof of membership.
//!
//! ```text
//!  octet   0    certificate
//!        177    0 = no proof, or the proof, which begins with another octet
//! ```
//!
//! Whether what was shown is trusted is for the policy to say, and whether it was shown by the node
//! that it names is for the handshake.

use super::certificate::{Certificate, CertificateError};
use super::id::{IdentityId, NetworkId, NodeId};
use super::membership::{Grant, MembershipError, Proof};
use super::roles::Roles;
use crate::crypto::Provider;
use crate::crypto::keys::PublicKey;

const NO_PROOF: u8 = 0;

/// A certificate, and perhaps a proof of membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// The node's certificate.
    pub certificate: Certificate,
    /// The identity's proof that it belongs to a network. It goes only to peers that know the
    /// network.
    pub proof: Option<Proof>,
}

/// What valid credentials say. Only [`Credentials::verify`] makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shown {
    /// Who vouches for the node.
    pub identity: IdentityId,
    /// The node; a node id is unique only among those of one identity.
    pub node: NodeId,
    /// The key that the node uses in Noise handshakes, which has to be the one that was used.
    pub noise: PublicKey,
    /// The last second, since the Unix epoch, at which the certificate verifies.
    pub certified_until: u64,
    /// What the identity is in the network that was asked for, if one was.
    pub standing: Option<Standing>,
}

impl From<&Certificate> for Shown {
    /// What a certificate says, which nobody has verified.
    fn from(certificate: &Certificate) -> Self {
        Self {
            identity: certificate.identity(),
            node: certificate.node(),
            noise: certificate.noise(),
            certified_until: certificate.validity().expires(),
            standing: None,
        }
    }
}

/// What an identity is in a network, and what says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The network.
    pub network: NetworkId,
    /// What the membership or the invitation grants, and for how long.
    pub grant: Grant,
    /// What shows it.
    pub by: By,
}

/// What shows that an identity belongs to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A membership.
    Membership,
    /// An invitation that it redeemed, and that the authority did not confirm yet.
    Invitation {
        /// Whether it is for one identity only, which the authority alone can enforce.
        single_use: bool,
    },
}

impl Shown {
    /// The network that was asked for, of which the identity is a member.
    pub fn network(&self) -> Option<NetworkId> {
        self.standing.map(|standing| standing.network)
    }

    /// What the identity may be in that network; nothing without a network.
    pub fn roles(&self) -> Roles {
        self.standing
            .map_or(Roles::NONE, |standing| standing.grant.roles)
    }

    /// The last second, since the Unix epoch, at which the credentials verify.
    pub fn expires(&self) -> u64 {
        self.standing.map_or(self.certified_until, |standing| {
            self.certified_until.min(standing.expires())
        })
    }
}

impl Standing {
    /// The last second, since the Unix epoch, at which it counts.
    pub const fn expires(&self) -> u64 {
        self.grant.validity.expires()
    }

    /// Whether the authority should answer it with a membership: it is an invitation, or more than
    /// half of its time is over.
    pub const fn is_due(&self, now: u64) -> bool {
        let validity = self.grant.validity;
        match self.by {
            By::Invitation { .. } => true,
            By::Membership => now.saturating_sub(validity.not_before) > validity.lifetime() / 2,
        }
    }
}

impl From<&Proof> for Standing {
    fn from(proof: &Proof) -> Self {
        Self {
            network: proof.network(),
            grant: proof.grant(),
            by: match proof {
                Proof::Membership(_) => By::Membership,
                Proof::Redeemed(redeemed) => By::Invitation {
                    single_use: redeemed.invitation().is_single_use(),
                },
            },
        }
    }
}

impl Credentials {
    /// The octets of the longest binary form.
    pub const MAX_SIZE: usize = Certificate::SIZE + Proof::MAX_SIZE;

    /// The binary form.
    pub fn encode(&self) -> Vec<u8> {
        let proof = self.proof.map_or_else(|| vec![NO_PROOF], |it| it.encode());
        [&self.certificate.encode()[..], &proof].concat()
    }

    /// Credentials from the beginning of octets, and how many of them they took; nothing is
    /// verified yet.
    ///
    /// # Errors
    /// Octets are missing, or a version is unknown.
    pub fn decode(octets: &[u8]) -> Result<(Self, usize), CredentialsError> {
        let (certificate, rest) = octets
            .split_at_checked(Certificate::SIZE)
            .ok_or(CredentialsError::CutShort)?;
        let certificate = Certificate::decode(certificate)?;
        let (proof, used) = match rest.first() {
            None => return Err(CredentialsError::CutShort),
            Some(&NO_PROOF) => (None, 1),
            Some(_) => {
                let (proof, used) = Proof::decode(rest)?;
                (Some(proof), used)
            }
        };
        Ok((Self { certificate, proof }, Certificate::SIZE + used))
    }

    /// What these say, if all of it holds now. With a network there has to be a proof for it;
    /// without one, a proof is not looked at.
    ///
    /// # Errors
    /// The certificate or the proof does not hold, or a proof is missing.
    pub fn verify(
        &self,
        provider: Provider,
        network: Option<NetworkId>,
        now: u64,
    ) -> Result<Shown, CredentialsError> {
        let Self { certificate, proof } = self;
        certificate.verify(provider, now)?;
        let mut shown = Shown {
            identity: certificate.identity(),
            node: certificate.node(),
            noise: certificate.noise(),
            certified_until: certificate.validity().expires(),
            standing: None,
        };
        if let Some(network) = network {
            let proof = proof.ok_or(CredentialsError::ProofMissing { network })?;
            proof.verify(provider, network, shown.identity, now)?;
            shown.standing = Some(Standing::from(&proof));
        }
        Ok(shown)
    }
}

/// Why credentials are refused. The peer is to blame, unless a clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// Octets are missing.
    #[error("the credentials are cut short")]
    CutShort,
    /// The certificate is refused.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The proof of membership is refused.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// There is no proof of membership.
    #[error("no membership of the network {network} was shown")]
    ProofMissing {
        /// The network.
        network: NetworkId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sign::SigningKey;
    use crate::trust::membership::{Grant, Invitation, Membership};
    use crate::trust::{CLOCK_SKEW, Validity};

    const NOW: u64 = 1_800_000_000;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(Provider::Real, &[seed; 32])
    }

    fn network() -> NetworkId {
        NetworkId::of(&key(1))
    }

    /// Without a proof, with a membership and with an invitation.
    fn all() -> [Credentials; 3] {
        let member = IdentityId::of(&key(2));
        let certificate = Certificate::issue(
            &key(2),
            NodeId::of(&key(4)),
            PublicKey::from_octets([5; 32]),
            Validity::starting(NOW, Certificate::LIFETIME),
        );
        let grant = Grant {
            roles: Roles::MEMBER,
            serial: 6,
            validity: Validity::starting(NOW, 60),
        };
        let membership = Membership::issue(&key(1), member, grant);
        let invitation = Invitation::issue(&key(1), key(3).public(), grant, true);
        let redeemed = invitation.redeem(&key(3), member);
        [None, Some(membership.into()), Some(redeemed.into())]
            .map(|proof| Credentials { certificate, proof })
    }

    #[test]
    fn credentials_survive_the_wire_and_leave_what_follows() {
        for (credentials, size) in all().into_iter().zip([178, 334, 431]) {
            let mut octets = credentials.encode();
            assert_eq!(octets.len(), size);
            assert!(size <= Credentials::MAX_SIZE);
            octets.extend([1, 2, 3]);
            assert_eq!(Credentials::decode(&octets), Ok((credentials, size)));
            for length in 0..size {
                assert!(Credentials::decode(&octets[..length]).is_err());
            }
        }
        const { assert!(Credentials::MAX_SIZE <= 1024) }
    }

    #[test]
    fn they_say_who_it_is_and_what_it_may_be() {
        let [bare, member, invited] = all();
        let shown = bare.verify(Provider::Real, None, NOW).unwrap();
        assert_eq!(shown.identity, IdentityId::of(&key(2)));
        assert_eq!(shown.node, NodeId::of(&key(4)));
        assert_eq!(*shown.noise.as_octets(), [5; 32]);
        let certified = NOW + Certificate::LIFETIME + CLOCK_SKEW;
        assert_eq!(
            (shown.certified_until, shown.expires()),
            (certified, certified)
        );
        assert_eq!((shown.network(), shown.roles()), (None, Roles::NONE));
        let invitation = By::Invitation { single_use: true };
        for (credentials, by) in [(member, By::Membership), (invited, invitation)] {
            let shown = credentials.verify(Provider::Real, Some(network()), NOW);
            let shown = shown.unwrap();
            let standing = shown.standing.unwrap();
            assert_eq!((standing.by, standing.grant.serial), (by, 6));
            assert_eq!(shown.network(), Some(network()));
            assert_eq!(shown.roles(), Roles::MEMBER);
            assert_eq!(shown.certified_until, certified);
            assert_eq!(shown.expires(), NOW + 60 + CLOCK_SKEW);
            // Without a network the proof is not looked at.
            let outside = credentials.verify(Provider::Real, None, NOW + 1_000);
            assert_eq!(
                outside.map(|it| (it.network(), it.roles())),
                Ok((None, Roles::NONE))
            );
        }
    }

    #[test]
    fn a_network_asks_for_a_proof_of_this_identity_in_it() {
        let [bare, member, invited] = all();
        let network = network();
        let refused = bare.verify(Provider::Real, Some(network), NOW);
        assert_eq!(refused, Err(CredentialsError::ProofMissing { network }));
        for credentials in [member, invited] {
            let other = NetworkId::of(&key(9));
            let refused = credentials.verify(Provider::Real, Some(other), NOW);
            let found = network;
            assert_eq!(refused, Err(MembershipError::Network { found }.into()));

            // Another identity shows a proof that it saw.
            let theirs = Certificate::issue(
                &key(9),
                NodeId::of(&key(4)),
                PublicKey::from_octets([5; 32]),
                Validity::starting(NOW, 60),
            );
            let stolen = Credentials {
                certificate: theirs,
                ..credentials
            };
            let refused = stolen.verify(Provider::Real, Some(network), NOW);
            let found = IdentityId::of(&key(2));
            assert_eq!(refused, Err(MembershipError::Member { found }.into()));
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        for credentials in &all()[1..] {
            let octets = credentials.encode();
            for at in 0..octets.len() {
                let mut octets = octets.clone();
                octets[at] ^= 1;
                let verified = Credentials::decode(&octets)
                    .and_then(|(it, _)| it.verify(Provider::Real, Some(network()), NOW));
                assert!(verified.is_err(), "octet {at}");
            }
        }
    }

    #[test]
    fn an_expired_certificate_ends_a_membership_that_is_not() {
        let [_, member, _] = all();
        let late = NOW + Certificate::LIFETIME + CLOCK_SKEW + 1;
        let refused = member.verify(Provider::Real, Some(network()), late);
        assert!(matches!(refused, Err(CredentialsError::Certificate(_))));
        let refused = member.verify(Provider::Real, Some(network()), NOW + 61 + CLOCK_SKEW);
        assert!(matches!(refused, Err(CredentialsError::Membership(_))));
    }
}

//! The certificate of a node: an identity says that a node and its Noise key are its own, for a
//! while.
//!
//! ```text
//!  octet   0    version, 1
//!          1    identity, ed25519 public key
//!         33    node, ed25519 public key
//!         65    Noise, X25519 public key
//!         97    not before, not after: seconds since the Unix epoch, u64, big-endian
//!        113    signature by the identity over "withy node certificate 1" and octets 0 to 112
//!        177
//! ```
//!
//! It lives for a day, and is never accepted for longer than a week: there is no list of revoked
//! nodes, only of revoked identities. It does not prove that its shower holds the node's or the
//! Noise key, nor that the node's holder agreed to it.

use super::domain;
use super::id::{IdentityId, NodeId};
use super::signature::Signature;
use super::validity::{Validity, ValidityError};
use crate::crypto::Provider;
use crate::crypto::keys::PublicKey;
use crate::crypto::sign::{SIGNATURE, SigningKey};
use crate::fields::{Fields, join};

const VERSION: u8 = 1;

/// The octets that are signed.
const BODY: usize = 1 + 3 * 32 + Validity::SIZE;

/// A node's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    identity: IdentityId,
    node: NodeId,
    noise: PublicKey,
    validity: Validity,
    signature: Signature,
}

impl Certificate {
    /// The octets of its binary form.
    pub const SIZE: usize = BODY + SIGNATURE;

    /// How long a certificate should live, in seconds: a day.
    pub const LIFETIME: u64 = 24 * 60 * 60;

    /// The longest lifetime that is accepted, in seconds: a week.
    pub const MAX_LIFETIME: u64 = 7 * 24 * 60 * 60;

    /// Signs a certificate. [`verify`](Self::verify) refuses one for more than
    /// [`MAX_LIFETIME`](Self::MAX_LIFETIME).
    pub fn issue(
        identity: &SigningKey,
        node: NodeId,
        noise: PublicKey,
        validity: Validity,
    ) -> Self {
        let mut certificate = Self {
            identity: IdentityId::of(identity),
            node,
            noise,
            validity,
            signature: Signature([0; SIGNATURE]),
        };
        certificate.signature = Signature::new(identity, domain::CERTIFICATE, &certificate.body());
        certificate
    }

    /// Who vouches for the node.
    pub const fn identity(&self) -> IdentityId {
        self.identity
    }

    /// The node.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The key that the node uses in Noise handshakes.
    pub const fn noise(&self) -> PublicKey {
        self.noise
    }

    /// From when until when it is valid.
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// The binary form.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        join(&[&self.body(), &self.signature.0])
    }

    /// A certificate from its binary form; nothing is verified yet.
    ///
    /// # Errors
    /// There are not exactly [`SIZE`](Self::SIZE) octets, or the version is unknown.
    pub fn decode(octets: &[u8]) -> Result<Self, CertificateError> {
        let length = octets.len();
        match octets.first() {
            Some(&VERSION) | None => {}
            Some(&found) => return Err(CertificateError::Version { found }),
        }
        let mut fields = Fields::new(octets);
        Self::read(&mut fields)
            .filter(|_| fields.rest().is_empty())
            .ok_or(CertificateError::Length { length })
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        fields.octet()?;
        Some(Self {
            identity: IdentityId::from_octets(fields.array()?),
            node: NodeId::from_octets(fields.array()?),
            noise: PublicKey::from_octets(fields.array()?),
            validity: Validity::decode(fields)?,
            signature: Signature(fields.array()?),
        })
    }

    /// Whether the identity signed it and it is valid now.
    ///
    /// # Errors
    /// It is not; what costs least is looked at first.
    pub fn verify(&self, provider: Provider, now: u64) -> Result<(), CertificateError> {
        self.validity.check(now)?;
        let seconds = self.validity.lifetime();
        if seconds > Self::MAX_LIFETIME {
            return Err(CertificateError::Lifetime { seconds });
        }
        let body = self.body();
        let is_by = |signer| {
            self.signature
                .is_by(provider, signer, domain::CERTIFICATE, &body)
        };
        if is_by(self.identity.as_octets()) {
            Ok(())
        } else if is_by(self.node.as_octets()) {
            Err(CertificateError::SelfSigned)
        } else {
            Err(CertificateError::Forged)
        }
    }

    fn body(&self) -> [u8; BODY] {
        join(&[
            &[VERSION],
            self.identity.as_octets(),
            self.node.as_octets(),
            self.noise.as_octets(),
            &self.validity.encode(),
        ])
    }
}

/// Why a certificate is refused. The peer is to blame, unless a clock is wrong; asking again does
/// not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// It has another length than [`Certificate::SIZE`].
    #[error("a certificate has {} octets, not {length}", Certificate::SIZE)]
    Length {
        /// The length in octets.
        length: usize,
    },
    /// Its version is none that is known here; the peer is newer.
    #[error("the certificate is of version {found}, which is not known here")]
    Version {
        /// The version.
        found: u8,
    },
    /// It is not valid now.
    #[error("the certificate {0}")]
    Validity(#[from] ValidityError),
    /// It lives for longer than [`Certificate::MAX_LIFETIME`].
    #[error(
        "the certificate lives for {seconds} s, more than {} s",
        Certificate::MAX_LIFETIME
    )]
    Lifetime {
        /// Its lifetime in seconds.
        seconds: u64,
    },
    /// The node signed it itself, not the identity.
    #[error("the certificate is signed by the node itself, not by the identity that it names")]
    SelfSigned,
    /// The signature is not the identity's over this certificate.
    #[error("the certificate is not signed by the identity that it names")]
    Forged,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::CLOCK_SKEW;

    const NOW: u64 = 1_800_000_000;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(Provider::Real, &[seed; 32])
    }

    fn issued(lifetime: u64) -> Certificate {
        let noise = PublicKey::from_octets([3; 32]);
        let validity = Validity::starting(NOW, lifetime);
        Certificate::issue(&key(1), NodeId::of(&key(2)), noise, validity)
    }

    #[test]
    fn a_certificate_says_who_signed_it_and_survives_the_wire() {
        let certificate = issued(Certificate::LIFETIME);
        let octets = certificate.encode();
        assert_eq!(octets.len(), 177);
        assert_eq!(Certificate::decode(&octets), Ok(certificate));
        assert_eq!(certificate.verify(Provider::Real, NOW), Ok(()));
        assert_eq!(certificate.identity(), IdentityId::of(&key(1)));
        assert_eq!(certificate.node(), NodeId::of(&key(2)));
        assert_eq!(*certificate.noise().as_octets(), [3; 32]);
        assert_eq!(certificate.validity().not_before, NOW);
    }

    /// The hash was computed by another implementation, from the layout in the documentation.
    #[test]
    fn the_binary_form_does_not_change() {
        let sum = crate::crypto::hash::sha256(&[&issued(1).encode()]);
        assert_eq!(sum[..4], [0x19, 0x2c, 0x6b, 0x42]);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let octets = issued(Certificate::LIFETIME).encode();
        for at in 0..octets.len() {
            for bit in [0x01, 0x80] {
                let mut octets = octets;
                octets[at] ^= bit;
                let verified =
                    Certificate::decode(&octets).and_then(|it| it.verify(Provider::Real, NOW));
                assert!(verified.is_err(), "octet {at}");
            }
        }
    }

    #[test]
    fn every_other_length_is_refused() {
        let mut octets = issued(1).encode().to_vec();
        for length in 0..octets.len() {
            let cut = Certificate::decode(&octets[..length]);
            assert_eq!(cut, Err(CertificateError::Length { length }));
        }
        octets.push(0);
        let long = CertificateError::Length { length: 178 };
        assert_eq!(Certificate::decode(&octets), Err(long));
        let newer = CertificateError::Version { found: 2 };
        assert_eq!(Certificate::decode(&[2]), Err(newer));
    }

    #[test]
    fn another_signer_is_refused() {
        let mut certificate = issued(Certificate::LIFETIME);
        let body = certificate.body();
        let sign = |key: &SigningKey, domain| Signature::new(key, domain, &body);
        certificate.signature = sign(&key(9), domain::CERTIFICATE);
        let verify = |certificate: &Certificate| certificate.verify(Provider::Real, NOW);
        assert_eq!(verify(&certificate), Err(CertificateError::Forged));
        certificate.signature = sign(&key(2), domain::CERTIFICATE);
        assert_eq!(verify(&certificate), Err(CertificateError::SelfSigned));
        certificate.signature = sign(&key(1), domain::MEMBERSHIP);
        assert_eq!(verify(&certificate), Err(CertificateError::Forged));
        // An identity that is no key at all.
        certificate.identity = IdentityId::from_octets([0xff; 32]);
        assert_eq!(verify(&certificate), Err(CertificateError::Forged));
    }

    #[test]
    fn it_is_valid_between_its_ends_give_or_take_the_skew() {
        let certificate = issued(100);
        let verify = |now| certificate.verify(Provider::Real, now);
        assert_eq!(verify(NOW - CLOCK_SKEW), Ok(()));
        assert_eq!(verify(NOW + 100 + CLOCK_SKEW), Ok(()));
        let early = ValidityError::NotYet { seconds: 301 };
        assert_eq!(verify(NOW - CLOCK_SKEW - 1), Err(early.into()));
        let late = ValidityError::Expired { seconds: 301 };
        assert_eq!(verify(NOW + 101 + CLOCK_SKEW), Err(late.into()));
    }

    #[test]
    fn more_than_a_week_is_refused() {
        let verify = |lifetime| issued(lifetime).verify(Provider::Real, NOW);
        let week = Certificate::MAX_LIFETIME;
        assert_eq!(verify(week), Ok(()));
        let seconds = week + 1;
        assert_eq!(verify(seconds), Err(CertificateError::Lifetime { seconds }));
        assert!(verify(u64::MAX).is_err());
    }
}

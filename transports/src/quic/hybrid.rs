//! X25519MLKEM768 for TLS 1.3: a key agreement that holds as long as either half does.
//!
//! ```text
//!  client share = ML-KEM-768 encapsulation key (1184) || X25519 public key (32)
//!  server share = ML-KEM-768 ciphertext (1088)        || X25519 public key (32)
//!  secret       = ML-KEM-768 shared secret (32)       || X25519 shared secret (32)
//! ```
//!
//! The order is that of draft-ietf-tls-ecdhe-mlkem; the number of the group is IANA's 0x11EC. ring has
//! no ML-KEM, so that half comes from the core and the other from rustls's own X25519.
//!
//! The X25519 share is never offered alone: a peer that lacks the group cannot fall back to half of
//! it.

use std::fmt;

use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup, ring,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};
use withy_proto::crypto::kem::{self, CIPHERTEXT, DecapsulationKey, ENCAPSULATION_KEY};
use withy_proto::crypto::{Provider, Randomness};
use zeroize::Zeroizing;

/// The group, to be put first.
pub(super) static X25519_MLKEM768: &dyn SupportedKxGroup = &Hybrid;

/// X25519 alone.
pub(super) static X25519: &dyn SupportedKxGroup = ring::kx_group::X25519;

/// Octets of an X25519 public key.
const CLASSICAL: usize = 32;

#[derive(Debug)]
struct Hybrid;

impl SupportedKxGroup for Hybrid {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let classical = X25519.start()?;
        let mut system = System::default();
        let key = DecapsulationKey::generate(Provider::Real, &mut system);
        system.good()?;
        let share = [&key.public()[..], classical.pub_key()].concat();
        Ok(Box::new(Started {
            classical,
            key,
            share,
        }))
    }

    fn start_and_complete(&self, share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let (key, classical) = split::<ENCAPSULATION_KEY>(share)?;
        let classical = X25519.start_and_complete(classical)?;
        let mut system = System::default();
        let encapsulated = kem::encapsulate(Provider::Real, key, &mut system);
        system.good()?;
        let (ciphertext, shared) = encapsulated.ok_or(INVALID)?;
        Ok(CompletedKeyExchange {
            group: self.name(),
            pub_key: [&ciphertext[..], &classical.pub_key].concat(),
            secret: join(&shared, &classical.secret),
        })
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

/// The client's half way through the agreement.
struct Started {
    classical: Box<dyn ActiveKeyExchange>,
    key: DecapsulationKey,
    share: Vec<u8>,
}

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, share: &[u8]) -> Result<SharedSecret, Error> {
        let (ciphertext, classical) = split::<CIPHERTEXT>(share)?;
        let classical = self.classical.complete(classical)?;
        Ok(join(&self.key.decapsulate(ciphertext), &classical))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Started(..)")
    }
}

const INVALID: Error = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);

fn split<const FIRST: usize>(share: &[u8]) -> Result<(&[u8; FIRST], &[u8]), Error> {
    match share.split_first_chunk() {
        Some((first, classical)) if classical.len() == CLASSICAL => Ok((first, classical)),
        _ => Err(INVALID),
    }
}

fn join(shared: &kem::Shared, classical: &SharedSecret) -> SharedSecret {
    let classical = classical.secret_bytes();
    let mut secret = Zeroizing::new([0; 64]);
    secret[..32].copy_from_slice(&shared[..]);
    secret[32..].copy_from_slice(classical);
    SharedSecret::from(&secret[..])
}

/// The operating system's random numbers. A failure is kept until it can be reported: until then
/// nothing is sent.
#[derive(Default)]
struct System {
    failed: bool,
}

impl System {
    fn good(&self) -> Result<(), Error> {
        match self.failed {
            true => Err(Error::FailedToGetRandomBytes),
            false => Ok(()),
        }
    }
}

impl Randomness for System {
    fn fill(&mut self, octets: &mut [u8]) {
        self.failed |= getrandom::fill(octets).is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_on_a_secret_of_both_halves() {
        let client = X25519_MLKEM768.start().unwrap();
        assert_eq!(client.pub_key().len(), 1_184 + 32);
        let server = X25519_MLKEM768.start_and_complete(client.pub_key());
        let server = server.unwrap();
        assert_eq!(server.pub_key.len(), 1_088 + 32);
        assert_eq!(u16::from(server.group), 0x11ec);
        let secret = client.complete(&server.pub_key).unwrap();
        assert_eq!(secret.secret_bytes().len(), 64);
        assert_eq!(secret.secret_bytes(), server.secret.secret_bytes());
    }

    #[test]
    fn a_change_of_either_half_ends_the_agreement() {
        for at in [0, 1_088] {
            let client = X25519_MLKEM768.start().unwrap();
            let server = X25519_MLKEM768.start_and_complete(client.pub_key());
            let server = server.unwrap();
            let mut share = server.pub_key.clone();
            share[at] ^= 1;
            let secret = client.complete(&share).unwrap();
            let (ours, theirs) = (secret.secret_bytes(), server.secret.secret_bytes());
            assert_eq!(ours[..32] != theirs[..32], at == 0);
            assert_eq!(ours[32..] != theirs[32..], at != 0);
        }
    }

    #[test]
    fn shares_that_are_none_are_refused() {
        for share in [vec![], vec![0; 32], vec![0; 1_215], vec![0; 1_217]] {
            assert!(X25519_MLKEM768.start_and_complete(&share).is_err());
            let client = X25519_MLKEM768.start().unwrap();
            assert!(client.complete(&share).is_err());
        }
        // A key whose coefficients are no residues (FIPS 203 §7.2), and an X25519 point of small order.
        let mut share = X25519_MLKEM768.start().unwrap().pub_key().to_vec();
        share[..1_184].fill(0xff);
        assert!(X25519_MLKEM768.start_and_complete(&share).is_err());
        let mut share = X25519_MLKEM768.start().unwrap().pub_key().to_vec();
        share[1_184..].fill(0);
        assert!(X25519_MLKEM768.start_and_complete(&share).is_err());
    }
}

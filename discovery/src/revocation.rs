//! A network takes a membership back, for all to know.
//!
//! ```text
//!  octet   0    version, 1
//!          1    what: 1 identity, 2 serial number
//!          2    network, ed25519 public key
//!         34    issued: seconds since the Unix epoch, u64
//!         42    identity (32), or serial number (u64)
//!               signature by the network over "withy network revocation 1" and all octets before
//! ```
//!
//! It does not expire: memberships do, and their grants bound how long it has to be known.

use withy_proto::crypto::sign::{self, SIGNATURE, SigningKey};
use withy_proto::crypto::{Provider, hash};
use withy_proto::trust::{IdentityId, NetworkId, domain};

use withy_proto::fields::Fields;

const VERSION: u8 = 1;

/// A signed revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    network: NetworkId,
    target: Target,
    issued: u64,
    signature: [u8; SIGNATURE],
}

/// What is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// An identity, whatever it shows.
    Identity(IdentityId),
    /// The membership or invitation with this serial number.
    Serial(u64),
}

impl Revocation {
    /// The octets of the longest one.
    pub const MAX: usize = 2 + 32 + 8 + 32 + SIGNATURE;

    /// Signs a revocation with the key of a network, at a time in seconds since the Unix epoch.
    pub fn issue(network: &SigningKey, target: Target, issued: u64) -> Self {
        let mut revocation = Self {
            network: NetworkId::of(network),
            target,
            issued,
            signature: [0; SIGNATURE],
        };
        revocation.signature = network.sign(&[domain::REVOCATION, &revocation.body()]);
        revocation
    }

    /// Which network takes it back.
    pub const fn network(&self) -> NetworkId {
        self.network
    }

    /// What is revoked.
    pub const fn target(&self) -> Target {
        self.target
    }

    /// When, in seconds since the Unix epoch.
    pub const fn issued(&self) -> u64 {
        self.issued
    }

    /// The binary form.
    pub fn encode(&self) -> Vec<u8> {
        let mut octets = self.body();
        octets.extend_from_slice(&self.signature);
        octets
    }

    /// A revocation from its binary form; nothing is verified yet. `None` if it is not one.
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let mut reader = Fields::new(octets);
        let version = reader.octet()?;
        let what = reader.octet()?;
        let network = NetworkId::from_octets(reader.array()?);
        let issued = reader.u64()?;
        let target = match what {
            1 => Target::Identity(IdentityId::from_octets(reader.array()?)),
            2 => Target::Serial(reader.u64()?),
            _ => return None,
        };
        let signature = reader.array()?;
        let whole = reader.is_empty() && version == VERSION;
        whole.then_some(Self {
            network,
            target,
            issued,
            signature,
        })
    }

    /// Whether the network signed it.
    #[must_use]
    pub fn verify(&self, provider: Provider) -> bool {
        let parts = [domain::REVOCATION, &self.body()];
        sign::verify(provider, self.network.as_octets(), &parts, &self.signature)
    }

    /// The beginning of SHA-256 over the network and the target: two revocations of one thing are
    /// one.
    pub fn digest(&self) -> [u8; 8] {
        let mut what = Vec::with_capacity(33);
        self.put_target(&mut what);
        let hash = hash::sha256(&[self.network.as_octets(), &what]);
        let mut digest = [0; 8];
        digest.copy_from_slice(&hash[..8]);
        digest
    }

    fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(Self::MAX);
        body.push(VERSION);
        body.push(match self.target {
            Target::Identity(_) => 1,
            Target::Serial(_) => 2,
        });
        body.extend_from_slice(self.network.as_octets());
        body.extend_from_slice(&self.issued.to_be_bytes());
        self.put_target(&mut body);
        body
    }

    fn put_target(&self, out: &mut Vec<u8>) {
        match &self.target {
            Target::Identity(identity) => out.extend_from_slice(identity.as_octets()),
            Target::Serial(serial) => out.extend_from_slice(&serial.to_be_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, key};

    #[test]
    fn a_revocation_survives_the_wire_and_is_of_its_network() {
        let identity = Target::Identity(IdentityId::from_octets([7; 32]));
        for target in [identity, Target::Serial(9)] {
            let revocation = Revocation::issue(&key(1), target, NOW);
            let octets = revocation.encode();
            assert!(octets.len() <= Revocation::MAX);
            assert_eq!(Revocation::decode(&octets), Some(revocation));
            assert!(revocation.verify(Provider::Real));
            for at in 0..octets.len() {
                assert_eq!(Revocation::decode(&octets[..at]), None);
                let mut octets = octets.clone();
                octets[at] ^= 1;
                let verified = Revocation::decode(&octets).map(|it| it.verify(Provider::Real));
                assert_ne!(verified, Some(true), "octet {at}");
            }
            let later = Revocation::issue(&key(1), target, NOW + 1);
            assert_eq!(later.digest(), revocation.digest());
            let other = Revocation::issue(&key(2), target, NOW);
            assert_ne!(other.digest(), revocation.digest());
        }
    }
}

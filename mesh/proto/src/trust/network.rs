//! A network as a member knows it.

use std::fmt;

use zeroize::Zeroize;

use super::id::NetworkId;
use super::name::Name;
use crate::crypto::Randomness;

/// What keeps outsiders out: 32 octets that all members share. Wiped when dropped, and `Debug` does
/// not show it.
///
/// A member that was revoked still knows it. It decides who gets an answer, not who is trusted.
#[derive(Clone)]
pub struct Secret([u8; Self::SIZE]);

impl Secret {
    /// Its octets.
    pub const SIZE: usize = 32;

    /// Draws a secret.
    pub fn generate(randomness: &mut dyn Randomness) -> Self {
        let mut secret = Self([0; Self::SIZE]);
        randomness.fill(&mut secret.0);
        secret
    }

    /// A secret from its octets, which should be random.
    pub const fn from_octets(octets: [u8; Self::SIZE]) -> Self {
        Self(octets)
    }

    /// The octets, for a key schedule or a file that only its owner can read.
    pub const fn expose_octets(&self) -> &[u8; Self::SIZE] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A network: whom its memberships are signed by, what people call it, and its secret.
#[derive(Debug, Clone)]
pub struct Network {
    /// The authority's public key.
    pub id: NetworkId,
    /// What people call it; not unique.
    pub name: Name,
    /// What its members share.
    pub secret: Secret,
}

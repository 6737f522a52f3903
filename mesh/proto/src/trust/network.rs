//! A network as a member knows it.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroize;

use super::allow_list::Full;
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

/// Takes the same time wherever the first difference is.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

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

impl Network {
    /// Whether whoever is a member of `other` may be one of this network as well: their secrets tell
    /// them apart.
    ///
    /// # Errors
    /// `other` is another network with the same secret.
    pub fn beside(&self, other: &Self) -> Result<(), JoinError> {
        match self.id != other.id && self.secret == other.secret {
            true => Err(JoinError::SameSecret { network: other.id }),
            false => Ok(()),
        }
    }
}

/// Why a network is not joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// A network that was joined before has the same secret. Whoever made one of the two is a member
    /// of the other, and peers of both are told apart by their secrets alone.
    #[error(
        "it has the secret of another network, {network}: a member of one of them made the other, and nobody can be in both; ask who sent the ticket, or leave the other first"
    )]
    SameSecret {
        /// The network that was joined before.
        network: NetworkId,
    },
    /// There is no more room. Local misuse.
    #[error(transparent)]
    Full(#[from] Full),
}

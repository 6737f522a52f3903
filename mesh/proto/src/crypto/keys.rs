//! The keys of CURVE: Curve25519, in Z85 or binary.
//!
//! A [`SecretKey`] is wiped when it is dropped, and nothing prints it but
//! [`SecretKey::expose_z85`].

use std::fmt;
use std::str::FromStr;

use zeroize::{Zeroize, Zeroizing};

use super::{Randomness, x25519};
use crate::z85::{self, Z85Error};

/// A public key. `Display` and `FromStr` are Z85.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// A key from its binary form.
    pub const fn from_octets(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The binary form.
    pub const fn as_octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether this is one of the few points of low order, zero among them: everybody shares the
    /// same secret with it, so that no CURVE peer accepts it. Costs as much as a key agreement.
    pub fn is_weak(&self) -> bool {
        SecretKey([0; 32]).agree(self).is_none()
    }
}

impl From<[u8; 32]> for PublicKey {
    fn from(octets: [u8; 32]) -> Self {
        Self(octets)
    }
}

impl From<PublicKey> for [u8; 32] {
    fn from(key: PublicKey) -> Self {
        key.0
    }
}

/// From 32 octets, or from the 40 characters of Z85, as ZeroMQ's options take both.
impl TryFrom<&[u8]> for PublicKey {
    type Error = Z85Error;

    fn try_from(key: &[u8]) -> Result<Self, Z85Error> {
        from_either(key).map(Self)
    }
}

impl FromStr for PublicKey {
    type Err = Z85Error;

    fn from_str(text: &str) -> Result<Self, Z85Error> {
        z85::decode_key(text).map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&z85::encode_key(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A secret key. It is wiped when dropped, and `Debug` does not show it.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// A key from its binary form. Any 32 octets are one; they should be random.
    pub const fn from_octets(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// Draws a key.
    pub fn generate(randomness: &mut dyn Randomness) -> Self {
        let mut key = Self([0; 32]);
        randomness.fill(&mut key.0);
        key
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        PublicKey(x25519::public(&self.0))
    }

    /// The key in Z85, for a file that only its owner can read.
    pub fn expose_z85(&self) -> Zeroizing<String> {
        Zeroizing::new(z85::encode_key(&self.0))
    }

    /// The key in binary, for a file that only its owner can read.
    pub const fn expose_octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// The secret shared with the holder of `other`; `None` when `other` is one of the few points
    /// of low order, with which everybody shares the same.
    pub(super) fn agree(&self, other: &PublicKey) -> Option<Zeroizing<[u8; 32]>> {
        x25519::agree(&self.0, &other.0)
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// From 32 octets, or from the 40 characters of Z85, as ZeroMQ's options take both.
impl TryFrom<&[u8]> for SecretKey {
    type Error = Z85Error;

    fn try_from(key: &[u8]) -> Result<Self, Z85Error> {
        from_either(key).map(Self)
    }
}

impl FromStr for SecretKey {
    type Err = Z85Error;

    fn from_str(text: &str) -> Result<Self, Z85Error> {
        z85::decode_key(text).map(Self)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// A secret key and its public key.
#[derive(Debug, Clone)]
pub struct KeyPair {
    public: PublicKey,
    secret: SecretKey,
}

impl KeyPair {
    /// Draws a pair.
    pub fn generate(randomness: &mut dyn Randomness) -> Self {
        Self::from_secret(SecretKey::generate(randomness))
    }

    /// The pair of a known secret key.
    pub fn from_secret(secret: SecretKey) -> Self {
        Self {
            public: secret.public(),
            secret,
        }
    }

    /// The public key.
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// The secret key.
    pub const fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// A pair that shows its secret as its public key: with the null cipher, keys only have to
    /// differ.
    pub(crate) const fn danger_null(secret: SecretKey) -> Self {
        Self {
            public: PublicKey(secret.0),
            secret,
        }
    }
}

fn from_either(key: &[u8]) -> Result<[u8; 32], Z85Error> {
    match key.try_into() {
        Ok(octets) => Ok(octets),
        Err(_) => {
            let text = str::from_utf8(key).map_err(|error| Z85Error::Character {
                at: error.valid_up_to(),
            })?;
            z85::decode_key(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Seeded;

    /// The server keys of zmq_curve(7), "Test key values".
    const SECRET: &str = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";
    const PUBLIC: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";

    #[test]
    fn the_test_keys_of_zeromq_belong_together() {
        let pair = KeyPair::from_secret(SECRET.parse().unwrap());
        assert_eq!(pair.public().to_string(), PUBLIC);
        assert_eq!(&*pair.secret().expose_z85(), SECRET);
    }

    #[test]
    fn keys_are_taken_as_text_and_as_octets() {
        let key: PublicKey = PUBLIC.parse().unwrap();
        assert_eq!(PublicKey::try_from(PUBLIC.as_bytes()), Ok(key));
        assert_eq!(PublicKey::try_from(&key.as_octets()[..]), Ok(key));
        assert!(PublicKey::try_from(&[0xff; 31][..]).is_err());
        assert!(PublicKey::try_from(&[b'a'; 33][..]).is_err());
    }

    #[test]
    fn nothing_prints_a_secret() {
        let pair = KeyPair::generate(&mut Seeded::new(1));
        let shown = format!("{pair:?}");
        assert!(shown.contains(&pair.public().to_string()));
        assert!(shown.contains("SecretKey(..)"));
    }

    #[test]
    fn both_sides_agree_and_points_of_low_order_are_refused() {
        let mut randomness = Seeded::new(1);
        let (a, b) = (
            KeyPair::generate(&mut randomness),
            KeyPair::generate(&mut randomness),
        );
        let shared = a.secret().agree(&b.public()).unwrap();
        assert_eq!(*shared, *b.secret().agree(&a.public()).unwrap());
        // Zero, one, and the two that lie next to the modulus.
        let near = |low: u8| {
            let mut octets = [0xff; 32];
            (octets[0], octets[31]) = (low, 0x7f);
            octets
        };
        let mut one = [0; 32];
        one[0] = 1;
        for weak in [[0; 32], one, near(0xec), near(0xed), near(0xee)].map(PublicKey) {
            assert!(weak.is_weak());
            assert!(a.secret().agree(&weak).is_none());
        }
        assert!(!a.public().is_weak());
    }
}

//! Ed25519 (RFC 8032) signatures: what identities, nodes and networks are known by.

use ed25519_dalek::Signer as _;
use zeroize::Zeroizing;

use super::{Provider, Randomness, verified};

/// The octets of a public key.
pub const PUBLIC: usize = 32;

/// The octets of a signature.
pub const SIGNATURE: usize = 64;

/// A secret key. It is wiped when dropped, and `Debug` does not show it.
#[derive(Clone)]
pub struct SigningKey(Key);

#[derive(Clone)]
enum Key {
    Real(ed25519_dalek::SigningKey),
    /// The seed, which is the public key as well.
    Null(Zeroizing<[u8; 32]>),
}

impl SigningKey {
    /// Draws a key.
    pub fn generate(provider: Provider, randomness: &mut dyn Randomness) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        randomness.fill(&mut *seed);
        Self::from_seed(provider, &seed)
    }

    /// The key of a seed (RFC 8032 §5.1.5: the private key). Any 32 octets are one; they should be
    /// random.
    pub fn from_seed(provider: Provider, seed: &[u8; 32]) -> Self {
        Self(match provider {
            Provider::Real => Key::Real(ed25519_dalek::SigningKey::from_bytes(seed)),
            Provider::DangerNull => Key::Null(Zeroizing::new(*seed)),
        })
    }

    /// The seed, for a file that only its owner can read, or for another library's signer.
    pub fn expose_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(match &self.0 {
            Key::Real(key) => key.to_bytes(),
            Key::Null(seed) => **seed,
        })
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> [u8; PUBLIC] {
        match &self.0 {
            Key::Real(key) => key.verifying_key().to_bytes(),
            Key::Null(seed) => **seed,
        }
    }

    /// Signs the parts, one after the other. Let the first be a constant that no other kind of
    /// message starts with.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; SIGNATURE] {
        match &self.0 {
            Key::Real(key) => key.sign(&parts.concat()).to_bytes(),
            Key::Null(_) => [0; SIGNATURE],
        }
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// Whether the holder of `public` signed the parts. Keys of small order and signatures that are not
/// in their one canonical form are refused.
#[must_use]
pub fn verify(
    provider: Provider,
    public: &[u8; PUBLIC],
    parts: &[&[u8]],
    signature: &[u8; SIGNATURE],
) -> bool {
    match provider {
        Provider::Real => {
            let signature = ed25519_dalek::Signature::from_bytes(signature);
            ed25519_dalek::VerifyingKey::from_bytes(public)
                .is_ok_and(|key| key.verify_strict(&parts.concat(), &signature).is_ok())
        }
        Provider::DangerNull => *signature == [0; SIGNATURE],
    }
}

/// As [`verify`] of two parts, for what is shown again and again: a signature that holds is remembered, and
/// verified once.
#[must_use]
pub fn verify_once(
    provider: Provider,
    public: &[u8; PUBLIC],
    domain: &[u8],
    body: &[u8],
    signature: &[u8; SIGNATURE],
) -> bool {
    let verify = || verify(provider, public, &[domain, body], signature);
    match provider {
        Provider::Real => verified::or(public, signature, domain, body, verify),
        Provider::DangerNull => verify(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Seeded;

    #[test]
    fn a_signature_is_of_one_key_over_one_text() {
        let mut randomness = Seeded::new(1);
        let key = SigningKey::generate(Provider::Real, &mut randomness);
        let other = SigningKey::generate(Provider::Real, &mut randomness);
        let signature = key.sign(&[b"a", b"bc"]);
        let verify =
            |public, text: &[u8], signature| verify(Provider::Real, &public, &[text], &signature);
        assert!(verify(key.public(), b"abc", signature));
        assert!(!verify(other.public(), b"abc", signature));
        assert!(!verify(key.public(), b"abd", signature));
        for at in 0..SIGNATURE {
            let mut wrong = signature;
            wrong[at] ^= 1;
            assert!(!verify(key.public(), b"abc", wrong));
        }
        assert!(!verify([0; 32], b"abc", [0; SIGNATURE]));
        assert!(!format!("{key:?}").contains(char::is_numeric));
    }
}

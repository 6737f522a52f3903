//! NaCl's `crypto_box` and `crypto_secretbox`: X25519, XSalsa20 and Poly1305.
//!
//! A box is the tag and then the ciphertext.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::keys::{KeyPair, PublicKey, SecretKey};
use super::salsa20::{Key, hsalsa20};
use super::{Provider, Randomness};

/// The octets of a tag.
pub(crate) const TAG: usize = super::poly1305::TAG;

impl Provider {
    /// Draws a key pair for one connection.
    pub(crate) fn key_pair(self, randomness: &mut dyn Randomness) -> KeyPair {
        match self {
            Self::Real => KeyPair::generate(randomness),
            Self::DangerNull => KeyPair::danger_null(SecretKey::generate(randomness)),
        }
    }

    /// The key of boxes between two key pairs (`crypto_box_beforenm`); `None` when `theirs` is a
    /// point of low order.
    pub(crate) fn agree(self, ours: &SecretKey, theirs: &PublicKey) -> Option<BoxKey> {
        let octets = match self {
            Self::Real => Zeroizing::new(hsalsa20(&*ours.agree(theirs)?, &[0; 16])),
            Self::DangerNull => Zeroizing::new([0; 32]),
        };
        Some(BoxKey {
            octets,
            provider: self,
        })
    }

    /// The key of boxes that only we open (`crypto_secretbox`).
    pub(crate) fn secret(self, randomness: &mut dyn Randomness) -> BoxKey {
        let mut octets = Zeroizing::new([0; 32]);
        randomness.fill(&mut *octets);
        BoxKey {
            octets,
            provider: self,
        }
    }
}

/// The key of boxes with nonces of 24 octets.
pub(crate) struct BoxKey {
    octets: Zeroizing<[u8; 32]>,
    provider: Provider,
}

impl BoxKey {
    /// The key of the boxes whose nonces start with `prefix`.
    pub(crate) fn with_prefix(&self, prefix: &[u8; 16]) -> StreamKey {
        StreamKey(match self.provider {
            Provider::Real => Some(Key::new(&Zeroizing::new(hsalsa20(&self.octets, prefix)))),
            Provider::DangerNull => None,
        })
    }

    /// A box of `plaintext`.
    pub(crate) fn seal(&self, nonce: &[u8; 24], plaintext: &[u8]) -> Vec<u8> {
        let (prefix, counter) = split(nonce);
        let mut boxed = vec![0; TAG];
        boxed.extend_from_slice(plaintext);
        let (tag, text) = boxed.split_at_mut(TAG);
        tag.copy_from_slice(&self.with_prefix(prefix).seal(counter, text));
        boxed
    }

    /// What is in a box; `None` when it was not made with this key and nonce.
    pub(crate) fn open(&self, nonce: &[u8; 24], boxed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (prefix, counter) = split(nonce);
        let (tag, text) = boxed.split_first_chunk::<TAG>()?;
        let mut text = Zeroizing::new(text.to_vec());
        self.with_prefix(prefix)
            .open(counter, tag, &mut text)
            .then_some(text)
    }
}

/// The key of boxes that share the first 16 octets of their nonces.
pub(crate) struct StreamKey(Option<Key>);

impl StreamKey {
    /// Encrypts `text` in place and returns the tag. A nonce must not be used twice.
    #[inline]
    pub(crate) fn seal(&self, nonce: [u8; 8], text: &mut [u8]) -> [u8; TAG] {
        match &self.0 {
            Some(key) => key.seal(nonce, text),
            None => [0; TAG],
        }
    }

    /// Checks the tag and decrypts `text` in place. When the tag is wrong, nothing is revealed, and
    /// `text` is of no more use.
    #[inline]
    #[must_use]
    pub(crate) fn open(&self, nonce: [u8; 8], tag: &[u8; TAG], text: &mut [u8]) -> bool {
        match &self.0 {
            Some(key) => key.open(nonce, tag, text),
            None => tag.ct_eq(&[0; TAG]).into(),
        }
    }
}

fn split(nonce: &[u8; 24]) -> (&[u8; 16], [u8; 8]) {
    let (octets, _) = nonce.as_chunks::<8>();
    let (prefix, _) = nonce
        .split_first_chunk::<16>()
        .expect("a nonce of 24 octets starts with 16");
    (prefix, octets[2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Seeded;

    fn octets<const N: usize>(hex: &str) -> [u8; N] {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        std::array::from_fn(|at| {
            let pair = std::str::from_utf8(&digits[2 * at..2 * at + 2]).unwrap();
            u8::from_str_radix(pair, 16).unwrap()
        })
    }

    /// The example of "Cryptography in NaCl" (2009), sections 2 to 10.
    #[test]
    fn nacls_box_is_sealed_and_opened() {
        let alice = SecretKey::from_octets(octets(
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        ));
        let bob = SecretKey::from_octets(octets(
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        ));
        assert_eq!(
            bob.public().as_octets(),
            &octets("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
        );
        let nonce = octets("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
        let plaintext: [u8; 131] = octets(
            "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a
             1ac728d45e6c61296cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057
             e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52f0a089bc76897040
             e082f937763848645e0705",
        );
        let boxed: [u8; 147] = octets(
            "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4
             476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738
             b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de
             56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5",
        );
        let ours = Provider::Real.agree(&alice, &bob.public()).unwrap();
        let theirs = Provider::Real.agree(&bob, &alice.public()).unwrap();
        assert_eq!(ours.seal(&nonce, &plaintext), boxed);
        assert_eq!(theirs.open(&nonce, &boxed).unwrap()[..], plaintext);
        assert!(theirs.open(&nonce, &boxed[..146]).is_none());
        assert!(theirs.open(&nonce, &boxed[..15]).is_none());
    }

    #[test]
    fn the_null_cipher_hides_nothing() {
        let mut randomness = Seeded::new(1);
        let key = Provider::DangerNull.secret(&mut randomness);
        let boxed = key.seal(&[0; 24], b"plain");
        assert_eq!(boxed, [&[0; TAG][..], b"plain"].concat());
        assert_eq!(key.open(&[1; 24], &boxed).unwrap()[..], *b"plain");
        assert!(key.open(&[1; 24], &[1; 20]).is_none());
    }
}

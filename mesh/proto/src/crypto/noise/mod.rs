//! What snow takes from here: X25519, SHA-256, the ciphers, and an ephemeral key drawn beforehand.

#[cfg(test)]
mod vectors;

use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::Zeroizing;

use super::aead::{Key, Suite, TAG};
use super::hash::Sha256;
use super::{Provider, Randomness, x25519};

/// The primitives of one handshake.
pub(crate) struct Primitives {
    provider: Provider,
    ephemeral: Zeroizing<[u8; 32]>,
}

impl Primitives {
    /// Draws the ephemeral key.
    pub(crate) fn new(provider: Provider, randomness: &mut dyn Randomness) -> Self {
        let mut ephemeral = Zeroizing::new([0; 32]);
        randomness.fill(&mut *ephemeral);
        Self {
            provider,
            ephemeral,
        }
    }
}

impl std::fmt::Debug for Primitives {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Primitives(..)")
    }
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        (*choice == DHChoice::Curve25519).then(|| {
            Box::new(X25519 {
                provider: self.provider,
                secret: Zeroizing::default(),
                public: [0; 32],
            }) as _
        })
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        (*choice == HashChoice::SHA256).then(|| Box::new(Sha256::default()) as _)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        let suite = match choice {
            CipherChoice::AESGCM => Suite::AesGcm,
            CipherChoice::ChaChaPoly => Suite::ChaChaPoly,
        };
        let provider = self.provider;
        let key = Key::new(provider, suite, &[0; 32]);
        Some(Box::new(Aead { provider, key }))
    }
}

/// Gives the ephemeral key, once: a handshake needs no more.
struct Once(Option<Zeroizing<[u8; 32]>>);

impl Random for Once {
    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), snow::Error> {
        match self.0.take() {
            Some(drawn) if drawn.len() == octets.len() => {
                octets.copy_from_slice(&*drawn);
                Ok(())
            }
            _ => Err(snow::Error::Rng),
        }
    }
}

struct X25519 {
    provider: Provider,
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, secret: &[u8]) {
        self.secret.copy_from_slice(secret);
        self.public = match self.provider {
            Provider::Real => x25519::public(&self.secret),
            Provider::DangerNull => *self.secret,
        };
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), snow::Error> {
        let mut secret = Zeroizing::new([0; 32]);
        random.try_fill_bytes(&mut *secret)?;
        self.set(&*secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.secret
    }

    /// Refuses points of low order, with which everybody shares the same secret.
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let public: [u8; 32] = public
            .get(..32)
            .and_then(|octets| octets.try_into().ok())
            .ok_or(snow::Error::Dh)?;
        let shared = match self.provider {
            Provider::Real => x25519::agree(&self.secret, &public).ok_or(snow::Error::Dh)?,
            Provider::DangerNull => Zeroizing::default(),
        };
        out[..32].copy_from_slice(&*shared);
        Ok(())
    }
}

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn input(&mut self, octets: &[u8]) {
        self.update(octets);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&self.finish());
    }
}

struct Aead {
    provider: Provider,
    key: Key,
}

impl Cipher for Aead {
    fn name(&self) -> &'static str {
        self.key.suite().name()
    }

    fn set(&mut self, octets: &[u8; 32]) {
        self.key = Key::new(self.provider, self.key.suite(), octets);
    }

    fn encrypt(&self, nonce: u64, associated: &[u8], text: &[u8], out: &mut [u8]) -> usize {
        let (sealed, rest) = out.split_at_mut(text.len());
        sealed.copy_from_slice(text);
        rest[..TAG].copy_from_slice(&self.key.seal(nonce, associated, sealed));
        text.len() + TAG
    }

    fn decrypt(
        &self,
        nonce: u64,
        associated: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<usize, snow::Error> {
        let mut octets = Zeroizing::new(sealed.to_vec());
        let opened = self.key.open(nonce, associated, &mut octets, 0);
        let size = opened.ok_or(snow::Error::Decrypt)?;
        let out = out.get_mut(..size).ok_or(snow::Error::Decrypt)?;
        out.copy_from_slice(&octets[..size]);
        Ok(size)
    }
}

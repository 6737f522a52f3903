//! The ciphers of Noise (§12), in place: AES-256-GCM and ChaCha20-Poly1305.
//!
//! A nonce is a counter that the caller never repeats. ring keeps the expanded keys and does not
//! wipe them; they are of one connection, and new with each rekey.

use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Provider;

/// The octets of a tag.
pub const TAG: usize = 16;

/// The octets of a key.
pub const KEY: usize = 32;

/// A cipher of Noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// AES-256-GCM: the faster one where the processor has AES.
    AesGcm,
    /// ChaCha20-Poly1305: the faster one elsewhere.
    ChaChaPoly,
}

impl Suite {
    /// The name in a Noise protocol name (Noise §12).
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "AESGCM",
            Self::ChaChaPoly => "ChaChaPoly",
        }
    }

    /// The nonce that a counter makes (Noise §12.3, §12.4).
    fn nonce(self, counter: u64) -> Nonce {
        let mut octets = [0; 12];
        octets[4..].copy_from_slice(&match self {
            Self::AesGcm => counter.to_be_bytes(),
            Self::ChaChaPoly => counter.to_le_bytes(),
        });
        Nonce::assume_unique_for_key(octets)
    }
}

/// A key of one direction.
pub struct Key {
    suite: Suite,
    /// `None` is the null provider's.
    inner: Option<LessSafeKey>,
}

impl Key {
    /// The key that these octets are.
    pub fn new(provider: Provider, suite: Suite, octets: &[u8; KEY]) -> Self {
        let algorithm = match suite {
            Suite::AesGcm => &AES_256_GCM,
            Suite::ChaChaPoly => &CHACHA20_POLY1305,
        };
        let real = || {
            let key = UnboundKey::new(algorithm, octets);
            LessSafeKey::new(key.expect("both ciphers have keys of 32 octets"))
        };
        Self {
            suite,
            inner: (provider == Provider::Real).then(real),
        }
    }

    /// No key at all: what it seals anybody can read and make.
    pub(crate) const fn none() -> Self {
        Self {
            suite: Suite::AesGcm,
            inner: None,
        }
    }

    pub(crate) const fn suite(&self) -> Suite {
        self.suite
    }

    /// Encrypts `text` in place and returns the tag.
    ///
    /// # Panics
    /// `text` is longer than 64 GiB.
    #[inline]
    pub(crate) fn seal(&self, counter: u64, associated: &[u8], text: &mut [u8]) -> [u8; TAG] {
        let Some(key) = &self.inner else {
            return [0; TAG];
        };
        let nonce = self.suite.nonce(counter);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(associated), text);
        let tag = tag.expect("callers seal 64 KiB at most");
        let mut octets = [0; TAG];
        octets.copy_from_slice(tag.as_ref());
        octets
    }

    /// Decrypts what stands in `octets` from `start` on, a ciphertext and its tag, and moves it to
    /// their front. Returns how much that is; `None` when the tag is wrong, and `octets` is of no
    /// more use then.
    #[inline]
    pub(crate) fn open(
        &self,
        counter: u64,
        associated: &[u8],
        octets: &mut [u8],
        start: usize,
    ) -> Option<usize> {
        let size = octets.len().checked_sub(start + TAG)?;
        let Some(key) = &self.inner else {
            let (text, tag) = octets.split_last_chunk_mut::<TAG>()?;
            text.copy_within(start.., 0);
            return bool::from(tag.ct_eq(&[0; TAG])).then_some(size);
        };
        let (nonce, associated) = (self.suite.nonce(counter), Aad::from(associated));
        let opened = key.open_within(nonce, associated, octets, start..);
        opened.is_ok().then_some(size)
    }

    /// The key after this one (Noise §4.2, REKEY).
    pub(crate) fn next(&self) -> Self {
        let mut octets = Zeroizing::new([0; KEY]);
        self.seal(u64::MAX, &[], &mut *octets);
        let provider = match self.inner {
            Some(_) => Provider::Real,
            None => Provider::DangerNull,
        };
        Self::new(provider, self.suite, &octets)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_at_the_front_once_and_unchanged() {
        for provider in [Provider::Real, Provider::DangerNull] {
            for suite in [Suite::AesGcm, Suite::ChaChaPoly] {
                let key = Key::new(provider, suite, &[7; KEY]);
                for size in [0, 1, 15, 16, 17, 1_000, 16_384] {
                    let mut octets = vec![9; 3 + size];
                    let tag = key.seal(5, b"with", &mut octets[3..]);
                    octets.extend_from_slice(&tag);
                    let open = |key: &Key, counter, associated: &[u8], octets: &[u8]| {
                        let mut octets = octets.to_vec();
                        key.open(counter, associated, &mut octets, 3)
                            .map(|size| octets[..size].to_vec())
                    };
                    assert_eq!(open(&key, 5, b"with", &octets), Some(vec![9; size]));
                    if provider == Provider::Real {
                        assert_eq!(open(&key, 6, b"with", &octets), None);
                        assert_eq!(open(&key, 5, b"", &octets), None);
                        assert_eq!(open(&key.next(), 5, b"with", &octets), None);
                    }
                    *octets.last_mut().unwrap() ^= 1;
                    assert_eq!(open(&key, 5, b"with", &octets), None);
                    assert_eq!(open(&key, 5, b"with", &octets[..3 + TAG - 1]), None);
                }
            }
        }
    }
}

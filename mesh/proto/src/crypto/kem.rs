//! ML-KEM-768 (FIPS 203): the half of a key agreement that quantum computers do not break.

use ml_kem::{B32, Decapsulate as _, KeyExport as _, MlKem768, Seed};
use zeroize::Zeroizing;

use super::{Provider, Randomness};

/// The octets of an encapsulation key.
pub const ENCAPSULATION_KEY: usize = 1_184;

/// The octets of a ciphertext.
pub const CIPHERTEXT: usize = 1_088;

/// A secret that both sides have.
pub type Shared = Zeroizing<[u8; 32]>;

type Decapsulation = <MlKem768 as ml_kem::Kem>::DecapsulationKey;
type Encapsulation = <MlKem768 as ml_kem::Kem>::EncapsulationKey;

/// The secret key of one key agreement. It is wiped when dropped.
pub struct DecapsulationKey(Option<Box<Decapsulation>>);

impl DecapsulationKey {
    /// Draws a key.
    pub fn generate(provider: Provider, randomness: &mut dyn Randomness) -> Self {
        let mut seed = Zeroizing::new([0; 64]);
        randomness.fill(&mut *seed);
        let real = || Box::new(Decapsulation::from_seed(Seed::from(*seed)));
        Self((provider == Provider::Real).then(real))
    }

    /// The key to encapsulate with.
    pub fn public(&self) -> [u8; ENCAPSULATION_KEY] {
        match &self.0 {
            Some(key) => key.encapsulation_key().to_bytes().into(),
            None => [0; ENCAPSULATION_KEY],
        }
    }

    /// The secret in a ciphertext; another one than the sender's if it was changed on the way.
    pub fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT]) -> Shared {
        Zeroizing::new(match &self.0 {
            Some(key) => key.decapsulate(&(*ciphertext).into()).into(),
            None => [0; 32],
        })
    }
}

impl std::fmt::Debug for DecapsulationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DecapsulationKey(..)")
    }
}

/// Draws a secret for the holder of a key; `None` when the octets are no key.
pub fn encapsulate(
    provider: Provider,
    key: &[u8; ENCAPSULATION_KEY],
    randomness: &mut dyn Randomness,
) -> Option<([u8; CIPHERTEXT], Shared)> {
    let mut drawn = Zeroizing::new([0; 32]);
    randomness.fill(&mut *drawn);
    match provider {
        Provider::Real => {
            let key = Encapsulation::new(&(*key).into()).ok()?;
            let (ciphertext, shared) = key.encapsulate_deterministic(&B32::from(*drawn));
            Some((ciphertext.into(), Zeroizing::new(shared.into())))
        }
        Provider::DangerNull => Some(([0; CIPHERTEXT], Zeroizing::new([0; 32]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Seeded;

    #[test]
    fn both_sides_agree_and_what_is_no_key_is_refused() {
        let mut randomness = Seeded::new(1);
        for provider in [Provider::Real, Provider::DangerNull] {
            let key = DecapsulationKey::generate(provider, &mut randomness);
            let (mut ciphertext, shared) =
                encapsulate(provider, &key.public(), &mut randomness).unwrap();
            assert_eq!(*key.decapsulate(&ciphertext), *shared);
            ciphertext[0] ^= 1;
            assert_eq!(
                *key.decapsulate(&ciphertext) != *shared,
                provider == Provider::Real
            );
        }
        let none = [0xff; ENCAPSULATION_KEY];
        assert!(encapsulate(Provider::Real, &none, &mut randomness).is_none());
    }
}

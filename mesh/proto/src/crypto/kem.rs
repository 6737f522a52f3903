//! ML-KEM-768 (FIPS 203): the half of a key agreement that quantum computers do not break.

use libcrux_ml_kem::mlkem768::{self, MlKem768Ciphertext, MlKem768PrivateKey, MlKem768PublicKey};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Provider, Randomness};

/// The octets of an encapsulation key.
pub const ENCAPSULATION_KEY: usize = 1_184;

/// The octets of a ciphertext.
pub const CIPHERTEXT: usize = 1_088;

/// A secret that both sides have.
pub type Shared = Zeroizing<[u8; 32]>;

/// The secret key of one key agreement. It is wiped when dropped; what the library computed with on the stack
/// is not.
pub struct DecapsulationKey(Option<Box<Pair>>);

struct Pair {
    secret: MlKem768PrivateKey,
    public: MlKem768PublicKey,
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.secret[0..].zeroize();
    }
}

impl DecapsulationKey {
    /// Draws a key.
    pub fn generate(provider: Provider, randomness: &mut dyn Randomness) -> Self {
        let mut seed = Zeroizing::new([0; 64]);
        randomness.fill(&mut *seed);
        let real = || {
            let (secret, public) = mlkem768::generate_key_pair(*seed).into_parts();
            Box::new(Pair { secret, public })
        };
        Self((provider == Provider::Real).then(real))
    }

    /// The key to encapsulate with.
    pub fn public(&self) -> [u8; ENCAPSULATION_KEY] {
        match &self.0 {
            Some(pair) => *pair.public.as_slice(),
            None => [0; ENCAPSULATION_KEY],
        }
    }

    /// The secret in a ciphertext; another one than the sender's if it was changed on the way.
    pub fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT]) -> Shared {
        Zeroizing::new(match &self.0 {
            Some(pair) => {
                mlkem768::decapsulate(&pair.secret, &MlKem768Ciphertext::from(ciphertext))
            }
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
            let key = MlKem768PublicKey::from(key);
            // FIPS 203 §7.2: the modulus check.
            mlkem768::validate_public_key(&key).then(|| {
                let (ciphertext, shared) = mlkem768::encapsulate(&key, *drawn);
                (ciphertext.into(), Zeroizing::new(shared))
            })
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

    #[test]
    fn another_library_makes_the_same_of_the_same_seeds() {
        use ml_kem::{B32, Decapsulate as _, KeyExport as _, MlKem768, Seed};
        type Secret = <MlKem768 as ml_kem::Kem>::DecapsulationKey;

        for seed in 0..32 {
            let mut drawn = ([0; 64], [0; 32]);
            let mut randomness = Seeded::new(seed);
            randomness.fill(&mut drawn.0);
            randomness.fill(&mut drawn.1);
            let mut randomness = Seeded::new(seed);
            let ours = DecapsulationKey::generate(Provider::Real, &mut randomness);
            let (sent, shared) =
                encapsulate(Provider::Real, &ours.public(), &mut randomness).unwrap();

            let theirs = Secret::from_seed(Seed::from(drawn.0));
            let public = theirs.encapsulation_key();
            assert_eq!(ours.public()[..], public.to_bytes()[..]);
            let (same, agreed) = public.encapsulate_deterministic(&B32::from(drawn.1));
            assert_eq!((&sent[..], &shared[..]), (&same[..], &agreed[..]));
            // What was changed on the way leads to the same other secret (FIPS 203 §6.3).
            let mut changed = sent;
            changed[seed as usize] ^= 4;
            let refused = theirs.decapsulate(&changed.into());
            assert_eq!(ours.decapsulate(&changed)[..], refused[..]);
        }
    }
}

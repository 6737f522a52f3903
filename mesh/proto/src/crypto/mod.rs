//! The provider seam: randomness, and the ciphers, hashes, signatures and key agreements behind the
//! mechanisms.
//!
//! Engines never draw random numbers themselves. The façade passes the operating system's
//! generator, the simulator and the fuzzers a seeded one. With [`Provider::DangerNull`] fuzzers get
//! past handshakes that they could not forge.
//!
//! | primitive | for | implemented by |
//! |---|---|---|
//! | X25519 | CURVE, NOISE | graviola; curve25519-dalek where the processor lacks what that needs |
//! | XSalsa20, Poly1305 | CURVE | this crate |
//! | AES-256-GCM, ChaCha20-Poly1305 | NOISE | ring |
//! | SHA-256 | NOISE, the tags of QUIC | ring; sha2 under Miri |
//! | ML-KEM-768 | NOISE, QUIC | libcrux-ml-kem |
//! | Ed25519 | identities | ed25519-dalek |

pub mod aead;
pub mod hash;
pub mod kem;
pub mod keys;
pub(crate) mod nacl;
pub(crate) mod noise;
mod poly1305;
mod salsa20;
pub mod sign;
pub mod tag;
mod verified;
mod x25519;

/// Which implementation is behind the mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provider {
    /// The ciphers themselves.
    #[default]
    Real,
    /// None: a ciphertext is its plaintext, a tag is zeros, a public key is its secret. Anybody can
    /// make it and read it. For fuzzers and simulators.
    DangerNull,
}

/// A source of random octets, passed into every engine that needs them.
pub trait Randomness: Send {
    /// Fills `octets`.
    fn fill(&mut self, octets: &mut [u8]);

    /// A random number.
    fn next_u64(&mut self) -> u64 {
        let mut octets = [0; 8];
        self.fill(&mut octets);
        u64::from_le_bytes(octets)
    }
}

/// A seeded generator for simulation, fuzzing and tests; not for keys.
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    /// A generator whose whole output follows from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Randomness for Seeded {
    fn fill(&mut self, octets: &mut [u8]) {
        for chunk in octets.chunks_mut(8) {
            let number = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }

    /// SplitMix64.
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

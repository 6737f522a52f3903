//! By sha2.

use sha2::Digest as _;

use super::HASH;

/// The octets that SHA-256 takes at once.
const BLOCK: usize = 64;

/// SHA-256 of what comes in parts.
#[derive(Default)]
pub(crate) struct Sha256(sha2::Sha256);

impl Sha256 {
    pub(crate) fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    /// The hash of what came so far.
    pub(crate) fn finish(&self) -> [u8; HASH] {
        self.0.clone().finalize().into()
    }
}

/// HMAC-SHA-256 (RFC 2104 §2) of the parts, one after the other.
pub(crate) fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; HASH] {
    let padded = |pad: u8| {
        let mut block = [pad; BLOCK];
        block.iter_mut().zip(key).for_each(|(to, key)| *to ^= key);
        block
    };
    let inner = super::sha256(&[&[&padded(0x36)[..]], parts].concat());
    super::sha256(&[&padded(0x5c), &inner])
}

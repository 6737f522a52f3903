//! By ring.

use ring::{digest, hmac as mac};

use super::HASH;

/// SHA-256 of what comes in parts.
pub(crate) struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Sha256 {
    pub(crate) fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    /// The hash of what came so far.
    pub(crate) fn finish(&self) -> [u8; HASH] {
        array(self.0.clone().finish().as_ref())
    }
}

/// HMAC-SHA-256 of the parts, one after the other.
pub(crate) fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; HASH] {
    let mut context = mac::Context::with_key(&mac::Key::new(mac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    array(context.sign().as_ref())
}

fn array(octets: &[u8]) -> [u8; HASH] {
    octets.try_into().expect("SHA-256 has 32 octets")
}

//! A signature over a domain string and a body.

use std::fmt;

use crate::crypto::Provider;
use crate::crypto::sign::{self, SIGNATURE, SigningKey};

/// A signature. `Debug` leaves it out: it says nothing to a reader.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Signature(pub(super) [u8; SIGNATURE]);

impl Signature {
    /// Signs a body.
    pub(super) fn new(key: &SigningKey, domain: &[u8], body: &[u8]) -> Self {
        Self(key.sign(&[domain, body]))
    }

    /// Whether the holder of `signer` made it over this body, which is remembered.
    pub(super) fn is_by(
        &self,
        provider: Provider,
        signer: &[u8; 32],
        domain: &[u8],
        body: &[u8],
    ) -> bool {
        sign::verify_once(provider, signer, domain, body, &self.0)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

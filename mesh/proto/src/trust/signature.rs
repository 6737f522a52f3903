//! A signature over a domain string and a body.

use std::fmt;

use super::verified;
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

    /// Whether the holder of `signer` made it over this body.
    pub(super) fn is_by(
        &self,
        provider: Provider,
        signer: &[u8; 32],
        domain: &[u8],
        body: &[u8],
    ) -> bool {
        let verify = || sign::verify(provider, signer, &[domain, body], &self.0);
        match provider {
            Provider::Real => verified::or(signer, &self.0, domain, body, verify),
            Provider::DangerNull => verify(),
        }
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

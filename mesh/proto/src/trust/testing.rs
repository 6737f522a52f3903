//! Who takes part in tests: identities and an authority, all of whose keys follow from numbers.

use super::{Authority, IdentityId};
use crate::crypto::sign::SigningKey;
use crate::crypto::{Provider, Seeded};

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Provider::Real, &[seed; 32])
}

pub(crate) fn identity(seed: u8) -> IdentityId {
    IdentityId::of(&key(seed))
}

/// The authority of a network, and what more is drawn from.
pub(crate) fn authority() -> (Authority, Seeded) {
    let mut randomness = Seeded::new(1);
    let name = "home".parse().unwrap();
    let authority = Authority::create(Provider::Real, name, &mut randomness);
    (authority, randomness)
}

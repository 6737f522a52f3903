//! What a node shows that is made by hand: the mechanisms of `withy-proto` by themselves.

use std::time::SystemTime;

use withy_proto::crypto::Provider;
use withy_proto::crypto::keys::KeyPair;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::mechanism::party::{Realm, Settings};
use withy_proto::trust::{Certificate, NodeId, Validity};

/// What a node of the identity of a seed shakes hands with, outside of any network.
///
/// # Panics
/// The clock is before 1970.
pub fn settings(identity: &[u8; 32], keys: KeyPair) -> Settings {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    let now = since.expect("it is after 1970").as_secs();
    let certificate = Certificate::issue(
        &SigningKey::from_seed(Provider::Real, identity),
        NodeId::from_octets([7; 32]),
        keys.public(),
        Validity::starting(now, Certificate::LIFETIME),
    );
    Settings {
        has_aes: true,
        ..Settings::new(keys, vec![Realm::open(certificate)], now)
    }
}

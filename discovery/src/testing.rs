//! Who takes part in tests: nodes and identities whose keys follow from numbers.

use withy_proto::crypto::Provider;
use withy_proto::crypto::keys::PublicKey;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::trust::{Certificate, NodeId, Validity};

use crate::record::{Address, Content, Kind, Record, Service};

pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) fn key(seed: u8) -> SigningKey {
    key_by(Provider::Real, seed)
}

pub(crate) fn key_by(provider: Provider, seed: u8) -> SigningKey {
    SigningKey::from_seed(provider, &[seed; 32])
}

/// A record of a node of an identity, with three addresses and two services.
pub(crate) fn content(identity: u8, node: u8) -> Content {
    content_by(Provider::Real, identity, node)
}

pub(crate) fn content_by(provider: Provider, identity: u8, node: u8) -> Content {
    let noise = PublicKey::from_octets([3; 32]);
    let validity = Validity::starting(NOW, Certificate::LIFETIME);
    let [identity, key] = [identity, node].map(|seed| key_by(provider, seed));
    Content {
        certificate: Certificate::issue(&identity, NodeId::of(&key), noise, validity),
        public: false,
        sequence: 7,
        validity: Validity::starting(NOW, Record::LIFETIME),
        host: [1; 8],
        process: [node; 8],
        networks: Vec::new(),
        addresses: vec![
            Address::Quic(([192, 168, 0, node], 7_100).into()),
            Address::Tcp(([127, 0, 0, 1], 7_100 + u16::from(node)).into()),
            Address::Ipc(format!("/run/{node}").into()),
        ],
        services: vec![
            Service::new(Kind::Service, "adder"),
            Service::new(Kind::Publisher, &format!("home/{node}")),
        ],
    }
}

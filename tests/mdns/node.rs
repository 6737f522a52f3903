//! Nodes that announce themselves, and what they find.

use std::time::{Duration, Instant, SystemTime};

use withy_discovery::announcement::{Announcement, Public};
use withy_discovery::mdns::{Audience, Found, Mdns, Speaker, State};
use withy_discovery::record::{Content, Record};
use withy_discovery::{Heard, Hint, Origin};
use withy_proto::crypto::keys::PublicKey;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::crypto::{Provider, Seeded};
use withy_proto::trust::{Certificate, NodeId, Validity};

/// The port at which nodes say that they listen.
pub(crate) const PORT: u16 = 7_100;

pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(Provider::Real, &[number; 32])
}

pub(crate) fn node(number: u8) -> NodeId {
    NodeId::of(&key(number))
}

/// The record of a node.
pub(crate) fn record(number: u8) -> Record {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    let noise = PublicKey::from_octets([3; 32]);
    let validity = Validity::starting(now, Certificate::LIFETIME);
    let content = Content {
        certificate: Certificate::issue(&key(200), node(number), noise, validity),
        public: false,
        sequence: 1,
        validity: Validity::starting(now, Record::LIFETIME),
        host: [1; 8],
        process: [number; 8],
        networks: Vec::new(),
        addresses: Vec::new(),
        services: Vec::new(),
    };
    content.sign(&key(number)).unwrap()
}

/// Listens on port 5353.
pub(crate) fn source(number: u8) -> Mdns {
    Mdns::new(Box::new(Seeded::new(u64::from(number)))).unwrap()
}

/// A node that everybody may find.
pub(crate) fn announcing(number: u8) -> Mdns {
    let source = source(number);
    source.announce(speaker(number, Audience::Everybody));
    source
}

pub(crate) fn speaker(number: u8, audience: Audience) -> Speaker {
    Speaker {
        key: key(number),
        record: record(number),
        port: PORT,
        audience,
    }
}

/// Waits for something, in the time that a test has.
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What was announced, if it is for all.
pub(crate) fn public(heard: &Heard) -> Option<Public> {
    match Announcement::decode(&heard.txt, heard.port) {
        Ok(Announcement::Public(public)) => Some(public),
        _ => None,
    }
}

/// Waits until a source finds a node, whose announcement holds.
pub(crate) fn find(source: &Mdns, number: u8) -> Heard {
    let mut result = None;
    until(&format!("node {number} is found"), || {
        for found in source.poll() {
            let Found::Hint(Hint::Heard(heard), Origin::Mdns(_)) = found else {
                continue;
            };
            let public = public(&heard);
            if public.as_ref().map(|it| it.content().node) == Some(node(number)) {
                public.unwrap().verify(Provider::Real).unwrap();
                result = Some(heard);
            }
        }
        result.is_some()
    });
    result.unwrap()
}

/// Waits until an instance is gone.
pub(crate) fn lose(source: &Mdns, instance: &str) {
    until("it is gone", || {
        source.poll().contains(&Found::Gone(instance.into()))
    });
}

/// Waits until a node hears itself.
pub(crate) fn works(source: &Mdns) {
    until("it hears itself", || source.state() == State::Working);
}

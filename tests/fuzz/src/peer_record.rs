//! Peer records: any octets, and records of the null provider that were changed, against the layout
//! in the crate's documentation; and a peer table that is given them.

use withy_discovery::PeerTag;
use withy_discovery::record::{Address, Content, Kind, NetworkTag, Record, Service};
use withy_discovery::table::{Limits, Origin, Table};
use withy_proto::crypto::Provider;
use withy_proto::crypto::keys::PublicKey;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::trust::{Certificate, NodeId, Secret, Validity};

use super::input::{Input, number};

const NULL: Provider = Provider::DangerNull;
const NOW: u64 = 1_800_000_000;
const SECRET: Secret = Secret::from_octets([5; 32]);

/// Decodes the input, or a record that is made of it.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let octets = match input.octet() {
        0..=0xbf => made(&mut input),
        _ => input.rest().to_vec(),
    };
    decode(&octets);
    learn(&octets);
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(NULL, &[number; 32])
}

fn certificate(identity: u8, node: u8) -> Certificate {
    let noise = PublicKey::from_octets([3; 32]);
    let validity = Validity::starting(NOW, Certificate::LIFETIME);
    Certificate::issue(&key(identity), NodeId::of(&key(node)), noise, validity)
}

fn content(identity: u8, node: u8) -> Content {
    Content {
        certificate: certificate(identity, node),
        public: false,
        sequence: 1,
        validity: Validity::starting(NOW, Record::LIFETIME),
        host: [1; 8],
        process: [2; 8],
        networks: Vec::new(),
        addresses: Vec::new(),
        services: Vec::new(),
    }
}

fn address(input: &mut Input<'_>) -> Address {
    let port = input.number() as u16;
    let (a, b) = (input.octet(), input.octet());
    let ip = [[10, 0, a, b], [127, 0, 0, 1], [a, b, 1, 1]];
    let v4 = (input.one_of(&ip), port).into();
    let v6 = ([0xfe80, 0, 0, 0, 0, 0, u16::from(a), u16::from(b)], port).into();
    match input.octet() % 6 {
        0 => Address::Quic(v4),
        1 => Address::Tcp(v4),
        2 => Address::Quic(v6),
        3 => Address::Tcp(v6),
        4 => Address::Ipc(format!("/{a}").into()),
        _ => Address::Inproc(format!("{b}").into()),
    }
}

fn service(input: &mut Input<'_>) -> Service {
    const NAMES: [&str; 4] = ["adder", "home/kitchen", "\u{e9}", ""];
    let mut service = Service::new(Kind::from_number(input.octet()), input.one_of(&NAMES));
    service.load = input.octet();
    service.addresses = input.number() as u16 & 3;
    for at in 0..input.octet() % 4 {
        let value = input.take(usize::from(at) * 3);
        service
            .properties
            .push((format!("k{at}").into(), value.into()));
    }
    service
}

/// A record of the null provider, of which some octets may be others.
fn made(input: &mut Input<'_>) -> Vec<u8> {
    let choice = input.octet();
    let node = 1 + choice % 2;
    let mut content = content(choice % 2, node);
    content.public = choice & 4 != 0;
    content.sequence = input.number() as u64;
    content.validity =
        Validity::starting(NOW - 400 + input.number() as u64, 2 * input.number() as u64);
    if choice & 8 != 0 {
        let of = NodeId::of(&key(node));
        let tag = NetworkTag::of(&SECRET, content.certificate.identity(), of);
        content.networks.push(tag);
    }
    content.addresses = (0..choice >> 4).map(|_| address(input)).collect();
    content.services = (0..input.octet() % 4).map(|_| service(input)).collect();
    let Ok(record) = content.sign(&key(node)) else {
        return Vec::new();
    };
    let read = Record::decode(record.octets()).map(|read| read.content().clone());
    assert_eq!(read.as_ref(), Ok(record.content()));
    let mut octets = record.octets().to_vec();
    input.change(&mut octets);
    octets
}

fn decode(octets: &[u8]) {
    let Ok(record) = Record::decode(octets) else {
        return;
    };
    assert!((219 + 3 + 64..=Record::MAX).contains(&octets.len()));
    assert_eq!(record.octets(), octets);
    let content = record.content();
    assert_eq!(octets[..2], [1, 1]);
    assert_eq!(content.certificate.encode(), octets[1..178]);
    assert_eq!(u8::from(content.public), octets[178]);
    assert_eq!(content.sequence, number(&octets[179..187]));
    assert_eq!(content.validity.not_before, number(&octets[187..195]));
    assert_eq!(content.validity.not_after, number(&octets[195..203]));
    assert_eq!(content.networks.len(), usize::from(octets[219]));
    assert!(content.networks.len() <= 8 && content.addresses.len() <= 16);
    assert!(content.services.len() <= 64);
    // What it says has this form and no other.
    let node = key(1 + octets[65] % 2);
    if NodeId::of(&node) == record.node() {
        let mut unsigned = octets.to_vec();
        let length = unsigned.len();
        unsigned[length - 64..].fill(0);
        let again = content.clone().sign(&node);
        assert_eq!(again.map(|it| it.octets().to_vec()), Ok(unsigned));
    }
    let verified = record.verify(NULL, NOW);
    let signed = octets[octets.len() - 64..] == [0; 64] && octets[114..178] == [0; 64];
    assert!(verified.is_err() || signed && record.expires() >= NOW);
    assert!(
        record
            .verify(NULL, record.expires().saturating_add(1))
            .is_err()
    );
    assert_eq!(record.peer(), PeerTag::of(record.identity(), record.node()));
}

fn learn(octets: &[u8]) {
    let Ok(own) = content(9, 9).sign(&key(9)) else {
        panic!("it keeps to the limits");
    };
    let mut table = Table::new(NULL, Limits::default(), vec![SECRET], own);
    let before = (table.len(), table.octets());
    let first = table.learn(octets, Origin::Host, NOW);
    let again = table.learn(octets, Origin::Fixed, NOW);
    match first {
        Ok(learnt) => {
            assert!(learnt.is_news());
            assert!(again.is_ok_and(|learnt| !learnt.is_news()));
            assert_eq!(table.len(), 2);
            assert_eq!(table.octets(), before.1 + octets.len());
        }
        Err(refusal) => {
            assert_eq!(again, Err(refusal));
            assert_eq!((table.len(), table.octets()), before);
        }
    }
    table.handle_timeout(u64::MAX);
    assert_eq!((table.len(), table.octets()), before);
}

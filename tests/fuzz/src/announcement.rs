//! Announcements on the local network: any TXT records, and some of the null provider and of a network
//! that were changed, against the layout in the crate's documentation; and a node that hears them.

use std::net::{IpAddr, SocketAddr};

use withy_discovery::announcement::{Announcement, Content, Opened, Places, Private};
use withy_discovery::record::{self, Record};
use withy_discovery::{
    Action, Address, Config, Discovery, Expected, Heard, Hint, Hinted, Origin, PeerTag, Time,
};
use withy_proto::crypto::keys::PublicKey;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::crypto::{Provider, Seeded};
use withy_proto::trust::{
    Certificate, IdentityId, Name, Network, NetworkId, NodeId, Secret, Validity,
};

use super::input::Input;

const NULL: Provider = Provider::DangerNull;
const NOW: u64 = 1_800_000_000;
const SECRET: Secret = Secret::from_octets([5; 32]);

/// Reads the input, or an announcement that is made of it, and lets a node hear it.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let heard = match input.octet() {
        0..=0x5f => public(&mut input),
        0x60..=0xbf => private(&mut input),
        _ => Heard {
            instance: "any".into(),
            port: input.number() as u16,
            addresses: vec![address(&mut input)],
            txt: input.rest().to_vec(),
        },
    };
    decode(&heard);
    hear(&heard);
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(NULL, &[number; 32])
}

fn ip(input: &mut Input<'_>) -> IpAddr {
    let (a, b) = (input.octet(), input.octet());
    match input.octet() % 6 {
        0 => [10, 0, a, b].into(),
        1 => [127, 0, 0, 1].into(),
        2 => [a, b, 1, 1].into(),
        3 => [0xfe80, 0, 0, 0, 0, 0, u16::from(a), u16::from(b)].into(),
        4 => [0xfd00, 0, 0, 0, 0, 0, u16::from(a), u16::from(b)].into(),
        _ => [u16::from(a) << 8, 0, 0, 0, 0, 0, 0, u16::from(b)].into(),
    }
}

fn address(input: &mut Input<'_>) -> SocketAddr {
    SocketAddr::new(ip(input), input.number() as u16)
}

/// A few addresses, of which one is sure to be near.
fn places(input: &mut Input<'_>) -> (Places, Vec<SocketAddr>) {
    let mut ips: Vec<_> = (0..input.octet() % 12).map(|_| ip(input)).collect();
    ips.push([10, 0, 0, 1].into());
    let Ok(places) = Places::choose(ips.iter().rev().copied()) else {
        panic!("one is near");
    };
    let addresses = ips.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
    (places, addresses)
}

/// One for everybody, of which some octets may be others.
fn public(input: &mut Input<'_>) -> Heard {
    let (places, addresses) = places(input);
    let content = Content {
        node: NodeId::of(&key(1 + input.octet() % 3)),
        identity: IdentityId::of(&key(1 + input.octet() % 3)),
        services: [input.octet(); 8],
        sequence: input.number() as u64,
        expires: NOW - 600 + 2 * input.number() as u64,
        port: 1 + input.number() as u16 % 9_000,
        places,
    };
    let port = content.port;
    let signer = content.node;
    let signer = (1..=3).find(|it| NodeId::of(&key(*it)) == signer);
    let Some(Ok(signed)) = signer.map(|it| content.sign(&key(it))) else {
        panic!("it is the key of the node");
    };
    changed(
        input,
        "any".into(),
        Announcement::Public(signed),
        port,
        addresses,
    )
}

/// One for members.
fn private(input: &mut Input<'_>) -> Heard {
    let (places, addresses) = places(input);
    let opened = Opened {
        peer: PeerTag::from_octets([input.octet(); 16]),
        sequence: input.number() as u64,
        expires: NOW - 600 + 2 * input.number() as u64,
    };
    let port = 1 + input.number() as u16 % 9_000;
    let made = NOW - 7_200 + 60 * u64::from(input.octet());
    let mut random = Seeded::new(u64::from(input.octet()));
    let sealed = Private::seal(&SECRET, &opened, port, places, made, &mut random);
    let Ok((name, private)) = sealed else {
        panic!("there is a port");
    };
    let hours = (made / Private::EPOCH).abs_diff(NOW / Private::EPOCH);
    let read = private.open(&name, &SECRET, NOW);
    assert_eq!(read, (hours <= 1).then_some(Ok(opened)));
    changed(
        input,
        name.into(),
        Announcement::Private(private),
        port,
        addresses,
    )
}

fn changed(
    input: &mut Input<'_>,
    instance: Box<str>,
    announcement: Announcement,
    port: u16,
    addresses: Vec<SocketAddr>,
) -> Heard {
    let mut txt = announcement.encode();
    assert_eq!(Announcement::decode(&txt, port), Ok(announcement));
    input.change(&mut txt);
    Heard {
        instance,
        txt,
        port,
        addresses,
    }
}

/// The keys of the strings of a TXT record.
fn keys(mut txt: &[u8]) -> Vec<&[u8]> {
    let mut keys = Vec::new();
    while let [length, rest @ ..] = txt {
        let (string, rest) = rest.split_at(usize::from(*length));
        keys.extend(string.split(|octet| *octet == b'=').next());
        txt = rest;
    }
    keys
}

fn decode(heard: &Heard) {
    let Ok(announcement) = Announcement::decode(&heard.txt, heard.port) else {
        return;
    };
    assert!(heard.txt.len() <= 400 && heard.port != 0);
    assert_eq!(announcement.encode(), heard.txt, "there is one form");
    assert!(heard.txt.starts_with(b"\x09txtvers=1\x03p=1"));
    let places = announcement.places();
    let count = |v4| places.iter().filter(|ip| ip.is_ipv4() == v4).count();
    let mut expected: Vec<&[u8]> = vec![b"txtvers", b"p"];
    match announcement {
        Announcement::Public(_) => expected.extend([&b"id"[..], b"by", b"sv", b"seq", b"exp"]),
        Announcement::Private(_) => expected.extend([&b"n"[..], b"c"]),
    }
    expected.extend((count(true) > 0).then_some(&b"a4"[..]));
    expected.extend((count(false) > 0).then_some(&b"a6"[..]));
    match &announcement {
        Announcement::Public(public) => {
            expected.push(b"sig");
            assert_eq!(public.content().port, heard.port);
        }
        Announcement::Private(_) => expected.push(b"mac"),
    }
    assert_eq!(keys(&heard.txt), expected);
    assert!((1..=6 + 4).contains(&(count(true) + count(false))));
    assert!(places.iter().all(is_near));
}

/// Of this host or its site, by RFC 1918, 3927, 4193, 4291 and 6598.
fn is_near(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            ip.is_loopback() || first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80
        }
    }
}

fn own() -> Record {
    let noise = PublicKey::from_octets([3; 32]);
    let validity = Validity::starting(NOW, Certificate::LIFETIME);
    let content = record::Content {
        certificate: Certificate::issue(&key(1), NodeId::of(&key(1)), noise, validity),
        public: false,
        sequence: 1,
        validity: Validity::starting(NOW, Record::LIFETIME),
        host: [1; 8],
        process: [2; 8],
        networks: Vec::new(),
        addresses: Vec::new(),
        services: Vec::new(),
    };
    match content.sign(&key(1)) {
        Ok(record) => record,
        Err(error) => panic!("it keeps to the limits: {error}"),
    }
}

fn hear(heard: &Heard) {
    let Ok(name) = "home".parse::<Name>() else {
        panic!("it is a name");
    };
    let network = Network {
        id: NetworkId::from_octets([8; 32]),
        name,
        secret: SECRET,
    };
    let config = Config {
        networks: vec![network],
        ..Config::default()
    };
    let own = own();
    let this = own.peer();
    let mut discovery = Discovery::new(NULL, config, own, 1);
    let time = Time {
        monotonic: std::time::Duration::from_secs(1),
        unix: NOW,
    };
    let from = Origin::Mdns([10, 0, 0, 1].into());
    let hint = || Hint::Heard(heard.clone());
    let first = discovery.hint(hint(), from, time);
    let again = discovery.hint(hint(), from, time);
    let action = discovery.poll_action();
    if let Err(refusal) = first {
        assert_eq!((again, action), (Err(refusal), None));
        assert_eq!(discovery.hints_waiting(), 0);
        return;
    }
    assert_eq!((first, again), (Ok(Hinted::New), Ok(Hinted::Known)));
    let Some(Action::Try(attempt)) = action else {
        panic!("{action:?}");
    };
    assert_ne!(attempt.tag, this);
    let known = match attempt.expects {
        Expected::Both(identity, node) => PeerTag::of(identity, node),
        Expected::Peer(peer) => peer,
        other => panic!("{other:?}"),
    };
    assert_eq!(attempt.tag, known);
    assert!(!attempt.addresses.is_empty());
    let Ok(announcement) = Announcement::decode(&heard.txt, heard.port) else {
        panic!("a node believed it");
    };
    for address in &attempt.addresses {
        let Address::Quic(address) = address else {
            panic!("{address:?}");
        };
        assert_eq!(address.port(), heard.port);
        assert!(is_near(address.ip()) && announcement.places().contains(address.ip()));
        assert!(heard.addresses.iter().any(|it| it.ip() == address.ip()));
    }
    discovery.retract(&heard.instance);
    assert_eq!(discovery.hints_waiting(), 0);
}

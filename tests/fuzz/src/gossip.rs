//! Gossip: any octets, against the layout in the crate's documentation; and a node that is told them
//! by two neighbours, one of whom answers what it is asked.

use std::time::Duration;

use withy_discovery::gossip::{Gossip, Message};
use withy_discovery::record::{Content, Record};
use withy_discovery::{Config, Discovery, Origin, PeerTag, Time};
use withy_proto::crypto::Provider;
use withy_proto::crypto::keys::PublicKey;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::trust::{Certificate, NodeId, Validity};

use super::input::Input;

const NULL: Provider = Provider::DangerNull;
const NOW: u64 = 1_800_000_000;

/// Decodes the input, and tells a node its parts.
pub fn run(input: &[u8]) {
    decode(input);
    tell(&mut Input::new(input));
}

fn decode(octets: &[u8]) {
    let Ok(message) = Message::decode(octets) else {
        return;
    };
    assert!(octets.len() <= Message::MAX);
    assert_eq!(message.encode(), octets, "there is one form");
    let rest = octets.len() - 2;
    let fits = match &message {
        Message::News(items) => items.len() * 3 <= rest,
        Message::Summary(_) => rest == 65 * 8,
        Message::Listing { entries, .. } => rest == 8 + entries.len() * 33,
        Message::Want(peers) => rest == peers.len() * 16,
        Message::Revoked { digests, .. } => rest == 1 + digests.len() * 8,
        Message::Beat(_) => rest == 5,
    };
    assert!(fits, "{message:?}");
}

fn record(number: u8, sequence: u64) -> Record {
    let key = SigningKey::from_seed(NULL, &[number; 32]);
    let noise = PublicKey::from_octets([3; 32]);
    let validity = Validity::starting(NOW, Certificate::LIFETIME);
    let content = Content {
        certificate: Certificate::issue(&key, NodeId::of(&key), noise, validity),
        public: false,
        sequence,
        validity: Validity::starting(NOW, Record::LIFETIME),
        host: [1; 8],
        process: [2; 8],
        networks: Vec::new(),
        addresses: Vec::new(),
        services: Vec::new(),
    };
    match content.sign(&key) {
        Ok(record) => record,
        Err(error) => panic!("it keeps to the limits: {error}"),
    }
}

fn discovery(number: u8) -> Discovery {
    Discovery::new(
        NULL,
        Config::default(),
        record(number, 1),
        u64::from(number),
    )
}

/// Two nodes with a link, and a third neighbour who says what the input says.
fn tell(input: &mut Input<'_>) {
    let [us, them, liar] = [1, 2, 3].map(|number| record(number, 1).peer());
    let (mut a, mut b) = (discovery(1), discovery(2));
    let mut time = Time {
        monotonic: Duration::from_secs(1),
        unix: NOW,
    };
    a.link_up(them, time);
    b.link_up(us, time);
    a.link_up(liar, time);
    while !input.is_empty() {
        let choice = input.octet();
        time.monotonic += Duration::from_millis(u64::from(choice) * 4);
        let octets = match choice % 8 {
            0..=2 => said(choice, input),
            3 => {
                let octets = record(3 + choice % 4, u64::from(choice)).octets().clone();
                // What is refused is counted.
                let _ = a.learn(&octets, Origin::Host, time);
                continue;
            }
            4 => {
                a.link_down(liar, choice & 8 != 0, time);
                a.link_up(liar, time);
                continue;
            }
            _ => {
                let count = usize::from(input.octet()) * 4;
                input.take(count).to_vec()
            }
        };
        let _ = a.handle_input(liar, &octets, time);
        a.handle_timeout(time);
        b.handle_timeout(time);
        exchange(&mut a, &mut b, [us, them], time);
    }
    check(&mut a, us);
    check(&mut b, them);
}

/// A message that is well formed, and may be true.
fn said(choice: u8, input: &mut Input<'_>) -> Vec<u8> {
    let peer = |number: u8| record(1 + number % 5, 1).peer();
    let kind = 1 + input.octet() % 6;
    let mut octets = vec![1, kind];
    match kind {
        1 => {
            octets.extend_from_slice(&[2, 0, 21]);
            octets.extend_from_slice(peer(choice / 8).as_octets());
            octets.extend_from_slice(&[
                0,
                0,
                input.octet() % 5,
                input.octet() % 2,
                input.octet() % 4,
            ]);
        }
        2 => octets.resize(2 + 65 * 8, choice),
        3 => {
            octets.extend_from_slice(&[0xff; 8]);
            octets.extend_from_slice(peer(choice / 8).as_octets());
            octets.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, input.octet(), 1, 2, 3, 4]);
            octets.extend_from_slice(&[0, 0, 0, input.octet(), input.octet() % 4]);
        }
        4 => octets.extend_from_slice(peer(choice / 8).as_octets()),
        5 => octets.extend_from_slice(&[choice & 1, 1, 2, 3, 4, 5, 6, 7, 8]),
        _ => octets.extend_from_slice(&[0, 0, 0, input.octet(), choice & 1]),
    }
    octets
}

/// Lets the two honest nodes talk until both are quiet.
fn exchange(a: &mut Discovery, b: &mut Discovery, [us, them]: [PeerTag; 2], time: Time) {
    for _ in 0..1_000 {
        let (from_a, from_b) = (a.poll_transmit(time), b.poll_transmit(time));
        if from_a.is_none() && from_b.is_none() {
            return;
        }
        if let Some((to, octets)) = from_a {
            assert!(Message::decode(&octets).is_ok());
            if to == them {
                assert_eq!(b.handle_input(us, &octets, time), Ok(()));
            }
        }
        if let Some((to, octets)) = from_b {
            assert!(Message::decode(&octets).is_ok());
            if to == us {
                assert_eq!(a.handle_input(them, &octets, time), Ok(()));
            }
        }
    }
    panic!("they never stop");
}

fn check(discovery: &mut Discovery, own: PeerTag) {
    let known = discovery.table().peers().map(|(peer, _)| peer);
    for peer in known.filter(|peer| *peer != own) {
        let state = discovery.membership().state(peer);
        assert!(state.is_some_and(|state| !state.is_gone()), "{state:?}");
    }
    assert!(discovery.gossip().links().count() <= 2);
    assert!(discovery.gossip().revocations().len() <= Gossip::MAX_REVOCATIONS);
    assert_eq!(discovery.dropped(), 0);
    while discovery.poll_event().is_some() {}
    while discovery.poll_action().is_some() {}
}

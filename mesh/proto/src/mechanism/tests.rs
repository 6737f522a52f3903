//! Sessions without a cipher, small enough for Miri: greetings, handshakes, and messages in both
//! directions, in records where the mechanism has them.

use std::io::IoSlice;
use std::time::Duration;

use super::party::{Realm, Settings};
use super::zap::Decision;
use super::{Handshake, noise, null, quic, testing};
use crate::crypto::sign::SigningKey;
use crate::crypto::{Provider, Seeded};
use crate::message::Message;
use crate::pattern::SocketType;
use crate::trust::{Certificate, NodeId, Validity};
use crate::zmtp::{Connection, Established, Item, Limits};

const NULL: Provider = Provider::DangerNull;

fn node(accepting: bool) -> SigningKey {
    SigningKey::from_seed(NULL, &[2 + u8::from(accepting); 32])
}

fn settings(accepting: bool) -> Settings {
    let now = 1_800_000_000;
    let keys = NULL.key_pair(&mut Seeded::new(u64::from(accepting)));
    let identity = SigningKey::from_seed(NULL, &[1; 32]);
    let validity = Validity::starting(now, Certificate::LIFETIME);
    let node = NodeId::of(&node(accepting));
    let certificate = Certificate::issue(&identity, node, keys.public(), validity);
    let settings = Settings::new(keys, vec![Realm::open(certificate)], now);
    Settings {
        has_aes: true,
        ..settings
    }
}

fn engine(mechanism: &'static str, accepting: bool) -> Connection {
    let mut local = testing::local("PAIR", mechanism != null::NAME);
    local.accepting = accepting;
    let (settings, mut randomness) = (settings(accepting), Seeded::new(9));
    let randomness = &mut randomness;
    let handshake: Box<dyn Handshake> = match (mechanism, accepting) {
        (noise::NAME, true) => Box::new(noise::Responder::new(local, settings, NULL, randomness)),
        (noise::NAME, false) => Box::new(noise::Initiator::new(local, settings, NULL, randomness)),
        (quic::NAME, _) => {
            let proof = quic::Proof {
                node: node(!accepting).public(),
                post_quantum: true,
                binding: [1; 32],
            };
            Box::new(quic::Quic::new(local, settings, NULL, proof))
        }
        _ => Box::new(null::Null::new(local)),
    };
    let is_server = accepting && mechanism != null::NAME;
    let (kind, limits) = (SocketType::Pair, Limits::default());
    Connection::new(kind, mechanism, is_server, accepting, handshake, limits)
}

fn connect(mechanism: &'static str) -> [Established; 2] {
    let mut randomness = Seeded::new(1);
    let mut sides = [engine(mechanism, false), engine(mechanism, true)];
    while !sides.iter().all(Connection::is_complete) {
        for at in [0, 1] {
            let side = &mut sides[at];
            if side.poll_auth().is_some() {
                let decision = Decision::accept("ada");
                side.set_decision(decision, &mut randomness).unwrap();
            }
            if side.poll_admission().unwrap().is_some() {
                side.admit(&mut randomness).unwrap();
            }
            // In pieces, as a link brings them.
            let octets = side.poll_transmit().unwrap_or_default();
            for piece in octets.chunks(500) {
                sides[1 - at].handle_input(piece, &mut randomness).unwrap();
            }
        }
    }
    sides.map(|side| side.finish().unwrap())
}

fn passes(from: &mut Established, to: &mut Established, message: &Message) {
    from.outbox.push(message);
    let mut batch = from.outbox.take(Vec::new());
    batch.seal(&mut from.sealer, || Duration::ZERO).unwrap();
    let mut slices = [IoSlice::new(&[]); 8];
    let filled = batch.slices(&mut slices, usize::MAX);
    let octets: Vec<u8> = slices[..filled]
        .iter()
        .flat_map(|run| run.iter().copied())
        .collect();
    let mut items = Vec::new();
    for piece in octets.chunks(11) {
        items.extend(to.decoder.decode_all(piece).unwrap());
    }
    assert_eq!(items, [Item::Message(message.clone())]);
}

fn talk(mechanism: &'static str) {
    let [mut first, mut second] = connect(mechanism);
    assert_eq!(first.peer.mechanism, mechanism);
    assert_eq!(second.peer.proven.is_some(), mechanism != null::NAME);
    let long: Message = ["parts", "", &"long".repeat(100)].into_iter().collect();
    for message in [Message::from("short"), long] {
        passes(&mut first, &mut second, &message);
        passes(&mut second, &mut first, &message);
    }
}

#[test]
fn null_carries_messages() {
    talk(null::NAME);
}

#[test]
fn noise_carries_messages_in_records() {
    talk(noise::NAME);
}

#[test]
fn quic_carries_messages_as_they_are() {
    talk(quic::NAME);
}

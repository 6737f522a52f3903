//! Both sides against each other, against what happens on the way, and against the vectors.

use super::*;
use crate::crypto::sign::SigningKey;
use crate::crypto::{Randomness as _, Seeded};
use crate::mechanism::testing::{Transcript, local, run, tampering};
use crate::mechanism::zap::Decision;
use crate::mechanism::{Agreed, Handshake, Opener, Sealer};
use crate::trust::{Certificate, Roles};

const NOW: u64 = 1_800_000_000;

/// A node and its identity, all of whose keys follow from a number.
struct Node {
    identity: SigningKey,
    settings: Settings,
}

fn node(provider: Provider, seed: u64) -> Node {
    let mut randomness = Seeded::new(seed);
    let identity = SigningKey::generate(provider, &mut randomness);
    let node = SigningKey::generate(provider, &mut randomness);
    let keys = provider.key_pair(&mut randomness);
    let certificate = Certificate::issue(
        &identity,
        node.public().into(),
        keys.public(),
        NOW..NOW + 1_000,
    );
    let realm = Realm {
        network: None,
        secret: Zeroizing::new(OPEN),
        credentials: Credentials {
            certificate,
            proof: None,
        },
    };
    Node {
        identity,
        settings: Settings {
            keys,
            realms: vec![realm],
            allow_classical: false,
            classical: false,
            has_aes: true,
            expected: None,
            now: NOW,
        },
    }
}

/// Greets as a connection does.
fn greet(initiator: &mut dyn Handshake, responder: &mut dyn Handshake) -> Result<(), HandshakeError> {
    let ours = greeting::encode(NAME, false, initiator.filler());
    let theirs = greeting::encode(NAME, true, responder.filler());
    initiator.handle_greetings(&ours, &theirs)?;
    responder.handle_greetings(&theirs, &ours)
}

fn initiator(settings: &Settings, provider: Provider, seed: u64) -> Initiator {
    let mut randomness = Seeded::new(seed);
    Initiator::new(local("REQ", false), settings.clone(), provider, &mut randomness)
}

fn responder(settings: &Settings, provider: Provider, seed: u64) -> Responder {
    let mut randomness = Seeded::new(seed);
    Responder::new(local("REP", true), settings.clone(), provider, &mut randomness)
}

fn sides(provider: Provider) -> (Initiator, Responder) {
    let mut sides = (
        initiator(&node(provider, 1).settings, provider, 11),
        responder(&node(provider, 2).settings, provider, 12),
    );
    greet(&mut sides.0, &mut sides.1).unwrap();
    sides
}

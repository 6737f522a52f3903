//! Both sides against each other, and against greetings and credentials that are not theirs.

use zeroize::Zeroizing;

use super::*;
use crate::crypto::Seeded;
use crate::crypto::sign::SigningKey;
use crate::mechanism::party::{Expected, OPEN, Realm};
use crate::mechanism::testing::{local, run, tampering};
use crate::trust::{Certificate, IdentityId, NodeId, Validity};

const NOW: u64 = 1_800_000_000;

/// A side of the identity and the node of two seeds, which is linked to another node, before the
/// greetings.
fn fresh(identity: u8, node: u8, linked: u8, accepting: bool) -> Quic {
    let [identity, node, linked] =
        [identity, node, linked].map(|seed| SigningKey::from_seed(Provider::Real, &[seed; 32]));
    let keys = Provider::Real.key_pair(&mut Seeded::new(1));
    let certificate = Certificate::issue(
        &identity,
        NodeId::of(&node),
        keys.public(),
        Validity::starting(NOW, 1_000),
    );
    let settings = Settings::new(keys, vec![Realm::open(certificate)], NOW);
    let proof = Proof {
        node: linked.public(),
        post_quantum: true,
        binding: std::array::from_fn(|at| at as u8),
    };
    let kind = if accepting { "REP" } else { "REQ" };
    Quic::new(local(kind, accepting), settings, Provider::Real, proof)
}

fn side(identity: u8, node: u8, linked: u8, accepting: bool) -> Quic {
    let mut quic = fresh(identity, node, linked, accepting);
    let theirs = greeting_of(&fresh(linked, linked, node, !accepting));
    quic.handle_greetings(&theirs, &theirs).unwrap();
    quic
}

fn greeting_of(quic: &Quic) -> [u8; greeting::LENGTH] {
    greeting::encode(NAME, quic.local.accepting, quic.filler())
}

fn initiator() -> Quic {
    side(1, 2, 4, false)
}

fn responder() -> Quic {
    side(3, 4, 2, true)
}

#[test]
fn both_sides_show_whose_nodes_they_are() {
    let (mut first, mut second) = (initiator(), responder());
    let transcript = run(&mut first, &mut second, Decision::accept("ada"), |_, _| ());
    assert_eq!(transcript.result, Ok(()));
    let (first, second) = (Box::new(first).finish(), Box::new(second).finish());
    assert_eq!(second.user.id, "ada");
    assert_eq!(first.metadata.value("Socket-Type"), Some(&b"REP"[..]));
    let identity = IdentityId::of(&SigningKey::from_seed(Provider::Real, &[1; 32]));
    assert_eq!(second.proven.unwrap().shown.identity, identity);
}

#[test]
fn a_certificate_of_another_node_is_of_no_use() {
    for (mut first, mut second, command) in [
        (side(1, 5, 4, false), responder(), "INITIATE"),
        (initiator(), side(3, 5, 2, true), "WELCOME"),
    ] {
        let transcript = run(&mut first, &mut second, Decision::accept(""), |_, _| ());
        let Err(HandshakeError::Malformed { command: found, .. }) = transcript.result else {
            panic!("{:?}", transcript.result);
        };
        assert_eq!(found, command);
    }
}

#[test]
fn refusals_reach_the_other_side() {
    let (mut first, mut second) = (initiator(), responder());
    let transcript = run(&mut first, &mut second, Decision::deny("no"), |_, _| ());
    let reason = "your identity is not trusted here".to_owned();
    let refused = HandshakeError::RefusedByPeer { reason };
    assert_eq!(transcript.result, Err(refused));

    let (mut first, mut second) = (initiator(), responder());
    first.settings.expected = Some(Expected::Key([9; 32]));
    let transcript = run(&mut first, &mut second, Decision::accept(""), |_, _| ());
    let other = transcript.result.unwrap_err();
    assert!(matches!(other, HandshakeError::OtherPeer { .. }));
    let error = first.next_command(&mut Seeded::new(1)).unwrap();
    let reason = other.to_string();
    assert_eq!(
        second.handle_command(&error),
        Err(HandshakeError::RefusedByPeer { reason })
    );
}

#[test]
fn both_sides_know_who_made_the_link() {
    let mut quic = initiator();
    let theirs = greeting::encode(NAME, false, Filler::default());
    assert!(quic.handle_greetings(&theirs, &theirs).is_err());
}

#[test]
fn the_filler_stays() {
    // Python: hmac.digest(secret, b"withy quic network 1" + bytes([as_server]) + bytes(range(32)),
    //         "sha256")[:16]
    let of = |secret: [u8; 32], accepting: bool, has_aes: bool| {
        let mut quic = fresh(1, 2, 4, accepting);
        quic.settings.realms[0].secret = Zeroizing::new(secret);
        quic.settings.has_aes = has_aes;
        quic.filler()
    };
    for (secret, accepting, has_aes, member) in [
        (OPEN, false, true, "678efdb0eeb8746c7a2e2313156f128a"),
        (OPEN, true, false, "82ec2cfc536712a3f484425a5e5bd5e9"),
        ([7; 32], false, false, "89d6ca1a7babcd9b62538c97251e9966"),
        ([7; 32], true, true, "aa659855fb19b53daf86751d9f9e6093"),
    ] {
        let filler = of(secret, accepting, has_aes);
        assert_eq!(filler[0], u8::from(has_aes));
        let said: String = filler[1..17].iter().map(|it| format!("{it:02x}")).collect();
        assert_eq!(said, member);
        assert_eq!(filler[17..], [0; 14]);
    }
}

/// Another secret, another link, and what the other side said itself: none shows anything.
#[test]
fn whoever_does_not_know_the_secret_is_shown_nothing() {
    for accepting in [false, true] {
        let ours = fresh(1, 2, 4, accepting);
        let mut other_secret = fresh(3, 4, 2, !accepting);
        other_secret.settings.realms[0].secret = Zeroizing::new([7; 32]);
        let mut other_link = fresh(3, 4, 2, !accepting);
        other_link.proof.binding[31] ^= 1;
        let good = greeting_of(&fresh(3, 4, 2, !accepting));
        let mut mirrored = greeting_of(&ours);
        mirrored[greeting::AS_SERVER] ^= 1;
        let mut wrong = vec![
            greeting::encode(NAME, !accepting, Filler::default()),
            greeting_of(&other_secret),
            greeting_of(&other_link),
            mirrored,
        ];
        for bit in 0..8 * MEMBER {
            let mut flipped = good;
            flipped[FILLER.start + MEMBER_AT.start + bit / 8] ^= 1 << (bit % 8);
            wrong.push(flipped);
        }
        for theirs in wrong {
            let mut quic = fresh(1, 2, 4, accepting);
            let error = quic.handle_greetings(&greeting_of(&ours), &theirs);
            assert_eq!(error, Err(HandshakeError::Network));
            assert_eq!(quic.next_command(&mut Seeded::new(1)), None);
        }
        let mut quic = fresh(1, 2, 4, accepting);
        let result = quic.handle_greetings(&greeting_of(&ours), &good);
        assert_eq!(result, Ok(()));
        // Who has left the network meanwhile meets nobody.
        let mut quic = fresh(1, 2, 4, accepting);
        quic.settings.realms.clear();
        let result = quic.handle_greetings(&greeting_of(&ours), &good);
        assert_eq!(result, Err(HandshakeError::Network));
    }
}

/// The link keeps others from changing anything; what a peer itself changes of its credentials
/// is noticed.
#[test]
fn changed_credentials_are_refused() {
    tampering(initiator, responder, |what, agreed| {
        let [kind, _, number, _, at] = what.split(' ').collect::<Vec<_>>()[..] else {
            return;
        };
        let at: usize = at.parse().unwrap();
        let name = ["WELCOME", "INITIATE"].get(number.parse::<usize>().unwrap());
        let credentials = name.map_or(0, |name| 1 + name.len() + Certificate::SIZE);
        if kind == "flip" && at < credentials {
            assert!(!agreed, "{what}");
        }
    });
}

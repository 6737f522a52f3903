//! Both sides against each other, against what happens on the way, and against the vectors.

use zeroize::Zeroizing;

use super::*;
use crate::crypto::Provider;
use crate::crypto::keys::KeyPair;
use crate::mechanism::party::{Expected, OPEN, Realm, Settings};
use crate::trust::{Credentials, NetworkId};
use crate::zmtp::record;
use std::io::IoSlice;
use std::time::Duration;

use crate::crypto::Seeded;
use crate::crypto::sign::SigningKey;
use crate::mechanism::testing::{local, run, run_deciding, tampering};
use crate::mechanism::zap::{Credentials as Asked, Decision};
use crate::mechanism::{Agreed, Handshake, Opener, Sealer};
use crate::trust::membership::{Grant, Invitation, Membership, Proof};
use crate::trust::{
    Authority, Certificate, CertificateError, CredentialsError, IdentityId, NodeId, Roles, Validity,
};

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
        NodeId::of(&node),
        keys.public(),
        Validity::starting(NOW, 1_000),
    );
    let settings = Settings::new(keys, vec![Realm::open(certificate)], NOW);
    Node {
        identity,
        settings: Settings {
            has_aes: true,
            ..settings
        },
    }
}

/// Greets as a connection does.
fn greet(
    initiator: &mut dyn Handshake,
    responder: &mut dyn Handshake,
) -> Result<(), HandshakeError> {
    let ours = greeting::encode(NAME, false, initiator.filler());
    let theirs = greeting::encode(NAME, true, responder.filler());
    initiator.handle_greetings(&ours, &theirs)?;
    responder.handle_greetings(&theirs, &ours)
}

fn initiator(settings: &Settings, provider: Provider, seed: u64) -> Initiator {
    let mut randomness = Seeded::new(seed);
    Initiator::new(
        local("REQ", false),
        settings.clone(),
        provider,
        &mut randomness,
    )
}

fn responder(settings: &Settings, provider: Provider, seed: u64) -> Responder {
    let mut randomness = Seeded::new(seed);
    Responder::new(
        local("REP", true),
        settings.clone(),
        provider,
        &mut randomness,
    )
}

fn sides(provider: Provider) -> (Initiator, Responder) {
    let mut sides = (
        initiator(&node(provider, 1).settings, provider, 11),
        responder(&node(provider, 2).settings, provider, 12),
    );
    greet(&mut sides.0, &mut sides.1).unwrap();
    sides
}

fn halves(agreed: Agreed) -> (Box<record::Sealer>, Box<record::Opener>) {
    match (agreed.sealer, agreed.opener) {
        (Sealer::Records(sealer), Opener::Records(opener)) => (sealer, opener),
        other => panic!("{other:?}"),
    }
}

fn passes(sealer: &mut record::Sealer, opener: &mut record::Opener, text: &[u8]) {
    let runs = [IoSlice::new(text)].into_iter();
    let mut records = sealer.seal(runs, text.len(), Duration::ZERO).unwrap();
    let size = opener.open(&mut records).unwrap();
    assert_eq!(&records[..size], text);
}

#[test]
fn both_sides_prove_themselves_and_seal_what_follows() {
    for provider in [Provider::Real, Provider::DangerNull] {
        for (has_aes, classical) in [(true, false), (false, false), (true, true)] {
            let with = |seed| {
                let mut settings = node(provider, seed).settings;
                (settings.has_aes, settings.classical) = (has_aes, classical);
                settings.allow_classical = classical;
                settings
            };
            let mut first = initiator(&with(1), provider, 11);
            let mut second = responder(&with(2), provider, 12);
            greet(&mut first, &mut second).unwrap();
            let transcript = run(&mut first, &mut second, Decision::accept("ada"), |_, _| ());
            assert_eq!(transcript.result, Ok(()));
            let asked = transcript.request.unwrap();
            let identity = IdentityId::of(&node(provider, 1).identity);
            assert!(matches!(asked.credentials, Asked::Noise(shown) if shown.identity == identity));
            let (first, second) = (Box::new(first).finish(), Box::new(second).finish());
            assert_eq!(second.user.id, "ada");
            assert_eq!(first.metadata.value("Socket-Type"), Some(&b"REP"[..]));
            assert_eq!(second.metadata.value("Socket-Type"), Some(&b"REQ"[..]));
            assert_eq!(second.peer_key, Some(*identity.as_octets()));
            for agreed in [&first, &second] {
                let proven = agreed.proven.as_ref().unwrap();
                assert_eq!(proven.suite == Suite::AesGcm, has_aes);
                assert_eq!(proven.post_quantum, !classical);
            }
            let (mut seal, mut open) = halves(first);
            let (mut seal_back, mut open_back) = halves(second);
            for text in [&b"octets"[..], &[7; 100_000]] {
                passes(&mut seal, &mut open_back, text);
                passes(&mut seal_back, &mut open, text);
            }
        }
    }
}

#[test]
fn every_change_and_every_cut_ends_the_handshake() {
    let sides = std::cell::RefCell::new(None);
    tampering(
        || {
            let (first, second) = self::sides(Provider::Real);
            *sides.borrow_mut() = Some(second);
            first
        },
        || sides.borrow_mut().take().unwrap(),
        |what, agreed| assert_eq!(agreed, what.is_empty(), "{what}"),
    );
}

/// Whoever is in between may change a greeting on its way to one of the sides.
#[test]
fn no_bit_of_a_greeting_can_be_changed() {
    for bit in 0..greeting::LENGTH * 8 {
        for towards_responder in [true, false] {
            let mut first = initiator(&node(Provider::Real, 1).settings, Provider::Real, 11);
            let mut second = responder(&node(Provider::Real, 2).settings, Provider::Real, 12);
            let ours = greeting::encode(NAME, false, first.filler());
            let theirs = greeting::encode(NAME, true, second.filler());
            let (mut there, mut back) = (ours, theirs);
            let changed = if towards_responder {
                &mut there
            } else {
                &mut back
            };
            changed[bit / 8] ^= 1 << (bit % 8);
            let greeted = first
                .handle_greetings(&ours, &back)
                .and_then(|()| second.handle_greetings(&theirs, &there));
            if greeted.is_ok() {
                run(&mut first, &mut second, Decision::accept(""), |_, _| ());
            }
            assert!(!first.is_complete() && !second.is_complete(), "{bit}");
        }
    }
}

/// A peer of another network, and one that repeats what a member once said.
#[test]
fn outsiders_get_no_answer() {
    let mut settings = node(Provider::Real, 2).settings;
    settings.realms[0].secret = Zeroizing::new([1; 32]);
    let mut randomness = Seeded::new(1);
    let mut attempt = |second: &mut Responder| {
        let mut first = initiator(&node(Provider::Real, 1).settings, Provider::Real, 11);
        greet(&mut first, second).unwrap();
        let hello = first.next_command(&mut randomness).unwrap();
        let result = second.handle_command(&hello);
        (hello, result, second.next_command(&mut randomness))
    };
    let (_, result, answer) = attempt(&mut responder(&settings, Provider::Real, 12));
    assert_eq!((result, answer), (Err(HandshakeError::Network), None));

    let ours = node(Provider::Real, 2).settings;
    let (recorded, result, answer) = attempt(&mut responder(&ours, Provider::Real, 12));
    assert!(result.is_ok() && answer.is_some());
    let mut second = responder(&ours, Provider::Real, 13);
    let first = initiator(&node(Provider::Real, 1).settings, Provider::Real, 11);
    let theirs = greeting::encode(NAME, true, second.filler());
    let replayed = greeting::encode(NAME, false, first.filler());
    second.handle_greetings(&theirs, &replayed).unwrap();
    assert_eq!(
        second.handle_command(&recorded),
        Err(HandshakeError::Network)
    );
}

#[test]
fn who_does_without_ml_kem_is_refused_unless_it_is_allowed() {
    let mut settings = node(Provider::Real, 1).settings;
    settings.classical = true;
    let mut first = initiator(&settings, Provider::Real, 11);
    let mut second = responder(&node(Provider::Real, 2).settings, Provider::Real, 12);
    greet(&mut first, &mut second).unwrap();
    let mut randomness = Seeded::new(1);
    let hello = first.next_command(&mut randomness).unwrap();
    let refused = HandshakeError::PostQuantumRequired;
    assert_eq!(second.handle_command(&hello), Err(refused));
    let error = second.next_command(&mut randomness).unwrap();
    assert!(matches!(
        first.handle_command(&error),
        Err(HandshakeError::RefusedByPeer { .. })
    ));
}

#[test]
fn refusals_reach_the_other_side() {
    let (mut first, mut second) = sides(Provider::Real);
    let transcript = run(&mut first, &mut second, Decision::deny("no"), |_, _| ());
    let reason = "your identity is not trusted here".to_owned();
    let refused = Err(HandshakeError::RefusedByPeer { reason });
    assert_eq!(transcript.result, refused);
    assert!(second.refused() && !first.is_complete());

    let mut settings = node(Provider::Real, 1).settings;
    settings.expected = Some(Expected::Key([9; 32]));
    let mut first = initiator(&settings, Provider::Real, 11);
    let mut second = responder(&node(Provider::Real, 2).settings, Provider::Real, 12);
    greet(&mut first, &mut second).unwrap();
    let transcript = run(&mut first, &mut second, Decision::accept(""), |_, _| ());
    let found = IdentityId::of(&node(Provider::Real, 2).identity);
    assert_eq!(transcript.result, Err(HandshakeError::OtherPeer { found }));
    let error = first.next_command(&mut Seeded::new(1)).unwrap();
    assert!(matches!(
        second.handle_command(&error),
        Err(HandshakeError::RefusedByPeer { .. })
    ));
}

/// What an initiator shows, against a responder in a network; returns what both say of it.
fn show(credentials: Credentials, now: u64) -> [Result<(), HandshakeError>; 2] {
    let authority = SigningKey::from_seed(Provider::Real, &[3; 32]);
    let network = NetworkId::of(&authority);
    let grant = Grant {
        roles: Roles::MEMBER,
        serial: 1,
        validity: Validity::starting(NOW, 1_000),
    };
    let join = |settings: &mut Settings, credentials: Credentials| {
        settings.realms = vec![Realm {
            network: Some(network),
            secret: Zeroizing::new([4; 32]),
            credentials,
        }];
        settings.now = now;
    };
    let Node {
        identity,
        mut settings,
    } = node(Provider::Real, 2);
    let membership = Membership::issue(&authority, IdentityId::of(&identity), grant);
    let ours = Credentials {
        proof: Some(Proof::Membership(membership)),
        ..settings.realms[0].credentials
    };
    join(&mut settings, ours);
    let mut second = responder(&settings, Provider::Real, 12);
    let mut settings = node(Provider::Real, 1).settings;
    join(&mut settings, credentials);
    let mut first = initiator(&settings, Provider::Real, 11);
    greet(&mut first, &mut second).unwrap();
    let result = run(&mut first, &mut second, Decision::accept(""), |_, _| ()).result;
    if result.is_ok() {
        return [Ok(()), Ok(())];
    }
    let ready = second.next_command(&mut Seeded::new(1));
    [
        result,
        ready.map_or(Ok(()), |ready| first.handle_command(&ready)),
    ]
}

#[test]
fn what_is_shown_has_to_hold_and_both_sides_hear_why_it_does_not() {
    let authority = SigningKey::from_seed(Provider::Real, &[3; 32]);
    let grant = Grant {
        roles: Roles::MEMBER,
        serial: 1,
        validity: Validity::starting(NOW, 1_000),
    };
    let Node { identity, settings } = node(Provider::Real, 1);
    let plain = settings.realms[0].credentials;
    let by = |key: &SigningKey, member| Credentials {
        proof: Some(Proof::Membership(Membership::issue(key, member, grant))),
        ..plain
    };
    let member = by(&authority, IdentityId::of(&identity));
    assert_eq!(show(member, NOW), [Ok(()), Ok(())]);

    let other = IdentityId::of(&authority);
    for (shown, now, named) in [
        (plain, NOW, "no membership"),
        (by(&identity, IdentityId::of(&identity)), NOW, "network"),
        (by(&authority, other), NOW, "identity"),
        (member, NOW + 2_000, "expired"),
    ] {
        let [ours, theirs] = show(shown, now);
        // With an expired certificate of both, the initiator notices first.
        let ours = ours.unwrap_err();
        assert!(matches!(ours, HandshakeError::Credentials(_)), "{ours:?}");
        if let Err(HandshakeError::RefusedByPeer { reason }) = theirs {
            assert_eq!(reason, ours.to_string());
        } else {
            assert!(matches!(
                ours,
                HandshakeError::Credentials(CredentialsError::Certificate(
                    CertificateError::Validity(_)
                ))
            ));
        }
        assert!(ours.to_string().contains(named), "{ours}");
    }
}

/// A certificate that names another key than the one that was used.
#[test]
fn a_stolen_certificate_is_of_no_use() {
    let mut settings = node(Provider::Real, 1).settings;
    settings.keys = node(Provider::Real, 3).settings.keys;
    let mut first = initiator(&settings, Provider::Real, 11);
    let mut second = responder(&node(Provider::Real, 2).settings, Provider::Real, 12);
    greet(&mut first, &mut second).unwrap();
    let transcript = run(&mut first, &mut second, Decision::accept(""), |_, _| ());
    assert!(matches!(
        transcript.result,
        Err(HandshakeError::Malformed {
            command: "INITIATE",
            ..
        })
    ));
}

/// Whom an endpoint names is who signed for itself, not who was named by another: an identity may
/// put any node in its certificate.
#[test]
fn nobody_is_taken_for_a_node_that_its_certificate_names() {
    let expected = *IdentityId::of(&node(Provider::Real, 9).identity).as_octets();
    let Node {
        identity,
        settings: mut theirs,
    } = node(Provider::Real, 2);
    let certificate = &mut theirs.realms[0].credentials.certificate;
    let (noise, validity) = (certificate.noise(), certificate.validity());
    let named = NodeId::from_octets(expected);
    *certificate = Certificate::issue(&identity, named, noise, validity);
    let mut ours = node(Provider::Real, 1).settings;
    let found = IdentityId::of(&identity);
    for (wanted, meets) in [
        (Expected::Key(expected), false),
        (
            Expected::Node(IdentityId::from_octets(expected), named),
            false,
        ),
        (Expected::Node(found, NodeId::from_octets([9; 32])), false),
        (Expected::Node(found, named), true),
    ] {
        ours.expected = Some(wanted);
        let mut first = initiator(&ours, Provider::Real, 11);
        let mut second = responder(&theirs, Provider::Real, 12);
        greet(&mut first, &mut second).unwrap();
        let transcript = run(&mut first, &mut second, Decision::accept(""), |_, _| ());
        let result = if meets {
            Ok(())
        } else {
            Err(HandshakeError::OtherPeer { found })
        };
        assert_eq!(transcript.result, result, "{wanted:?}");
    }
}

/// Draws octets that count on.
struct Counting(u8);

impl Randomness for Counting {
    fn fill(&mut self, octets: &mut [u8]) {
        for octet in octets {
            *octet = self.0;
            self.0 = self.0.wrapping_add(1);
        }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Where a handshake of the vectors takes place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Open,
    /// In a network, of which both are members.
    Network,
    /// In one to which the initiator was invited; the responder confirms it.
    Invited,
}

/// One handshake, with all that it is made of, as `vectors.txt` tells it.
fn vector(has_aes: bool, classical: bool, place: Place) -> String {
    let network = place != Place::Open;
    let authority = SigningKey::from_seed(Provider::Real, &[0xa0; 32]);
    let ticket = SigningKey::from_seed(Provider::Real, &[0xa2; 32]);
    let secret = if network { [0xa1; 32] } else { OPEN };
    let side = |first: u8, text: &mut String, name: &str| {
        let [identity, node, noise] = [first, first + 1, first + 2].map(|octet| [octet; 32]);
        for (what, octets) in [("identity", identity), ("node", node), ("noise", noise)] {
            text.push_str(&format!("{name} {what} {}\n", hex(&octets)));
        }
        let identity = SigningKey::from_seed(Provider::Real, &identity);
        let node = SigningKey::from_seed(Provider::Real, &node);
        let keys = KeyPair::from_secret(crate::crypto::keys::SecretKey::from_octets(noise));
        let validity = Validity::starting(NOW, Certificate::LIFETIME);
        let certificate = Certificate::issue(&identity, NodeId::of(&node), keys.public(), validity);
        let grant = Grant {
            roles: Roles::MEMBER,
            serial: u64::from(first),
            validity,
        };
        let member = IdentityId::of(&identity);
        let proof: Proof = match place == Place::Invited && first == 0x10 {
            true => Invitation::issue(&authority, ticket.public(), grant, true)
                .redeem(&ticket, member)
                .into(),
            false => Membership::issue(&authority, member, grant).into(),
        };
        Settings {
            keys,
            realms: vec![Realm {
                network: network.then(|| NetworkId::of(&authority)),
                secret: Zeroizing::new(secret),
                credentials: Credentials {
                    certificate,
                    proof: network.then_some(proof),
                },
            }],
            allow_classical: classical,
            classical,
            has_aes,
            expected: None,
            now: NOW,
        }
    };
    let mut text = String::new();
    text.push_str(&format!("secret {}\n", hex(&secret)));
    let ours = side(0x10, &mut text, "initiator");
    let theirs = side(0x20, &mut text, "responder");
    let drawn = |start: u8, sizes: &[(&str, usize)], name: &str, text: &mut String| {
        let mut counting = Counting(start);
        for (what, size) in sizes {
            let mut octets = vec![0; *size];
            counting.fill(&mut octets);
            text.push_str(&format!("{name} draws {what} {}\n", hex(&octets)));
        }
    };
    let kem: &[(&str, usize)] = if classical { &[] } else { &[("kem", 64)] };
    let rest = [("challenge", CHALLENGE), ("ephemeral", 32)];
    drawn(0x30, &[kem, &rest].concat(), "initiator", &mut text);
    drawn(
        0x40,
        &[&[("kem", 32)][..], &rest].concat(),
        "responder",
        &mut text,
    );
    let mut first = Initiator::new(
        local("DEALER", false),
        ours,
        Provider::Real,
        &mut Counting(0x30),
    );
    let mut second = Responder::new(
        local("ROUTER", true),
        theirs,
        Provider::Real,
        &mut Counting(0x40),
    );
    for (name, server, filler) in [
        ("initiator", false, first.filler()),
        ("responder", true, second.filler()),
    ] {
        let greeting = greeting::encode(NAME, server, filler);
        text.push_str(&format!("{name} greeting {}\n", hex(&greeting)));
    }
    greet(&mut first, &mut second).unwrap();
    let decide = |second: &mut dyn Handshake| {
        if place == Place::Invited {
            let grant = Grant {
                roles: Roles::MEMBER,
                serial: 0x10,
                validity: Validity::starting(NOW, Authority::MEMBERSHIP_LIFETIME),
            };
            let member = SigningKey::from_seed(Provider::Real, &[0x10; 32]);
            let member = IdentityId::of(&member);
            second.confirm(&Membership::issue(&authority, member, grant));
        }
        second.set_decision(Decision::accept(""));
    };
    let transcript = run_deciding(&mut first, &mut second, decide, |_, _| ());
    assert_eq!(transcript.result, Ok(()));
    for command in &transcript.commands {
        text.push_str(&format!("command {}\n", hex(command)));
    }
    let (mut seal, mut open) = halves(Box::new(first).finish());
    let (mut seal_back, mut open_back) = halves(Box::new(second).finish());
    let mut record = |name: &str, sealer: &mut record::Sealer, opener: &mut record::Opener| {
        let runs = [IoSlice::new(b"\0\x05hello")].into_iter();
        let mut records = sealer.seal(runs, 7, Duration::ZERO).unwrap();
        text.push_str(&format!("{name} record {}\n", hex(&records)));
        assert_eq!(opener.open(&mut records), Ok(7));
    };
    record("initiator", &mut seal, &mut open_back);
    record("responder", &mut seal_back, &mut open);
    text
}

#[test]
fn the_handshake_is_octet_for_octet_as_written_down() {
    let written = include_str!("vectors.txt");
    let written: String = written
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    let cases = [
        (true, false, Place::Network),
        (false, false, Place::Open),
        (true, true, Place::Open),
        (true, false, Place::Invited),
    ];
    let now: Vec<String> = cases
        .map(|(has_aes, classical, place)| vector(has_aes, classical, place))
        .to_vec();
    let now = now.join("\n");
    assert!(written == now, "the handshake changed; it is now\n{now}");
}

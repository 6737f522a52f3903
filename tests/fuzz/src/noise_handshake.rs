//! NOISE with the null cipher: commands that were changed on the way against the description in the
//! crate's documentation, any octets at each step of a handshake, and a whole session over a link
//! that does what it likes.

use std::sync::LazyLock;

use withy_proto::crypto::aead::TAG;
use withy_proto::crypto::keys::{KeyPair, PublicKey, SecretKey};
use withy_proto::crypto::sign::SigningKey;
use withy_proto::crypto::{Provider, Seeded};
use withy_proto::mechanism::noise::{Initiator, NAME, Responder};
use withy_proto::mechanism::party::{Expected, OPEN, Realm, Settings};
use withy_proto::mechanism::zap::Decision;
use withy_proto::mechanism::{Handshake, HandshakeError};
use withy_proto::trust::{
    Certificate, Credentials, Grant, IdentityId, Membership, NetworkId, NodeId, Roles, Shown,
    Validity,
};
use withy_proto::zmtp::greeting;
use withy_proto::zmtp::metadata::Metadata;

use super::input::Input;
use super::session::{Disturbance, Face, Reception, Side, converse};
use super::sha256::sha256;
use super::wire;

const NULL: Provider = Provider::DangerNull;
const NOW: u64 = 1_000_000_000;
const SECRET: [u8; 32] = [9; 32];

/// Sizes of ML-KEM-768.
const ENCAPSULATION_KEY: usize = 1_184;
const CIPHERTEXT: usize = 1_088;

/// Octets that a side says in a handshake, at most.
const MOST: usize = 64 + 4_096;

/// Keys, which take longer to make than all else.
struct Keys {
    authority: SigningKey,
    identities: [SigningKey; 2],
    nodes: [NodeId; 2],
    noise: [KeyPair; 2],
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let key = |seed: u8| SigningKey::from_seed(NULL, &[seed; 32]);
    Keys {
        authority: key(3),
        identities: [key(10), key(11)],
        nodes: [NodeId::of(&key(20)), NodeId::of(&key(21))],
        noise: [30, 31].map(|key| KeyPair::from_secret(SecretKey::from_octets([key; 32]))),
    }
});

/// One of the three ways.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let choice = input.octet();
    match choice & 3 {
        0 | 1 => commands(choice, &mut input),
        2 => any_octets(choice, &mut input),
        _ => talk(choice, &mut input),
    }
}

/// The settings of the initiator and of the responder, mostly such that they agree.
fn settings(shape: usize, choice: u8) -> [Settings; 2] {
    let bit = |at: usize| shape >> at & 1 != 0;
    let both = |at: usize| bit(at) && bit(at + 1) && bit(at + 2);
    let Keys {
        authority,
        identities,
        nodes,
        noise,
    } = &*KEYS;
    [0, 1].map(|side| {
        let other = |at: usize| both(at) && side == usize::from(choice >> 2 & 1);
        let identity = &identities[side];
        // With the null cipher, a public key is its secret.
        let mut key = *noise[side].secret().expose_octets();
        key[31] ^= u8::from(other(1));
        let age = if other(4) { 2_000 } else { 10 };
        let validity = Validity::starting(NOW - age, 1_000);
        let key = PublicKey::from_octets(key);
        let certificate = Certificate::issue(identity, nodes[side], key, validity);
        let member = match other(7) {
            true => IdentityId::from_octets([1; 32]),
            false => IdentityId::of(identity),
        };
        let grant = Grant {
            roles: Roles::MEMBER,
            serial: 5,
            validity,
        };
        let proof = bit(0).then(|| Membership::issue(authority, member, grant).into());
        let mut secret_of_network = if bit(0) { SECRET } else { OPEN };
        secret_of_network[0] ^= u8::from(other(10));
        let realm = Realm {
            network: bit(0).then(|| NetworkId::of(authority)),
            secret: secret_of_network.into(),
            credentials: Credentials { certificate, proof },
        };
        Settings {
            keys: noise[side].clone(),
            realms: vec![realm],
            allow_classical: bit(13) || choice & 8 != 0,
            classical: choice & 0x10 != 0,
            has_aes: bit(14 + side),
            expected: (choice & 0xe0 == 0xe0).then(|| match (bit(12), bit(16)) {
                (true, true) => Expected::Key([5; 32]),
                // The other side's node, which it does not prove.
                (true, false) => Expected::Key(*nodes[1 - side].as_octets()),
                (false, true) => Expected::Key(identities[1 - side].public()),
                (false, false) => {
                    let identity = IdentityId::of(&identities[1 - side]);
                    Expected::Node(identity, nodes[usize::from(!bit(17)) ^ side])
                }
            }),
            now: NOW,
        }
    })
}

fn initiator(face: &Face, settings: &Settings, authenticate: bool) -> Initiator {
    let local = face.local(authenticate, false);
    Initiator::new(local, settings.clone(), NULL, &mut Seeded::new(1))
}

fn responder(face: &Face, settings: &Settings, authenticate: bool) -> Responder {
    let local = face.local(authenticate, true);
    Responder::new(local, settings.clone(), NULL, &mut Seeded::new(2))
}

fn sides(faces: &[Face; 2], settings: &[Settings; 2], reception: Reception) -> [Side; 2] {
    let ask = reception.authenticate;
    let initiator = Box::new(initiator(&faces[0], &settings[0], ask));
    let responder = Box::new(responder(&faces[1], &settings[1], ask));
    [
        Side::new(faces[0].kind, NAME, false, initiator, reception),
        Side::new(faces[1].kind, NAME, true, responder, reception),
    ]
}

/// Each command of a handshake, changed as the input says, against [`Model`].
fn commands(choice: u8, input: &mut Input<'_>) {
    let faces = [Face::any(input), Face::any(input)];
    let settings = settings(input.number(), choice);
    let ask = choice & 2 != 0;
    let mut initiator = initiator(&faces[0], &settings[0], ask);
    let mut responder = responder(&faces[1], &settings[1], ask);
    let ours = greeting::encode(NAME, false, initiator.filler());
    let theirs = greeting::encode(NAME, true, responder.filler());
    assert!(initiator.handle_greetings(&ours, &theirs).is_ok());
    assert!(responder.handle_greetings(&theirs, &ours).is_ok());
    let mut model = Model {
        settings: &settings,
        greetings: [&ours[..], &theirs].concat(),
        options: 0,
        proven: [None, None],
        metadata: [None, None],
    };
    let mut randomness = Seeded::new(3);
    for number in 0..4 {
        let (from, to): (&mut dyn Handshake, &mut dyn Handshake) = match number % 2 {
            0 => (&mut initiator, &mut responder),
            _ => (&mut responder, &mut initiator),
        };
        let mut command = from.next_command(&mut randomness).unwrap_or_default();
        assert!(!command.is_empty(), "command {number} is due");
        assert!(from.next_command(&mut randomness).is_none());
        change(&mut command, input);
        let taken = to.handle_command(&command);
        let expected = model.takes(number, &command);
        assert_eq!(taken.is_ok(), expected == Taken::Yes, "{taken:?}");
        if taken.is_err() {
            assert!(!to.is_complete() && to.claims().is_none());
            assert!(to.handle_command(&command).is_err() || expected == Taken::Told);
            return told(expected, from, to, &mut randomness);
        }
        let request = to.auth_request();
        assert_eq!(request.is_some(), ask && (number == 1 || number == 2));
        if request.is_some() {
            assert!(to.next_command(&mut randomness).is_none());
            to.set_decision(Decision::accept("ada"));
        }
    }
    assert!(initiator.is_complete() && responder.is_complete());
    let [initiator, responder] = [Box::new(initiator).finish(), Box::new(responder).finish()];
    for (side, agreed) in [&initiator, &responder].into_iter().enumerate() {
        let shown = agreed.proven.as_ref().map(|proven| proven.shown);
        assert_eq!(shown, model.proven[1 - side]);
        assert_eq!(Some(&agreed.metadata), model.metadata[1 - side].as_ref());
        let post_quantum = agreed.proven.as_ref().map(|proven| proven.post_quantum);
        assert_eq!(post_quantum, Some(model.options & 2 != 0));
        assert_eq!(agreed.user.id.is_empty(), !ask);
    }
}

/// A side that refuses says so, where the other may hear it, and then nothing more.
fn told(
    expected: Taken,
    from: &mut dyn Handshake,
    to: &mut dyn Handshake,
    randomness: &mut Seeded,
) {
    if expected == Taken::No {
        assert!(to.next_command(randomness).is_none());
        return;
    }
    // What came again made it fall silent.
    if let Some(last) = to.next_command(randomness) {
        let heard = from.handle_command(&last);
        let refused = matches!(heard, Err(HandshakeError::RefusedByPeer { .. }));
        assert!(refused, "{heard:?}");
    }
    assert!(to.next_command(randomness).is_none());
}

/// Changes a command: not at all, some octets, its end, or all of it from somewhere on.
fn change(command: &mut Vec<u8>, input: &mut Input<'_>) {
    let how = input.octet();
    let at = usize::from(input.octet());
    // From the front or from the end, where most of what is in between is a key or a ciphertext.
    let at = match how & 0x80 {
        0 => at.min(command.len()),
        _ => command.len().saturating_sub(at),
    };
    match how % 8 {
        5 => {
            let length = input.octet() % 40;
            let octets = input.take(usize::from(length));
            for (old, new) in command[at..].iter_mut().zip(octets) {
                *old = *new;
            }
        }
        6 => command.truncate(at),
        7 => {
            let length = input.octet();
            command.truncate(at);
            command.extend_from_slice(input.take(usize::from(length)));
        }
        _ => {}
    }
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Yes,
    /// No, and the peer is told.
    Told,
    No,
}

/// What the description says of the four commands, where a ciphertext is its plaintext and then a
/// tag of zeros, and agreed keys play no part. Certificates and metadata have models of their own.
struct Model<'a> {
    settings: &'a [Settings; 2],
    /// The initiator's, and then the responder's.
    greetings: Vec<u8>,
    options: u8,
    /// What the initiator showed, and the responder.
    proven: [Option<Shown>; 2],
    metadata: [Option<Metadata>; 2],
}

impl Model<'_> {
    fn takes(&mut self, number: usize, command: &[u8]) -> Taken {
        let names: [&[u8]; 4] = [b"\x05HELLO", b"\x07WELCOME", b"\x08INITIATE", b"\x05READY"];
        let Some(data) = command.strip_prefix(names[number]) else {
            return Taken::No;
        };
        let taken = match number {
            0 => self.hello(data),
            1 => self.welcome(data),
            2 => self.initiate(data),
            _ => self.ready(data),
        };
        taken.unwrap_or(Taken::No)
    }

    /// Options, tag, e, payload; `None` is [`Taken::No`].
    fn hello(&mut self, data: &[u8]) -> Option<Taken> {
        let (options, tag) = (*data.first()?, data.get(1..17)?);
        self.options = options;
        let secret = &self.settings[1].realms[0].secret;
        let expected = hmac(
            secret,
            &[b"withy noise tag 1", &self.greetings[..]].concat(),
        );
        if options > 3 || *tag != expected[..16] {
            return None;
        }
        if options & 2 == 0 && !self.settings[1].allow_classical {
            return Some(Taken::Told);
        }
        let key = if options & 2 == 0 {
            0
        } else {
            ENCAPSULATION_KEY
        };
        let payload = opened(data.get(17 + 32..)?)?;
        (payload.len() == key).then_some(Taken::Yes)
    }

    /// e, s, payload: ML-KEM's ciphertext if there is one, and credentials.
    fn welcome(&mut self, data: &[u8]) -> Option<Taken> {
        let key = opened(data.get(32..80)?)?;
        let payload = opened(&data[80..])?;
        // Of the initiator's own choice.
        let ciphertext = if self.settings[0].classical {
            0
        } else {
            CIPHERTEXT
        };
        let credentials = payload.get(ciphertext..)?;
        let Ok((credentials, used)) = Credentials::decode(credentials) else {
            return Some(Taken::Told);
        };
        if ciphertext + used != payload.len() {
            return None;
        }
        let Some(shown) = self.shown(0, &credentials) else {
            return Some(Taken::Told);
        };
        if shown.noise.as_octets() != key {
            return None;
        }
        if !self.is_expected(0, &shown) {
            return Some(Taken::Told);
        }
        self.proven[1] = Some(shown);
        Some(Taken::Yes)
    }

    /// s, payload: credentials and metadata. Whoever says what opens is told.
    fn initiate(&mut self, data: &[u8]) -> Option<Taken> {
        let key = opened(data.get(..48)?)?;
        let payload = opened(&data[48..])?;
        let look = || {
            let (credentials, used) = Credentials::decode(payload).ok()?;
            let shown = self.shown(1, &credentials)?;
            let is_right = shown.noise.as_octets() == key && self.is_expected(1, &shown);
            let metadata = Metadata::decode(&payload[used..]).ok()?;
            is_right.then_some((shown, metadata))
        };
        let Some((shown, metadata)) = look() else {
            return Some(Taken::Told);
        };
        self.proven[0] = Some(shown);
        self.metadata[0] = Some(metadata);
        Some(Taken::Yes)
    }

    /// 0 and metadata.
    fn ready(&mut self, data: &[u8]) -> Option<Taken> {
        let metadata = opened(data)?.strip_prefix(&[0])?;
        self.metadata[1] = Metadata::decode(metadata).ok();
        self.metadata[1].is_some().then_some(Taken::Yes)
    }

    fn shown(&self, to: usize, credentials: &Credentials) -> Option<Shown> {
        let settings = &self.settings[to];
        let network = settings.realms[0].network;
        credentials.verify(NULL, network, settings.now).ok()
    }

    fn is_expected(&self, to: usize, shown: &Shown) -> bool {
        let expected = self.settings[to].expected;
        expected.is_none_or(|expected| match expected {
            Expected::Key(key) => *shown.identity.as_octets() == key,
            Expected::Node(identity, node) => shown.identity == identity && shown.node == node,
        })
    }
}

/// What is before a tag of zeros.
fn opened(octets: &[u8]) -> Option<&[u8]> {
    let (text, tag) = octets.split_last_chunk::<TAG>()?;
    (*tag == [0; TAG]).then_some(text)
}

/// HMAC-SHA-256 (RFC 2104) with a key of 32 octets.
fn hmac(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(pad, key)| *pad ^= key);
        block
    };
    let inner = sha256(&[&pad(0x36)[..], text].concat());
    sha256(&[&pad(0x5c)[..], &inner].concat())
}

/// Some steps as they should be, and then any octets.
fn any_octets(choice: u8, input: &mut Input<'_>) {
    let accepting = choice & 4 != 0;
    let (reception, how) = (Reception::any(input), input.octet());
    let faces = [Face::any(input), Face::any(input)];
    let settings = settings(input.number(), choice & 0x18);
    let [mut peer, mut side] = sides(&faces, &settings, reception);
    if !accepting {
        std::mem::swap(&mut peer, &mut side);
    }
    let mut said = side.output.len();
    for _ in 0..choice >> 5 {
        let octets = std::mem::take(&mut side.output);
        peer.arrive(&octets, false);
        let octets = std::mem::take(&mut peer.output);
        side.arrive(&octets, false);
        said += side.output.len();
    }
    said -= side.output.len();
    for piece in wire::pieces(how, input.rest()) {
        side.arrive(piece, how & 1 != 0);
    }
    said += side.output.len();
    assert!(said <= MOST, "one greeting, few commands");
}

fn talk(choice: u8, input: &mut Input<'_>) {
    let reception = Reception::any(input);
    let mut faces = [Face::any(input), Face::any(input)];
    if choice & 0xe0 != 0 {
        faces[1].kind = input.one_of(faces[0].kind.row().peers);
    }
    let mut disturbance = Disturbance::any(input);
    if let Some(disturbance) = &mut disturbance {
        // As far as the records.
        disturbance.at *= 1 + usize::from(choice >> 5 & 3);
    }
    // Such that they agree.
    let settings = settings(usize::from(choice & 4 != 0), 8 | choice & 0x10);
    let sides = sides(&faces, &settings, reception);
    converse(sides, &faces, reception, disturbance.as_ref(), input);
}

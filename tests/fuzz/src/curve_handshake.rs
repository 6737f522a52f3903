//! CURVE with the null cipher: commands that were changed on the way against the RFC's layout, a
//! whole session over a link that does what it likes, and frames repeated, left out, swapped and
//! forged.

use std::sync::LazyLock;
use std::time::Duration;

use withy_proto::crypto::Seeded;
use withy_proto::crypto::keys::{KeyPair, SecretKey};
use withy_proto::mechanism::curve::{Client, NAME, OVERHEAD, Server};
use withy_proto::mechanism::zap::Decision;
use withy_proto::mechanism::{Handshake, Opener};
use withy_proto::zmtp::decoder::Limits;
use withy_proto::zmtp::greeting::{self, Filler};
use withy_proto::zmtp::metadata::Metadata;
use withy_proto::zmtp::{Decoder, frame};

use super::input::Input;
use super::model::{self, Fault};
use super::session::{Disturbance, Face, Reception, Side, converse, items};
use super::wire::{self, Receiver};

/// The server's keys, and then the client's.
static KEYS: LazyLock<[KeyPair; 2]> = LazyLock::new(|| {
    [[1; 32], [2; 32]].map(|key| KeyPair::from_secret(SecretKey::from_octets(key)))
});

/// One of the four ways.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let choice = input.octet();
    match choice & 3 {
        0 => commands(choice, &mut input),
        1 => any_octets(choice, &mut input),
        2 => talk(choice, &mut input),
        _ => frames(&mut input),
    }
}

fn client(face: &Face) -> Client {
    let [server, client] = &*KEYS;
    Client::new(face.local(false, false), client.clone(), server.public()).danger_null()
}

fn server(face: &Face, reception: Reception) -> Server {
    let local = face.local(reception.authenticate, true);
    Server::new(local, KEYS[0].clone()).danger_null()
}

fn side(face: &Face, accepting: bool, reception: Reception) -> Side {
    let handshake: Box<dyn Handshake> = match accepting {
        true => Box::new(server(face, reception)),
        false => Box::new(client(face)),
    };
    Side::new(face.kind, NAME, accepting, handshake, reception)
}

/// Each command of a handshake, changed as the input says, against [`Model`].
fn commands(choice: u8, input: &mut Input<'_>) {
    let faces = [Face::any(input), Face::any(input)];
    let reception = Reception {
        authenticate: choice & 4 != 0,
        deny: None,
        place: true,
    };
    let (mut client, mut server) = (client(&faces[0]), server(&faces[1], reception));
    let mut randomness = Seeded::new(u64::from(choice));
    let mut model = Model::default();
    for number in 0..4 {
        let (from, to): (&mut dyn Handshake, &mut dyn Handshake) = match number % 2 {
            0 => (&mut client, &mut server),
            _ => (&mut server, &mut client),
        };
        let mut command = from.next_command(&mut randomness).unwrap_or_default();
        assert!(!command.is_empty(), "command {number} is due");
        assert!(from.next_command(&mut randomness).is_none());
        change(&mut command, input);
        let taken = to.handle_command(&command);
        assert_eq!(taken.is_ok(), model.takes(number, &command), "{taken:?}");
        if taken.is_err() {
            assert!(!to.is_complete() && to.claims().is_none());
            assert!(to.next_command(&mut randomness).is_none());
            assert!(to.handle_command(&command).is_err());
            return;
        }
        let request = to.auth_request();
        assert_eq!(request.is_some(), number == 2 && reception.authenticate);
        if request.is_some() {
            assert!(to.next_command(&mut randomness).is_none());
            to.set_decision(Decision::accept("ada"));
        }
    }
    assert!(client.is_complete() && server.is_complete());
    let (client, server) = (Box::new(client).finish(), Box::new(server).finish());
    assert_eq!(server.peer_key, model.client_key);
    assert_eq!(client.peer_key, Some(KEYS[0].public().into()));
    assert_eq!(Some(&server.metadata), model.metadata[0].as_ref());
    assert_eq!(Some(&client.metadata), model.metadata[1].as_ref());
    assert_eq!(server.user.id.is_empty(), !reception.authenticate);
}

/// Changes a command: not at all, some octets, its end, or all of it but its name.
fn change(command: &mut Vec<u8>, input: &mut Input<'_>) {
    let how = input.octet();
    let at = usize::from(input.octet()) * (1 + usize::from(how >> 7));
    let at = at.min(command.len());
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

/// What the RFC says of the four commands, where a box is 16 zeros and then the plaintext.
#[derive(Default)]
struct Model {
    hello_nonce: u64,
    client_key: Option<[u8; 32]>,
    metadata: [Option<Metadata>; 2],
}

impl Model {
    fn takes(&mut self, number: usize, command: &[u8]) -> bool {
        let names: [&[u8]; 4] = [b"\x05HELLO", b"\x07WELCOME", b"\x08INITIATE", b"\x05READY"];
        let Some(data) = command.strip_prefix(names[number]) else {
            return false;
        };
        let zeros = |octets: &[u8]| octets.iter().all(|octet| *octet == 0);
        let counter = |octets: &[u8]| {
            octets
                .iter()
                .fold(0, |sum, octet| sum << 8 | u64::from(*octet))
        };
        match number {
            // Version, padding, C', nonce, Box[64 zeros].
            0 if data.len() == 194 => {
                self.hello_nonce = counter(&data[106..114]);
                data[..2] == [1, 0] && zeros(&data[2..74]) && zeros(&data[114..])
            }
            // Nonce, Box[S', cookie].
            1 if data.len() == 160 => zeros(&data[16..32]),
            // Cookie of a nonce and Box[C', s'], nonce, Box[C, nonce, Box[C', S], metadata].
            2 if data.len() >= 96 + 8 + 16 + 32 + 96 => {
                let (cookie, rest) = data.split_at(96);
                let (client_key, vouch) = (&rest[24..56], &rest[56..152]);
                self.client_key = client_key.try_into().ok();
                self.metadata[0] = Metadata::decode(&rest[152..]).ok();
                zeros(&cookie[16..32])
                    && counter(&rest[..8]) > self.hello_nonce
                    && zeros(&rest[8..24])
                    && zeros(&vouch[16..32])
                    && vouch[32..64] == cookie[32..64]
                    && vouch[64..] == *KEYS[0].public().as_octets()
                    && self.metadata[0].is_some()
            }
            // Nonce, Box[metadata].
            3 if data.len() >= 24 => {
                self.metadata[1] = Metadata::decode(&data[24..]).ok();
                zeros(&data[8..24]) && self.metadata[1].is_some()
            }
            _ => false,
        }
    }
}

fn any_octets(choice: u8, input: &mut Input<'_>) {
    let accepting = choice & 4 != 0;
    let (reception, how) = (Reception::any(input), input.octet());
    let face = Face::any(input);
    let mut octets = greeting::encode(NAME, !accepting, Filler::default()).to_vec();
    octets.extend_from_slice(input.rest());
    let mut side = side(&face, accepting, reception);
    for piece in wire::pieces(how, &octets) {
        side.arrive(piece, how & 1 != 0);
    }
    assert!(side.output.len() <= 64 + 1024, "one greeting, few commands");
}

fn talk(choice: u8, input: &mut Input<'_>) {
    let reception = Reception::any(input);
    let mut faces = [Face::any(input), Face::any(input)];
    if choice & 0xe0 != 0 {
        faces[1].kind = input.one_of(faces[0].kind.row().peers);
    }
    let disturbance = Disturbance::any(input);
    let sides = [
        side(&faces[0], false, reception),
        side(&faces[1], true, reception),
    ];
    converse(sides, &faces, reception, disturbance.as_ref(), input);
}

/// A stream of MESSAGE frames, sealed and forged, into an opener that has just shaken hands.
fn frames(input: &mut Input<'_>) {
    let faces = [Face::any(input), Face::any(input)];
    let warm = Reception {
        authenticate: false,
        deny: None,
        place: true,
    };
    let (mut client, mut server) = (client(&faces[0]), server(&faces[1], warm));
    let mut randomness = Seeded::new(1);
    for _ in 0..2 {
        let command = client.next_command(&mut randomness).unwrap_or_default();
        assert!(server.handle_command(&command).is_ok());
        let command = server.next_command(&mut randomness).unwrap_or_default();
        assert!(client.handle_command(&command).is_ok());
    }
    let (sending, receiving) = (Box::new(client).finish(), Box::new(server).finish());
    let mut last = 2;
    let mut sealer = sending.sealer;
    assert!(matches!(&receiving.opener, Opener::Curve(_)));

    let how = input.octet();
    let mut sealed: Vec<Vec<u8>> = Vec::new();
    for item in items(input) {
        let mut outbox = withy_proto::zmtp::Outbox::new(withy_proto::zmtp::Framing::Curve);
        match &item {
            withy_proto::zmtp::Item::Message(message) => outbox.push(message),
            withy_proto::zmtp::Item::Command(command) => outbox.push_command(command),
        }
        let mut batch = outbox.take(Vec::new());
        assert!(batch.seal(&mut sealer, || Duration::ZERO).is_ok());
        sealed.push(wire::write(&mut batch, 0));
    }
    let limits = Limits {
        max_message_size: input.one_of(&[0, 1, 100, 300, 40_000, 1 << 26]),
        max_parts: input.one_of(&[1, 2, 1024]),
    };
    let mut octets = Vec::new();
    let mut next = 0;
    while !input.is_empty() && octets.len() < 100_000 {
        match input.octet() {
            choice @ 0..=0x3f if !sealed.is_empty() => {
                next = if choice & 0x20 == 0 {
                    next
                } else {
                    usize::from(choice)
                };
                octets.extend_from_slice(&sealed[next % sealed.len()]);
                next += 1;
            }
            choice @ 0x40..=0xdf => {
                // A box that is right but for what the input says.
                let mut body = b"\x07MESSAGE\0\0\0\0\0\0\0\0".to_vec();
                body[15] = input.octet();
                body.resize(32, 0);
                if choice & 0x0f == 0x0f {
                    let at = usize::from(input.octet()) % 32;
                    body[at] ^= input.octet();
                }
                let length = input.octet() % 64;
                body.extend_from_slice(input.take(usize::from(length)));
                frame::encode(choice >> 4 & 4, body.len(), &mut octets);
                octets.extend_from_slice(&body);
            }
            _ => {
                let length = input.octet() % 64;
                octets.extend_from_slice(input.take(usize::from(length)));
            }
        }
    }

    let mut open = |_: u8, body: &[u8]| {
        let text = body.strip_prefix(b"\x07MESSAGE").ok_or(Fault::Forged)?;
        let (nonce, boxed) = text.split_first_chunk().ok_or(Fault::Forged)?;
        let nonce = u64::from_be_bytes(*nonce);
        if body.len() < OVERHEAD || nonce <= last || boxed[..16] != [0; 16] {
            return Err(Fault::Forged);
        }
        last = nonce;
        match boxed[16] {
            2 => Ok((4, boxed[17..].to_vec())),
            flags @ 0..=1 => Ok((flags, boxed[17..].to_vec())),
            _ => Err(Fault::Header),
        }
    };
    let (expected, fault) = model::decode(&octets, limits, OVERHEAD, &mut open);
    let mut receiver = Receiver::new(Decoder::new(limits, receiving.opener));
    for piece in wire::pieces(how, &octets) {
        receiver.arrive(piece, how & 0x80 != 0);
    }
    assert_eq!(receiver.failure.as_ref().map(model::fault), fault);
    assert_eq!(receiver.items, expected);
}

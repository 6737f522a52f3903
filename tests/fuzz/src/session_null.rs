//! A whole connection in the clear, NULL, PLAIN or NULL with records: any octets into each side of each socket type,
//! and two sides of ours over a link that cuts into pieces and now and then changes something.

use withy_proto::mechanism::{Handshake, null, plain};
use withy_proto::zmtp::greeting::{self, Filler};

use super::input::Input;
use super::session::{Disturbance, Face, Failure, Reception, Side, converse};
use super::wire;

/// The mechanism.
#[derive(Debug, Clone, Copy)]
enum Way {
    Null,
    Plain,
    Records,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Null => null::NAME,
            Self::Plain => plain::NAME,
            Self::Records => null::RECORDS,
        }
    }
}

/// Any octets, or a talk.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let choice = input.octet();
    let way = match choice & 0x11 {
        0 | 0x10 => Way::Null,
        1 => Way::Plain,
        _ => Way::Records,
    };
    let reception = Reception::any(&mut input);
    if choice & 2 != 0 {
        any_octets(choice, way, reception, &mut input);
    } else {
        talk(choice, way, reception, &mut input);
    }
}

fn side(face: &Face, way: Way, accepting: bool, reception: Reception) -> Side {
    let local = face.local(reception.authenticate && accepting, accepting);
    let handshake: Box<dyn Handshake> = match (way, accepting) {
        (Way::Null, _) => Box::new(null::Null::new(local)),
        (Way::Records, _) => Box::new(null::Null::in_records(local)),
        (Way::Plain, true) => Box::new(plain::Server::new(local)),
        (Way::Plain, false) => match plain::Client::new(local, "ada", "pass word") {
            Ok(client) => Box::new(client),
            Err(error) => panic!("{error}"),
        },
    };
    Side::new(face.kind, way.name(), accepting, handshake, reception)
}

fn any_octets(choice: u8, way: Way, reception: Reception, input: &mut Input<'_>) {
    let (accepting, how) = (choice & 4 != 0, input.octet());
    let face = Face::any(input);
    let mut octets = Vec::new();
    if choice & 0x80 == 0 {
        octets.extend_from_slice(&greeting::encode(way.name(), !accepting, Filler::default()));
        // A 3.0 peer, or one of a time to come.
        octets[11] = choice >> 3 & 3;
    }
    octets.extend_from_slice(input.rest());
    let outcome = |how: u8| {
        let mut side = side(&face, way, accepting, reception);
        for piece in wire::pieces(how, &octets) {
            side.arrive(piece, how & 1 != 0);
        }
        assert!(side.output.starts_with(b"\xff"));
        assert!(side.output.len() <= 64 + 1024, "one greeting, few commands");
        side
    };
    let (whole, split) = (outcome(0), outcome(how));
    // An authenticator answers between two reads, so only without one does the outcome not depend
    // on where they end.
    if !reception.authenticate {
        assert_eq!(whole.output, split.output);
        assert_eq!(whole.items(), split.items());
        assert_eq!(whole.decode_error(), split.decode_error());
        let shown = |side: &Side| format!("{:?}", side.peer);
        assert_eq!(shown(&whole), shown(&split));
        match (&whole.failure, &split.failure) {
            // It names as much of the greeting as was there.
            (Some(Failure::Handshake(one)), Some(Failure::Handshake(other))) => {
                assert_eq!(std::mem::discriminant(one), std::mem::discriminant(other));
            }
            (one, other) => assert_eq!(one, other),
        }
    }
}

fn talk(choice: u8, way: Way, reception: Reception, input: &mut Input<'_>) {
    let mut faces = [Face::any(input), Face::any(input)];
    if choice & 0xe0 != 0 {
        // Mostly types that fit.
        faces[1].kind = input.one_of(faces[0].kind.row().peers);
    }
    let disturbance = Disturbance::any(input);
    let sides = [
        side(&faces[0], way, false, reception),
        side(&faces[1], way, true, reception),
    ];
    converse(sides, &faces, reception, disturbance.as_ref(), input);
}

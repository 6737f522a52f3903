//! One side of a connection from the greeting on, driven as the driver does it, with octets in the
//! place of the link; and what two such sides say to each other.

use std::time::Duration;

use withy_proto::Frame;
use withy_proto::crypto::Seeded;
use withy_proto::mechanism::zap::Decision;
use withy_proto::mechanism::{Handshake, Local, Sealer};
use withy_proto::pattern::{SocketType, TABLE};
use withy_proto::zmtp::connection::{Extensions, Peer, local_metadata};
use withy_proto::zmtp::decoder::Limits;
use withy_proto::zmtp::{Command, Connection, ConnectionError, DecodeError, Item, Outbox};

use super::input::Input;
use super::wire::{self, Receiver};

/// The most octets of a routing id that the inputs make.
const IDENTITY: usize = 40;

/// Who a side is.
#[derive(Debug, Clone)]
pub struct Face {
    /// Its socket type.
    pub kind: SocketType,
    /// Its routing id.
    pub identity: Vec<u8>,
    /// What it speaks beyond ZMTP.
    pub extensions: Extensions,
}

impl Face {
    /// Any type with any id.
    pub fn any(input: &mut Input<'_>) -> Self {
        let shape = input.octet();
        let length = usize::from(input.octet()) % (IDENTITY + 1);
        let withy = shape & 0x80 != 0;
        Self {
            kind: TABLE[usize::from(shape) % TABLE.len()].kind,
            identity: input.take(length).to_vec(),
            extensions: Extensions {
                withy,
                correlate: withy && shape & 0x40 != 0,
            },
        }
    }

    /// What its mechanism needs to know.
    pub fn local(&self, authenticate: bool, accepting: bool) -> Local {
        Local {
            metadata: local_metadata(self.kind, &self.identity, self.extensions),
            domain: "domain".to_owned(),
            authenticate,
            accepting,
        }
    }

    /// The routing id that its peer is told.
    fn announced(&self) -> &[u8] {
        match self.kind.announces_identity() {
            true => &self.identity,
            false => &[],
        }
    }

    /// Whether a peer was shown this face.
    fn is_shown_by(&self, peer: &Peer) -> bool {
        (peer.kind, &peer.identity[..], peer.extensions)
            == (self.kind, self.announced(), self.extensions)
    }
}

/// What the accepting side makes of its peer.
#[derive(Debug, Clone, Copy)]
pub struct Reception {
    /// Whether an authenticator is asked.
    pub authenticate: bool,
    /// The status with which it refuses.
    pub deny: Option<u16>,
    /// Whether there is a place for the peer.
    pub place: bool,
}

impl Reception {
    /// Mostly a warm one.
    pub fn any(input: &mut Input<'_>) -> Self {
        let octet = input.octet();
        Self {
            authenticate: octet & 1 != 0,
            deny: match octet >> 4 {
                13 => Some(300),
                14 => Some(400),
                15 => Some(500),
                _ => None,
            },
            place: octet & 0x0e != 0x0e,
        }
    }

    /// Whether a peer that behaves is let in.
    fn is_warm(&self) -> bool {
        self.place && !(self.authenticate && self.deny.is_some())
    }
}

/// Why a side gave its connection up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The handshake.
    Handshake(ConnectionError),
    /// There was no place for the peer.
    NoPlace,
}

/// One side.
#[derive(Debug)]
pub struct Side {
    kind: SocketType,
    reception: Reception,
    randomness: Seeded,
    connection: Option<Connection>,
    /// Octets for the peer.
    pub output: Vec<u8>,
    /// Why the handshake failed.
    pub failure: Option<Failure>,
    /// The peer, once the connection is established.
    pub peer: Option<Peer>,
    /// What comes after the handshake.
    pub receiver: Option<Receiver>,
    /// What goes after the handshake.
    sender: Option<(Outbox, Sealer)>,
}

impl Side {
    /// Starts a connection.
    pub fn new(
        kind: SocketType,
        mechanism: &'static str,
        accepting: bool,
        handshake: Box<dyn Handshake>,
        reception: Reception,
    ) -> Self {
        let limits = Limits::default();
        let connection = Connection::new(kind, mechanism, accepting, accepting, handshake, limits);
        let mut side = Self {
            kind,
            reception,
            randomness: Seeded::new(if accepting { 2 } else { 1 }),
            connection: Some(connection),
            output: Vec::new(),
            failure: None,
            peer: None,
            receiver: None,
            sender: None,
        };
        side.turn();
        side
    }

    /// A piece of what the peer sent.
    pub fn arrive(&mut self, piece: &[u8], direct: bool) {
        if let Some(receiver) = &mut self.receiver {
            receiver.arrive(piece, direct);
        } else if let Some(connection) = &mut self.connection {
            let result = connection.handle_input(piece, &mut self.randomness);
            self.transmit();
            match result {
                Ok(()) => self.turn(),
                Err(error) => self.fail(Failure::Handshake(error)),
            }
        }
    }

    /// Sends items, in one batch, and leaves the octets of each in turn, or of all where they share
    /// records; none unless the connection is established.
    pub fn send(&mut self, items: &[Item], how: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let Some((outbox, sealer)) = &mut self.sender else {
            return frames;
        };
        for item in items {
            push(outbox, item);
        }
        let size = outbox.size();
        let mut batch = outbox.take(Vec::new());
        assert!(batch.seal(sealer, || Duration::ZERO).is_ok());
        let octets = wire::write(&mut batch, how);
        if matches!(sealer, Sealer::Records(_)) {
            return if octets.is_empty() {
                frames
            } else {
                vec![octets]
            };
        }
        assert_eq!(octets.len(), size);
        let mut rest = &octets[..];
        for item in items {
            let mut alone = Outbox::new(outbox.framing());
            push(&mut alone, item);
            let (frame, tail) = rest.split_at(alone.size());
            frames.push(frame.to_vec());
            rest = tail;
        }
        assert!(rest.is_empty());
        frames
    }

    /// Whether the connection is established.
    pub fn is_established(&self) -> bool {
        self.receiver.is_some()
    }

    /// What was received.
    pub fn items(&self) -> &[Item] {
        self.receiver
            .as_ref()
            .map_or(&[], |receiver| &receiver.items)
    }

    /// Why receiving ended.
    pub fn decode_error(&self) -> Option<&DecodeError> {
        self.receiver.as_ref()?.failure.as_ref()
    }

    fn turn(&mut self) {
        while let Some(connection) = &mut self.connection {
            if let Some(octets) = connection.poll_transmit() {
                self.output.extend_from_slice(&octets);
            }
            if connection.poll_auth().is_some() {
                assert!(self.reception.authenticate);
                assert!(connection.poll_auth().is_none(), "asked once");
                let decision = match self.reception.deny {
                    None => Decision::accept("ada"),
                    Some(status) => Decision::Deny {
                        status,
                        text: "no".to_owned(),
                    },
                };
                let decided = connection.set_decision(decision, &mut self.randomness);
                assert_eq!(decided.is_err(), self.reception.deny.is_some());
                if let Err(error) = decided {
                    self.transmit();
                    return self.fail(Failure::Handshake(error));
                }
                continue;
            }
            match connection.poll_admission() {
                Ok(Some(peer)) => {
                    assert!(self.kind.accepts(peer.kind));
                    if !self.reception.place {
                        connection.refuse("no place");
                        self.transmit();
                        return self.fail(Failure::NoPlace);
                    }
                    if let Err(error) = connection.admit(&mut self.randomness) {
                        self.transmit();
                        return self.fail(Failure::Handshake(error));
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    self.transmit();
                    return self.fail(Failure::Handshake(error));
                }
            }
            if connection.is_complete() {
                self.establish();
            }
            return;
        }
    }

    fn establish(&mut self) {
        self.transmit();
        let Some(connection) = self.connection.take() else {
            return;
        };
        match connection.finish() {
            Ok(established) => {
                assert!(self.kind.accepts(established.peer.kind));
                assert!(self.reception.deny.is_none() || !self.reception.authenticate);
                self.peer = Some(established.peer);
                self.receiver = Some(Receiver::new(established.decoder));
                self.sender = Some((established.outbox, established.sealer));
            }
            Err(error) => self.fail(Failure::Handshake(error)),
        }
    }

    fn transmit(&mut self) {
        while let Some(octets) = self.connection.as_mut().and_then(Connection::poll_transmit) {
            self.output.extend_from_slice(&octets);
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.connection = None;
        self.failure = Some(failure);
    }
}

fn push(outbox: &mut Outbox, item: &Item) {
    match item {
        Item::Message(message) => outbox.push(message),
        Item::Command(command) => outbox.push_command(command),
    }
}

/// What happens to the octets of one direction on their way.
#[derive(Debug, Clone)]
pub struct Disturbance {
    /// Whose output.
    pub direction: usize,
    /// Where it starts, counted from the first octet of the greeting.
    pub at: usize,
    kind: u8,
    octets: Vec<u8>,
}

impl Disturbance {
    /// Half of all inputs have none.
    pub fn any(input: &mut Input<'_>) -> Option<Self> {
        let kind = input.octet();
        let at = input.number() % 1024;
        let length = 1 + usize::from(input.octet()) % 16;
        let octets = input.take(length).to_vec();
        (kind & 0x80 != 0 && !octets.is_empty()).then(|| Self {
            direction: usize::from(kind >> 6 & 1),
            at,
            kind: kind % 4,
            octets,
        })
    }

    /// Works on the octets that start at `start` of the direction.
    fn apply(&self, start: usize, output: &mut Vec<u8>) {
        let Some(at) = self.at.checked_sub(start) else {
            return;
        };
        if at >= output.len() {
            return;
        }
        let end = (at + self.octets.len()).min(output.len());
        match self.kind {
            0 => {
                for (octet, mask) in output[at..end].iter_mut().zip(&self.octets) {
                    *octet ^= mask;
                }
            }
            1 => output[at..end].copy_from_slice(&self.octets[..end - at]),
            2 => drop(output.splice(at..at, self.octets.iter().copied())),
            _ => drop(output.drain(at..end)),
        }
    }
}

/// A handful of items.
pub fn items(input: &mut Input<'_>) -> Vec<Item> {
    let count = input.octet() % 5;
    (0..count).map(|number| item(number, input)).collect()
}

fn item(number: u8, input: &mut Input<'_>) -> Item {
    const SIZES: [usize; 16] = [
        0, 0, 1, 1, 2, 3, 5, 8, 40, 70, 71, 200, 255, 256, 300, 33_000,
    ];
    let shape = input.octet();
    if shape >= 0xf0 {
        return Item::Command(Box::new(Command::Ping {
            ttl: Duration::from_millis(100 * u64::from(shape)),
            context: [number, shape].into(),
        }));
    }
    let frame = |at: u8| Frame::from(vec![number + at; SIZES[usize::from(shape & 15)]]);
    Item::Message(
        (0..=(shape >> 4 & 7).saturating_sub(4))
            .map(frame)
            .collect(),
    )
}

/// Lets two sides talk to the end, the dialling one first, and holds the outcome against what it
/// must be.
pub fn converse(
    mut sides: [Side; 2],
    faces: &[Face; 2],
    reception: Reception,
    disturbance: Option<&Disturbance>,
    input: &mut Input<'_>,
) {
    let (how, direct) = (input.octet(), input.octet() & 1 != 0);
    let said = [items(input), items(input)];
    // Where each direction is, and where each of its items ends.
    let mut sent = [0, 0];
    let mut ends: [Vec<usize>; 2] = Default::default();
    let mut spoken = [false, false];
    loop {
        let mut moved = false;
        for from in [0, 1] {
            if sides[from].is_established() && !std::mem::replace(&mut spoken[from], true) {
                let mut end = sent[from] + sides[from].output.len();
                for octets in sides[from].send(&said[from], usize::from(how) * 8) {
                    sides[from].output.extend_from_slice(&octets);
                    end += octets.len();
                    ends[from].push(end);
                }
            }
            let mut output = std::mem::take(&mut sides[from].output);
            moved |= !output.is_empty();
            let start = sent[from];
            sent[from] += output.len();
            if let Some(disturbance) = disturbance.filter(|it| it.direction == from) {
                disturbance.apply(start, &mut output);
            }
            for piece in wire::pieces(how, &output) {
                sides[1 - from].arrive(piece, direct);
            }
        }
        if !moved {
            break;
        }
    }

    let fits = faces[0].kind.accepts(faces[1].kind);
    for (to, side) in sides.iter().enumerate() {
        let from = 1 - to;
        let outcome = (&side.failure, side.decode_error());
        match disturbance {
            None if fits && reception.is_warm() => {
                let peer = side.peer.as_ref();
                assert!(peer.is_some_and(|peer| faces[from].is_shown_by(peer)));
                assert_eq!(outcome, (&None, None));
                assert_eq!(side.items(), said[from]);
                let held = side.receiver.as_ref().map(Receiver::held);
                assert_eq!(held, Some(0));
            }
            None => assert!(!side.is_established(), "{outcome:?}"),
            Some(disturbance) => {
                // What passed before it is as it was.
                let untouched =
                    |end: &&usize| from != disturbance.direction || **end <= disturbance.at;
                let sure = ends[from].iter().filter(untouched).count();
                let sure = sure.min(side.items().len());
                assert_eq!(side.items()[..sure], said[from][..sure]);
            }
        }
    }
}

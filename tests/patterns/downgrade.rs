//! Who speaks with whom: each mechanism against each, with peers of ZMTP 3.0 and of 3.1, whichever
//! side binds. Only those connect that were given the same, and what is negotiated is never less.

use std::fmt;
use std::time::Duration;

use withy::event::{ConnectionError, HandshakeFailure};
use withy::socket::Socket;
use withy::{Builder, Dealer, EventKind, Identity, KeyPair, Message, Monitor, generate_key_pair};
use withy_proto::SocketType;
use withy_proto::crypto::{Provider, Seeded};
use withy_proto::mechanism::noise::{Initiator, Responder};
use withy_proto::mechanism::zap::Decision;
use withy_proto::mechanism::{Agreed, Handshake, Local, Sealer, curve, null, plain};
use withy_proto::zmtp::connection::{Extensions, local_metadata};
use withy_proto::zmtp::greeting::GreetingError;
use withy_proto::zmtp::{Framing, Outbox};
use withy_tests::by_hand;
use withy_tests::raw::{self, COMMAND, LONG, Peer};
use withy_tests::scale;

use crate::support::{ANY, soon};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    Null,
    Plain,
    Curve,
    Noise,
}

const MECHANISMS: [Mechanism; 4] = [
    Mechanism::Null,
    Mechanism::Plain,
    Mechanism::Curve,
    Mechanism::Noise,
];

/// Of ZMTP 3: 3.1 speaks Withy, 3.0 a peer made by hand.
const MINORS: [u8; 2] = [0, 1];

const CELLS: usize = 4 * 4 * 2 * 2;

#[derive(Debug, Clone, Copy)]
struct Cell {
    ours: Mechanism,
    theirs: Mechanism,
    minor: u8,
    we_bind: bool,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ours,
            theirs,
            minor,
            we_bind,
        } = self;
        let who = if *we_bind { "we bind" } else { "we connect" };
        write!(f, "{ours:?} with {theirs:?} of ZMTP 3.{minor}, {who}")
    }
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for ours in MECHANISMS {
        for theirs in MECHANISMS {
            for minor in MINORS {
                for we_bind in [true, false] {
                    cells.push(Cell {
                        ours,
                        theirs,
                        minor,
                        we_bind,
                    });
                }
            }
        }
    }
    cells
}

/// What the sides have: all that each mechanism needs.
struct Keys {
    server: KeyPair,
    client: KeyPair,
    seed: [u8; 32],
}

impl Keys {
    /// Gives a socket its mechanism.
    fn give<S: Socket>(&self, mechanism: Mechanism, binds: bool, builder: Builder<S>) -> S {
        let server = self.server.clone();
        let builder = match (mechanism, binds) {
            (Mechanism::Null, _) => builder,
            (Mechanism::Plain, true) => builder.plain_server().allow_any_client(),
            (Mechanism::Plain, false) => builder.plain_client("ada", "secret"),
            (Mechanism::Curve, true) => builder.curve_server(server).allow_any_client(),
            (Mechanism::Curve, false) => builder.curve_client(self.client.clone(), server.public()),
            (Mechanism::Noise, _) => builder.identity(&Identity::from_seed(&self.seed)),
        };
        builder.build().unwrap()
    }

    /// The mechanism by itself, and its name.
    fn handshake(&self, mechanism: Mechanism, binds: bool) -> (&'static str, Box<dyn Handshake>) {
        let local = Local {
            metadata: local_metadata(SocketType::Dealer, b"", Extensions::default()),
            domain: String::new(),
            authenticate: mechanism == Mechanism::Noise,
            accepting: binds,
        };
        let server = self.server.clone();
        match (mechanism, binds) {
            (Mechanism::Null, _) => ("NULL", Box::new(null::Null::new(local))),
            (Mechanism::Plain, true) => ("PLAIN", Box::new(plain::Server::new(local))),
            (Mechanism::Plain, false) => {
                let client = plain::Client::new(local, "ada", "secret");
                ("PLAIN", Box::new(client.unwrap()))
            }
            (Mechanism::Curve, true) => ("CURVE", Box::new(curve::Server::new(local, server))),
            (Mechanism::Curve, false) => {
                let client = curve::Client::new(local, self.client.clone(), server.public());
                ("CURVE", Box::new(client))
            }
            (Mechanism::Noise, _) => ("NOISE", self.noise(local, binds)),
        }
    }

    fn noise(&self, local: Local, binds: bool) -> Box<dyn Handshake> {
        let settings = by_hand::settings(&self.seed, generate_key_pair());
        let randomness = &mut Seeded::new(settings.now);
        match binds {
            true => Box::new(Responder::new(local, settings, Provider::Real, randomness)),
            false => Box::new(Initiator::new(local, settings, Provider::Real, randomness)),
        }
    }
}

/// Shakes hands over a link as a peer of a minor version does.
async fn shake(
    peer: &mut Peer,
    minor: u8,
    (name, mut handshake): (&str, Box<dyn Handshake>),
    binds: bool,
) -> std::io::Result<Agreed> {
    let failed = |error| std::io::Error::other(error);
    let mut randomness = Seeded::new(1);
    let mut ours = raw::greeting(minor, name, binds && name != "NULL");
    ours[33..].copy_from_slice(&handshake.filler());
    peer.send(&ours).await?;
    let theirs = peer.exactly(64).await?;
    let theirs = theirs.as_slice().try_into().expect("so many octets");
    handshake.handle_greetings(&ours, theirs).map_err(failed)?;
    loop {
        if handshake.auth_request().is_some() {
            handshake.set_decision(Decision::accept("ada"));
        }
        while let Some(body) = handshake.next_command(&mut randomness) {
            let long = if body.len() > 255 { LONG } else { 0 };
            peer.send(&raw::frame(COMMAND | long, &body)).await?;
        }
        if handshake.is_complete() {
            return Ok(handshake.finish());
        }
        let frame = peer.frame().await?;
        handshake.handle_command(&frame.body).map_err(failed)?;
    }
}

/// A message as the mechanism sends it.
fn sealed(mut sealer: Sealer, message: &Message) -> Vec<u8> {
    let framing = match sealer {
        Sealer::Curve(_) => Framing::Curve,
        _ => Framing::Clear,
    };
    let mut outbox = Outbox::new(framing);
    outbox.push(message);
    let mut batch = outbox.take(Vec::new());
    batch.seal(&mut sealer, || Duration::ZERO).unwrap();
    let mut slices = [std::io::IoSlice::new(&[]); 8];
    let filled = batch.slices(&mut slices, usize::MAX);
    let slices: Vec<&[u8]> = slices[..filled].iter().map(|slice| &**slice).collect();
    slices.concat()
}

/// How the first attempt went, as one side's events tell it.
async fn outcome(monitor: &mut Monitor) -> Result<&'static str, HandshakeFailure> {
    soon(async {
        loop {
            match monitor.next().await.expect("the socket lives").kind {
                EventKind::Connected(peer) => return Ok(peer.mechanism),
                EventKind::HandshakeFailed { reason, .. } => return Err(reason),
                _ => {}
            }
        }
    })
    .await
}

/// The side that read the other's greeting says what is wrong with it.
fn names_the_mechanism(failure: &HandshakeFailure) -> bool {
    matches!(
        failure,
        HandshakeFailure::Protocol(ConnectionError::Greeting(GreetingError::Mechanism { .. }))
    )
}

/// Two sockets.
async fn between_sockets(keys: &Keys, cell: Cell) {
    let ours = keys.give(cell.ours, cell.we_bind, Dealer::builder());
    let theirs = keys.give(cell.theirs, !cell.we_bind, Dealer::builder());
    let mut monitors = [ours.monitor(), theirs.monitor()];
    let (binds, connects) = match cell.we_bind {
        true => (&ours, &theirs),
        false => (&theirs, &ours),
    };
    let endpoint = binds.bind_to(ANY).await.unwrap();
    connects.connect_to(endpoint).unwrap();
    let [first, second] = &mut monitors;
    let outcomes = tokio::join!(outcome(first), outcome(second));
    if cell.ours == cell.theirs {
        let (Ok(one), Ok(other)) = outcomes else {
            panic!("{cell}: {outcomes:?}");
        };
        let name = keys.handshake(cell.ours, true).0;
        assert_eq!((one, other), (name, name), "{cell}");
        for (from, to) in [(&ours, &theirs), (&theirs, &ours)] {
            from.send("through").await.unwrap();
            assert_eq!(soon(to.recv()).await.unwrap(), Message::from("through"));
        }
        return;
    }
    let (Err(one), Err(other)) = outcomes else {
        panic!("{cell}: {outcomes:?}");
    };
    // Whoever is first to read closes the link.
    let named = names_the_mechanism(&one) || names_the_mechanism(&other);
    assert!(named, "{cell}: {one}, {other}");
    assert_eq!(
        (ours.stats().connections, theirs.stats().connections),
        (0, 0),
        "{cell}"
    );
}

/// A socket, and a peer made by hand.
async fn with_a_peer(keys: &Keys, cell: Cell) {
    let ours = keys.give(cell.ours, cell.we_bind, Dealer::builder());
    let mut monitor = ours.monitor();
    let mut peer = if cell.we_bind {
        let endpoint = ours.bind_to(ANY).await.unwrap();
        Peer::connect(&endpoint.to_string()).await.unwrap()
    } else {
        let listener = raw::Listener::bind().await.unwrap();
        ours.connect_to(listener.endpoint().unwrap()).unwrap();
        listener.accept().await.unwrap()
    };
    let handshake = keys.handshake(cell.theirs, !cell.we_bind);
    let (shaken, outcome) = tokio::join!(
        shake(&mut peer, cell.minor, handshake, !cell.we_bind),
        outcome(&mut monitor)
    );
    if cell.ours == cell.theirs {
        let name = keys.handshake(cell.ours, true).0;
        assert!(
            matches!(outcome, Ok(ours) if ours == name),
            "{cell}: {outcome:?}"
        );
        let message = Message::from("through");
        let octets = sealed(shaken.unwrap().sealer, &message);
        peer.send(&octets).await.unwrap();
        assert_eq!(soon(ours.recv()).await.unwrap(), message, "{cell}");
        return;
    }
    let failure = outcome.expect_err("it is another mechanism");
    assert!(names_the_mechanism(&failure), "{cell}: {failure}");
    assert!(shaken.is_err(), "{cell}");
    assert_eq!(ours.stats().connections, 0, "{cell}");
}

#[tokio::test]
async fn only_equal_mechanisms_connect() {
    let keys = Keys {
        server: generate_key_pair(),
        client: generate_key_pair(),
        seed: [7; 32],
    };
    let mut run = 0;
    for cell in cells() {
        match cell.minor {
            0 => soon(with_a_peer(&keys, cell)).await,
            _ => soon(between_sockets(&keys, cell)).await,
        }
        run += 1;
    }
    scale::report("downgrade cells run", format!("{run} / {CELLS} expected"));
    assert_eq!(run, CELLS);
}

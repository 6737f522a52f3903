//! Every valid pair of socket types × every mechanism × tcp and ipc × either side binding, against
//! a stock libzmq 4.3.5. Each cell passes messages of one, two and three frames, empty ones and ones
//! of 40,000 octets among them, in every direction that the pair has; in a long run also one of
//! 16 MiB.
//!
//! A cell counts once it has passed them all; the test names those that failed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use withy::auth::{AuthRequest, Authenticator, CurveAllowList, Deciding, Decision};
use withy::{
    AnySocket, Builder, Credentials, Frame, KeyPair, Message, Rep, Req, SocketType,
    generate_key_pair,
};
use withy_proto::pattern::TABLE;
use withy_tests::load::Load;
use withy_tests::python::{Peer, Socket};
use withy_tests::scale;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(crate) const PARTS: u64 = 3;
/// Around the borders of the encodings: short and long frames, messages that are stored inline, read
/// buffers, bodies sent by reference. Of 11 sizes each comes in each place of the 6 frames of three
/// messages.
pub(crate) const SIZES: [usize; 11] = [0, 1, 8, 70, 71, 255, 256, 8_191, 8_192, 40_000, 33];

const CELL: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    Null,
    Plain,
    Curve,
}

const MECHANISMS: [Mechanism; 3] = [Mechanism::Null, Mechanism::Plain, Mechanism::Curve];
const TRANSPORTS: [&str; 2] = ["tcp://127.0.0.1:*", "ipc://*"];

#[derive(Debug, Clone, Copy)]
struct Cell {
    ours: SocketType,
    theirs: SocketType,
    mechanism: Mechanism,
    transport: &'static str,
    we_bind: bool,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ours,
            theirs,
            mechanism,
            transport,
            we_bind,
        } = self;
        let (scheme, _) = transport.split_once("://").unwrap_or((transport, ""));
        let who = if *we_bind { "we bind" } else { "we connect" };
        write!(
            f,
            "{ours} to libzmq {theirs}, {mechanism:?}, {scheme}, {who}"
        )
    }
}

/// Of 21 valid pairs, seen from our side.
const CELLS: usize = 21 * 3 * 2 * 2;

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for row in TABLE {
        for theirs in row.peers {
            for mechanism in MECHANISMS {
                for transport in TRANSPORTS {
                    for we_bind in [true, false] {
                        cells.push(Cell {
                            ours: row.kind,
                            theirs: *theirs,
                            mechanism,
                            transport,
                            we_bind,
                        });
                    }
                }
            }
        }
    }
    cells
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cell_passes_messages() {
    let cells = cells();
    let keys = Arc::new(Keys {
        us: generate_key_pair(),
        them: generate_key_pair(),
    });
    let peer = Peer::start();
    peer.zap(json!({
        "PLAIN": [["ada", "secret"]],
        "CURVE": [[withy_tests::python::latin1(keys.us.public().as_octets())]],
    }))
    .await
    .unwrap();
    // Whoever asks here sends a whole load before it takes the replies: they have to fit into the
    // queues of both.
    let rounds = (0..scale::count(1, 5)).map(|round| {
        let seed = scale::seed() + round;
        Load::mixed(scale::count(40, 400), PARTS, SIZES.to_vec(), seed)
    });
    let large = (0..scale::count(0, 1)).map(|_| Load::new(1, 16 << 20, scale::seed()));
    let loads: Vec<Load> = rounds.chain(large).collect();
    let mut run = 0;
    let mut failed = Vec::new();
    for cell in &cells {
        let failures = failed.len();
        for load in &loads {
            match timeout(CELL, pass(&peer, &keys, *cell, load)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => failed.push(format!("{cell}: {error}")),
                Err(_) => failed.push(format!("{cell}: not over within {CELL:?}")),
            }
            break;
        }
        if failed.len() == failures {
            run += 1;
        } else if scale::is_full() {
            eprintln!("{}", failed[failures]);
        }
    }
    scale::report(
        "matrix cells run",
        format!("{run} / {CELLS} expected, {} failed", failed.len()),
    );
    assert!(
        failed.is_empty(),
        "{} cells failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
    assert_eq!(run, CELLS);
}

/// Bodies up to 16 MiB, both ways, with every mechanism.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_up_to_16_mib_pass() {
    let keys = Keys {
        us: generate_key_pair(),
        them: generate_key_pair(),
    };
    let peer = Peer::start();
    let load = Load::mixed(
        6,
        1,
        vec![65_535, 65_536, 1 << 20, (1 << 20) + 1, 16 << 20, 3],
        scale::seed(),
    );
    for mechanism in MECHANISMS {
        for (ours, theirs) in [
            (SocketType::Push, SocketType::Pull),
            (SocketType::Pull, SocketType::Push),
        ] {
            let cell = Cell {
                ours,
                theirs,
                mechanism,
                transport: TRANSPORTS[0],
                we_bind: true,
            };
            timeout(Duration::from_secs(60), pass(&peer, &keys, cell, &load))
                .await
                .unwrap()
                .unwrap();
        }
    }
}

struct Keys {
    us: KeyPair,
    them: KeyPair,
}

#[derive(Debug)]
pub(crate) struct OnlyAda;

impl Authenticator for OnlyAda {
    fn authenticate<'a>(&'a self, request: &'a AuthRequest) -> Deciding<'a> {
        let known = matches!(&request.credentials,
            Credentials::Plain { username, password } if username == b"ada" && password == b"secret");
        Box::pin(std::future::ready(if known {
            Decision::accept("ada")
        } else {
            Decision::deny("no")
        }))
    }
}

/// The side that binds is the server, where the mechanism has one.
fn secured<S: withy::socket::Socket>(builder: Builder<S>, keys: &Keys, cell: Cell) -> Builder<S> {
    match (cell.mechanism, cell.we_bind) {
        (Mechanism::Null, _) => builder,
        (Mechanism::Plain, true) => builder.plain_server().authenticator(OnlyAda),
        (Mechanism::Plain, false) => builder.plain_client("ada", "secret"),
        (Mechanism::Curve, true) => builder
            .curve_server(keys.us.clone())
            .authenticator(CurveAllowList::new([keys.them.public()])),
        (Mechanism::Curve, false) => builder.curve_client(keys.us.clone(), keys.them.public()),
    }
}

fn their_options(keys: &Keys, cell: Cell) -> Vec<(&'static str, Value)> {
    // libzmq hands the user id of ZAP to its REQ as if it were a reply, and then ends the
    // connection as malformed: such a server works for users without a name only.
    let domain = if cell.theirs == SocketType::Req {
        "nameless"
    } else {
        "test"
    };
    let public = keys.them.public().to_string();
    let secret = keys.them.secret().expose_z85().to_string();
    let mut options = match (cell.mechanism, cell.we_bind) {
        (Mechanism::Null, _) => vec![],
        (Mechanism::Plain, true) => vec![
            ("PLAIN_USERNAME", json!("ada")),
            ("PLAIN_PASSWORD", json!("secret")),
        ],
        (Mechanism::Plain, false) => {
            vec![("PLAIN_SERVER", json!(1)), ("ZAP_DOMAIN", json!(domain))]
        }
        (Mechanism::Curve, true) => vec![
            ("CURVE_PUBLICKEY", json!(public)),
            ("CURVE_SECRETKEY", json!(secret)),
            ("CURVE_SERVERKEY", json!(keys.us.public().to_string())),
        ],
        (Mechanism::Curve, false) => vec![
            ("CURVE_SERVER", json!(1)),
            ("CURVE_SECRETKEY", json!(secret)),
            ("ZAP_DOMAIN", json!(domain)),
        ],
    };
    if cell.theirs == SocketType::Router {
        options.push(("ROUTING_ID", json!("them")));
        options.push(("ROUTER_MANDATORY", json!(1)));
    }
    options
}

async fn pass(peer: &Peer, keys: &Keys, cell: Cell, load: &Load) -> Result<(), Failure> {
    let theirs = peer
        .socket(cell.theirs.name(), &their_options(keys, cell))
        .await?;
    match cell.ours {
        SocketType::Req => {
            let ours = secured(Req::builder(), keys, cell).build()?;
            link(
                &theirs,
                cell,
                async |endpoint| Ok(ours.bind_to(endpoint).await?),
                |endpoint| Ok(ours.connect_to(endpoint)?),
            )
            .await?;
            let asking = async {
                for index in 0..load.count {
                    let reply = ours
                        .request_timeout(message(&[], load, index), SOON)
                        .await?;
                    check(load, index, reply.frames())?;
                }
                Ok::<_, Failure>(())
            };
            let (echoed, asked) = tokio::join!(theirs.echo(load.count, CELL), asking);
            asked?;
            expect(echoed?, load.count)?;
            ours.close().await;
        }
        SocketType::Rep => {
            let ours = secured(Rep::builder(), keys, cell).build()?;
            link(
                &theirs,
                cell,
                async |endpoint| Ok(ours.bind_to(endpoint).await?),
                |endpoint| Ok(ours.connect_to(endpoint)?),
            )
            .await?;
            let answering = async {
                for index in 0..load.count {
                    let mut request = ours.recv_timeout(SOON).await?;
                    check(load, index, request.message().frames())?;
                    let reply = request.take_message();
                    request.reply(reply).await?;
                }
                Ok::<_, Failure>(())
            };
            if cell.theirs == SocketType::Req {
                let (asked, answered) = tokio::join!(theirs.ask_load(load, CELL), answering);
                answered?;
                expect(asked?, load.count)?;
            } else {
                let asking = async {
                    expect(theirs.send_load(load, &[b""], CELL).await?, load.count)?;
                    expect(theirs.recv_load(load, 1, CELL).await?.messages, load.count)
                };
                let (asked, answered) = tokio::join!(asking, answering);
                answered?;
                asked?;
            }
            ours.close().await;
        }
        kind => {
            let builder = AnySocket::builder(kind);
            let builder = if kind == SocketType::Router {
                builder.routing_id("us")
            } else {
                builder
            };
            let ours = secured(builder, keys, cell).build()?;
            if kind == SocketType::Sub {
                ours.subscribe("", true);
            }
            if kind == SocketType::XSub {
                ours.send("\u{1}").await?;
            }
            if cell.theirs == SocketType::Sub {
                theirs.subscribe(b"").await?;
            }
            link(
                &theirs,
                cell,
                async |endpoint| Ok(ours.bind_to(endpoint).await?),
                |endpoint| Ok(ours.connect_to(endpoint)?),
            )
            .await?;
            if cell.theirs == SocketType::XSub {
                theirs.send(&[b"\x01"]).await?;
            }
            timeout(SOON, ours.ready()).await??;
            pass_any(&ours, &theirs, cell, load).await?;
            ours.close().await;
        }
    }
    theirs.close().await?;
    Ok(())
}

/// Binds one side and connects the other.
async fn link(
    theirs: &Socket,
    cell: Cell,
    bind: impl AsyncFnOnce(&str) -> Result<withy::Endpoint, Failure>,
    connect: impl FnOnce(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if cell.we_bind {
        let endpoint = bind(cell.transport).await?;
        theirs.connect(&endpoint.to_string()).await?;
    } else {
        let endpoint = theirs.bind(cell.transport).await?;
        connect(&endpoint)?;
    }
    Ok(())
}

async fn pass_any(
    ours: &AnySocket,
    theirs: &Socket,
    cell: Cell,
    load: &Load,
) -> Result<(), Failure> {
    use SocketType::{Dealer, Pair, Pub, Pull, Push, Rep, Router, Sub, XPub, XSub};
    match (cell.ours, cell.theirs) {
        (Push, Pull) => forth(ours, theirs, &[], 0, load).await,
        (Pull, Push) => back(ours, theirs, &[], 0, load).await,
        (Pair, Pair) | (Dealer, Dealer) => {
            forth(ours, theirs, &[], 0, load).await?;
            back(ours, theirs, &[], 0, load).await
        }
        (Pub | XPub, Sub | XSub) => {
            // A bound libzmq SUB tells its subscriptions once its application calls into it.
            let publishing = async {
                timeout(SOON, ours.wait_subscribed(1)).await??;
                for index in 0..load.count {
                    ours.send_timeout(message(&[], load, index), SOON).await?;
                }
                Ok::<_, Failure>(())
            };
            let (published, received) = tokio::join!(publishing, theirs.recv_load(load, 0, CELL));
            published?;
            expect(received?.messages, load.count)
        }
        (Sub | XSub, Pub | XPub) => {
            // A PUB does not say when it has a subscription: probe until one comes.
            loop {
                theirs.send(&[b"probe"]).await?;
                if ours.recv_timeout(Duration::from_millis(20)).await.is_ok() {
                    break;
                }
            }
            while ours.try_recv().is_ok() {}
            expect(theirs.send_load(load, &[], CELL).await?, load.count)?;
            let mut index = 0;
            while index < load.count {
                let message = ours.recv_timeout(SOON).await?;
                if *message.first() != *b"probe" {
                    check(load, index, message.frames())?;
                    index += 1;
                }
            }
            Ok(())
        }
        (Dealer, Rep) => echoed(ours, theirs, &[b""], load).await,
        (Dealer, Router) => echoed(ours, theirs, &[], load).await,
        (Router, Router) => {
            let us = [&b"them"[..]];
            echoed(ours, theirs, &us, load).await
        }
        (Router, _) => {
            let answering = async {
                for _ in 0..load.count {
                    let message = ours.recv_timeout(SOON).await?;
                    ours.send(message).await?;
                }
                Ok::<_, Failure>(())
            };
            let (answered, asked) = tokio::join!(answering, theirs.ask_load(load, CELL));
            answered?;
            expect(asked?, load.count)
        }
        (ours, theirs) => Err(format!("no exchange is known between {ours} and {theirs}").into()),
    }
}

/// We send, they receive.
async fn forth(
    ours: &AnySocket,
    theirs: &Socket,
    prefix: &[&[u8]],
    skip: usize,
    load: &Load,
) -> Result<(), Failure> {
    let sending = async {
        for index in 0..load.count {
            ours.send_timeout(message(prefix, load, index), SOON)
                .await?;
        }
        Ok::<_, Failure>(())
    };
    let (sent, received) = tokio::join!(sending, theirs.recv_load(load, skip, CELL));
    sent?;
    expect(received?.messages, load.count)
}

/// They send, we receive.
async fn back(
    ours: &AnySocket,
    theirs: &Socket,
    prefix: &[&[u8]],
    skip: usize,
    load: &Load,
) -> Result<(), Failure> {
    let receiving = async {
        for index in 0..load.count {
            let message = ours.recv_timeout(SOON).await?;
            check(
                load,
                index,
                message.frames().get(skip..).unwrap_or_default(),
            )?;
        }
        Ok::<_, Failure>(())
    };
    let (sent, received) = tokio::join!(theirs.send_load(load, prefix, CELL), receiving);
    received?;
    expect(sent?, load.count)
}

/// We send, they send it back.
async fn echoed(
    ours: &AnySocket,
    theirs: &Socket,
    prefix: &[&[u8]],
    load: &Load,
) -> Result<(), Failure> {
    let asking = async {
        for index in 0..load.count {
            ours.send_timeout(message(prefix, load, index), SOON)
                .await?;
            let reply = ours.recv_timeout(SOON).await?;
            check(
                load,
                index,
                reply.frames().get(prefix.len()..).unwrap_or_default(),
            )?;
        }
        Ok::<_, Failure>(())
    };
    let (sent_back, asked) = tokio::join!(theirs.echo(load.count, CELL), asking);
    asked?;
    expect(sent_back?, load.count)
}

pub(crate) fn message(prefix: &[&[u8]], load: &Load, index: u64) -> Message {
    let frames = load.message(index);
    prefix
        .iter()
        .map(|frame| Frame::from(*frame))
        .chain(frames.into_iter().map(Frame::from))
        .collect()
}

pub(crate) fn check(load: &Load, index: u64, frames: &[impl AsRef<[u8]>]) -> Result<(), Failure> {
    let expected = load.message(index);
    let same = frames.len() == expected.len()
        && frames
            .iter()
            .zip(&expected)
            .all(|(a, b)| a.as_ref() == &b[..]);
    if same {
        Ok(())
    } else {
        Err(format!("message {index} differs").into())
    }
}

fn expect(got: u64, wanted: u64) -> Result<(), Failure> {
    if got == wanted {
        Ok(())
    } else {
        Err(format!("{got} messages of {wanted}").into())
    }
}

//! The Rust crates `zeromq` and `omq-tokio` as peers on tcp: every pair of socket types that they
//! and we have, either side binding, with each mechanism that the crate speaks.
//!
//! A cell counts once it has passed all messages; the test names those that failed.

mod omq;
mod zeromq_rs;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::timeout;
use withy::auth::CurveAllowList;
use withy::{AnySocket, Builder, KeyPair, Rep, Req, SocketType, generate_key_pair};
use withy_proto::pattern::TABLE;
use withy_tests::load::Load;
use withy_tests::scale;

use crate::matrix::{Failure, OnlyAda, PARTS, SIZES, check, message};

const CELL: Duration = Duration::from_secs(20);

type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;
type Frames = Vec<Vec<u8>>;

/// A socket of a crate. What its type cannot do is an error.
trait Foreign: Send {
    fn bind(&mut self) -> Doing<'_, String>;
    fn connect<'a>(&'a mut self, endpoint: &'a str) -> Doing<'a, ()>;
    /// To everything.
    fn subscribe(&mut self) -> Doing<'_, ()>;
    fn send(&mut self, frames: Frames) -> Doing<'_, ()>;
    fn recv(&mut self) -> Doing<'_, Frames>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    Null,
    Plain,
    Curve,
}

/// A crate, and what of ours it has.
struct Crate {
    name: &'static str,
    kinds: &'static [SocketType],
    mechanisms: &'static [Mechanism],
    socket: Opener,
}

type Opener = fn(Cell, &Keys) -> Result<Box<dyn Foreign>, Failure>;

const CRATES: [Crate; 2] = [zeromq_rs::CRATE, omq::CRATE];

struct Keys {
    us: KeyPair,
    them: KeyPair,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    name: &'static str,
    ours: SocketType,
    theirs: SocketType,
    mechanism: Mechanism,
    we_bind: bool,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            ours,
            theirs,
            mechanism,
            we_bind,
        } = self;
        let who = if *we_bind { "we bind" } else { "we connect" };
        write!(f, "{ours} to {name} {theirs}, {mechanism:?}, {who}")
    }
}

/// The pairs of RFC 28 to 31, less those with a PAIR, which `zeromq` has not.
const PAIRS_WITHOUT_PAIR: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cell_with_zeromq_passes_messages() {
    run(&CRATES[0], PAIRS_WITHOUT_PAIR * 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cell_with_omq_passes_messages() {
    run(&CRATES[1], (PAIRS_WITHOUT_PAIR + 1) * 3 * 2).await;
}

async fn run(peer: &'static Crate, expected: usize) {
    let keys = Keys {
        us: generate_key_pair(),
        them: generate_key_pair(),
    };
    let load = Load::mixed(
        scale::count(40, 1_000),
        PARTS,
        SIZES.to_vec(),
        scale::seed(),
    );
    let mut run = 0;
    let mut failed = Vec::new();
    for cell in cells(peer) {
        match timeout(CELL, pass(peer, &keys, cell, &load)).await {
            Ok(Ok(())) => run += 1,
            Ok(Err(error)) => failed.push(format!("{cell}: {error}")),
            Err(_) => failed.push(format!("{cell}: not over within {CELL:?}")),
        }
    }
    let (name, failures) = (peer.name, failed.len());
    scale::report(
        &format!("{name} cells run"),
        format!("{run} / {expected} expected, {failures} failed"),
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(run, expected);
}

fn cells(peer: &'static Crate) -> Vec<Cell> {
    let mut cells = Vec::new();
    for row in TABLE {
        for theirs in row.peers.iter().filter(|kind| peer.kinds.contains(kind)) {
            for mechanism in peer.mechanisms {
                for we_bind in [true, false] {
                    cells.push(Cell {
                        name: peer.name,
                        ours: row.kind,
                        theirs: *theirs,
                        mechanism: *mechanism,
                        we_bind,
                    });
                }
            }
        }
    }
    cells
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

async fn pass(peer: &Crate, keys: &Keys, cell: Cell, load: &Load) -> Result<(), Failure> {
    let mut theirs = (peer.socket)(cell, keys)?;
    let theirs = theirs.as_mut();
    if matches!(cell.theirs, SocketType::Sub | SocketType::XSub) && cell.name == "omq" {
        theirs.subscribe().await?;
    }
    match cell.ours {
        SocketType::Req => {
            let ours = secured(Req::builder(), keys, cell).build()?;
            if cell.we_bind {
                let endpoint = ours.bind_to("tcp://127.0.0.1:*").await?;
                theirs.connect(&endpoint.to_string()).await?;
            } else {
                ours.connect_to(theirs.bind().await?.as_str())?;
            }
            let asking = async {
                for index in 0..load.count {
                    let reply = ours.request(message(&[], load, index)).await?;
                    check(load, index, reply.frames())?;
                }
                Ok::<_, Failure>(())
            };
            tokio::try_join!(echo(theirs, load.count), asking)?;
            ours.close().await;
        }
        SocketType::Rep => {
            let ours = secured(Rep::builder(), keys, cell).build()?;
            if cell.we_bind {
                let endpoint = ours.bind_to("tcp://127.0.0.1:*").await?;
                theirs.connect(&endpoint.to_string()).await?;
            } else {
                ours.connect_to(theirs.bind().await?.as_str())?;
                ours.ready().await?;
            }
            let answering = async {
                for _ in 0..load.count {
                    let mut request = ours.recv().await?;
                    let reply = request.take_message();
                    request.reply(reply).await?;
                }
                Ok::<_, Failure>(())
            };
            let prefix: &[&[u8]] = match cell.theirs {
                SocketType::Req => &[],
                _ => &[b""],
            };
            tokio::try_join!(ask(theirs, prefix, load), answering)?;
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
            match kind {
                SocketType::Sub => ours.subscribe("", true),
                SocketType::XSub => ours.send("\u{1}").await?,
                _ => {}
            }
            if cell.we_bind {
                let endpoint = ours.bind_to("tcp://127.0.0.1:*").await?;
                theirs.connect(&endpoint.to_string()).await?;
            } else {
                ours.connect_to(theirs.bind().await?.as_str())?;
            }
            ours.ready().await?;
            if matches!(cell.theirs, SocketType::Sub | SocketType::XSub) && cell.name == "zeromq" {
                // It tells only those publishers of a subscription that it knows by then.
                theirs.subscribe().await?;
            }
            pass_any(&ours, theirs, cell, load).await?;
            ours.close().await;
        }
    }
    Ok(())
}

async fn pass_any(
    ours: &AnySocket,
    theirs: &mut dyn Foreign,
    cell: Cell,
    load: &Load,
) -> Result<(), Failure> {
    use SocketType::{Dealer, Pair, Pub, Pull, Push, Rep, Router, Sub, XPub, XSub};
    match (cell.ours, cell.theirs) {
        (Push, Pull) => forth(ours, theirs, load).await,
        (Pull, Push) => back(ours, theirs, load).await,
        (Pair, Pair) | (Dealer, Dealer) => {
            forth(ours, theirs, load).await?;
            back(ours, theirs, load).await
        }
        (Pub | XPub, Sub | XSub) => {
            ours.wait_subscribed(1).await?;
            forth(ours, theirs, load).await
        }
        (Sub | XSub, XPub) if cell.name == "zeromq" => {
            // It heeds a subscription when its application receives that.
            theirs.recv().await?;
            back(ours, theirs, load).await
        }
        (Sub | XSub, Pub | XPub) => {
            // A PUB does not say when it has a subscription: probe until one comes.
            loop {
                theirs.send(vec![b"probe".to_vec()]).await?;
                if ours.recv_timeout(Duration::from_millis(20)).await.is_ok() {
                    break;
                }
            }
            while ours.try_recv().is_ok() {}
            back(ours, theirs, load).await
        }
        (Dealer, Rep) => asked(ours, theirs, &[b""], load).await,
        (Dealer, Router) => asked(ours, theirs, &[], load).await,
        (Router, Router) => asked(ours, theirs, &[b"them"], load).await,
        (Router, Dealer | SocketType::Req) => {
            let answering = async {
                for _ in 0..load.count {
                    let message = ours.recv().await?;
                    ours.send(message).await?;
                }
                Ok::<_, Failure>(())
            };
            tokio::try_join!(ask(theirs, &[], load), answering)?;
            Ok(())
        }
        (ours, theirs) => Err(format!("no exchange is known between {ours} and {theirs}").into()),
    }
}

/// We send, they receive.
async fn forth(ours: &AnySocket, theirs: &mut dyn Foreign, load: &Load) -> Result<(), Failure> {
    let sending = async {
        for index in 0..load.count {
            ours.send(message(&[], load, index)).await?;
        }
        Ok::<_, Failure>(())
    };
    let receiving = async {
        for index in 0..load.count {
            check(load, index, &theirs.recv().await?)?;
        }
        Ok::<_, Failure>(())
    };
    tokio::try_join!(sending, receiving)?;
    Ok(())
}

/// They send, we receive.
async fn back(ours: &AnySocket, theirs: &mut dyn Foreign, load: &Load) -> Result<(), Failure> {
    let receiving = async {
        let mut index = 0;
        while index < load.count {
            let message = ours.recv().await?;
            if *message.first() != *b"probe" {
                check(load, index, message.frames())?;
                index += 1;
            }
        }
        Ok::<_, Failure>(())
    };
    let sending = async {
        for index in 0..load.count {
            theirs.send(load.message(index)).await?;
        }
        Ok::<_, Failure>(())
    };
    tokio::try_join!(sending, receiving)?;
    Ok(())
}

/// They ask, and check what comes back.
async fn ask(theirs: &mut dyn Foreign, prefix: &[&[u8]], load: &Load) -> Result<(), Failure> {
    for index in 0..load.count {
        let frames = prefix.iter().map(|frame| frame.to_vec());
        theirs
            .send(frames.chain(load.message(index)).collect())
            .await?;
        let reply = theirs.recv().await?;
        check(load, index, reply.get(prefix.len()..).unwrap_or_default())?;
    }
    Ok(())
}

/// We ask, they send it back.
async fn asked(
    ours: &AnySocket,
    theirs: &mut dyn Foreign,
    prefix: &[&[u8]],
    load: &Load,
) -> Result<(), Failure> {
    let asking = async {
        for index in 0..load.count {
            ours.send(message(prefix, load, index)).await?;
            let reply = ours.recv().await?;
            let frames = reply.frames().get(prefix.len()..).unwrap_or_default();
            check(load, index, frames)?;
        }
        Ok::<_, Failure>(())
    };
    tokio::try_join!(echo(theirs, load.count), asking)?;
    Ok(())
}

async fn echo(theirs: &mut dyn Foreign, count: u64) -> Result<(), Failure> {
    for _ in 0..count {
        let frames = theirs.recv().await?;
        theirs.send(frames).await?;
    }
    Ok(())
}

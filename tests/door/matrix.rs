//! Every socket type that has something to do at the door × every mechanism × tcp and ipc, each cell with
//! a stock libzmq 4.3.5 on one side and a node in another process on the other.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;
use withy::node::ZmtpDoor;
use withy::{Message, Pull};
use withy_tests::python::{Peer, Socket};
use withy_tests::scale;

use crate::house::{House, MECHANISMS, SOON, connected, until};
use crate::partner::{self, Partner, SEEN};

const KINDS: [&str; 10] = [
    "SUB", "XSUB", "PUB", "XPUB", "REQ", "DEALER", "PUSH", "REP", "WORKER", "PULL",
];
const TRANSPORTS: [&str; 2] = ["tcp://127.0.0.1:*", "ipc://*"];
const CELLS: usize = KINDS.len() * MECHANISMS.len() * TRANSPORTS.len();
const CELL: Duration = Duration::from_secs(30);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What all cells of a door share.
struct Hall<'a> {
    peer: &'a Peer,
    partner: &'a Partner,
    seen: &'a Pull,
    door: ZmtpDoor,
    options: Vec<(&'static str, Value)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_socket_type_comes_through_the_door() {
    if partner::act().await {
        return;
    }
    let house = House::new();
    let node = house.node().await;
    let seen = node.pull(SEEN).unwrap();
    let test = "matrix::every_socket_type_comes_through_the_door";
    let partner = Partner::start(test, house.path(), &node).await;
    let peer = Peer::start();
    let (mut run, mut failed) = (0, Vec::new());
    for mechanism in MECHANISMS {
        for transport in TRANSPORTS {
            let door = house.door(&node, mechanism).listen(transport);
            let door = door.serve("worker", transport).pull("parcels", transport);
            let hall = Hall {
                peer: &peer,
                partner: &partner,
                seen: &seen,
                door: door.open().await.unwrap(),
                options: house.ada(mechanism),
            };
            for kind in KINDS {
                let cell = format!("{kind}, {mechanism:?}, {transport}");
                match timeout(CELL, hall.pass(kind, &cell)).await {
                    Ok(Ok(())) => run += 1,
                    Ok(Err(error)) => failed.push(format!("{cell}: {error}")),
                    Err(_) => failed.push(format!("{cell}: not over within {CELL:?}")),
                }
            }
            let stats = hall.door.stats();
            assert_eq!(stats.handshakes_failed, 0, "{stats:?}");
            let lost = stats.malformed + stats.denied + stats.overflowed + stats.undelivered;
            assert_eq!((lost, stats.dropped, stats.failed), (0, 0, 0), "{stats:?}");
            hall.door.close(SOON).await;
        }
    }
    scale::report("door cells run", format!("{run} / {CELLS} expected"));
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(run, CELLS);
}

impl Hall<'_> {
    async fn socket(&self, kind: &str) -> Socket {
        connected(self.peer, kind, &self.options, &self.door.endpoints()[0]).await
    }

    /// Passes messages through one cell; `cell` makes what is said there its own.
    async fn pass(&self, kind: &str, cell: &str) -> Result<(), Failure> {
        let theirs = match kind {
            "REP" => self.beside(kind, self.door.served()[0].1.to_string()).await,
            "WORKER" => {
                self.beside("DEALER", self.door.served()[0].1.to_string())
                    .await
            }
            "PULL" => self.beside(kind, self.door.pulled()[0].1.to_string()).await,
            _ => self.socket(kind).await,
        };
        match kind {
            "SUB" | "XSUB" => {
                match kind {
                    "SUB" => theirs.subscribe(b"news/").await?,
                    _ => theirs.send(&[b"\x01news/"]).await?,
                }
                // libzmq sends subscriptions when its application next does something.
                assert_eq!(theirs.recv(Duration::ZERO).await?, None);
                // That of the cell before may still hold at the partner.
                until(|| self.door.stats().subscriptions == 1).await;
                self.partner.order(&["publish", "news/x", cell]).await;
                expect(&theirs, &["news/x", cell]).await?;
            }
            "PUB" | "XPUB" => {
                // What is published before the partner has subscribed is for nobody.
                let said = async {
                    loop {
                        theirs.send(&["to/partner", cell]).await?;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                };
                let wanted = ["to/partner", cell];
                tokio::select! {
                    ended = said => return ended,
                    seen = self.seen(&wanted) => seen?,
                }
            }
            "REQ" => {
                theirs.send(&["echo", cell, ""]).await?;
                expect(&theirs, &["partner", cell, ""]).await?;
            }
            "DEALER" => {
                // With the envelope of a REQ, with a longer one, and with none.
                for (sent, came) in [
                    (&["", "echo", cell][..], &["", "partner", cell][..]),
                    (&["7", "", "echo", cell], &["7", "", "partner", cell]),
                    (&["echo", cell], &["partner", cell]),
                ] {
                    theirs.send(sent).await?;
                    expect(&theirs, came).await?;
                }
            }
            "PUSH" => {
                theirs.send(&["jobs", cell]).await?;
                self.seen(&["jobs", cell]).await?;
            }
            "REP" | "WORKER" => {
                let order = ["ask", "worker", cell];
                let asking = self.partner.order(&order);
                let working = async {
                    let mut request = theirs.recv(SOON).await?.ok_or("no request")?;
                    let at = request.len() - 1;
                    request[at].extend(b", done");
                    theirs.send(&request).await?;
                    Ok::<_, Failure>(())
                };
                let (reply, worked) = tokio::join!(asking, working);
                worked?;
                assert_eq!(reply.first(), &*format!("{cell}, done"));
            }
            _ => {
                self.partner.order(&["push", "parcels", cell]).await;
                expect(&theirs, &[cell]).await?;
            }
        }
        theirs.close().await?;
        // The next cell finds nobody else there.
        until(|| {
            let stats = self.door.stats();
            (stats.workers, stats.subscriptions) == (0, 0)
        })
        .await;
        Ok(())
    }

    async fn beside(&self, kind: &str, endpoint: String) -> Socket {
        connected(self.peer, kind, &self.options, endpoint).await
    }

    /// Waits until the partner has seen this.
    async fn seen(&self, frames: &[&str]) -> Result<(), Failure> {
        let wanted: Message = frames.iter().copied().collect();
        // What another cell said more than once may still come.
        while self.seen.recv().await? != wanted {}
        Ok(())
    }
}

async fn expect(theirs: &Socket, frames: &[&str]) -> Result<(), Failure> {
    let came = theirs.recv(SOON).await?.ok_or("nothing came")?;
    let wanted: Vec<_> = frames.iter().map(|it| it.as_bytes().to_vec()).collect();
    match came == wanted {
        true => Ok(()),
        false => Err(format!("{came:?} came, not {wanted:?}").into()),
    }
}

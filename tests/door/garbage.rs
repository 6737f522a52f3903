//! Whoever talks nonsense to the door: others notice nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use withy_proto::crypto::{Randomness as _, Seeded};
use withy_tests::deadline::soon;
use withy_tests::python::Peer;
use withy_tests::{raw, scale};

use crate::house::{House, Mechanism, SOON, connected, echo, until};

/// Sends octets, and waits until the door hangs up.
async fn throw(at: &str, octets: &[u8]) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    // It may hang up within them.
    let _ = stream.write_all(octets).await;
    let _ = stream.shutdown().await;
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_hurts_nobody_else() {
    let house = House::new();
    let node = house.node().await;
    let door = house
        .door(&node, Mechanism::Null)
        .listen("tcp://127.0.0.1:*");
    let door = door.serve("x", "tcp://127.0.0.1:*").open().await.unwrap();
    echo(&node);
    let (peer, endpoint) = (Peer::start(), door.endpoints()[0].to_string());
    let req = connected(&peer, "REQ", &[], &endpoint).await;
    let sub = connected(&peer, "SUB", &[], &endpoint).await;
    sub.subscribe(b"home/").await.unwrap();
    assert_eq!(sub.recv(Duration::ZERO).await.unwrap(), None);
    until(|| door.stats().filters == 1).await;
    let at = endpoint.strip_prefix("tcp://").unwrap();
    let mut random = Seeded::new(scale::seed());
    // Some that stay, and say nothing or half of it.
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream
            .write_all(&raw::greeting(1, "NULL", false)[..40])
            .await
            .unwrap();
        silent.push(stream);
    }
    let kinds = ["SUB", "XSUB", "PUB", "XPUB", "REQ", "DEALER", "PUSH"];
    let strangers = ["PAIR", "ROUTER", "REP", "PULL", "KING", ""];
    let rounds = scale::count(200, 20_000);
    for round in 0..rounds {
        let mut noise = vec![0; random.next_u64() as usize % 600];
        random.fill(&mut noise);
        let greeting = raw::greeting(1, "NULL", false);
        let ready = |kind: &str| {
            let metadata = raw::metadata(&[("Socket-Type", kind.as_bytes())]);
            raw::command("READY", &metadata)
        };
        let pick = |from: &[&'static str]| from[round as usize % from.len()];
        let octets = match round % 4 {
            0 => noise,
            1 => [&greeting[..], &noise].concat(),
            2 => [&greeting[..], &ready(pick(&strangers))].concat(),
            _ => [&greeting[..], &ready(pick(&kinds)), &noise].concat(),
        };
        throw(at, &octets).await;
        let body = round.to_string();
        req.send(&["echo", &body]).await.unwrap();
        assert_eq!(req.recv(SOON).await.unwrap().unwrap(), [body.as_bytes()]);
    }
    let publisher = node.publisher("home/x").unwrap();
    publisher.publish("still here").await.unwrap();
    let came = sub.recv(SOON).await.unwrap().unwrap();
    assert_eq!(came, [&b"home/x"[..], b"still here"]);
    let stats = door.stats();
    assert!(stats.handshakes_failed >= rounds / 2, "{stats:?}");
    assert_eq!(
        (stats.filters, stats.subscribers, stats.callers),
        (1, 1, 1),
        "{stats:?}"
    );
    scale::report("strangers who talked nonsense to the door", rounds);
    drop(silent);
}

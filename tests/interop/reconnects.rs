//! Either side goes away and returns; the other finds it again by itself.

use std::time::Duration;

use serde_json::json;
use withy::options::Reconnect;
use withy::{EventKind, Message, Monitor, Publisher, Pull, Push, Reason, Rep, Req, Subscriber};
use withy_tests::deadline::soon;
use withy_tests::load::Load;
use withy_tests::python::Peer;
use withy_tests::scale;

use crate::matrix::{check, message};

const ROUNDS: u64 = 5;
const SOON: Duration = Duration::from_secs(15);
const ANY: &str = "tcp://127.0.0.1:*";

const QUICKLY: Reconnect = Reconnect {
    initial: Duration::from_millis(10),
    max: Duration::from_millis(50),
    enabled: true,
};

fn load(round: u64) -> Load {
    Load::mixed(
        scale::count(100, 5_000),
        2,
        vec![0, 40, 300, 9_000],
        scale::seed() + round,
    )
}

async fn disconnected(monitor: &mut Monitor) -> Reason {
    loop {
        let event = soon(monitor.next()).await.unwrap();
        if let EventKind::Disconnected { reason, .. } = event.kind {
            return reason;
        }
    }
}

async fn connected(monitor: &mut Monitor) {
    loop {
        let event = soon(monitor.next()).await.unwrap();
        if let EventKind::Connected(_) = event.kind {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_push_finds_a_pull_that_returns() {
    let peer = Peer::start();
    let directory = tempfile::tempdir().unwrap();
    let ipc = format!("ipc://{}/socket", directory.path().display());
    for any in [ANY, &*ipc] {
        let mut theirs = peer.socket("PULL", &[]).await.unwrap();
        let endpoint = theirs.bind(any).await.unwrap();
        let ours = Push::builder().reconnect(QUICKLY).build().unwrap();
        let mut monitor = ours.monitor();
        ours.connect_to(&*endpoint).unwrap();
        for round in 0..ROUNDS {
            let load = load(round);
            let sending = async {
                for index in 0..load.count {
                    ours.send(message(&[], &load, index)).await.unwrap();
                }
            };
            let (received, ()) = tokio::join!(theirs.recv_load(&load, 0, SOON), sending);
            assert_eq!(received.unwrap().messages, load.count, "round {round}");
            theirs.close().await.unwrap();
            assert_eq!(disconnected(&mut monitor).await, Reason::PeerClosed);
            theirs = peer.socket("PULL", &[]).await.unwrap();
            theirs.bind(&endpoint).await.unwrap();
        }
        connected(&mut monitor).await;
        assert_eq!(ours.stats().reconnects, ROUNDS);
        theirs.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_finds_our_pull_that_returns() {
    let peer = Peer::start();
    let directory = tempfile::tempdir().unwrap();
    let ipc = format!("ipc://{}/socket", directory.path().display());
    for any in [ANY, &*ipc] {
        let options = [
            ("RECONNECT_IVL", json!(10)),
            ("RECONNECT_IVL_MAX", json!(50)),
        ];
        let theirs = peer.socket("PUSH", &options).await.unwrap();
        let mut ours = Pull::new();
        let endpoint = ours.bind_to(any).await.unwrap();
        theirs.connect(&endpoint.to_string()).await.unwrap();
        for round in 0..ROUNDS {
            let load = load(round);
            let receiving = async {
                for index in 0..load.count {
                    let message = soon(ours.recv()).await.unwrap();
                    check(&load, index, message.frames()).unwrap();
                }
            };
            let (sent, ()) = tokio::join!(theirs.send_load(&load, &[], SOON), receiving);
            assert_eq!(sent.unwrap(), load.count, "round {round}");
            ours.close().await;
            ours = Pull::new();
            ours.bind_to(endpoint.clone()).await.unwrap();
        }
        theirs.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_req_asks_a_rep_that_returns() {
    let peer = Peer::start();
    let mut theirs = peer.socket("REP", &[]).await.unwrap();
    let endpoint = theirs.bind(ANY).await.unwrap();
    let ours = Req::builder().reconnect(QUICKLY).build().unwrap();
    ours.connect_to(&*endpoint).unwrap();
    for round in 0..ROUNDS {
        let asking = async { ours.request("question").await.unwrap() };
        let (echoed, reply) = tokio::join!(theirs.echo(1, SOON), asking);
        assert_eq!((echoed.unwrap(), reply), (1, Message::from("question")));
        // It goes away with a request that it took and did not answer.
        let unanswered = tokio::spawn({
            let ours = ours.clone();
            async move { ours.request_timeout("unanswered", SOON).await }
        });
        let taken = theirs.recv(SOON).await.unwrap();
        assert_eq!(taken.unwrap(), [b"unanswered"], "round {round}");
        theirs.close().await.unwrap();
        soon(unanswered).await.unwrap().unwrap_err();
        theirs = peer.socket("REP", &[]).await.unwrap();
        theirs.bind(&endpoint).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_req_asks_our_rep_that_returns() {
    let peer = Peer::start();
    let options = [
        ("RECONNECT_IVL", json!(10)),
        ("REQ_RELAXED", json!(1)),
        ("REQ_CORRELATE", json!(1)),
    ];
    let theirs = peer.socket("REQ", &options).await.unwrap();
    let events = theirs.monitor().await.unwrap();
    let mut ours = Rep::new();
    let endpoint = ours.bind_to(ANY).await.unwrap();
    theirs.connect(&endpoint.to_string()).await.unwrap();
    for round in 0..ROUNDS {
        // A request to a connection that is about to end would be lost with it.
        events
            .expect_event("HANDSHAKE_SUCCEEDED", SOON)
            .await
            .unwrap();
        theirs.send(&[b"question"]).await.unwrap();
        let mut request = soon(ours.recv()).await.unwrap();
        let reply = request.take_message();
        request.reply(reply).await.unwrap();
        let reply = theirs.recv(SOON).await.unwrap().expect("a reply");
        assert_eq!(reply, [b"question"], "round {round}");
        theirs.send(&[b"unanswered"]).await.unwrap();
        let unanswered = soon(ours.recv()).await.unwrap();
        ours.close().await;
        drop(unanswered);
        ours = Rep::new();
        ours.bind_to(endpoint.clone()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_subscriptions_are_there_when_we_say_connected() {
    let peer = Peer::start();
    let mut theirs = peer.socket("XPUB", &[]).await.unwrap();
    let endpoint = theirs.bind(ANY).await.unwrap();
    let ours = Subscriber::builder().reconnect(QUICKLY).build().unwrap();
    ours.subscribe("a");
    ours.subscribe("b");
    let mut monitor = ours.monitor();
    ours.connect_to(&*endpoint).unwrap();
    for round in 0..ROUNDS {
        connected(&mut monitor).await;
        let mut subscriptions = [
            theirs.recv(SOON).await.unwrap().unwrap(),
            theirs.recv(SOON).await.unwrap().unwrap(),
        ];
        subscriptions.sort();
        assert_eq!(subscriptions, [[b"\x01a"], [b"\x01b"]], "round {round}");
        theirs.send(&[b"c"]).await.unwrap();
        theirs.send(&[b"b"]).await.unwrap();
        assert_eq!(soon(ours.recv()).await.unwrap(), Message::from("b"));
        theirs.close().await.unwrap();
        assert_eq!(disconnected(&mut monitor).await, Reason::PeerClosed);
        theirs = peer.socket("XPUB", &[]).await.unwrap();
        theirs.bind(&endpoint).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sub_subscribes_again_to_our_publisher_that_returns() {
    let peer = Peer::start();
    let theirs = peer
        .socket("SUB", &[("RECONNECT_IVL", json!(10))])
        .await
        .unwrap();
    theirs.subscribe(b"b").await.unwrap();
    let mut ours = Publisher::new();
    let endpoint = ours.bind_to(ANY).await.unwrap();
    theirs.connect(&endpoint.to_string()).await.unwrap();
    for round in 0..ROUNDS {
        let publishing = async {
            soon(ours.wait_subscribed(1)).await.unwrap();
            ours.send("a").await.unwrap();
            ours.send(format!("b{round}")).await.unwrap();
        };
        // libzmq subscribes again while its application calls into it.
        let (received, ()) = tokio::join!(theirs.recv(SOON), publishing);
        let received = received.unwrap().expect("a message");
        assert_eq!(received, [format!("b{round}").into_bytes()]);
        ours.close().await;
        ours = Publisher::new();
        ours.bind_to(endpoint.clone()).await.unwrap();
    }
}

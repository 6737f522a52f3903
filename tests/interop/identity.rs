//! A routing id goes from one connection to another (ROUTER_HANDOVER), on either side.

use std::time::Duration;

use serde_json::json;
use withy::{Dealer, EventKind, Message, Router};
use withy_tests::deadline::soon;
use withy_tests::python::Peer;

const SOON: Duration = Duration::from_secs(15);
const ANY: &str = "tcp://127.0.0.1:*";

fn to(id: &str, body: &str) -> Message {
    [id, body].into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_router_hands_a_dealers_id_over() {
    let peer = Peer::start();
    let ours = Router::builder().handover().build().unwrap();
    let endpoint = ours.bind_to(ANY).await.unwrap();
    let options = [("ROUTING_ID", json!("name"))];
    for round in 0..5 {
        // The one of the round before is still there.
        let theirs = peer.socket("DEALER", &options).await.unwrap();
        theirs.connect(&endpoint.to_string()).await.unwrap();
        theirs.send(&[round.to_string()]).await.unwrap();
        assert_eq!(
            soon(ours.recv()).await.unwrap(),
            to("name", &round.to_string())
        );
        ours.send(to("name", "yours")).await.unwrap();
        let received = theirs.recv(SOON).await.unwrap().expect("a message");
        assert_eq!(received, [b"yours"], "round {round}");
        // libzmq would come back and take the name from the next one.
        theirs.disconnect(&endpoint.to_string()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_router_keeps_a_dealers_id_while_it_lives() {
    let peer = Peer::start();
    let ours = Router::bind(ANY).await.unwrap();
    let endpoint = ours.endpoints()[0].to_string();
    let mut monitor = ours.monitor();
    let options = [
        ("ROUTING_ID", json!("name")),
        ("RECONNECT_IVL", json!(10)),
        // Without this it believes for ever in what was refused.
        ("HANDSHAKE_IVL", json!(200)),
    ];
    let first = peer.socket("DEALER", &options).await.unwrap();
    first.connect(&endpoint).await.unwrap();
    first.send(&[b"first"]).await.unwrap();
    assert_eq!(soon(ours.recv()).await.unwrap(), to("name", "first"));
    let second = peer.socket("DEALER", &options).await.unwrap();
    second.connect(&endpoint).await.unwrap();
    second.send(&[b"second"]).await.unwrap();
    loop {
        let event = soon(monitor.next()).await.unwrap();
        if let EventKind::HandshakeFailed { reason, .. } = event.kind {
            assert!(reason.to_string().contains("routing id"), "{reason}");
            break;
        }
    }
    ours.send(to("name", "still yours")).await.unwrap();
    let received = first.recv(SOON).await.unwrap().expect("a message");
    assert_eq!(received, [b"still yours"]);
    first.close().await.unwrap();
    assert_eq!(soon(ours.recv()).await.unwrap(), to("name", "second"));
    ours.send(to("name", "now yours")).await.unwrap();
    let received = second.recv(SOON).await.unwrap().expect("a message");
    assert_eq!(received, [b"now yours"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_hands_our_dealers_id_over() {
    let peer = Peer::start();
    let options = [
        ("ROUTER_HANDOVER", json!(1)),
        ("ROUTER_MANDATORY", json!(1)),
    ];
    let theirs = peer.socket("ROUTER", &options).await.unwrap();
    let endpoint = theirs.bind(ANY).await.unwrap();
    for round in 0..5 {
        let ours = Dealer::builder().routing_id("name").build().unwrap();
        ours.connect_to(&*endpoint).unwrap();
        ours.send(round.to_string()).await.unwrap();
        let received = theirs.recv(SOON).await.unwrap().expect("a message");
        assert_eq!(received, [b"name".to_vec(), round.to_string().into_bytes()]);
        theirs.send(&[b"name", b"your"]).await.unwrap();
        assert_eq!(soon(ours.recv()).await.unwrap(), Message::from("your"));
        ours.disconnect(&endpoint.parse().unwrap()).unwrap();
    }
}

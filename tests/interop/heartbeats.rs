//! PING and PONG with libzmq, whichever side asks (RFC 37 §3.4.4).

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;
use withy::options::Heartbeat;
use withy::{Dealer, EventKind, Message, Monitor, Reason};
use withy_tests::deadline::soon;
use withy_tests::python::Peer;

const SOON: Duration = Duration::from_secs(15);
/// Many times the intervals and timeouts below.
const LONG: Duration = Duration::from_millis(1_500);

fn quick(enabled: bool) -> Heartbeat {
    Heartbeat {
        enabled: Some(enabled),
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(400),
    }
}

/// Both ask, either, neither: an idle connection stays, and carries messages afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_stays() {
    let peer = Peer::start();
    let cells = [(true, true), (true, false), (false, true), (false, false)];
    let all = cells.map(|(we_ask, they_ask)| idle(&peer, we_ask, they_ask));
    let [a, b, c, d] = all;
    tokio::join!(a, b, c, d);
}

async fn idle(peer: &Peer, we_ask: bool, they_ask: bool) {
    let mut options = vec![];
    if they_ask {
        options.push(("HEARTBEAT_IVL", json!(50)));
        options.push(("HEARTBEAT_TIMEOUT", json!(400)));
        options.push(("HEARTBEAT_TTL", json!(600)));
    }
    let theirs = peer.socket("DEALER", &options).await.unwrap();
    let endpoint = theirs.bind("tcp://127.0.0.1:*").await.unwrap();
    let ours = Dealer::builder().heartbeat(quick(we_ask)).build().unwrap();
    let mut monitor = ours.monitor();
    ours.connect_to(&*endpoint).unwrap();
    soon(ours.ready()).await.unwrap();
    let ended = async {
        loop {
            let event = monitor.next().await.unwrap();
            if let EventKind::Disconnected { reason, .. } = event.kind {
                return reason;
            }
        }
    };
    if let Ok(reason) = timeout(LONG, ended).await {
        panic!("we ask: {we_ask}, they ask: {they_ask}: {reason}");
    }
    ours.send("forth").await.unwrap();
    let received = theirs.recv(SOON).await.unwrap().expect("a message");
    assert_eq!(received, [b"forth"]);
    theirs.send(&[b"back"]).await.unwrap();
    assert_eq!(soon(ours.recv()).await.unwrap(), Message::from("back"));
    assert_eq!(ours.stats().reconnects, 0);
}

/// A libzmq that stands still is given up, and found again when it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_peer_is_noticed() {
    let peer = Peer::start();
    let theirs = peer.socket("DEALER", &[]).await.unwrap();
    let endpoint = theirs.bind("tcp://127.0.0.1:*").await.unwrap();
    let ours = Dealer::builder().heartbeat(quick(true)).build().unwrap();
    let mut monitor = ours.monitor();
    ours.connect_to(&*endpoint).unwrap();
    soon(ours.ready()).await.unwrap();
    peer.freeze();
    assert_eq!(soon(disconnected(&mut monitor)).await, Reason::Silent);
    peer.thaw();
    ours.send("again").await.unwrap();
    let received = theirs.recv(SOON).await.unwrap().expect("a message");
    assert_eq!(received, [b"again"]);
}

/// libzmq announces how long we may wait for it (TTL); we hold it to that, though we do not ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_peer_is_noticed_by_its_own_ttl() {
    let peer = Peer::start();
    let options = [("HEARTBEAT_IVL", json!(50)), ("HEARTBEAT_TTL", json!(500))];
    let theirs = peer.socket("DEALER", &options).await.unwrap();
    let ours = Dealer::builder().heartbeat(quick(false)).build().unwrap();
    let mut monitor = ours.monitor();
    let endpoint = ours.bind_to("tcp://127.0.0.1:*").await.unwrap();
    let events = theirs.monitor().await.unwrap();
    theirs.connect(&endpoint.to_string()).await.unwrap();
    events
        .expect_event("HANDSHAKE_SUCCEEDED", SOON)
        .await
        .unwrap();
    let quiet = events.event(LONG / 3).await.unwrap();
    assert_eq!(quiet, None, "it has asked a few times by now");
    peer.freeze();
    assert_eq!(soon(disconnected(&mut monitor)).await, Reason::Silent);
    peer.thaw();
}

async fn disconnected(monitor: &mut Monitor) -> Reason {
    loop {
        let event = monitor.next().await.unwrap();
        if let EventKind::Disconnected { reason, .. } = event.kind {
            return reason;
        }
    }
}

//! Heartbeats against a hand-made peer: who is asked, who answers, and who is given up when.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use withy::options::Heartbeat;
use withy::{AnySocket, EventKind, Monitor, Reason, SocketType};
use withy_proto::zmtp::connection::EXTENSIONS;
use withy_tests::raw::{self, Peer};

use crate::support::{ANY, soon};

const INTERVAL: Duration = Duration::from_millis(50);
const TIMEOUT: Duration = Duration::from_millis(200);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(2);

const PAIRS: [(SocketType, &str); 7] = [
    (SocketType::Pull, "PUSH"),
    (SocketType::Push, "PULL"),
    (SocketType::Router, "DEALER"),
    (SocketType::Dealer, "ROUTER"),
    (SocketType::Pub, "SUB"),
    (SocketType::Sub, "PUB"),
    (SocketType::Pair, "PAIR"),
];

/// Tests all types at the same time: the tests mostly wait.
async fn for_all<F: Future<Output = ()> + Send + 'static>(
    test: impl Fn(SocketType, &'static str) -> F,
) {
    let mut all = JoinSet::new();
    for (kind, theirs) in PAIRS {
        all.spawn(test(kind, theirs));
    }
    all.join_all().await;
}

async fn bound(kind: SocketType, enabled: Option<bool>) -> (AnySocket, String, Monitor) {
    let heartbeat = Heartbeat {
        enabled,
        interval: INTERVAL,
        timeout: TIMEOUT,
    };
    let builder = AnySocket::builder(kind).heartbeat(heartbeat);
    let socket = builder.build().unwrap();
    let monitor = socket.monitor();
    let endpoint = socket.bind_to(ANY).await.unwrap();
    (socket, endpoint.to_string(), monitor)
}

async fn end(monitor: &mut Monitor) -> Reason {
    soon(async {
        loop {
            let event = monitor.next().await.expect("the socket lives");
            if let EventKind::Disconnected { reason, .. } = event.kind {
                return reason;
            }
        }
    })
    .await
}

/// The next PING: its TTL in tenths of a second, and its context.
async fn ping(peer: &mut Peer) -> (u16, Vec<u8>) {
    loop {
        let frame = peer.frame().await.unwrap();
        if let Some((b"PING", data)) = frame.command() {
            let (ttl, context) = data.split_at(2);
            return (u16::from_be_bytes([ttl[0], ttl[1]]), context.to_vec());
        }
    }
}

#[tokio::test]
async fn a_peer_that_does_not_answer_is_given_up_within_the_timeout() {
    for_all(|kind, theirs| async move {
        let (_socket, endpoint, mut monitor) = bound(kind, Some(true)).await;
        let mut peer = Peer::connect(&endpoint).await.unwrap();
        peer.handshake(theirs).await.unwrap();
        let start = Instant::now();
        let (ttl, _) = ping(&mut peer).await;
        assert_eq!(ttl, 2, "it lives as long as it waits for us");
        assert_eq!(end(&mut monitor).await, Reason::Silent, "{kind}");
        let took = start.elapsed();
        assert!(took >= TIMEOUT - INTERVAL, "{kind}: {took:?}");
        assert!(took <= TIMEOUT + 2 * INTERVAL + SLACK, "{kind}: {took:?}");
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_answers_stays() {
    for_all(|kind, theirs| async move {
        let (socket, endpoint, _monitor) = bound(kind, Some(true)).await;
        let mut peer = Peer::connect(&endpoint).await.unwrap();
        peer.handshake(theirs).await.unwrap();
        let start = Instant::now();
        while start.elapsed() < 2 * TIMEOUT {
            let (_, context) = ping(&mut peer).await;
            peer.send(&raw::command("PONG", &context)).await.unwrap();
        }
        assert_eq!(socket.stats().peers, 1, "{kind}");
    })
    .await;
}

#[tokio::test]
async fn pings_are_answered_on_connections_of_either_side() {
    for_all(|kind, theirs| async move {
        let listener = raw::Listener::bind().await.unwrap();
        let (socket, endpoint, _monitor) = bound(kind, Some(false)).await;
        let mut came = Peer::connect(&endpoint).await.unwrap();
        came.handshake(theirs).await.unwrap();
        if kind == SocketType::Pair {
            came.finish().await.unwrap();
            came.expect_close(SLACK).await.unwrap();
        }
        socket.connect_to(listener.endpoint().unwrap()).unwrap();
        let mut met = listener.accept().await.unwrap();
        met.handshake(theirs).await.unwrap();
        let both = [&mut met, &mut came];
        let alive = if kind == SocketType::Pair { 1 } else { 2 };
        for peer in both.into_iter().take(alive) {
            peer.send(&raw::command("PING", b"\0\0my context"))
                .await
                .unwrap();
            loop {
                let frame = peer.frame().await.unwrap();
                if let Some((b"PONG", context)) = frame.command() {
                    assert_eq!(context, b"my context");
                    break;
                }
            }
        }
    })
    .await;
}

/// Whether or not this side asks itself: a peer that says how long it lives is dead after that.
#[tokio::test]
async fn the_ttl_of_a_peer_is_honoured() {
    for_all(|kind, theirs| async move {
        for enabled in [Some(false), None] {
            let (_socket, endpoint, mut monitor) = bound(kind, enabled).await;
            let mut peer = Peer::connect(&endpoint).await.unwrap();
            peer.handshake(theirs).await.unwrap();
            // The last PING counts, shorter or longer.
            for ttl in [600_u16, 2] {
                peer.send(&raw::command("PING", &ttl.to_be_bytes()))
                    .await
                    .unwrap();
            }
            let start = Instant::now();
            assert_eq!(end(&mut monitor).await, Reason::Silent, "{kind}");
            let took = start.elapsed();
            assert!(took >= Duration::from_millis(150), "{kind}: {took:?}");
            assert!(
                took <= Duration::from_millis(400) + SLACK,
                "{kind}: {took:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn only_withy_peers_are_asked_unless_the_caller_says_otherwise() {
    for_all(|kind, theirs| async move {
        let (socket, endpoint, _monitor) = bound(kind, None).await;
        // As libzmq does it: some versions of it close on a PING that they did not expect.
        let mut stock = Peer::connect(&endpoint).await.unwrap();
        stock.handshake(theirs).await.unwrap();
        stock.expect_silence(4 * INTERVAL).await.unwrap();
        assert_eq!(socket.stats().peers, 1, "{kind}: silence is no offence");
        drop(stock);
        if kind == SocketType::Pair {
            return;
        }
        let mut withy = Peer::connect(&endpoint).await.unwrap();
        withy.send(&raw::greeting(1, "NULL", false)).await.unwrap();
        let properties = [("Socket-Type", theirs.as_bytes()), (EXTENSIONS, &b"1"[..])];
        withy.send(&raw::ready(&properties)).await.unwrap();
        withy.exactly(64).await.unwrap();
        ping(&mut withy).await;
    })
    .await;
}

//! Commands beside messages of the same link that saturate it, or that nobody takes.

use std::time::{Duration, Instant};

use withy::options::Heartbeat;
use withy::{Message, Pull, Push, SendError, XPub, XSub};
use withy_tests::path::Path;
use withy_tests::scale;

use crate::support::{build, over, percentile, soon};

/// There and back.
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// 200 Mbit/s and a queue of one bandwidth-delay product, with so many of ten thousand lost. With one
/// of a hundred lost, it is the sender's congestion control that limits what it sends.
fn network(lost: u64) -> Path {
    Path {
        lost,
        doubled: 0,
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
        bandwidth: 25_000_000,
        queue: 500_000,
    }
}

fn assert_prompt(what: &str, mut all: Vec<Duration>) {
    all.sort_unstable();
    let (p50, p99) = (percentile(&all, 50), percentile(&all, 99));
    scale::report(what, format!("{p50:?}, {p99:?} of {}", all.len()));
    assert!(
        p50 <= ROUND_TRIP * 3 && p99 <= ROUND_TRIP * 10,
        "{what}: {p50:?}, {p99:?}"
    );
}

/// An XSUB subscribes by what it sends, which becomes a command.
async fn subscribe(xsub: &XSub, topic: &[u8]) {
    xsub.send([&[1], topic].concat()).await.unwrap();
}

/// From a SUBSCRIBE to the first message that it brings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_passes_the_bulk_of_its_own_link() {
    for lost in [0, 100] {
        subscriptions_beside_bulk(lost).await;
    }
}

async fn subscriptions_beside_bulk(lost: u64) {
    let xpub = build(XPub::builder());
    let endpoint = xpub.bind_to("quic://127.0.0.1:*").await.unwrap();
    let (_relay, endpoint) = over(&endpoint, network(lost), scale::seed()).await;
    let xsub = build(XSub::builder());
    xsub.connect_to(&*endpoint).unwrap();
    soon(xsub.ready()).await.unwrap();
    let bulk = xsub.clone();
    let bulk = tokio::spawn(async move {
        let body = Message::from(vec![3; 10_000]);
        loop {
            let dropped = bulk.stats().dropped;
            bulk.send(body.clone()).await.unwrap();
            if bulk.stats().dropped > dropped {
                // An XSUB does not wait for room.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    let publishing = tokio::spawn(async move {
        while let Ok(message) = xpub.recv().await {
            if let [1, topic @ ..] = message.first().as_slice() {
                xpub.send(topic.to_vec()).await.unwrap();
            }
        }
    });
    let mut all = Vec::new();
    let mut dropped = 0;
    let wanted = scale::count(60, 1_000);
    while all.len() < wanted as usize {
        let topic = (1 + all.len() as u64).to_be_bytes();
        soon(async {
            // More waits than the link takes.
            while xsub.stats().dropped == dropped {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        dropped = xsub.stats().dropped;
        let asked = Instant::now();
        subscribe(&xsub, &topic).await;
        let brought = soon(xsub.recv()).await.unwrap();
        all.push(asked.elapsed());
        assert_eq!(brought.first().as_slice(), topic);
    }
    bulk.abort();
    publishing.abort();
    assert_prompt("p50 and p99 of a subscription beside bulk", all);
}

/// PING in the direction of the bulk, PONG against it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_passes_the_bulk_of_its_own_link() {
    let pull = build(Pull::builder());
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    let (_relay, endpoint) = over(&endpoint, network(100), scale::seed()).await;
    let heartbeat = Heartbeat {
        interval: Duration::from_millis(30),
        ..Heartbeat::default()
    };
    let push = build(Push::builder().heartbeat(heartbeat));
    push.connect_to(&*endpoint).unwrap();
    let bulk = push.clone();
    let bulk = tokio::spawn(async move {
        loop {
            bulk.send(vec![3; 10_000]).await.unwrap();
        }
    });
    let taking = tokio::spawn(async move { while pull.recv().await.is_ok() {} });
    let wanted = scale::count(60, 300) as usize;
    let mut all = Vec::new();
    let mut known = 0;
    soon(async {
        while all.len() < wanted {
            let stats = push.stats();
            if stats.heartbeats > known {
                known = stats.heartbeats;
                all.push(stats.round_trip);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert_prompt("p50 and p99 of a heartbeat beside bulk", all);
    bulk.abort();
    taking.abort();
}

/// Sends until there is no room, and goes on for a while in which somebody may have made some.
async fn fill(mut full: impl AsyncFnMut() -> bool) {
    let mut in_turn = 0;
    while in_turn < 20 {
        in_turn = if full().await { in_turn + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(5 * in_turn.min(1))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_no_messages_still_answers() {
    let pull = build(Pull::builder());
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    let heartbeat = Heartbeat {
        interval: Duration::from_millis(50),
        ..Heartbeat::default()
    };
    let push = build(Push::builder().heartbeat(heartbeat));
    push.connect_to(endpoint).unwrap();
    soon(push.ready()).await.unwrap();
    let body = vec![3; 10_000];
    soon(fill(async || {
        matches!(push.try_send(body.clone()), Err(SendError::Full(_)))
    }))
    .await;
    let before = push.stats().heartbeats;
    soon(async {
        while push.stats().heartbeats < before + 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(push.try_send(body).is_err(), "nothing was taken");
    drop(pull);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_takes_no_messages_still_sees_subscriptions() {
    let xpub = build(XPub::builder());
    let endpoint = xpub.bind_to("quic://127.0.0.1:*").await.unwrap();
    let xsub = build(XSub::builder());
    xsub.connect_to(endpoint).unwrap();
    soon(xsub.ready()).await.unwrap();
    let body = Message::from(vec![3; 10_000]);
    soon(fill(async || {
        let dropped = xsub.stats().dropped;
        xsub.send(body.clone()).await.unwrap();
        xsub.stats().dropped > dropped
    }))
    .await;
    subscribe(&xsub, b"late").await;
    soon(xpub.wait_subscribed(1)).await.unwrap();
}

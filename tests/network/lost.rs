//! What becomes of messages when their connection is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use withy::options::{DialOptions, Heartbeat, HighWaterMark};
use withy::{Dealer, EventKind, Message, Monitor, Pull, Push, Reason, Router};
use withy_tests::path::Path;
use withy_tests::scale;

use crate::support::{build, over, soon};

/// 4 MB a second.
const PATH: Path = Path {
    lost: 0,
    doubled: 0,
    delay: Duration::from_millis(5),
    jitter: Duration::ZERO,
    bandwidth: 4_000_000,
    queue: 100_000,
};

/// A PUSH that gives a connection up after a second of silence.
fn hasty() -> Push {
    let mut options = DialOptions::default();
    options.quic.idle_timeout = Duration::from_secs(1);
    options.quic.keep_alive = Duration::from_millis(300);
    let heartbeat = Heartbeat {
        interval: Duration::from_millis(100),
        ..Heartbeat::default()
    };
    build(Push::builder().dial_options(options).heartbeat(heartbeat))
}

async fn disconnected(push: &Push) {
    ended(&mut push.monitor()).await;
}

/// How the next connection ends.
async fn ended(monitor: &mut Monitor) -> Reason {
    soon(async {
        loop {
            let event = monitor.next().await.unwrap();
            if let EventKind::Disconnected { reason, .. } = event.kind {
                return reason;
            }
        }
    })
    .await
}

/// Waits until answers came to PINGs that were sent from now on.
async fn heartbeats(push: &Push) {
    let before = push.stats().heartbeats;
    soon(async {
        while push.stats().heartbeats < before + 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

fn numbered(number: u64, size: usize) -> Message {
    let mut octets = number.to_be_bytes().to_vec();
    octets.resize(size, 7);
    Message::from(octets)
}

fn number_of(message: &Message) -> u64 {
    u64::from_be_bytes(message.first().as_slice()[..8].try_into().unwrap())
}

/// Each arrives, goes to the next connection, or is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_have_arrived_is_counted() {
    let pull = build(Pull::builder());
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    let (relay, endpoint) = over(&endpoint, PATH, scale::seed()).await;
    let push = hasty();
    push.connect_to(&*endpoint).unwrap();
    for number in 0..640 {
        push.send(numbered(number, 100)).await.unwrap();
    }
    let mut arrived = BTreeSet::new();
    for _ in 0..640 {
        assert!(arrived.insert(number_of(&soon(pull.recv()).await.unwrap())));
    }
    // Who answers a PING tells first what it has read.
    heartbeats(&push).await;
    relay.set_dark(true);
    let sizes = [100, 70_000, 100, 8 << 20, 100, 100];
    for (number, size) in (640..).zip(sizes) {
        push.send(numbered(number, size)).await.unwrap();
    }
    disconnected(&push).await;
    let stats = push.stats();
    // What was in flight of the others, and the large one that was not written whole, comes again.
    assert_eq!((stats.uncertain, stats.queued), (5, 1), "{stats:?}");
    relay.set_dark(false);
    let again = soon(pull.recv()).await.unwrap();
    assert_eq!((number_of(&again), again.size()), (643, 8 << 20));
    assert_eq!(push.stats().sent, 646);
}

/// What arrived and was read is in no doubt, once the peer says goodbye.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_uncertain_after_a_peer_that_read_all() {
    let pull = build(Pull::builder());
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    let (_relay, endpoint) = over(&endpoint, PATH, scale::seed()).await;
    let push = hasty();
    push.connect_to(&*endpoint).unwrap();
    for number in 0..10 {
        push.send(numbered(number, 100)).await.unwrap();
    }
    for _ in 0..10 {
        soon(pull.recv()).await.unwrap();
    }
    let gone = disconnected(&push);
    let (_, ()) = tokio::join!(pull.close(), gone);
    assert_eq!(push.stats().uncertain, 0);
}

/// The peer went without a word, and its next connection takes the routing id over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_connection_that_is_handed_over_may_not_have_delivered_is_counted() {
    let router = build(Router::builder());
    let mut monitor = router.monitor();
    let direct = router.bind_to("quic://127.0.0.1:*").await.unwrap();
    let (relay, endpoint) = over(&direct, PATH, scale::seed()).await;
    let dealer = || build(Dealer::builder().routing_id("name"));
    let first = dealer();
    first.connect_to(&*endpoint).unwrap();
    soon(router.ready()).await.unwrap();
    relay.set_dark(true);
    for _ in 0..5 {
        let lost = Message::from_iter(["name", "lost"]);
        router.send(lost).await.unwrap();
    }
    let second = dealer();
    second.connect_to(direct).unwrap();
    assert_eq!(ended(&mut monitor).await, Reason::HandedOver);
    assert_eq!(router.stats().uncertain, 5);
}

/// More than is read ahead for an application that is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrived_for_an_application_that_was_away_is_received_after_the_loss() {
    let mark = HighWaterMark {
        messages: 10,
        ..HighWaterMark::default()
    };
    let pull = build(Pull::builder().receive_high_water_mark(mark));
    let mut monitor = pull.monitor();
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    let (relay, endpoint) = over(&endpoint, PATH, scale::seed()).await;
    let push = hasty();
    push.connect_to(&*endpoint).unwrap();
    for number in 0..400 {
        push.send(numbered(number, 1_000)).await.unwrap();
    }
    // Heartbeats pass messages, of which the path has dropped some: they come again within a few round trips.
    for _ in 0..5 {
        heartbeats(&push).await;
    }
    relay.set_dark(true);
    ended(&mut monitor).await;
    for number in 0..400 {
        assert_eq!(number_of(&soon(pull.recv()).await.unwrap()), number);
    }
}

//! What was sent before a close arrives: large, many, to somebody slow.

use std::time::Duration;

use withy::{Pull, Push};
use withy_tests::path::Path;
use withy_tests::scale;

use crate::support::{build, over, soon};

/// Slower than what is sent, so that most of it is still here when the socket closes.
const SLOW: Path = Path {
    lost: 0,
    doubled: 0,
    delay: Duration::from_millis(10),
    jitter: Duration::ZERO,
    bandwidth: 20_000_000,
    queue: 400_000,
};

async fn sent_and_closed(sizes: &[usize], wait: Duration) {
    let pull = build(Pull::builder());
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    let (_relay, endpoint) = over(&endpoint, SLOW, scale::seed()).await;
    let push = build(Push::builder().linger(Duration::from_secs(15)));
    push.connect_to(&*endpoint).unwrap();
    for (number, size) in sizes.iter().enumerate() {
        push.send(vec![number as u8; *size]).await.unwrap();
    }
    let closing = tokio::spawn(async move { push.close().await });
    // The receiver does something else first.
    tokio::time::sleep(wait).await;
    for (number, size) in sizes.iter().enumerate() {
        let message = soon(pull.recv()).await.unwrap();
        let body = message.first().as_slice();
        assert!(
            body.len() == *size && body.iter().all(|&octet| octet == number as u8),
            "{number}"
        );
    }
    assert_eq!(soon(closing).await.unwrap(), 0, "nothing was left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_message_arrives_after_its_socket_closed() {
    for wait in [Duration::ZERO, Duration::from_millis(1_500)] {
        sent_and_closed(&[16 << 20], wait).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_messages_arrive_after_their_socket_closed() {
    let mut sizes = vec![300_000; 60];
    sizes.extend([10; 60]);
    for wait in [Duration::ZERO, Duration::from_millis(1_500)] {
        sent_and_closed(&sizes, wait).await;
    }
}

/// More than all windows together, to somebody who reads nothing for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_message_is_not_starved_by_those_behind_it() {
    let pull = build(Pull::builder());
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    let push = build(Push::builder());
    push.connect_to(endpoint).unwrap();
    let sending = tokio::spawn(async move {
        push.send(vec![0; 60 << 20]).await.unwrap();
        for number in 1..=300 {
            push.send(vec![number as u8; 300_000]).await.unwrap();
        }
        push
    });
    for number in 0..=300 {
        let message = soon(pull.recv()).await.unwrap();
        assert_eq!(message.first().as_slice()[0], number as u8);
    }
    soon(sending).await.unwrap();
}

/// A few packets on each of several streams, of which some are lost: streams end at other times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unordered_arrives_after_its_socket_closed() {
    let path = Path {
        lost: 2_000,
        ..SLOW
    };
    for round in 0..scale::count(4, 100) {
        let pull = build(Pull::builder());
        let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
        let (_relay, endpoint) = over(&endpoint, path, scale::seed() + round).await;
        let push = build(Push::builder().unordered(true));
        push.connect_to(&*endpoint).unwrap();
        soon(push.ready()).await.unwrap();
        // The second time, one for each stream.
        let count = if round % 2 == 0 { 12 } else { 4 };
        for number in 0..count {
            push.send(vec![number; 5_000]).await.unwrap();
        }
        let closing = tokio::spawn(async move { push.close().await });
        let mut arrived = Vec::new();
        for _ in 0..count {
            let message = soon(pull.recv()).await.unwrap();
            arrived.push(message.first().as_slice()[0]);
        }
        arrived.sort_unstable();
        assert!(arrived.into_iter().eq(0..count));
        assert_eq!(soon(closing).await.unwrap(), 0);
    }
}

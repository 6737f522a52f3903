//! What is small beside what is large.

use std::time::{Duration, Instant};

use withy::{Message, Pull, Push, Rep, Req};
use withy_tests::path::Path;
use withy_tests::scale;

use crate::support::{build, over, percentile, soon};

/// 20 ms there and back, 200 Mbit/s, a queue of one bandwidth-delay product.
const NETWORK: Path = Path {
    lost: 0,
    doubled: 0,
    delay: Duration::from_millis(10),
    jitter: Duration::ZERO,
    bandwidth: 25_000_000,
    queue: 500_000,
};

/// Asks for as long as `goes_on`, and returns how long each reply took, in order of length.
async fn round_trips(req: &Req, mut goes_on: impl FnMut(usize) -> bool) -> Vec<Duration> {
    let mut all = Vec::new();
    // The first waits for the connection.
    soon(req.request("first")).await.unwrap();
    while goes_on(all.len()) {
        let start = Instant::now();
        soon(req.request(Message::from([7; 64].to_vec())))
            .await
            .unwrap();
        all.push(start.elapsed());
    }
    all.sort_unstable();
    all
}

/// A request of 64 octets does not wait for a large one on the same sockets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_passes_a_large_one() {
    let large = scale::count(16, 1_024) as usize * 1024 * 1024;
    let rep = build(Rep::builder().max_message_size(large + 1024));
    let endpoint = rep.bind_to("quic://127.0.0.1:*").await.unwrap();
    let (_relay, endpoint) = over(&endpoint, NETWORK, scale::seed()).await;
    tokio::spawn(async move {
        while let Ok(request) = rep.recv().await {
            let size = request.message().size();
            let reply = Message::from(size.to_be_bytes());
            let _ = request.reply(reply).await;
        }
    });
    let req = build(Req::builder().send_high_water_octets(large * 2));
    req.connect_to(&*endpoint).unwrap();
    let idle = round_trips(&req, |count| count < 50).await;
    let beside = req.clone();
    let sending = tokio::spawn(async move {
        let body = Message::from(vec![1; large]);
        let limit = Duration::from_secs(600);
        beside.request_timeout(body, limit).await.unwrap()
    });
    let busy = round_trips(&req, |_| !sending.is_finished()).await;
    let reply = sending.await.unwrap();
    assert_eq!(reply.first().as_slice(), large.to_be_bytes());
    assert!(busy.len() >= 10, "{busy:?}");
    let (idle, busy) = (percentile(&idle, 99), percentile(&busy, 99));
    scale::report(
        "p99 of a request, idle and beside a large one",
        format!("{idle:?}, {busy:?}"),
    );
    assert!(
        busy <= idle * 3,
        "{busy:?} beside a large request, {idle:?} without"
    );
}

/// Requests do not wait for the messages of other sockets on the same connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_passes_the_bulk_of_others() {
    let path = Path {
        lost: 100,
        ..NETWORK
    };
    let rep = build(Rep::builder());
    let endpoint = rep.bind_to("quic://127.0.0.1:*").await.unwrap();
    let (_relay, to_rep) = over(&endpoint, path, scale::seed()).await;
    tokio::spawn(async move {
        while let Ok(request) = rep.recv().await {
            let reply = request.message().clone();
            let _ = request.reply(reply).await;
        }
    });
    let pull = build(Pull::builder());
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    let (_other, to_pull) = over(&endpoint, path, scale::seed()).await;
    let req = build(Req::builder());
    req.connect_to(&*to_rep).unwrap();
    let push = build(Push::builder());
    push.connect_to(&*to_pull).unwrap();
    let bulk = tokio::spawn(async move {
        loop {
            push.send(vec![3; 10_000]).await.unwrap();
        }
    });
    let taking = tokio::spawn(async move { while pull.recv().await.is_ok() {} });
    let count = scale::count(50, 1_000) as usize;
    let busy = round_trips(&req, |done| done < count).await;
    let path = Duration::from_millis(20);
    let (p50, p99) = (percentile(&busy, 50), percentile(&busy, 99));
    scale::report(
        "p50 and p99 of a request beside bulk",
        format!("{p50:?}, {p99:?}"),
    );
    assert!(p50 <= path * 3 && p99 <= path * 10, "{p50:?}, {p99:?}");
    bulk.abort();
    taking.abort();
}

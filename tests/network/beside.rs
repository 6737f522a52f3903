//! What is small beside what is large.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use withy::{Message, Pull, Push, Rep, Req};
use withy_tests::path::Path;
use withy_tests::scale;

use crate::support::{beside, build, over, percentile, soon};

/// 20 ms there and back, 200 Mbit/s, a queue of one bandwidth-delay product.
const NETWORK: Path = Path {
    lost: 0,
    doubled: 0,
    delay: Duration::from_millis(10),
    jitter: Duration::ZERO,
    bandwidth: 25_000_000,
    queue: 500_000,
};

/// Octets of a message of bulk.
const BULK: usize = 10_000;

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
    let (idle, busy) = idle_and_busy(Some(NETWORK)).await;
    assert!(
        busy <= idle * 3,
        "{busy:?} beside a large request, {idle:?} without"
    );
}

/// Nor where nothing but the two processors limits the large one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_passes_a_large_one_on_loopback() {
    let (_, busy) = idle_and_busy(None).await;
    // Without optimisation, and beside other tests, the processors are the limit.
    let limit = Duration::from_millis(scale::count(100, 10));
    assert!(busy <= limit, "{busy:?}");
}

/// The p99 of a request, idle and beside a large one.
async fn idle_and_busy(path: Option<Path>) -> (Duration, Duration) {
    let large = scale::count(16, 1_024) as usize * 1024 * 1024;
    let rep = build(Rep::builder().max_message_size(large + 1024));
    let endpoint = rep.bind_to("quic://127.0.0.1:*").await.unwrap();
    let (_relay, endpoint) = match path {
        Some(path) => {
            let (relay, endpoint) = over(&endpoint, path, scale::seed()).await;
            (Some(relay), endpoint)
        }
        None => (None, endpoint.to_string()),
    };
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
    assert!(path.is_none() || busy.len() >= 10, "{busy:?}");
    let (idle, busy) = (percentile(&idle, 99), percentile(&busy, 99));
    let over = path.map_or("loopback", |_| "20 ms and 200 Mbit/s");
    scale::report(
        &format!("p99 of a request over {over}, idle and beside a large one"),
        format!("{idle:?}, {busy:?}"),
    );
    (idle, busy)
}

/// Requests do not wait for the messages of other sockets, which fill the path that they share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_passes_the_bulk_of_others() {
    for lost in [0, 100] {
        let path = Path { lost, ..NETWORK };
        let rep = build(Rep::builder());
        let endpoint = rep.bind_to("quic://127.0.0.1:*").await.unwrap();
        let (relay, to_rep) = over(&endpoint, path, scale::seed()).await;
        tokio::spawn(async move {
            while let Ok(request) = rep.recv().await {
                let reply = request.message().clone();
                let _ = request.reply(reply).await;
            }
        });
        let pull = build(Pull::builder());
        let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
        let (_other, to_pull) = beside(&relay, &endpoint, scale::seed()).await;
        let req = build(Req::builder());
        req.connect_to(&*to_rep).unwrap();
        let push = build(Push::builder());
        push.connect_to(&*to_pull).unwrap();
        let bulk = tokio::spawn(async move {
            loop {
                push.send(vec![3; BULK]).await.unwrap();
            }
        });
        // It has found out how much the path takes.
        for _ in 0..1_000 {
            soon(pull.recv()).await.unwrap();
        }
        let taken = Arc::new(AtomicU64::new(0));
        let taking = tokio::spawn({
            let taken = Arc::clone(&taken);
            async move {
                while pull.recv().await.is_ok() {
                    taken.fetch_add(BULK as u64, Ordering::Relaxed);
                }
            }
        });
        let start = Instant::now();
        let count = scale::count(50, 1_000) as usize;
        let busy = round_trips(&req, |done| done < count).await;
        let rate = taken.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
        bulk.abort();
        taking.abort();
        let (p50, p99) = (percentile(&busy, 50), percentile(&busy, 99));
        let share = rate / NETWORK.bandwidth as f64;
        scale::report(
            &format!("p50 and p99 of a request beside bulk, {lost} of 10,000 lost"),
            format!("{p50:?}, {p99:?}; {:.0} % of the bandwidth", share * 100.0),
        );
        let there_and_back = NETWORK.delay * 2;
        assert!(
            p50 <= there_and_back * 3 && p99 <= there_and_back * 10,
            "{p50:?}, {p99:?}"
        );
        // Whoever takes losses for a full path cannot fill one that loses for other reasons.
        assert!(lost > 0 || share > 0.25, "only {share} of the bandwidth");
    }
}

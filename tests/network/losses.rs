//! Datagrams that are lost, doubled, late; a path that goes dark, and an address that changes.

use std::time::Duration;

use withy::{Message, Pull, Push, Rep, Req};
use withy_tests::path::Path;
use withy_tests::scale;

use crate::support::{build, over};

/// Far longer than anything here takes; a stall is found by [`STALL`].
const PATIENCE: Duration = Duration::from_secs(600);

/// The longest that nothing may come: where a fifth of all packets is lost, one of a handshake is at times
/// sent again after 1, 2, 4 and 8 s.
const STALL: Duration = Duration::from_secs(30);

/// How long a message may take over a path that reorders and loses nothing: half of what it takes where
/// a packet that three others overtake counts as lost.
const EACH_LATE: Duration = Duration::from_millis(12);

/// What paths are tried.
fn paths() -> Vec<(&'static str, Path)> {
    let late = Path {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(60),
        ..Path::default()
    };
    vec![
        (
            "0.1 % lost",
            Path {
                lost: 10,
                ..Path::default()
            },
        ),
        (
            "1 % lost, 5 % doubled",
            Path {
                lost: 100,
                doubled: 500,
                ..Path::default()
            },
        ),
        (
            "5 % lost",
            Path {
                lost: 500,
                ..Path::default()
            },
        ),
        (
            "20 % lost",
            Path {
                lost: 2_000,
                ..Path::default()
            },
        ),
        ("50 ± 30 ms", late),
        (
            "50 ± 30 ms, 2 % lost",
            Path {
                lost: 200,
                doubled: 200,
                ..late
            },
        ),
    ]
}

/// A numbered message; some are large.
fn numbered(number: u64) -> Message {
    let mut octets = number.to_be_bytes().to_vec();
    let size = match number % 100 {
        7 => 300_000,
        n if n % 10 == 3 => 5_000,
        _ => 8 + (number % 90) as usize,
    };
    octets.resize(size, number as u8);
    Message::from(octets)
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it is over in time")
}

async fn push_pull(
    path: Path,
    seed: u64,
    count: u64,
    disturb: impl AsyncFnOnce(&withy_tests::path::Relay),
) {
    let pull = build(Pull::builder());
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    let (relay, endpoint) = over(&endpoint, path, seed).await;
    let push = build(Push::builder());
    push.connect_to(&*endpoint).unwrap();
    all_arrive(&push, &pull, count, disturb(&relay)).await;
}

/// Each message arrives once and in order, over one connection.
pub(crate) async fn all_arrive(
    push: &Push,
    pull: &Pull,
    count: u64,
    disturbing: impl Future<Output = ()>,
) {
    let sending = async {
        for number in 0..count {
            push.send(numbered(number)).await.unwrap();
        }
    };
    let receiving = async {
        for number in 0..count {
            let message = pull.recv_timeout(STALL).await.expect("no stall");
            assert!(message == numbered(number), "message {number} differs");
        }
    };
    within(async { tokio::join!(sending, receiving, disturbing) }).await;
    assert_eq!(push.stats().reconnects, 0, "the connection lives");
    let more = pull.recv_timeout(Duration::from_millis(50)).await;
    assert!(more.is_err(), "nothing comes twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_lost_or_doubled() {
    let count = scale::count(300, 5_000);
    for (name, path) in paths() {
        let start = std::time::Instant::now();
        push_pull(path, scale::seed(), count, async |_| ()).await;
        let took = start.elapsed();
        scale::report(
            &format!("messages over {name}, milliseconds"),
            took.as_millis(),
        );
        // Whoever takes what comes late for lost crawls.
        if path.jitter > Duration::ZERO && path.lost == 0 {
            assert!(took <= EACH_LATE * count as u32, "{took:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_or_doubled() {
    let count = scale::count(60, 1_000);
    for (name, path) in paths() {
        let rep = build(Rep::builder());
        let endpoint = rep.bind_to("quic://127.0.0.1:*").await.unwrap();
        let (_relay, endpoint) = over(&endpoint, path, scale::seed()).await;
        let req = build(Req::builder());
        req.connect_to(&*endpoint).unwrap();
        all_are_answered(name, req, rep, count).await;
    }
}

/// Each request arrives once, and its reply.
pub(crate) async fn all_are_answered(name: &'static str, req: Req, rep: Rep, count: u64) {
    let answering = tokio::spawn(async move {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..count {
            let request = rep.recv_timeout(STALL).await.expect("no stall");
            assert!(seen.insert(request.message().first().as_slice()[..8].to_vec()));
            let reply = request.message().clone();
            request.reply(reply).await.unwrap();
        }
        // It lives until all have their replies: they may take longer than it would linger.
        rep
    });
    let asking: Vec<_> = (0..count)
        .map(|number| {
            let req = req.clone();
            tokio::spawn(async move {
                let reply = req
                    .request_timeout(numbered(number), PATIENCE)
                    .await
                    .unwrap();
                assert!(reply == numbered(number));
            })
        })
        .collect();
    within(async {
        let _rep = answering.await.expect(name);
        for asking in asking {
            asking.await.expect(name);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_of_darkness_and_another_address_cost_nothing() {
    let path = Path {
        delay: Duration::from_millis(5),
        bandwidth: 2_000_000,
        queue: 200_000,
        ..Path::default()
    };
    push_pull(
        path,
        scale::seed(),
        scale::count(1_000, 5_000),
        async |relay| {
            for dark in [true, false, true, false] {
                tokio::time::sleep(Duration::from_millis(400)).await;
                relay.set_dark(dark);
                if dark {
                    tokio::time::sleep(Duration::from_millis(600)).await;
                } else {
                    relay.move_on();
                }
            }
        },
    )
    .await;
}

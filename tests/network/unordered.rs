//! Order that the sender gave up, and links that go before others.

use std::time::Duration;

use withy::options::Priority;
use withy::{Message, Pull, Push};
use withy_tests::path::Path;
use withy_tests::scale;

use crate::support::{build, over, soon};

/// Every tenth datagram is lost, and found missing only 40 ms later.
const LOSSY: Path = Path {
    lost: 1_000,
    doubled: 0,
    delay: Duration::from_millis(20),
    jitter: Duration::ZERO,
    bandwidth: 0,
    queue: 0,
};

/// 2 MB a second.
const SLOW: Path = Path {
    lost: 0,
    doubled: 0,
    delay: Duration::from_millis(5),
    jitter: Duration::ZERO,
    bandwidth: 2_000_000,
    queue: 100_000,
};

fn numbered(number: u64, size: usize) -> Message {
    let mut octets = number.to_be_bytes().to_vec();
    octets.resize(size, 7);
    Message::from(octets)
}

fn number_of(message: &Message) -> u64 {
    u64::from_be_bytes(message.first().as_slice()[..8].try_into().unwrap())
}

/// Sends numbered messages of these sizes, a little apart, and returns their numbers as they arrive.
async fn arrivals(path: Path, sizes: &[usize], unordered: bool) -> Vec<u64> {
    let pull = build(Pull::builder());
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    let (_relay, endpoint) = over(&endpoint, path, scale::seed()).await;
    let push = build(Push::builder().unordered(unordered));
    push.connect_to(&*endpoint).unwrap();
    soon(push.ready()).await.unwrap();
    let sending = async {
        for (number, &size) in sizes.iter().enumerate() {
            push.send(numbered(number as u64, size)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let receiving = async {
        let mut arrived = Vec::new();
        for _ in sizes {
            arrived.push(number_of(&soon(pull.recv()).await.unwrap()));
        }
        arrived
    };
    let ((), arrived) = tokio::join!(sending, receiving);
    assert_eq!(soon(push.close()).await, 0);
    arrived
}

/// How many came after one that was sent later.
fn overtaken(arrived: &[u64]) -> usize {
    let mut newest = 0;
    let late = arrived.iter().filter(|&&number| {
        newest = newest.max(number);
        number < newest
    });
    late.count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_stream_lost_does_not_hold_up_all_that_is_unordered() {
    let sizes = vec![100; scale::count(300, 3_000) as usize];
    for unordered in [false, true] {
        let mut arrived = arrivals(LOSSY, &sizes, unordered).await;
        let late = overtaken(&arrived);
        scale::report(
            &format!("messages that others passed, unordered {unordered}"),
            late,
        );
        assert_eq!(late > 0, unordered);
        arrived.sort_unstable();
        assert!(arrived.into_iter().eq(0..sizes.len() as u64), "each once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_messages_pass_a_large_one_that_is_unordered() {
    let mut sizes = vec![1 << 20];
    sizes.extend([100; 50]);
    assert_eq!(overtaken(&arrivals(SLOW, &sizes, false).await), 0);
    let arrived = arrivals(SLOW, &sizes, true).await;
    assert_eq!(arrived.last(), Some(&0), "{arrived:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_priority_is_sent_first() {
    let pull = build(Pull::builder());
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    let (_relay, endpoint) = over(&endpoint, SLOW, scale::seed()).await;
    let mut sending = Vec::new();
    for (which, priority) in [Priority::Low, Priority::High].into_iter().enumerate() {
        let push = build(Push::builder().priority(priority));
        push.connect_to(&*endpoint).unwrap();
        soon(push.ready()).await.unwrap();
        sending.push(tokio::spawn(async move {
            loop {
                push.send(numbered(which as u64, 10_000)).await.unwrap();
            }
        }));
    }
    let mut came = [0, 0];
    // What is on its way when the second socket starts comes first.
    for turn in 0..500 {
        let message = soon(pull.recv()).await.unwrap();
        if turn >= 100 {
            came[number_of(&message) as usize] += 1;
        }
    }
    scale::report("messages of low and of high priority", format!("{came:?}"));
    assert!(came[1] > came[0] * 9, "{came:?}");
    sending.iter().for_each(tokio::task::JoinHandle::abort);
}

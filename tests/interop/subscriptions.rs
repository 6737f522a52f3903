//! Subscriptions come and go by the hundred; both sides agree on what is left.

use std::collections::BTreeMap;
use std::time::Duration;

use withy::{Subscriber, XPub};
use withy_proto::crypto::{Randomness, Seeded};
use withy_tests::deadline::soon;
use withy_tests::python::Peer;
use withy_tests::scale;

const SOON: Duration = Duration::from_secs(15);

/// Topics that are each other's prefixes, and some that are not.
const TOPICS: [&str; 16] = [
    "a", "ab", "abc", "abcd", "abd", "b", "ba", "bab", "c", "ca", "cab", "cabb", "d", "da", "dab",
    "dad",
];

/// The last topic; who sees its subscription has seen all before.
const LAST: &str = "zzz";

/// What a subscriber asks for, one after another: the topic, and whether it is added.
fn steps(seed: u64) -> Vec<(&'static str, bool)> {
    let mut random = Seeded::new(seed);
    let mut held: BTreeMap<&str, u32> = BTreeMap::new();
    let mut steps = Vec::new();
    for _ in 0..scale::count(400, 20_000) {
        let mut octets = [0; 2];
        random.fill(&mut octets);
        let topic = TOPICS[usize::from(octets[0]) % TOPICS.len()];
        let count = held.entry(topic).or_default();
        // Topics are held more than once, and rarely for long.
        let add = *count == 0 || (*count < 3 && octets[1] % 2 == 0);
        *count = if add { *count + 1 } else { *count - 1 };
        steps.push((topic, add));
    }
    steps
}

/// The topics whose messages arrive after these steps.
fn wanted(steps: &[(&str, bool)]) -> Vec<&'static str> {
    let mut held: BTreeMap<&str, i32> = BTreeMap::new();
    for (topic, add) in steps {
        *held.entry(topic).or_default() += if *add { 1 } else { -1 };
    }
    let left: Vec<_> = held.iter().filter(|(_, count)| **count > 0).collect();
    TOPICS
        .into_iter()
        .filter(|topic| left.iter().any(|(prefix, _)| topic.starts_with(**prefix)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_xpub_follows_a_sub() {
    let peer = Peer::start();
    for seed in scale::seed()..scale::seed() + 3 {
        let ours = XPub::new();
        let endpoint = ours.bind_to("tcp://127.0.0.1:*").await.unwrap();
        // libzmq makes room for subscriptions only when its application receives, and drops those for
        // which there is none.
        let unlimited = [("SNDHWM", 0.into())];
        let theirs = peer.socket("SUB", &unlimited).await.unwrap();
        theirs.connect(&endpoint.to_string()).await.unwrap();
        soon(ours.ready()).await.unwrap();
        let reports = ours.clone();
        let last = tokio::spawn(async move {
            while *reports.recv().await.unwrap().first() != *format!("\u{1}{LAST}").as_bytes() {}
        });
        let steps = steps(seed);
        for (topic, add) in &steps {
            if *add {
                theirs.subscribe(topic.as_bytes()).await.unwrap();
            } else {
                theirs.unsubscribe(topic.as_bytes()).await.unwrap();
            }
        }
        theirs.subscribe(LAST.as_bytes()).await.unwrap();
        soon(last).await.unwrap();
        for topic in TOPICS.into_iter().chain([LAST]) {
            ours.send(topic).await.unwrap();
        }
        for topic in wanted(&steps).into_iter().chain([LAST]) {
            let received = theirs.recv(SOON).await.unwrap().expect("a message");
            assert_eq!(received, [topic.as_bytes()], "seed {seed}");
        }
        theirs.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_xpub_follows_our_subscriber() {
    let peer = Peer::start();
    for seed in scale::seed()..scale::seed() + 3 {
        let theirs = peer.socket("XPUB", &[]).await.unwrap();
        let endpoint = theirs.bind("tcp://127.0.0.1:*").await.unwrap();
        let ours = Subscriber::connect(&*endpoint).unwrap();
        soon(ours.ready()).await.unwrap();
        let steps = steps(seed);
        for (topic, add) in &steps {
            if *add {
                ours.subscribe(topic);
            } else {
                ours.unsubscribe(topic);
            }
        }
        ours.subscribe(LAST);
        let last = [format!("\u{1}{LAST}").into_bytes()];
        while theirs.recv(SOON).await.unwrap().expect("a subscription") != last {}
        for topic in TOPICS.into_iter().chain([LAST]) {
            theirs.send(&[topic]).await.unwrap();
        }
        for topic in wanted(&steps).into_iter().chain([LAST]) {
            let received = soon(ours.recv()).await.unwrap();
            assert_eq!(*received.first(), *topic.as_bytes(), "seed {seed}");
        }
        theirs.close().await.unwrap();
    }
}

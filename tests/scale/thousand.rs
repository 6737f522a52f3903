//! A thousand peers on one socket: stock libzmq ones among them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use withy::options::Overflow;
use withy::{Endpoint, Message, Publisher, Pull, Push, Subscriber};
use withy_tests::load::Load;
use withy_tests::{python, scale};

use crate::process::alone;

const PEERS: u64 = 1_000;
/// Two ends of each connection, a listener or two, and what the process has anyway.
const DESCRIPTORS: u64 = 2 * PEERS + 500;
const LONG: Duration = Duration::from_secs(120);

/// How many of the peers are libzmq's.
fn stock() -> u64 {
    scale::count(20, 200)
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LONG, what).await {
        Ok(value) => value,
        Err(_) => panic!("not over within {LONG:?}"),
    }
}

fn message(frames: Vec<Vec<u8>>) -> Message {
    frames.into_iter().collect()
}

/// In turn over tcp and ipc.
fn in_turn(endpoints: &[Endpoint; 2], n: u64) -> Endpoint {
    endpoints[(n % 2) as usize].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_takes_from_a_thousand_peers() {
    let _alone = alone().await;
    scale::allow_descriptors(DESCRIPTORS);
    let each = scale::count(20, 2_000);
    let pull = Pull::new();
    let endpoints = [
        pull.bind_to("tcp://127.0.0.1:*").await.unwrap(),
        pull.bind_to("ipc://*").await.unwrap(),
    ];
    let load = move |peer: u64| Load::new(each, 16, peer);
    // Everybody is connected before anybody sends.
    let mut withy = Vec::new();
    for peer in stock()..PEERS {
        withy.push((peer, Push::connect(in_turn(&endpoints, peer)).unwrap()));
    }
    for (_, push) in &withy {
        soon(push.ready()).await.unwrap();
    }
    let python = python::Peer::start();
    let mut libzmq = Vec::new();
    for peer in 0..stock() {
        let push = python.socket("PUSH", &[]).await.unwrap();
        let endpoint = in_turn(&endpoints, peer).to_string();
        push.connect(&endpoint).await.unwrap();
        libzmq.push((peer, push));
    }
    soon(async {
        while pull.stats().peers < PEERS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let start = Instant::now();
    let mut senders = JoinSet::new();
    for (peer, push) in withy {
        senders.spawn(async move {
            let load = load(peer);
            for n in 0..each {
                let mut frames = vec![peer.to_be_bytes().to_vec()];
                frames.extend(load.message(n));
                push.send(message(frames)).await.unwrap();
            }
            assert_eq!(push.close().await, 0);
        });
    }
    for (peer, push) in libzmq {
        senders.spawn(async move {
            let id = peer.to_be_bytes();
            let sent = push.send_load(&load(peer), &[&id], LONG).await.unwrap();
            assert_eq!(sent, each);
        });
    }
    let loads: Vec<Load> = (0..PEERS).map(load).collect();
    let mut next = vec![0; PEERS as usize];
    let in_time = tokio::time::timeout(LONG, async {
        for _ in 0..PEERS * each {
            let message = pull.recv().await.unwrap();
            let peer = u64::from_be_bytes(message.first().as_slice().try_into().unwrap());
            let next = &mut next[peer as usize];
            loads[peer as usize].check(*next, &message.frames()[1..]);
            *next += 1;
        }
        while senders.join_next().await.transpose().unwrap().is_some() {}
    })
    .await;
    let late: Vec<_> = (0..).zip(&next).filter(|(_, came)| **came < each).collect();
    assert!(
        in_time.is_ok() && late.is_empty(),
        "peers and what came of them: {late:?}; {} senders; {:?}",
        senders.len(),
        pull.stats()
    );
    assert_eq!(pull.stats().received, PEERS * each);
    let rate = (PEERS * each) as f64 / start.elapsed().as_secs_f64();
    scale::report(
        "peers of one PULL",
        format!("{PEERS}, {} of libzmq", stock()),
    );
    scale::report("messages from 1,000 peers to one PULL", PEERS * each);
    scale::report("messages/s from 1,000 peers to one PULL", rate as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pub_reaches_a_thousand_peers() {
    let _alone = alone().await;
    scale::allow_descriptors(DESCRIPTORS);
    let each = scale::count(20, 1_000);
    let publisher = Publisher::builder()
        .overflow(Overflow::Block)
        .build()
        .unwrap();
    let endpoints = [
        publisher.bind_to("tcp://127.0.0.1:*").await.unwrap(),
        publisher.bind_to("ipc://*").await.unwrap(),
    ];
    let load = Arc::new(Load::new(each, 16, scale::seed()));
    let mut receivers = JoinSet::new();
    for peer in stock()..PEERS {
        let subscriber = Subscriber::connect(in_turn(&endpoints, peer)).unwrap();
        subscriber.subscribe("");
        let load = load.clone();
        receivers.spawn(async move {
            for n in 0..each {
                load.check(n, subscriber.recv().await.unwrap().frames());
            }
            assert_eq!(subscriber.stats().received, each);
        });
    }
    let python = python::Peer::start();
    for peer in 0..stock() {
        let subscriber = python.socket("SUB", &[]).await.unwrap();
        subscriber.subscribe(b"").await.unwrap();
        let endpoint = in_turn(&endpoints, peer).to_string();
        subscriber.connect(&endpoint).await.unwrap();
        let load = load.clone();
        receivers.spawn(async move {
            let received = subscriber.recv_load(&load, 0, LONG).await.unwrap();
            assert_eq!(received.messages, each);
        });
    }
    soon(publisher.wait_subscribed(PEERS as usize))
        .await
        .unwrap();
    let start = Instant::now();
    soon(async {
        for n in 0..each {
            publisher.send(message(load.message(n))).await.unwrap();
        }
        receivers.join_all().await;
    })
    .await;
    let stats = publisher.stats();
    assert_eq!((stats.sent, stats.dropped), (PEERS * each, 0));
    let rate = (PEERS * each) as f64 / start.elapsed().as_secs_f64();
    scale::report(
        "peers of one PUB",
        format!("{PEERS}, {} of libzmq", stock()),
    );
    scale::report("messages from one PUB to 1,000 peers", PEERS * each);
    scale::report("messages/s from one PUB to 1,000 peers", rate as u64);
}

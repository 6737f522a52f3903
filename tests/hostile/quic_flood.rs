//! QUIC listeners among very many peers that begin a handshake and never end it, and with several
//! that send as much as they can.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use withy::{Identity, Pull, Push, Rep, Req};
use withy_proto::crypto::Provider;
use withy_proto::crypto::sign::SigningKey;
use withy_tests::scale;
use withy_transports::{DialOptions, ListenOptions};

use crate::memory;
use crate::process::{Other, serve, serves};
use crate::victim::{SEED, within};

/// Octets that the half-open peers may cost, however many there are.
const COST: usize = 20 << 20;

/// Ends of half-open peers that are kept with us: more than may be under way at the listener.
const KEPT: usize = 512;

fn identity() -> Identity {
    Identity::from_seed(&SEED)
}

/// A peer that begins a handshake, shows that it receives at its address if it is asked to, and hears
/// the listener's part of the handshake; then it falls silent. Returns its end.
async fn half_open(listener: SocketAddr, number: u64) -> UdpSocket {
    let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    far.connect(listener).await.unwrap();
    let mut options = DialOptions::default();
    let mut key = SEED;
    key[..8].copy_from_slice(&number.to_be_bytes());
    options.quic.node_key = Some(SigningKey::from_seed(Provider::Real, &key));
    let place = format!("quic://{}", near.local_addr().unwrap());
    let place = place.parse().unwrap();
    let dial = tokio::spawn(async move { withy_transports::dial(&place, &options).await });
    let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
    let mut from = None;
    loop {
        tokio::select! {
            received = near.recv_from(&mut there) => {
                let (length, address) = received.unwrap();
                from = Some(address);
                far.send(&there[..length]).await.unwrap();
            }
            received = far.recv(&mut back) => {
                let length = received.unwrap();
                // A retry (RFC 9000 §17.2.5), or the listener's part.
                match back[0] & 0xf0 {
                    0xf0 => drop(near.send_to(&back[..length], from.unwrap()).await.unwrap()),
                    _ => break,
                }
            }
        }
    }
    dial.abort();
    far
}

/// They cost little memory, and a good peer is in within a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_peers_cost_little_memory_and_keep_nobody_out() {
    const TEST: &str = "quic_flood::half_open_peers_cost_little_memory_and_keep_nobody_out";
    if serves() {
        let mut listening = ListenOptions::default();
        listening.quic.handshake_timeout = Duration::from_secs(60);
        let rep = Rep::builder().identity(&identity());
        let rep = rep.listen_options(listening).build().unwrap();
        let endpoint = rep.bind_to("quic://127.0.0.1:*").await.unwrap();
        tokio::spawn(async move {
            while let Ok(request) = rep.recv().await {
                let _ = request.reply("here").await;
            }
        });
        return serve(&endpoint).await;
    }
    let _shared = memory::shared().await;
    let count = scale::count(400, 10_000);
    scale::allow_descriptors(2 * KEPT as u64 + 1_000);
    let mut other = Other::start(TEST).await;
    let address = other.endpoint.to_string();
    let address = address["quic://".len()..].parse().unwrap();
    let good = async |other: &Other| {
        let req = Req::builder().identity(&identity()).build().unwrap();
        req.connect_to(other.endpoint.clone()).unwrap();
        let begin = Instant::now();
        let reply = within(10, req.request("in?")).await.unwrap();
        assert_eq!(reply.first(), "here");
        begin.elapsed()
    };
    good(&other).await;
    let before = other.usage().await.memory;
    let mut crowd = VecDeque::new();
    let (mut most, mut slowest) = (0, Duration::ZERO);
    for number in 0..count {
        crowd.push_back(half_open(address, number).await);
        if crowd.len() > KEPT {
            crowd.pop_front();
        }
        // When there are as many as there can be, and now and then after it.
        if number + 1 == count || number % 1_000 == 300 {
            most = most.max(other.usage().await.memory.saturating_sub(before));
            slowest = slowest.max(good(&other).await);
        }
    }
    scale::report("half-open QUIC peers", count);
    scale::report("octets that they cost", most);
    scale::report("ms until a good peer was in, at most", slowest.as_millis());
    assert!(most <= COST, "they cost {most} octets");
    assert!(
        slowest < Duration::from_secs(1),
        "a good peer waited {slowest:?}"
    );
}

/// Connections to one listener are worked for side by side. On fewer than four processors the sides that
/// send take what one connection leaves, so that it cannot be seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_connections_use_several_cores() {
    const TEST: &str = "quic_flood::several_connections_use_several_cores";
    if serves() {
        let pull = Pull::builder().identity(&identity()).build().unwrap();
        let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
        tokio::spawn(async move { while pull.recv().await.is_ok() {} });
        return serve(&endpoint).await;
    }
    let _alone = memory::Growth::alone().await;
    let count = scale::count(40_000, 400_000);
    let mut other = Other::start(TEST).await;
    let mut cores = [0.0; 2];
    for (connections, cores) in [1, 4].into_iter().zip(&mut cores) {
        *cores = cores_for(&mut other, connections, count / connections).await;
        scale::report(
            "cores that QUIC connections kept busy",
            format!("{cores:.2} for {connections}"),
        );
    }
    let [one, several] = cores;
    let enough = std::thread::available_parallelism().unwrap().get() >= 4;
    assert!(
        !enough || several > 1.2 * one,
        "{several:.2} cores, {one:.2}"
    );
}

/// How many processors the other process has while so many connections send it as much as they can.
async fn cores_for(other: &mut Other, connections: u64, count: u64) -> f64 {
    const MESSAGE: usize = 16 << 10;
    let pushes: Vec<_> = (0..connections)
        .map(|_| {
            // Each has a node's key of its own.
            let push = Push::builder().identity(&identity()).build().unwrap();
            push.connect_to(other.endpoint.clone()).unwrap();
            push
        })
        .collect();
    for push in &pushes {
        within(20, push.ready()).await.unwrap();
    }
    let (begin, before) = (Instant::now(), other.usage().await.busy);
    let mut sending = JoinSet::new();
    for push in pushes {
        sending.spawn(async move {
            for _ in 0..count {
                push.send(vec![5; MESSAGE]).await.unwrap();
            }
            push.close().await;
        });
    }
    within(120, sending.join_all()).await;
    let busy = other.usage().await.busy - before;
    busy.as_secs_f64() / begin.elapsed().as_secs_f64()
}

//! Peers that do what is allowed, without end, and faster than the socket can follow.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use withy::event::HandshakeFailure;
use withy::{Pull, Push, Reason, SocketType};
use withy_tests::{raw, scale};

use crate::memory::{self, Growth};
use crate::victim::{Config, HANDSHAKE, SHARED, Victim, counterpart, siege, siege_alone, within};

/// A peer in a thread of its own, which says the same again and again and never reads.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<String>>,
}

impl Flood {
    fn start(victim: &Victim, octets: Vec<u8>) -> Self {
        let endpoint = victim.endpoint.to_string();
        let address = endpoint.trim_start_matches("tcp://").to_owned();
        let kind = counterpart(victim.kind());
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let thread = std::thread::spawn({
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            move || {
                let mut stream = TcpStream::connect(address).unwrap();
                // It may stop at any time: nobody has to read what it says.
                stream
                    .set_write_timeout(Some(Duration::from_millis(20)))
                    .unwrap();
                let ready = raw::ready(&[("Socket-Type", kind.name().as_bytes())]);
                stream
                    .write_all(&raw::greeting(1, "NULL", false))
                    .and_then(|()| stream.write_all(&ready))
                    .unwrap();
                let address = stream.local_addr().unwrap().to_string();
                let mut at = 0;
                while !stop.load(Ordering::Relaxed) {
                    match stream.write(&octets[at..]) {
                        Ok(written) => {
                            at = (at + written) % octets.len();
                            sent.fetch_add(written as u64, Ordering::Relaxed);
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(_) => break,
                    }
                }
                address
            }
        });
        Self {
            stop,
            sent,
            thread: Some(thread),
        }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Stops; returns the address it had.
    fn end(mut self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Lets a peer flood the socket until so much was sent, and it goes on for a while.
async fn flooded(victim: &Victim, octets: Vec<u8>) {
    let flood = Flood::start(victim, octets);
    let start = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    while start.elapsed() < Duration::from_millis(300) || flood.sent() == 0 {
        pace.tick().await;
    }
    let address = flood.end();
    assert_eq!(victim.loss(&address).await, Reason::PeerClosed);
}

#[tokio::test]
async fn unknown_commands_without_end_starve_nobody() {
    let some = [SocketType::Pull, SocketType::Pub];
    for kind in if scale::is_full() { &SHARED[..] } else { &some } {
        siege(Config::patient(*kind), async |victim| {
            let before = victim.stats().ignored_commands;
            flooded(victim, raw::command("NOISE", b"").repeat(10_000)).await;
            assert!(victim.stats().ignored_commands > before);
        })
        .await;
    }
}

#[tokio::test]
async fn messages_to_a_publisher_are_dropped_and_counted() {
    siege(Config::patient(SocketType::Pub), async |victim| {
        let before = victim.stats();
        let mut peer = victim.peer().await;
        for message in [&[""][..], &["hello"], &["\u{1}topic", "two"], &["a", "b"]] {
            peer.send(&raw::message(message)).await.unwrap();
        }
        victim.keeps(&mut peer).await;
        let discarded = victim.stats().discarded - before.discarded;
        assert_eq!(discarded, 4);
        flooded(victim, raw::message(&["noise"]).repeat(10_000)).await;
        assert_eq!(victim.stats().received, 0);
    })
    .await;
}

/// A PUSH gives an offender its share like any other peer, and drops what it says.
#[tokio::test]
async fn messages_to_a_push_are_dropped_and_counted() {
    let _shared = memory::shared().await;
    let push = Push::new();
    let endpoint = push.bind_to("tcp://127.0.0.1:0").await.unwrap();
    let count = 3_000;
    let (received, mut all) = tokio::sync::mpsc::unbounded_channel();
    let puller = || {
        let (pull, received) = (Pull::connect(endpoint.clone()).unwrap(), received.clone());
        tokio::spawn(async move {
            while let Ok(message) = pull.recv().await {
                let _ = received.send(message.first().as_slice().to_vec());
            }
        })
    };
    let before = puller();
    push.ready().await.unwrap();
    let mut offender = raw::Peer::connect(&endpoint.to_string()).await.unwrap();
    offender.handshake("PULL").await.unwrap();
    let during = puller();
    for n in 0..count {
        if n % 10 == 0 {
            offender
                .send(&raw::message(&["not", "for you"]))
                .await
                .unwrap();
        }
        push.send(n.to_string()).await.unwrap();
    }
    let share = tokio::spawn(async move {
        while let Ok(frame) = offender.frame().await {
            if frame.flags & raw::COMMAND == 0 {
                let _ = received.send(frame.body);
            }
        }
    });
    let mut numbers = within(20, async {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let text = String::from_utf8(all.recv().await.unwrap()).unwrap();
            numbers.push(text.parse::<usize>().unwrap());
        }
        numbers
    })
    .await;
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..count));
    assert_eq!(push.stats().discarded, count as u64 / 10);
    assert_eq!(push.stats().protocol_errors, 0);
    push.close().await;
    for task in [before, during, share] {
        task.abort();
    }
}

#[tokio::test]
async fn pings_of_a_peer_that_does_not_read_do_not_pile_up() {
    let memory = Growth::alone().await;
    for kind in [SocketType::Pull, SocketType::Pub] {
        siege_alone(Config::patient(kind), async |victim| {
            let ping = raw::command("PING", b"\0\0sixteen octets..");
            let flood = Flood::start(victim, ping.repeat(10_000));
            let mut pace = tokio::time::interval(Duration::from_millis(10));
            while flood.sent() < scale::count(8, 96) << 20 {
                pace.tick().await;
            }
            victim.loss(&flood.end()).await;
        })
        .await;
    }
    memory.within(32 << 20);
}

#[tokio::test]
async fn half_open_connections_give_way_to_new_ones() {
    for kind in [SocketType::Pull, SocketType::Rep, SocketType::Pub] {
        let config = Config {
            max_handshakes: 64,
            // Long enough for the crowd to arrive on a busy machine.
            handshake_timeout: 3 * HANDSHAKE,
            ..Config::new(kind)
        };
        siege(config, async |victim| {
            let mut crowd = Vec::new();
            for _ in 0..200 {
                let mut peer = victim.link().await;
                // Refused at once perhaps.
                let _ = peer.send(&[0xff]).await;
                crowd.push(peer);
            }
            for (number, peer) in crowd.into_iter().enumerate() {
                match victim.refuses(peer).await {
                    HandshakeFailure::TooMany(64) => {}
                    HandshakeFailure::Timeout(_) if number >= 200 - 64 => {}
                    other => panic!("{number}: {other}"),
                }
            }
        })
        .await;
    }
}

/// The whole time that a newcomer takes while others hold every place and never finish.
#[tokio::test]
async fn a_newcomer_is_not_kept_out_by_those_who_never_finish() {
    let _shared = memory::shared().await;
    let config = Config {
        max_handshakes: 16,
        handshake_timeout: Duration::from_secs(60),
        ..Config::patient(SocketType::Pull)
    };
    let victim = Victim::new(config).await;
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(victim.link().await);
    }
    let good = victim.good();
    within(5, victim.exchange(&good, 1_000)).await;
    drop(idle);
    victim.acquit().await;
}

#[tokio::test]
async fn half_open_connections_cost_little_memory() {
    let memory = Growth::alone().await;
    let config = Config {
        handshake_timeout: Duration::from_secs(60),
        ..Config::patient(SocketType::Pull)
    };
    let victim = Victim::new(config).await;
    let mut crowd = Vec::new();
    for _ in 0..400 {
        let mut peer = victim.link().await;
        peer.send(&raw::greeting(1, "NULL", false)).await.unwrap();
        peer.exactly(64).await.unwrap();
        crowd.push(peer);
    }
    memory.within(400 * (32 << 10));
    drop(crowd);
    let good = victim.good();
    victim.exchange(&good, 1_000).await;
    victim.acquit().await;
}

/// Frames without a body cost memory all the same, at the queue and when their sender is gone.
#[tokio::test]
async fn empty_frames_of_peers_that_leave_cost_bounded_memory() {
    let memory = Growth::alone().await;
    let pull = Pull::new();
    let mut monitor = pull.monitor();
    let endpoint = pull.bind_to("tcp://127.0.0.1:0").await.unwrap();
    // 74 KB in memory each: 200 are within the mark, and 25 times as many take 370 MB.
    let octets = raw::message(&[""; 1_024]).repeat(200);
    for _ in 0..25 {
        let mut peer = raw::Peer::connect(&endpoint.to_string()).await.unwrap();
        peer.handshake("PUSH").await.unwrap();
        peer.send(&octets).await.unwrap();
        drop(peer);
        within(10, async {
            while let Some(event) = monitor.next().await {
                if matches!(event.kind, withy::EventKind::Disconnected { .. }) {
                    return;
                }
            }
        })
        .await;
    }
    let stats = pull.stats();
    assert_eq!(stats.unread + stats.dropped, 25 * 200);
    assert!(stats.unread > 0 && stats.dropped > 0, "{stats:?}");
    memory.within(320 << 20);
    pull.close().await;
}

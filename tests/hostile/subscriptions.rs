//! Subscribers that want too much, or take back what they never had.

use withy::{Reason, SocketType, XPub};
use withy_tests::raw::{self, Peer};
use withy_tests::scale;

use crate::memory::{self, Growth};
use crate::victim::{Config, Victim, siege, siege_alone, within};

/// What a connection is closed for.
fn limit(reason: Reason) -> String {
    match reason {
        Reason::Subscriptions(limit) => limit,
        other => panic!("{other}"),
    }
}

/// SUBSCRIBE as a command (ZMTP 3.1) and as a message (ZMTP 3.0).
fn both(topic: &[u8]) -> [Vec<u8>; 2] {
    [
        raw::command("SUBSCRIBE", topic),
        raw::message(&[[&[1], topic].concat()]),
    ]
}

#[tokio::test]
async fn a_topic_over_its_limit_closes_the_connection() {
    for kind in [SocketType::Pub, SocketType::XPub] {
        let config = Config {
            max_topic: 1_000,
            ..Config::new(kind)
        };
        siege(config, async |victim| {
            for octets in both(&[b'x'; 1_001]) {
                let mut peer = victim.peer().await;
                peer.send(&octets).await.unwrap();
                let limit = limit(victim.closes(peer).await);
                assert!(limit.contains("max_topic (1000)"), "{limit}");
            }
            let mut peer = victim.peer().await;
            for octets in both(&[b'x'; 1_000]) {
                peer.send(&octets).await.unwrap();
            }
            victim.keeps(&mut peer).await;
        })
        .await;
    }
}

/// Subscribes to ever new topics of so many octets until the socket has enough.
async fn subscribe_without_end(peer: &mut Peer, octets: usize) -> u64 {
    for n in 0..1_000_000_u64 / 100 {
        let mut many = Vec::new();
        for n in n * 100..(n + 1) * 100 {
            let mut topic = n.to_be_bytes().to_vec();
            topic.resize(octets, b'.');
            many.extend(raw::command("SUBSCRIBE", &topic));
        }
        if peer.send(&many).await.is_err() {
            return n * 100;
        }
    }
    1_000_000
}

#[tokio::test]
async fn a_million_subscriptions_hit_a_limit_that_is_named() {
    let memory = Growth::alone().await;
    for kind in [SocketType::Pub, SocketType::XPub] {
        siege_alone(Config::new(kind), async |victim| {
            for (octets, name) in [
                (8, "max_subscriptions (100000)"),
                (256, "16777216 octets of topics"),
            ] {
                let mut peer = victim.peer().await;
                subscribe_without_end(&mut peer, octets).await;
                let limit = limit(victim.closes(peer).await);
                assert!(limit.contains(name), "{limit}");
                // What it had is gone with it.
                assert!(victim.stats().subscriptions <= 3);
            }
        })
        .await;
    }
    memory.within(128 << 20);
}

#[tokio::test]
async fn what_was_never_subscribed_is_not_missed() {
    for kind in [SocketType::Pub, SocketType::XPub] {
        siege(Config::new(kind), async |victim| {
            let before = victim.stats();
            let mut peer = victim.peer().await;
            for topic in [&b""[..], b"never", &[7; 70_000]] {
                peer.send(&raw::command("CANCEL", topic)).await.unwrap();
                peer.send(&raw::message(&[[&[0], topic].concat()]))
                    .await
                    .unwrap();
            }
            // Merged: twice subscribed is once cancelled.
            for octets in both(b"twice") {
                peer.send(&octets).await.unwrap();
            }
            for _ in 0..2 {
                peer.send(&raw::command("CANCEL", b"twice")).await.unwrap();
            }
            victim.keeps(&mut peer).await;
            let after = victim.stats();
            assert_eq!(after.ignored_commands - before.ignored_commands, 7);
            assert_eq!(after.protocol_errors, before.protocol_errors);
        })
        .await;
    }
    // Others have no subscriptions at all.
    for kind in [SocketType::Pull, SocketType::Router, SocketType::Sub] {
        siege(Config::new(kind), async |victim| {
            let before = victim.stats().ignored_commands;
            let mut peer = victim.peer().await;
            for name in ["SUBSCRIBE", "CANCEL"] {
                peer.send(&raw::command(name, b"topic")).await.unwrap();
            }
            victim.keeps(&mut peer).await;
            assert_eq!(victim.stats().ignored_commands - before, 2);
        })
        .await;
    }
}

#[tokio::test]
async fn coming_and_going_subscriptions_leave_nothing_behind() {
    let memory = Growth::alone().await;
    let rounds = scale::count(20, 2_000);
    let victim = Victim::new(Config::new(SocketType::Pub)).await;
    let mut peer = victim.peer().await;
    for round in 0..rounds {
        for name in ["SUBSCRIBE", "CANCEL"] {
            let mut many = Vec::new();
            for n in 0..1_000 {
                many.extend(raw::command(name, format!("{round}/{n}").as_bytes()));
            }
            peer.send(&many).await.unwrap();
        }
    }
    victim.keeps(&mut peer).await;
    assert_eq!(victim.stats().subscriptions, 0);
    assert_eq!(victim.stats().ignored_commands, 0);
    memory.within(32 << 20);
    victim.acquit().await;
    scale::report("subscriptions that came and went", rounds * 1_000);
}

/// What subscribers say waits for an XPUB's application: not without end.
#[tokio::test]
async fn an_application_that_does_not_read_subscriptions_is_not_buried() {
    let memory = Growth::alone().await;
    let rounds = scale::count(2_500, 6_000);
    for manual in [false, true] {
        let mut builder = XPub::builder();
        if manual {
            builder = builder.manual();
        }
        let xpub = builder.build().unwrap();
        let endpoint = xpub.bind_to("tcp://127.0.0.1:0").await.unwrap();
        let mut peer = Peer::connect(&endpoint.to_string()).await.unwrap();
        peer.handshake("SUB").await.unwrap();
        let topic = vec![b'x'; 60_000];
        let subscribe = raw::command("SUBSCRIBE", &topic);
        let cancel = raw::command("CANCEL", &topic);
        // 300 MB in all, or 720.
        within(30, async {
            for _ in 0..rounds {
                peer.send(&subscribe).await.unwrap();
                peer.send(&cancel).await.unwrap();
            }
            peer.send(&raw::command("PING", b"\0\0")).await.unwrap();
            peer.frame().await.unwrap();
        })
        .await;
        let stats = xpub.stats();
        assert!(stats.unread > 0 && stats.dropped > 0, "{stats:?}");
        assert_eq!(stats.unread + stats.dropped, 2 * rounds);
        memory.within(400 << 20);
        xpub.close().await;
    }
}

/// In manual mode, too, a topic has its limit before the application sees it.
#[tokio::test]
async fn a_manual_xpub_is_not_asked_for_what_it_may_not_grant() {
    let _shared = memory::shared().await;
    let xpub = XPub::builder().manual().max_topic(100).build().unwrap();
    let mut monitor = xpub.monitor();
    let endpoint = xpub.bind_to("tcp://127.0.0.1:0").await.unwrap();
    let mut peer = Peer::connect(&endpoint.to_string()).await.unwrap();
    peer.handshake("SUB").await.unwrap();
    peer.send(&raw::command("SUBSCRIBE", &[7; 101]))
        .await
        .unwrap();
    let reason = within(5, async {
        loop {
            if let Some(withy::EventKind::Disconnected { reason, .. }) =
                monitor.next().await.map(|event| event.kind)
            {
                return reason;
            }
        }
    })
    .await;
    let limit = limit(reason);
    assert!(limit.contains("max_topic (100)"), "{limit}");
    assert!(xpub.try_recv().is_err());
}

//! PUB, SUB, XPUB and XSUB: what was asked for, and drops that are counted.

use std::time::Duration;

use withy::options::{Overflow, Verbose};
use withy::{
    EventKind, Message, Publisher, Reason, ReceiveError, SendError, SocketType, Subscriber, XPub,
    XSub,
};

use withy_tests::raw::{self, Peer};

use crate::support::{ANY, Way, each_link, each_way, number, number_of, only, soon};

#[tokio::test]
async fn a_subscriber_gets_what_it_asked_for_and_nothing_else() {
    for way in each_way("asked-for") {
        asked_for(&way).await;
    }
}

async fn asked_for(way: &Way) {
    let publisher = way.server(Publisher::builder());
    let endpoint = publisher.bind_to(way.any()).await.unwrap();
    let subscriber = way.client(Subscriber::builder());
    subscriber.connect_to(endpoint).unwrap();
    subscriber.subscribe("a");
    subscriber.subscribe("bc");
    subscriber.subscribe("bc");
    soon(publisher.wait_subscribed(2)).await.unwrap();
    for topic in ["b", "a", "bcd", "", "x", "abc"] {
        publisher.send(topic).await.unwrap();
    }
    for expected in ["a", "bcd", "abc"] {
        assert_eq!(
            soon(subscriber.recv()).await.unwrap(),
            Message::from(expected)
        );
    }
    subscriber.unsubscribe("a");
    subscriber.unsubscribe("bc");
    soon(async {
        while publisher.stats().subscriptions > 1 {
            tokio::task::yield_now().await
        }
    })
    .await;
    for topic in ["a", "bc"] {
        publisher.send(topic).await.unwrap();
    }
    assert_eq!(soon(subscriber.recv()).await.unwrap(), Message::from("bc"));
    assert_eq!(subscriber.try_recv(), Err(ReceiveError::Empty));
}

#[tokio::test]
async fn subscriptions_come_back_before_the_reconnect_event() {
    for way in each_link("come-back") {
        let publisher = way.server(Publisher::builder());
        let endpoint = publisher.bind_to(way.any()).await.unwrap();
        let subscriber = way.client(Subscriber::builder());
        subscriber.connect_to(endpoint.clone()).unwrap();
        subscriber.subscribe("t");
        soon(publisher.wait_subscribed(1)).await.unwrap();
        publisher.close().await;
        let publisher = way.server(Publisher::builder());
        publisher.bind_to(endpoint).await.unwrap();
        soon(publisher.wait_subscribed(1)).await.unwrap();
        publisher.send("t again").await.unwrap();
        assert_eq!(
            soon(subscriber.recv()).await.unwrap(),
            Message::from("t again"),
            "{way}"
        );
        assert_eq!(subscriber.stats().reconnects, 1, "{way}");
    }
}

async fn overflown(overflow: Overflow) -> (Publisher, Subscriber) {
    let publisher = Publisher::builder()
        .overflow(overflow)
        .send_high_water_mark(10)
        .build()
        .unwrap();
    let endpoint = publisher.bind_to(ANY).await.unwrap();
    let subscriber = Subscriber::connect(endpoint).unwrap();
    subscriber.subscribe("");
    soon(publisher.wait_subscribed(1)).await.unwrap();
    (publisher, subscriber)
}

fn padded(n: u64) -> Message {
    let mut message = number(n);
    message.push(vec![0; 100_000]);
    message
}

#[tokio::test]
async fn drops_are_counted_and_what_arrives_is_in_order() {
    for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
        let (publisher, subscriber) = overflown(overflow).await;
        let count = 1_000;
        for n in 0..count {
            publisher.send(padded(n)).await.unwrap();
        }
        let stats = publisher.stats();
        assert!(stats.dropped > 0, "{stats:?}");
        let expected = if overflow == Overflow::DropNewest {
            assert_eq!(stats.sent + stats.dropped, count);
            stats.sent
        } else {
            assert_eq!(stats.sent, count);
            count - stats.dropped
        };
        let mut last = None;
        for _ in 0..expected {
            let n = number_of(&soon(subscriber.recv()).await.unwrap());
            assert!(last.is_none_or(|last| n > last));
            last = Some(n);
        }
        if overflow == Overflow::DropOldest {
            assert_eq!(last, Some(count - 1), "the newest is kept");
        }
    }
}

/// One event when a subscriber starts to miss messages, and the next only after all that waited
/// for it was written.
#[tokio::test]
async fn drops_are_told_once_until_the_subscriber_caught_up() {
    for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
        let publisher = Publisher::builder().overflow(overflow).build().unwrap();
        let endpoint = publisher.bind_to(ANY).await.unwrap();
        let mut peer = Peer::connect(&endpoint.to_string()).await.unwrap();
        peer.handshake("SUB").await.unwrap();
        peer.send(&raw::command("SUBSCRIBE", b"")).await.unwrap();
        soon(publisher.wait_subscribed(1)).await.unwrap();
        let mut monitor = publisher.monitor();
        let mut told = 0;
        for _ in 0..2 {
            let before = publisher.stats().dropped;
            let mut n = 0;
            while publisher.stats().dropped < before + 100 {
                publisher.send(padded(n)).await.unwrap();
                n += 1;
            }
            let event = soon(monitor.next()).await.unwrap();
            let EventKind::Dropping { peer: who, dropped } = event.kind else {
                panic!("{event}");
            };
            assert_eq!(who.kind, SocketType::Sub);
            assert!(dropped > told && dropped <= publisher.stats().dropped);
            told = dropped;
            soon(async {
                while publisher.stats().queued > 0 {
                    peer.frame().await.unwrap();
                }
            })
            .await;
            assert!(monitor.try_next().is_none(), "{overflow:?}");
        }
    }
}

#[tokio::test]
async fn a_publisher_that_blocks_loses_nothing() {
    let (publisher, subscriber) = overflown(Overflow::Block).await;
    let count = 500;
    let sender = tokio::spawn(async move {
        for n in 0..count {
            publisher.send(padded(n)).await.unwrap();
        }
        publisher
    });
    for n in 0..count {
        assert_eq!(number_of(&soon(subscriber.recv()).await.unwrap()), n);
    }
    let publisher = soon(sender).await.unwrap();
    assert_eq!(publisher.stats().dropped, 0);
    assert!(publisher.try_send("room").is_ok());
}

#[tokio::test]
async fn a_slow_subscriber_can_be_disconnected() {
    let (publisher, _subscriber) = overflown(Overflow::Disconnect).await;
    let mut monitor = publisher.monitor();
    for n in 0..1_000 {
        publisher.send(padded(n)).await.unwrap();
    }
    soon(async {
        while let Some(event) = monitor.next().await {
            if let EventKind::Disconnected { reason, .. } = event.kind {
                assert_eq!(reason, Reason::Overflow);
                return;
            }
        }
        panic!("no event");
    })
    .await;
}

#[tokio::test]
async fn an_xpub_sees_the_first_and_last_subscription_and_verbose_ones_see_more() {
    for way in each_link("first-and-last") {
        first_and_last(&way).await;
    }
}

async fn first_and_last(way: &Way) {
    for (verbose, expected) in [
        (Verbose::Changes, 2),
        (Verbose::Subscriptions, 3),
        (Verbose::All, 4),
    ] {
        let xpub = way.server(XPub::builder().verbose(verbose));
        let endpoint = xpub.bind_to(way.any()).await.unwrap();
        let subscribers = [(); 2].map(|()| way.client(Subscriber::builder()));
        for subscriber in &subscribers {
            subscriber.connect_to(endpoint.clone()).unwrap();
        }
        for (at, subscriber) in subscribers.iter().enumerate() {
            subscriber.subscribe("topic");
            soon(xpub.wait_subscribed(at + 1)).await.unwrap();
        }
        for (at, subscriber) in subscribers.iter().enumerate() {
            subscriber.unsubscribe("topic");
            soon(async {
                while xpub.stats().subscriptions as usize > 1 - at {
                    tokio::task::yield_now().await
                }
            })
            .await;
        }
        let mut reports = Vec::new();
        while let Ok(message) = xpub.recv_timeout(Duration::from_millis(100)).await {
            reports.push(message);
        }
        assert_eq!(reports.len(), expected, "{verbose:?}");
        assert_eq!(reports[0], Message::from("\u{1}topic"));
        assert_eq!(reports[expected - 1], Message::from("\u{0}topic"));
    }
}

/// What an application in manual mode granted it takes back itself, so it hears of all that a
/// leaver asked for; else of what nobody wants any more, or with VERBOSER of all.
#[tokio::test]
async fn an_xpub_hears_of_the_topics_of_a_subscriber_that_leaves() {
    for way in each_link("leaves") {
        hears_of_the_topics(&way).await;
    }
}

async fn hears_of_the_topics(way: &Way) {
    let both: &[&str] = &["\0own", "\0shared"];
    for (verbose, manual, expected) in [
        (Verbose::Changes, false, &["\0own"][..]),
        (Verbose::Subscriptions, false, &["\0own"]),
        (Verbose::All, false, both),
        (Verbose::Changes, true, both),
    ] {
        let mut builder = XPub::builder().verbose(verbose);
        if manual {
            builder = builder.manual();
        }
        let xpub = way.server(builder);
        let endpoint = xpub.bind_to(way.any()).await.unwrap();
        let [stays, leaves] = [(); 2].map(|()| way.client(Subscriber::builder()));
        stays.connect_to(endpoint.clone()).unwrap();
        stays.subscribe("shared");
        assert_eq!(soon(xpub.recv()).await.unwrap().first(), "\u{1}shared");
        leaves.connect_to(endpoint).unwrap();
        soon(leaves.ready()).await.unwrap();
        leaves.subscribe("shared");
        leaves.subscribe("back");
        leaves.subscribe("own");
        leaves.unsubscribe("back");
        leaves.subscribe("last");
        // It is told of its subscriptions in order: with the last, all came.
        while soon(xpub.recv()).await.unwrap().first() != "\u{1}last" {}
        leaves.close().await;
        let mut reports = Vec::new();
        while !reports.iter().any(|report| report == "\0last") || reports.len() <= expected.len() {
            let report = soon(xpub.recv()).await.unwrap();
            reports.push(String::from_utf8(report.first().to_vec()).unwrap());
        }
        reports.retain(|report| report != "\0last");
        reports.sort_unstable();
        assert_eq!(reports, expected, "{verbose:?}, manual: {manual}");
        assert!(xpub.try_recv().is_err(), "{verbose:?}, manual: {manual}");
    }
}

#[tokio::test]
async fn a_forwarder_of_xsub_and_xpub_passes_topics_up_and_messages_down() {
    let publisher = Publisher::bind(ANY).await.unwrap();
    let xsub = XSub::connect(only(publisher.endpoints())).unwrap();
    let xpub = XPub::bind(ANY).await.unwrap();
    let subscriber = Subscriber::connect(only(xpub.endpoints())).unwrap();
    subscriber.subscribe("up");
    let mut proxy = withy::Proxy::new(xsub, xpub);
    let control = proxy.control();
    let running = tokio::spawn(async move { proxy.run().await });
    soon(publisher.wait_subscribed(1)).await.unwrap();
    publisher.send("down").await.unwrap();
    publisher.send("upper").await.unwrap();
    assert_eq!(
        soon(subscriber.recv()).await.unwrap(),
        Message::from("upper")
    );
    let statistics = control.statistics();
    assert_eq!(statistics.frontend_received.messages, 1);
    assert_eq!(statistics.backend_sent.messages, 1);
    assert_eq!(statistics.backend_received.messages, 1);
    control.terminate();
    soon(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_welcome_message_comes_first_and_a_publisher_never_is_full() {
    let xpub = XPub::builder().welcome("welcome").build().unwrap();
    let endpoint = xpub.bind_to(ANY).await.unwrap();
    assert!(!matches!(xpub.try_send("nobody"), Err(SendError::Full(_))));
    let subscriber = Subscriber::connect(endpoint).unwrap();
    subscriber.subscribe("");
    assert_eq!(
        soon(subscriber.recv()).await.unwrap(),
        Message::from("welcome")
    );
}

#[tokio::test]
async fn in_manual_mode_the_application_decides() {
    let xpub = XPub::builder().manual().build().unwrap();
    let endpoint = xpub.bind_to(ANY).await.unwrap();
    let subscriber = Subscriber::connect(endpoint).unwrap();
    subscriber.subscribe("");
    let (asked, peer) = soon(xpub.recv_from()).await.unwrap();
    assert_eq!(asked, Message::from("\u{1}"));
    xpub.send("before").await.unwrap();
    xpub.grant(peer, "only", true).unwrap();
    xpub.send("others").await.unwrap();
    xpub.send("only this").await.unwrap();
    assert_eq!(
        soon(subscriber.recv()).await.unwrap(),
        Message::from("only this")
    );
}

#[tokio::test]
async fn a_subscriber_that_conflates_is_never_in_the_way_and_never_behind() {
    for way in each_way("conflate") {
        conflated(&way).await;
    }
}

async fn conflated(way: &Way) {
    // This publisher would wait for ever for a subscriber whose queue is full.
    let publisher = way.server(Publisher::builder().overflow(Overflow::Block));
    let endpoint = publisher.bind_to(way.any()).await.unwrap();
    let subscriber = way.client(Subscriber::builder().conflate());
    subscriber.subscribe("");
    subscriber.connect_to(endpoint).unwrap();
    soon(publisher.wait_subscribed(1)).await.unwrap();
    let count = 100_000;
    soon(async {
        for n in 0..count {
            publisher.send(number(n)).await.unwrap();
        }
        publisher.flush().await;
        while subscriber.stats().received < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let last = soon(subscriber.recv()).await.unwrap();
    assert_eq!(number_of(&last), count - 1, "over {way}");
    let stats = subscriber.stats();
    assert_eq!(stats.received, stats.discarded + 1);
}

#[tokio::test]
async fn an_xpub_gives_the_last_value_to_a_newcomer_only() {
    let xpub = XPub::builder().manual().build().unwrap();
    let endpoint = xpub.bind_to(ANY).await.unwrap();
    let mut subscribers = Vec::new();
    for name in ["old", "new"] {
        let subscriber = Subscriber::connect(endpoint.clone()).unwrap();
        subscriber.subscribe("topic");
        let (asked, peer) = soon(xpub.recv_from()).await.unwrap();
        assert_eq!(asked.first(), b"\x01topic");
        assert_eq!(xpub.peer(peer).unwrap().kind, SocketType::Sub);
        xpub.grant(peer, "topic", true).unwrap();
        xpub.send_to(peer, format!("topic: last, for {name}"))
            .await
            .unwrap();
        subscribers.push((name, peer, subscriber));
    }
    xpub.send("topic: next").await.unwrap();
    for (name, peer, subscriber) in subscribers {
        let own = soon(subscriber.recv()).await.unwrap();
        assert_eq!(own.first(), &*format!("topic: last, for {name}"));
        let next = soon(subscriber.recv()).await.unwrap();
        assert_eq!(next.first(), "topic: next");
        soon(subscriber.close()).await;
        soon(async {
            while xpub.peer(peer).is_some() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let gone = xpub.send_to(peer, "too late").await;
        assert!(matches!(gone, Err(SendError::PeerGone(_))));
    }
}

#[tokio::test]
async fn sending_to_one_peer_waits_for_its_room() {
    let xpub = XPub::builder()
        .manual()
        .send_high_water_octets(1_000)
        .build()
        .unwrap();
    let endpoint = xpub.bind_to(ANY).await.unwrap();
    let subscriber = Subscriber::connect(endpoint).unwrap();
    subscriber.subscribe("");
    let (_, peer) = soon(xpub.recv_from()).await.unwrap();
    let sending = async {
        for n in 0..200_u32 {
            xpub.send_to(peer, vec![n as u8; 100_000]).await.unwrap();
        }
    };
    let receiving = async {
        for n in 0..200_u32 {
            assert_eq!(subscriber.recv().await.unwrap().first()[0], n as u8);
        }
    };
    soon(async { tokio::join!(sending, receiving) }).await;
    assert_eq!(xpub.stats().dropped, 0);
}

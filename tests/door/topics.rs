//! SUBs at the door: what they want, exactly, once, for as long as they want it.

use std::time::Duration;

use serde_json::json;
use withy::Node;
use withy_tests::deadline::soon;
use withy_tests::python::{Peer, Socket};
use withy_tests::scale;

use crate::house::{House, Mechanism, QUIET, SOON, connected, until};

async fn publish(node: &Node, topics: &[&str]) {
    let publisher = node.publisher("#").unwrap();
    for topic in topics {
        publisher
            .publish_to(&topic.parse().unwrap(), *topic)
            .await
            .unwrap();
    }
    publisher.flush().await;
}

/// Subscribes, and waits until the publisher knows.
async fn subscribe(theirs: &Socket, prefix: &[u8], node: &Node, probe: &str) {
    theirs.subscribe(prefix).await.unwrap();
    assert_eq!(theirs.recv(Duration::ZERO).await.unwrap(), None);
    let publisher = node.publisher("#").unwrap();
    let probe = probe.parse().unwrap();
    soon(publisher.wait_subscribed_to(&probe, 1)).await.unwrap();
}

/// The topics that come until `last` does.
async fn until_last(theirs: &Socket, last: &str) -> Vec<String> {
    let mut topics = Vec::new();
    loop {
        let message = theirs
            .recv(SOON)
            .await
            .unwrap()
            .expect("the last one comes");
        assert_eq!(message.len(), 2);
        assert_eq!(message[0], message[1]);
        let topic = String::from_utf8(message[0].clone()).unwrap();
        if topic == last {
            return topics;
        }
        topics.push(topic);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefix_is_matched_by_its_octets_and_each_message_comes_once() {
    let house = House::new();
    let (node, other) = (house.node().await, house.node().await);
    let door = house
        .door(&node, Mechanism::Null)
        .listen("tcp://127.0.0.1:*");
    let door = door.open().await.unwrap();
    let (peer, at) = (Peer::start(), &door.endpoints()[0]);
    let subs = [
        connected(&peer, "SUB", &[], at).await,
        connected(&peer, "SUB", &[], at).await,
        connected(&peer, "SUB", &[], at).await,
    ];
    subscribe(&subs[0], b"home/k", &other, "home/k").await;
    subscribe(&subs[1], b"", &other, "zzz").await;
    subscribe(&subs[2], b"home/", &other, "home/x").await;
    // The same once more, and one within another.
    subs[2].subscribe(b"home/").await.unwrap();
    subs[2].subscribe(b"home/hall").await.unwrap();
    for sub in &subs {
        sub.subscribe(b"zzz").await.unwrap();
        assert_eq!(sub.recv(Duration::ZERO).await.unwrap(), None);
    }
    until(|| door.stats().subscriptions == 7).await;
    let topics = [
        "home",
        "home/k",
        "home/kitchen/temp",
        "home/hall",
        "homes/k",
        "garden",
        "zzz",
    ];
    publish(&other, &topics).await;
    assert_eq!(
        until_last(&subs[0], "zzz").await,
        ["home/k", "home/kitchen/temp"]
    );
    assert_eq!(until_last(&subs[1], "zzz").await, topics[..6]);
    assert_eq!(
        until_last(&subs[2], "zzz").await,
        ["home/k", "home/kitchen/temp", "home/hall"]
    );
    let stats = door.stats();
    assert_eq!((stats.subscribers, stats.sent, stats.dropped), (3, 14, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_ends_on_the_bus_with_the_last_that_needs_it() {
    let house = House::new();
    let (node, other) = (house.node().await, house.node().await);
    let door = house
        .door(&node, Mechanism::Null)
        .listen("tcp://127.0.0.1:*");
    let door = door.open().await.unwrap();
    let (peer, at) = (Peer::start(), &door.endpoints()[0]);
    let one = connected(&peer, "SUB", &[], at).await;
    let two = connected(&peer, "SUB", &[], at).await;
    subscribe(&one, b"home/k", &other, "home/x").await;
    subscribe(&two, b"home/h", &other, "home/x").await;
    until(|| door.stats().subscriptions == 2).await;
    assert_eq!(door.stats().filters, 1);
    let publisher = other.publisher("home/kitchen").unwrap();
    let topic = "home/kitchen".parse().unwrap();
    assert_eq!(publisher.subscribers(&topic), 1);

    one.unsubscribe(b"home/k").await.unwrap();
    assert_eq!(one.recv(QUIET).await.unwrap(), None);
    until(|| door.stats().subscriptions == 1).await;
    assert_eq!(publisher.subscribers(&topic), 1, "the other still needs it");
    // The end of its connection is the end of what it wanted.
    two.close().await.unwrap();
    until(|| publisher.subscribers(&topic) == 0).await;
    until(|| door.stats().filters == 0).await;
    subscribe(&one, b"home/k", &other, "home/x").await;
    publish(&other, &["home/kitchen"]).await;
    assert_eq!(until_last(&one, "home/kitchen").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_topic_is_like_is_counted() {
    let house = House::new();
    let node = house.node().await;
    let door = house
        .door(&node, Mechanism::Null)
        .listen("tcp://127.0.0.1:*");
    let door = door.open().await.unwrap();
    let (peer, at) = (Peer::start(), &door.endpoints()[0]);
    let everything = node.subscriber("#").unwrap();
    let hidden = node.subscriber("$withy/#").unwrap();
    let theirs = connected(&peer, "PUB", &[], at).await;
    until(|| door.stats().publishers == 1).await;
    let wrong: [&[&[u8]]; 6] = [
        &[b"home"],
        &[b"home", b"1", b"2"],
        &[b"", b"1"],
        &[b"home/+", b"1"],
        &[b"\xff", b"1"],
        &[b"$withy/x", b"1"],
    ];
    let publisher = node.publisher("#").unwrap();
    soon(publisher.wait_subscribed_to(&"home".parse().unwrap(), 1))
        .await
        .unwrap();
    let mut sent = 0;
    // A PUB sends nothing before it has our subscription.
    while door.stats().published == 0 {
        theirs.send(&["home", "right"]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        sent += 1;
        assert!(sent < 2_000, "nothing is published");
    }
    for message in wrong {
        theirs.send(message).await.unwrap();
    }
    theirs.send(&["last", ""]).await.unwrap();
    until(|| door.stats().malformed == wrong.len() as u64).await;
    loop {
        let publication = soon(everything.recv()).await.unwrap();
        if publication.topic.as_str() == "last" {
            break;
        }
        assert_eq!(publication.body, "right");
    }
    assert!(hidden.try_recv().is_err());

    let sub = connected(&peer, "SUB", &[], at).await;
    for prefix in [&b"$withy/"[..], b"home/+", b"\xff"] {
        sub.subscribe(prefix).await.unwrap();
    }
    assert_eq!(sub.recv(Duration::ZERO).await.unwrap(), None);
    until(|| door.stats().malformed == wrong.len() as u64 + 3).await;
    assert_eq!(door.stats().filters, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_too_much_is_disconnected_and_others_are_not() {
    let house = House::new();
    let node = house.node().await;
    let door = house
        .door(&node, Mechanism::Null)
        .listen("tcp://127.0.0.1:*");
    let door = door.open().await.unwrap();
    let (peer, at) = (Peer::start(), &door.endpoints()[0]);
    let modest = connected(&peer, "SUB", &[], at).await;
    subscribe(&modest, b"home/", &node, "home/x").await;
    let greedy = connected(&peer, "SUB", &[("SNDHWM", json!(0))], at).await;
    until(|| door.stats().subscribers == 2).await;
    let most = withy::node::door::MAX_SUBSCRIPTIONS;
    for number in 0..=most {
        let prefix = format!("level{number}/");
        greedy.subscribe(prefix.as_bytes()).await.unwrap();
    }
    assert_eq!(greedy.recv(Duration::ZERO).await.unwrap(), None);
    until(|| door.stats().protocol_errors > 0).await;
    greedy.close().await.unwrap();
    until(|| door.stats().filters == 1).await;
    publish(&node, &["home/x"]).await;
    assert_eq!(until_last(&modest, "home/x").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_subscriber_holds_nobody_up() {
    let house = House::new();
    let (node, other) = (house.node().await, house.node().await);
    let door = house
        .door(&node, Mechanism::Null)
        .listen("tcp://127.0.0.1:*");
    let door = door.open().await.unwrap();
    let (peer, slow_peer) = (Peer::start(), Peer::start());
    let at = &door.endpoints()[0];
    let slow = [("RCVHWM", json!(1)), ("RCVBUF", json!(4_096))];
    let slow = connected(&slow_peer, "SUB", &slow, at).await;
    subscribe(&slow, b"load", &other, "load").await;
    slow_peer.freeze();
    let fast = connected(&peer, "SUB", &[], at).await;
    subscribe(&fast, b"load", &other, "load").await;
    until(|| door.stats().subscriptions == 2).await;
    let publisher = other.publisher("load").unwrap();
    let body = vec![7_u8; 64 * 1_024];
    let mut passed = 0_u64;
    while door.stats().dropped == 0 {
        for _ in 0..20 {
            publisher.publish(body.clone()).await.unwrap();
        }
        for _ in 0..20 {
            let message = fast.recv(SOON).await.unwrap().expect("it is not held up");
            assert_eq!(message[1].len(), body.len());
            passed += 1;
        }
        assert!(passed < 10_000, "nothing is dropped for who does not read");
    }
    slow_peer.thaw();
    scale::report("messages past a subscriber that does not read", passed);
}

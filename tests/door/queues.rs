//! PUSHes and PULLs at the door: what is taken in reaches somebody, or is counted.

use std::time::Duration;

use withy::Node;
use withy::node::QueueOptions;
use withy::store::Store;
use withy_tests::deadline::soon;
use withy_tests::python::Peer;

use crate::house::{House, Mechanism, QUIET, SOON, connected, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_somebody_keeps_accepts_what_is_pushed_and_gives_it_to_pulls() {
    let house = House::new();
    let (node, other) = (house.node().await, house.node().await);
    let keeper = other
        .keep_queue("jobs", QueueOptions::default(), Store::Memory)
        .await
        .unwrap();
    soon(async {
        while !node.peers().iter().any(|peer| !peer.offers.is_empty()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let at = "tcp://127.0.0.1:*";
    let door = house.door(&node, Mechanism::Null).listen(at);
    let door = door.pull("jobs", at).open().await.unwrap();
    let peer = Peer::start();
    let push = connected(&peer, "PUSH", &[], &door.endpoints()[0]).await;
    for job in ["1", "2", "3"] {
        push.send(&["jobs", job]).await.unwrap();
    }
    until(|| door.stats().pushed == 3).await;
    assert_eq!(keeper.stats().counts.queued, 3);
    let pull = connected(&peer, "PULL", &[], &door.pulled()[0].1).await;
    for job in ["1", "2", "3"] {
        assert_eq!(pull.recv(SOON).await.unwrap().unwrap(), [job.as_bytes()]);
    }
    until(|| keeper.stats().counts.acked == 3).await;
    assert_eq!(door.stats().taken, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_taken_from_while_a_pull_is_there() {
    let house = House::new();
    let (node, other) = (house.node().await, house.node().await);
    let door = house.door(&node, Mechanism::Null);
    let door = door
        .pull("parcels", "tcp://127.0.0.1:*")
        .open()
        .await
        .unwrap();
    let push = other.push("parcels").unwrap();
    let nobody = push.send_timeout("0", QUIET).await;
    assert!(nobody.is_err(), "nobody takes it");
    let peer = Peer::start();
    let pull = connected(&peer, "PULL", &[], &door.pulled()[0].1).await;
    soon(push.send("1")).await.unwrap();
    assert_eq!(pull.recv(SOON).await.unwrap().unwrap(), [b"1"]);
    pull.close().await.unwrap();
    until(|| door.stats().takers == 0).await;
    let is_offered = |node: &Node| {
        let peers = node.peers();
        let mut offers = peers.iter().flat_map(|peer| &peer.offers);
        offers.any(|it| it.name == "parcels")
    };
    until(|| !is_offered(&other)).await;
    soon(async {
        while push.stats().peers > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Another one takes it now.
    let ours = other.pull("parcels").unwrap();
    soon(push.send("2")).await.unwrap();
    assert_eq!(soon(ours.recv()).await.unwrap().first(), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_reaches_no_queue_is_counted() {
    let house = House::new();
    let node = house.node().await;
    let door = house
        .door(&node, Mechanism::Null)
        .listen("tcp://127.0.0.1:*");
    let door = door.open().await.unwrap();
    let peer = Peer::start();
    let push = connected(&peer, "PUSH", &[], &door.endpoints()[0]).await;
    let wrong: [&[&[u8]]; 3] = [&[b"jobs"], &[b"\xff", b"1"], &[b"a\nb", b"1"]];
    for message in wrong {
        push.send(message).await.unwrap();
    }
    let most = withy::node::door::MAX_WAITING as u64;
    // One is on its way already, and the lane has room for so many more.
    let extra = 10;
    for _ in 0..=most + extra {
        push.send(&["jobs", "1"]).await.unwrap();
    }
    until(|| door.stats().overflowed >= extra).await;
    let stats = door.stats();
    assert_eq!(stats.malformed, wrong.len() as u64);
    assert_eq!(stats.waiting as u64 + stats.overflowed, most + extra + 1);
    // Others are not held up by that.
    let letters = node.pull("letters").unwrap();
    push.send(&["letters", "2"]).await.unwrap();
    assert_eq!(soon(letters.recv()).await.unwrap().first(), "2");
    let left = stats.waiting as u64;
    door.clone().close(Duration::from_millis(100)).await;
    assert_eq!(door.stats().undelivered, left);
    assert_eq!(door.stats().waiting, 0);
}

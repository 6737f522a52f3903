//! How long it takes until a node that is opened is heard.

use std::time::Duration;

use tokio::time::Instant;

use crate::Node;
use crate::node::tests::{User, soon};

/// How long it takes from opening a node until another receives what it publishes.
async fn heard_after(
    open: impl Future<Output = Node>,
    subscriber: &crate::node::BusSubscriber,
) -> Duration {
    let start = Instant::now();
    let node = open.await;
    let publisher = node.publisher("door").unwrap();
    soon(publisher.wait_subscribed(1)).await.unwrap();
    publisher.publish("x").await.unwrap();
    soon(subscriber.recv()).await.unwrap();
    let taken = start.elapsed();
    node.close(Duration::from_secs(1)).await;
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_opens_on_this_host_is_heard_at_once() {
    let user = User::new();
    let there = user.node_apart().await;
    let subscriber = there.subscriber("door").unwrap();
    let mut all = Vec::new();
    for _ in 0..11 {
        all.push(heard_after(user.node_apart(), &subscriber).await);
    }
    all.sort_unstable();
    let (median, worst) = (all[all.len() / 2], all[all.len() - 1]);
    println!(
        "count: from opening a node to its first message at another, within a process: {median:.1?}, at worst {worst:.1?}"
    );
    assert!(median < Duration::from_millis(200), "{all:?}");
}

//! Nodes of one process that reach each other by none of their addresses: each has a runtime directory of
//! its own, and knows the address of one relay or of two.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use withy_proto::relay::{Ask, MAX_HOPS, Open, Reply, Why};
use withy_proto::trust::NodeId;

use super::*;
use crate::node::tests::{User, soon};
use crate::node::{Node, NodeBuilder, Seed};

const SECOND: Duration = Duration::from_secs(1);

/// Nodes of one user, each on a host of its own.
struct World {
    user: User,
    hosts: Vec<User>,
}

impl World {
    fn new() -> Self {
        Self {
            user: User::new(),
            hosts: Vec::new(),
        }
    }

    /// A node that knows these addresses of others.
    fn builder(&mut self, seeds: &[&str]) -> NodeBuilder {
        let host = User::new();
        let mut builder = host.builder().home(&self.user.home());
        builder.apart = true;
        self.hosts.push(host);
        let seeds = seeds.iter().map(|seed| seed.parse::<Seed>().unwrap());
        seeds.fold(builder, |builder, seed| builder.seed(seed).unwrap())
    }

    async fn node(&mut self, seeds: &[&str]) -> Node {
        self.builder(seeds).build().await.unwrap()
    }

    async fn relay(&mut self, seeds: &[&str]) -> Node {
        let builder = self.builder(seeds).relay(Relay::default());
        builder.listen(anywhere()).build().await.unwrap()
    }
}

fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// The address of a node that others dial.
fn address(node: &Node, scheme: &str) -> String {
    let addresses = node.addresses();
    let found = addresses.iter().find(|it| it.starts_with(scheme));
    found.unwrap().clone()
}

async fn until(what: impl Fn() -> bool) {
    soon(async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn relaying(node: &Node) -> RelayCounters {
    node.stats().relay
}

const MARKER: &str = "what nobody on the way may read";

/// All patterns cross a relay, and it sees nothing of what is said.
async fn all_patterns_cross(scheme: &str) {
    let mut world = World::new();
    let relay = world.relay(&[]).await;
    let seed = address(&relay, scheme);
    let (one, two) = (world.node(&[&seed]).await, world.node(&[&seed]).await);

    let subscriber = two.subscriber("home/#").unwrap();
    let publisher = one.publisher("home/hall").unwrap();
    soon(publisher.wait_subscribed(1)).await.unwrap();
    publisher.publish(MARKER).await.unwrap();
    assert_eq!(soon(subscriber.recv()).await.unwrap().body, MARKER);

    let service = two.service("echo").unwrap();
    tokio::spawn(async move {
        while let Ok(mut request) = service.recv().await {
            let message = request.take_message();
            let _ = request.reply(message).await;
        }
    });
    let client = one.client("echo").unwrap();
    assert_eq!(soon(client.request(MARKER)).await.unwrap().first(), MARKER);

    let producer = one.producer("jobs").unwrap();
    let worker = two.worker("jobs").unwrap();
    soon(producer.put(MARKER)).await.unwrap();
    let job = soon(worker.recv()).await.unwrap();
    assert_eq!(job.message.first(), MARKER);
    job.ack().unwrap();

    let ends = [one.pair("chess").unwrap(), two.pair("chess").unwrap()];
    for (from, to) in [(0, 1), (1, 0)] {
        soon(ends[from].send(MARKER)).await.unwrap();
        assert_eq!(soon(ends[to].recv()).await.unwrap().first(), MARKER);
    }

    // More than all that waits on the way.
    let push = one.push("bulk").unwrap();
    let pull = two.pull("bulk").unwrap();
    soon(push.wait_peers(1)).await.unwrap();
    let large = vec![7; 3_000_000];
    let sending = large.clone();
    let sending = tokio::spawn(async move { push.send(sending).await.map(|()| push) });
    assert_eq!(soon(pull.recv()).await.unwrap().first(), &large[..]);
    sending.await.unwrap().unwrap();

    let counters = relaying(&relay);
    assert!(counters.relaying >= 5, "{counters:?}");
    assert!(counters.octets > 3_000_000, "{counters:?}");
    assert_eq!(counters.lines, 2);
    let seen = relay.shared().relaying.seen.lock().clone();
    assert!(seen.len() > 3_000_000);
    let marker = MARKER.as_bytes();
    assert!(!seen.windows(marker.len()).any(|it| it == marker));
    // Nor any of what the connections are about.
    for word in ["home/hall", "echo", "jobs", "chess"] {
        let word = word.as_bytes();
        assert!(!seen.windows(word.len()).any(|it| it == word));
    }

    // It is told as what it is.
    until(|| {
        let peers = one.peers();
        let link = peers.iter().find(|peer| peer.node == two.id());
        let link = link.and_then(|peer| peer.link.as_ref());
        link.is_some_and(|link| {
            link.transport == "relay" && link.address == format!("relay:{}", relay.tag())
        })
    })
    .await;

    // Who leaves says goodbye through the relay, too.
    let mut events = one.events();
    let tag = two.tag();
    two.close(SECOND).await;
    soon(async { while events.recv().await.unwrap() != crate::node::NodeEvent::Left(tag) {} })
        .await;
    until(|| relaying(&relay).relaying == 0).await;
}

#[tokio::test]
async fn all_patterns_cross_a_relay_that_is_reached_by_quic() {
    all_patterns_cross("quic").await;
}

#[tokio::test]
async fn all_patterns_cross_a_relay_that_is_reached_by_tcp() {
    all_patterns_cross("tcp").await;
}

//! Nodes of one process, with homes and runtime directories of their own.

mod links;
mod permissions;
mod seeds;
mod sockets;

use std::collections::BTreeSet;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::Home;
use crate::error::Closed;

/// A user, on a host of his own.
pub(in crate::node) struct User(pub(in crate::node) TempDir);

impl User {
    pub(in crate::node) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn home(&self) -> Home {
        Home::at(self.0.path().join("home"))
    }

    pub(super) fn builder(&self) -> NodeBuilder {
        let runtime = self.0.path().join("run");
        Node::builder()
            .home(&self.home())
            .runtime_directory(runtime)
    }

    pub(super) async fn node(&self) -> Node {
        self.builder().build().await.unwrap()
    }

    /// A node that reaches others as one of another process does.
    pub(in crate::node) async fn node_apart(&self) -> Node {
        let mut builder = self.builder();
        builder.apart = true;
        builder.build().await.unwrap()
    }
}

pub(in crate::node) async fn soon<T>(what: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, what)
        .await
        .expect("it takes too long")
}

#[tokio::test]
async fn nodes_of_a_host_find_each_other_and_see_each_other_leave() {
    let user = User::new();
    let (one, two) = (user.node().await, user.node().await);
    soon(one.wait_peers(1)).await.unwrap();
    soon(two.wait_peers(1)).await.unwrap();
    let peers = one.peers();
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].node, two.id());
    assert_eq!(peers[0].presence, Presence::Present);
    let mut events = one.events();
    let tag = two.tag();
    soon(async {
        while two.peers().iter().all(|peer| peer.link.is_none()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // What it says last is read, though the link breaks before anybody looks.
    two.close(Duration::from_secs(1)).await;
    soon(async { while events.recv().await.unwrap() != NodeEvent::Left(tag) {} }).await;
    assert!(one.peers().is_empty());
}

/// Waits until a link to a node is told of.
async fn linked(events: &mut broadcast::Receiver<NodeEvent>, to: PeerTag) -> PeerLink {
    loop {
        match soon(events.recv()).await.unwrap() {
            NodeEvent::Linked(tag, link) if tag == to => return *link,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_link_is_told_of_with_how_it_runs_and_when_it_is_gone() {
    let user = User::new();
    let any = "127.0.0.1:0".parse().unwrap();
    let one = user.builder().listen(any).build().await.unwrap();
    let mut events = one.events();
    // Nodes of one process send messages within it, and gossip over a link that proves who is there.
    let two = user.node().await;
    let link = linked(&mut events, two.tag()).await;
    assert_eq!((link.transport, link.mechanism), ("ipc", "NOISE"));
    assert_eq!(link.round_trip, None);
    let subscriber = two.subscriber("a").unwrap();
    let publisher = one.publisher("a").unwrap();
    soon(publisher.wait_subscribed(1)).await.unwrap();
    let sockets = two.shared().state.lock().interests.cores();
    let links = sockets.iter().flat_map(|core| core.links());
    let transports: Vec<_> = links.map(|(_, peer)| peer.transport).collect();
    assert_eq!(transports, ["inproc"]);
    let peers = one.peers().into_iter();
    let known: Vec<_> = peers.filter_map(|peer| peer.link).collect();
    assert_eq!((known.len(), known[0].transport), (1, "ipc"));
    drop(subscriber);
    let gone = NodeEvent::Unlinked(two.tag());
    two.close(Duration::from_secs(1)).await;
    soon(async { while events.recv().await.unwrap() != gone {} }).await;
    // Over the network, where there is no directory in which the nodes of a host meet.
    let seed = one
        .addresses()
        .into_iter()
        .find(|it| it.starts_with("quic://"));
    let seed = seed.unwrap().parse().unwrap();
    let far = user.builder().without_host().seed(seed).unwrap();
    let far = far.build().await.unwrap();
    let link = linked(&mut events, far.tag()).await;
    assert!(["quic", "tcp"].contains(&link.transport), "{link:?}");
}

#[tokio::test]
async fn how_long_answers_take_is_known_once_there_is_a_link() {
    let user = User::new();
    let (one, two) = (user.node().await, user.node().await);
    soon(one.wait_peers(1)).await.unwrap();
    assert!(soon(one.ping(two.tag())).await.unwrap() > Duration::ZERO);
    let stranger = PeerTag::from_octets([0; 16]);
    assert_eq!(one.ping(stranger).await, Err(PingError::Unknown));
    let round_trip = || {
        let peers = two.peers();
        peers.first()?.link.as_ref()?.round_trip
    };
    soon(async {
        while round_trip().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_topic_finds_its_subscribers() {
    let user = User::new();
    let (kitchen, screen, own) = (
        user.node_apart().await,
        user.node_apart().await,
        user.node().await,
    );
    let all = screen.subscriber("home/#").unwrap();
    let other = screen.subscriber("garden/#").unwrap();
    let publisher = kitchen.publisher("home/kitchen/temp").unwrap();
    let within = kitchen.subscriber("home/+/temp").unwrap();
    drop(own);
    soon(publisher.wait_subscribed(2)).await.unwrap();
    for body in ["21.5", "22.0"] {
        publisher.publish(body).await.unwrap();
    }
    for subscriber in [&all, &within] {
        for body in ["21.5", "22.0"] {
            let publication = soon(subscriber.recv()).await.unwrap();
            assert_eq!(publication.topic.as_str(), "home/kitchen/temp");
            assert_eq!(publication.body, body);
        }
    }
    assert_eq!(other.publishers(), 0, "nobody offers what it wants");
    let topic = "home/hall".parse().unwrap();
    let refused = publisher.publish_to(&topic, "").await.unwrap_err();
    assert!(
        refused.to_string().contains("home/kitchen/temp"),
        "{refused}"
    );
    drop(all);
    soon(async {
        while publisher.subscribers(&"home/kitchen/temp".parse().unwrap()) > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn strangers_are_seen_and_not_talked_to() {
    let (ours, theirs) = (User::new(), User::new());
    let runtime = ours.0.path().join("run");
    let one = ours.node().await;
    let subscriber = one.subscriber("#").unwrap();
    let mut events = one.events();
    let two = theirs.builder().runtime_directory(&runtime);
    let two = two.build().await.unwrap();
    let publisher = two.publisher("secret").unwrap();
    let event = soon(events.recv()).await.unwrap();
    let NodeEvent::Stranger(peer) = event else {
        panic!("{event:?}");
    };
    assert_eq!(peer.identity, two.identity());
    assert_eq!(peer.presence, Presence::Untrusted);
    assert_eq!(subscriber.publishers(), 0);
    // Once both accept the other, they meet without a restart.
    ours.home().accept(two.identity(), None).unwrap();
    theirs.home().accept(one.identity(), None).unwrap();
    soon(publisher.wait_subscribed(1)).await.unwrap();
    publisher.publish("shared").await.unwrap();
    assert_eq!(soon(subscriber.recv()).await.unwrap().body, "shared");
}

#[tokio::test]
async fn work_and_pairs_find_each_other_by_name() {
    let user = User::new();
    let (one, two) = (user.node_apart().await, user.node_apart().await);
    let push = one.push("jobs").unwrap();
    push.try_send("first").unwrap_err();
    let pull = two.pull("jobs").unwrap();
    soon(push.wait_peers(1)).await.unwrap();
    push.send("second").await.unwrap();
    assert_eq!(soon(pull.recv()).await.unwrap().first(), "second");
    let taken = two.pull("jobs").unwrap_err();
    assert_eq!(taken, NameError::Taken("jobs".to_owned()));
    let ends = [one.pair("chess").unwrap(), two.pair("chess").unwrap()];
    for (from, to) in [(0, 1), (1, 0)] {
        soon(ends[from].send("e4")).await.unwrap();
        assert_eq!(soon(ends[to].recv()).await.unwrap().first(), "e4");
    }
    // A name that nobody has any more connects nobody.
    drop(pull);
    soon(async {
        while push.stats().peers > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    two.pull("jobs").unwrap();
}

#[tokio::test]
async fn plain_sockets_bind_and_connect_by_name() {
    let user = User::new();
    let (one, two) = (user.node_apart().await, user.node_apart().await);
    let rep = crate::Rep::builder().node(&one).build().unwrap();
    let name = rep.bind_to("mesh://adder").await.unwrap();
    assert_eq!(rep.endpoints(), std::slice::from_ref(&name));
    let req = crate::Req::builder().node(&two).build().unwrap();
    req.connect_to("mesh://adder").unwrap();
    // Of another type, and so another name.
    let other = Pull::builder().node(&one).build().unwrap();
    other.bind_to("mesh://adder").await.unwrap();
    tokio::spawn(async move {
        while let Ok(request) = rep.recv().await {
            let peer = request.message().clone();
            let _ = request.reply(peer).await;
        }
    });
    assert_eq!(soon(req.request("1")).await.unwrap().first(), "1");
    req.disconnect(&name).unwrap();
    req.disconnect(&name).unwrap_err();
    let identity = crate::Identity::ephemeral();
    let keyed = Pull::builder().identity(&identity).build().unwrap();
    let refused = keyed.bind_to("mesh://jobs").await.unwrap_err();
    assert!(refused.to_string().contains("NOISE"), "{refused}");
}

#[tokio::test]
async fn permissions_are_kept_by_both_sides_and_may_change() {
    let (ours, theirs) = (User::new(), User::new());
    let runtime = ours.0.path().join("run");
    let (one, two) = (ours.builder(), theirs.builder().runtime_directory(&runtime));
    let (mut one, mut two) = (one, two);
    (one.apart, two.apart) = (true, true);
    let trust = crate::Trust::open(&ours.home()).unwrap();
    let (one, two) = (one.trust(&trust).build(), two.build());
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    let allow = |rules: &str| {
        let rules = rules.replace("THEM", &two.identity().to_string());
        trust.set_permissions(Some(rules.parse().unwrap()));
    };
    // They may hear of the hall, and speak of the garden; nothing else.
    allow("THEM subscribe home/hall\nTHEM publish garden/#\nTHEM push jobs\n");
    ours.home().accept(two.identity(), None).unwrap();
    theirs.home().accept(one.identity(), None).unwrap();
    let hall = one.publisher("home/hall").unwrap();
    let safe = one.publisher("home/safe").unwrap();
    let hears = [
        two.subscriber("home/hall").unwrap(),
        two.subscriber("#").unwrap(),
    ];
    soon(hall.wait_subscribed(1)).await.unwrap();
    let (garden, cellar) = (
        two.publisher("garden/a").unwrap(),
        two.publisher("cellar").unwrap(),
    );
    let listens = one.subscriber("+/#").unwrap();
    // One of them is its own.
    soon(garden.wait_subscribed(2)).await.unwrap();
    for (publisher, body) in [(&cellar, "no"), (&garden, "yes")] {
        publisher.publish(body).await.unwrap();
    }
    assert_eq!(soon(listens.recv()).await.unwrap().body, "yes");
    assert_eq!(listens.stats().denied, 1);
    drop(listens);
    let pull = one.pull("jobs").unwrap();
    let other = one.pull("secrets").unwrap();
    let (push, denied) = (two.push("jobs").unwrap(), two.push("secrets").unwrap());
    soon(push.send("work")).await.unwrap();
    assert_eq!(soon(pull.recv()).await.unwrap().first(), "work");
    assert_eq!((other.stats().peers, denied.stats().peers), (0, 0));
    // Another rule: what was allowed closes, what was not opens.
    allow("THEM subscribe home/safe\nTHEM push secrets\n");
    soon(denied.send("more")).await.unwrap();
    assert_eq!(soon(other.recv()).await.unwrap().first(), "more");
    soon(async {
        while pull.stats().peers > 0 || hall.subscribers(&"home/hall".parse().unwrap()) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let safely = two.subscriber("home/safe").unwrap();
    soon(safe.wait_subscribed(1)).await.unwrap();
    safe.publish("in").await.unwrap();
    assert_eq!(soon(safely.recv()).await.unwrap().body, "in");
    // Who asked for everything heard what its own node said, and nothing else.
    while let Ok(heard) = hears[1].try_recv() {
        assert!(
            ["cellar", "garden/a"].contains(&heard.topic.as_str()),
            "{heard:?}"
        );
    }
    trust.set_permissions(None);
    soon(hall.wait_subscribed(2)).await.unwrap();
}

#[tokio::test]
async fn a_group_hears_shouts_and_one_of_it_whispers() {
    let user = User::new();
    let nodes = [
        user.node_apart().await,
        user.node_apart().await,
        user.node_apart().await,
    ];
    let groups = nodes.each_ref().map(|node| node.join("chat").unwrap());
    for group in &groups {
        soon(group.wait_members(2)).await.unwrap();
        assert_eq!(group.members().len(), 2);
    }
    assert_eq!(groups[0].shout("all"), 2);
    for group in &groups[1..] {
        let heard = soon(group.recv()).await.unwrap();
        assert_eq!((heard.from, heard.message), (nodes[0].tag(), "all".into()));
        group.whisper(heard.from, "you").unwrap();
    }
    for _ in 1..3 {
        assert_eq!(soon(groups[0].recv()).await.unwrap().message.first(), "you");
    }
    let other = PeerTag::from_octets([0; 16]);
    assert!(groups[0].whisper(other, "nobody").is_err());
    let taken = nodes[0].join("chat").unwrap_err();
    assert_eq!(taken, NameError::Taken("chat".to_owned()));
}

#[tokio::test]
async fn a_group_tells_who_comes_and_who_goes() {
    let user = User::new();
    let (ada, bob) = (user.node_apart().await, user.node_apart().await);
    let (ours, theirs) = (ada.join("chat").unwrap(), bob.join("chat").unwrap());
    let nobody = BTreeSet::new();
    let come = soon(ours.wait_changed(&nobody)).await.unwrap();
    assert_eq!(come, BTreeSet::from([bob.tag()]));
    drop(theirs);
    let gone = soon(ours.wait_changed(&come)).await.unwrap();
    assert_eq!(gone, nobody);
    let told = tokio::join!(
        ours.wait_changed(&nobody),
        ada.close(Duration::from_secs(1))
    )
    .0;
    assert_eq!(told, Err(Closed));
}

#[tokio::test]
async fn who_joins_late_misses_nothing_and_gets_nothing_twice() {
    let user = User::new();
    let mut builder = user.builder().history(History::last(50));
    builder.apart = true;
    let (kitchen, screen) = (builder.build().await.unwrap(), user.node_apart().await);
    let publisher = kitchen.publisher("home/#").unwrap();
    let topics: [Topic; 3] = ["home/a", "home/b", "home/c"].map(|it| it.parse().unwrap());
    let publish = async |number: usize| {
        let topic = &topics[number % topics.len()];
        publisher
            .publish_to(topic, number.to_string())
            .await
            .unwrap();
    };
    for number in 0..90 {
        publish(number).await;
    }
    let late = screen.late_subscriber("home/+").unwrap();
    // What is published while it joins comes once, and in its place.
    let received = async {
        let mut received = Vec::new();
        while received.len() < 200 {
            let publication = soon(late.recv()).await.unwrap();
            received.push(publication.body.as_str().unwrap().parse::<usize>().unwrap());
        }
        received
    };
    let published = async {
        for number in 90..200 {
            publish(number).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let (received, ()) = tokio::join!(received, published);
    assert_eq!(received, (0..200).collect::<Vec<_>>());
    // One that is not late gets what is published from now on.
    let timely = screen.subscriber("home/+").unwrap();
    soon(publisher.wait_subscribed_to(&topics[0], 2))
        .await
        .unwrap();
    publish(200).await;
    for subscriber in [&late, &timely] {
        assert_eq!(soon(subscriber.recv()).await.unwrap().body, "200");
    }
    // The last value of a topic, though it is long gone from the replay.
    let mut retained = Publication::new("home/d".parse().unwrap(), "kept");
    retained.header.retain = true;
    publisher.send(retained).await.unwrap();
    let latest = screen.late_subscriber("home/d").unwrap();
    assert_eq!(soon(latest.recv()).await.unwrap().body, "kept");
}

#[tokio::test]
async fn a_node_listens_where_it_is_told_and_nowhere_else() {
    let user = User::new();
    let any = "127.0.0.1:0".parse().unwrap();
    let node = user.builder().without_near().listen(any).build().await;
    let node = node.unwrap();
    let over_network = |node: &Node| {
        let addresses = node.addresses().into_iter();
        let addresses = addresses.filter_map(|it| it.strip_prefix("quic://").map(str::to_owned));
        addresses.collect::<Vec<_>>()
    };
    let at = over_network(&node);
    assert_eq!(at.len(), 1);
    assert!(at[0].starts_with("127.0.0.1:"), "{at:?}");
    // The port is taken: at that address, and so near as well.
    let taken: std::net::SocketAddr = at[0].parse().unwrap();
    for builder in [
        user.builder().listen(taken),
        user.builder().near_port(taken.port()),
    ] {
        let error = builder.build().await.unwrap_err();
        assert!(matches!(error, NodeError::Listen(_)), "{error:?}");
        assert!(error.to_string().contains(&at[0]), "{error}");
    }
    // An address that stands for all is each of them.
    let node = user.builder().listen("0.0.0.0:0".parse().unwrap());
    let at = over_network(&node.build().await.unwrap());
    let v4 = Node::near_addresses().into_iter().filter(|ip| ip.is_ipv4());
    for ip in v4 {
        assert!(
            at.iter().any(|it| it.starts_with(&format!("{ip}:"))),
            "{at:?}"
        );
    }
    assert!(at.iter().all(|it| !it.starts_with("0.0.0.0")), "{at:?}");
}

#[tokio::test]
async fn what_a_node_counts_is_what_there_is() {
    let user = User::new();
    let (one, two) = (user.node_apart().await, user.node_apart().await);
    let _publishers = [two.publisher("a/b").unwrap(), two.publisher("a/c").unwrap()];
    let _pull = two.pull("jobs").unwrap();
    soon(async {
        loop {
            let stats = one.stats();
            let jobs = stats.names.get(&Kind::Pull) == Some(&1);
            if jobs && stats.links == 1 && stats.gossip.received > 0 {
                assert_eq!((stats.present, stats.untrusted), (1, 0));
                assert!(stats.records.learnt > 0 && stats.control.connections > 0);
                assert_eq!(stats.dials_failed, 0);
                assert_eq!(stats.multicast, None);
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_name_is_that_of_the_identity_which_it_is_tied_to() {
    let (ada, bob) = (User::new(), User::new());
    let bobs = bob.home().identity().unwrap();
    let builder = || ada.builder().trust(&trusting(&bobs));
    let watching = builder().name("orders", bobs.id()).build().await.unwrap();
    let trusting_ada = trusting(&ada.home().identity().unwrap());
    let shared = ada.0.path().join("run");
    let other = bob
        .builder()
        .runtime_directory(&shared)
        .trust(&trusting_ada);
    let other = other.build().await.unwrap();
    soon(watching.wait_peers(1)).await.unwrap();
    // Of ada's own, another one offers it; of bob's, too.
    let claims = builder().build().await.unwrap();
    soon(watching.wait_peers(2)).await.unwrap();
    let _claimed = claims.pull("orders").unwrap();
    let _theirs = other.pull("orders").unwrap();
    soon(async {
        loop {
            let offering = watching.peers().into_iter();
            let offering = offering.filter(|peer| peer.offers.iter().any(|it| it.name == "orders"));
            let offering: Vec<_> = offering.map(|peer| peer.identity).collect();
            assert!(offering.iter().all(|id| *id == bobs.id()), "{offering:?}");
            if offering.len() == 1 && watching.stats().records.conflicts > 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_knows_no_more_nodes_than_it_may() {
    let user = User::new();
    let few = NodeLimits {
        nodes: 3,
        ..NodeLimits::default()
    };
    let refused = user.builder().limits(NodeLimits { nodes: 0, ..few });
    let refused = refused.build().await.unwrap_err();
    assert!(
        matches!(&refused, NodeError::Limit(error) if error.field == "nodes"),
        "{refused}"
    );
    let small = user.builder().limits(few).build().await.unwrap();
    let large = user.node().await;
    let others = [user.node().await, user.node().await];
    soon(large.wait_peers(1 + others.len())).await.unwrap();
    soon(async {
        while small.stats().records.full == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // This node is one of the three.
    assert_eq!(small.peers().len(), 2);
    assert_eq!(large.stats().records.full, 0);
}

fn trusting(identity: &crate::Identity) -> crate::Trust {
    let trust = crate::Trust::new();
    trust.accept(identity.id()).unwrap();
    trust
}

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
    let one = world
        .builder(&[&seed])
        .history(crate::node::History::last(1));
    let (one, two) = (one.build().await.unwrap(), world.node(&[&seed]).await);

    let subscriber = two.subscriber("home/#").unwrap();
    let publisher = one.publisher("home/hall").unwrap();
    soon(publisher.wait_subscribed(1)).await.unwrap();
    publisher.publish(MARKER).await.unwrap();
    assert_eq!(soon(subscriber.recv()).await.unwrap().body, MARKER);

    let service = two.service("echo-of-two").unwrap();
    tokio::spawn(async move {
        while let Ok(mut request) = service.recv().await {
            let message = request.take_message();
            let _ = request.reply(message).await;
        }
    });
    let client = one.client("echo-of-two").unwrap();
    assert_eq!(soon(client.request(MARKER)).await.unwrap().first(), MARKER);

    let producer = one.producer("jobs-for-two").unwrap();
    let worker = two.worker("jobs-for-two").unwrap();
    soon(producer.put(MARKER)).await.unwrap();
    let job = soon(worker.recv()).await.unwrap();
    assert_eq!(job.message.first(), MARKER);
    job.ack().unwrap();

    let ends = [
        one.pair("game-of-chess").unwrap(),
        two.pair("game-of-chess").unwrap(),
    ];
    for (from, to) in [(0, 1), (1, 0)] {
        soon(ends[from].send(MARKER)).await.unwrap();
        assert_eq!(soon(ends[to].recv()).await.unwrap().first(), MARKER);
    }

    let groups = [
        one.join("chat-of-two").unwrap(),
        two.join("chat-of-two").unwrap(),
    ];
    soon(groups[0].wait_members(1)).await.unwrap();
    assert_eq!(groups[0].shout(MARKER), 1);
    let heard = soon(groups[1].recv()).await.unwrap();
    assert_eq!(
        (heard.from, heard.message.first()),
        (one.tag(), &MARKER.into())
    );

    let rep = crate::Rep::builder().node(&two).build().unwrap();
    rep.bind_to("mesh://plain-request").await.unwrap();
    let req = crate::Req::builder().node(&one).build().unwrap();
    req.connect_to("mesh://plain-request").unwrap();
    let asked = tokio::spawn(async move { req.request(MARKER).await });
    let request = soon(rep.recv()).await.unwrap();
    request.reply(MARKER).await.unwrap();
    assert_eq!(soon(asked).await.unwrap().unwrap().first(), MARKER);

    let late = two.late_subscriber("home/#").unwrap();
    assert_eq!(soon(late.recv()).await.unwrap().body, MARKER);

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
    assert!(counters.relaying >= 8, "{counters:?}");
    assert!(counters.octets > 3_000_000, "{counters:?}");
    assert_eq!(counters.lines, 2);
    let seen = relay.shared().relaying.seen.lock().clone();
    assert!(seen.len() > 3_000_000);
    let marker = MARKER.as_bytes();
    assert!(!seen.windows(marker.len()).any(|it| it == marker));
    // Nor any of what the connections are about: long words, which three megabytes do not have by chance.
    for word in [
        "home/hall",
        "echo-of-two",
        "jobs-for-two",
        "game-of-chess",
        "chat-of-two",
        "plain-request",
    ] {
        let octets = word.as_bytes();
        assert!(!seen.windows(octets.len()).any(|it| it == octets), "{word}");
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

/// Asks at the door of a node, as a node may that knows it.
async fn ask(from: &Node, at: &Node, open: Open) -> Reply {
    let leg = leg_to(from, at).await;
    let leg = leg.expect("the relay is reached");
    leg.ask(&Ask::Open(open), Duration::from_secs(30))
        .await
        .unwrap()
}

async fn leg_to(from: &Node, at: &Node) -> Option<Leg> {
    let way = address(at, "quic").parse().unwrap();
    let expected = Expected::Node(at.identity(), at.id());
    Leg::dial(from.shared(), vec![way], Some(expected), DIAL).await
}

fn open(from: &Node, target: Party) -> Open {
    Open {
        hops: MAX_HOPS,
        target,
        origin: from.shared().party(),
        visited: Default::default(),
    }
}

/// A node that is nowhere.
fn nobody(like: &Node) -> Party {
    party(like.identity(), NodeId::from_octets([7; 32]))
}

#[tokio::test]
async fn who_did_not_say_so_relays_nothing() {
    let mut world = World::new();
    let plain = world.builder(&[]).listen(anywhere()).build().await.unwrap();
    let seed = address(&plain, "quic");
    let (one, two) = (world.node(&[&seed]).await, world.node(&[&seed]).await);
    // They hear of each other.
    soon(one.wait_peers(2)).await.unwrap();
    let publisher = one.publisher("topic").unwrap();
    let subscriber = two.subscriber("topic").unwrap();
    let reply = soon(ask(&one, &plain, open(&one, two.shared().party()))).await;
    assert!(
        matches!(reply, Reply::Refused(Why::NoRelay, _)),
        "{reply:?}"
    );
    let leg = leg_to(&one, &plain).await.unwrap();
    let reply = leg.ask(&Ask::Line, SECOND).await.unwrap();
    assert!(
        matches!(reply, Reply::Refused(Why::NoRelay, _)),
        "{reply:?}"
    );
    let counters = relaying(&plain);
    assert_eq!(counters.refused[&Why::NoRelay], 2);
    assert_eq!((counters.admitted, counters.octets), (0, 0));
    let topic = "topic".parse().unwrap();
    assert_eq!(publisher.subscribers(&topic), 0);
    drop(subscriber);
}

#[tokio::test]
async fn two_relays_in_a_row_lead_to_a_node() {
    let mut world = World::new();
    let first = world.relay(&[]).await;
    let second = world.relay(&[&address(&first, "quic")]).await;
    let one = world.node(&[&address(&first, "quic")]).await;
    let two = world.node(&[&address(&second, "quic")]).await;
    let subscriber = two.subscriber("topic").unwrap();
    let publisher = one.publisher("topic").unwrap();
    soon(publisher.wait_subscribed(1)).await.unwrap();
    publisher.publish(MARKER).await.unwrap();
    assert_eq!(soon(subscriber.recv()).await.unwrap().body, MARKER);
    for relay in [&first, &second] {
        let counters = relaying(relay);
        assert!(counters.relaying > 0 && counters.octets > 0, "{counters:?}");
        let seen = relay.shared().relaying.seen.lock().clone();
        let marker = MARKER.as_bytes();
        assert!(!seen.windows(marker.len()).any(|it| it == marker));
    }
    // Not with fewer hops.
    let target = two.shared().party();
    for (hops, opened) in [(2, true), (1, false), (0, false)] {
        let open = Open {
            hops,
            ..open(&one, target)
        };
        let reply = soon(ask(&one, &first, open)).await;
        match reply {
            Reply::Opened => assert!(opened, "{hops}"),
            Reply::Refused(why, _) => assert_eq!((why, opened), (Why::Far, false), "{hops}"),
            reply => panic!("{reply:?}"),
        }
    }
}

#[tokio::test]
async fn relays_that_lead_nowhere_are_asked_once_each() {
    let mut world = World::new();
    let first = world.relay(&[]).await;
    let seed = address(&first, "quic");
    let second = world.relay(&[&seed]).await;
    let third = world.relay(&[&seed, &address(&second, "quic")]).await;
    let one = world.node(&[&seed]).await;
    let relays = [&first, &second, &third];
    // Each knows the others.
    for relay in relays {
        soon(relay.wait_peers(3)).await.unwrap();
    }
    until(|| relaying(&first).lines >= 3 && relaying(&third).relays == 2).await;
    // What is made for gossip meanwhile leads somewhere.
    let nowhere = |relay| relaying(relay).refused.get(&Why::Unreachable).copied();
    let before: u64 = relays.iter().filter_map(|it| nowhere(it)).sum();
    let reply = soon(ask(&one, &first, open(&one, nobody(&one)))).await;
    let Reply::Refused(Why::Unreachable, visited) = reply else {
        panic!("{reply:?}");
    };
    let all = relays.map(Node::id).into_iter().collect();
    assert_eq!(visited, all);
    let after: u64 = relays.iter().filter_map(|it| nowhere(it)).sum();
    assert_eq!(after - before, 3, "each was asked once");
    for relay in relays {
        assert!(relaying(relay).refused[&Why::Unreachable] >= 1);
    }
}

#[tokio::test]
async fn traffic_goes_through_another_relay_when_one_is_gone() {
    let mut world = World::new();
    let first = world.relay(&[]).await;
    let second = world.relay(&[&address(&first, "quic")]).await;
    let seeds = [address(&first, "quic"), address(&second, "quic")];
    let seeds = seeds.each_ref().map(String::as_str);
    let (one, two) = (world.node(&seeds).await, world.node(&seeds).await);
    let subscriber = two.subscriber("topic").unwrap();
    let publisher = one.publisher("topic").unwrap();
    let topic = "topic".parse().unwrap();
    soon(publisher.wait_subscribed(1)).await.unwrap();
    until(|| relaying(&one).relays == 2 && relaying(&two).relays == 2).await;
    let taken = match relaying(&first).relaying > relaying(&second).relaying {
        true => first,
        false => second,
    };
    // It does not even say goodbye.
    taken.shared().resources.cores().into_iter().for_each(drop);
    taken.close(Duration::ZERO).await;
    soon(async {
        loop {
            publisher.publish("again").await.unwrap();
            let heard = tokio::time::timeout(SECOND / 10, subscriber.recv()).await;
            if heard.is_ok() {
                break;
            }
        }
    })
    .await;
    assert!(publisher.subscribers(&topic) <= 1, "one connection");
}

#[tokio::test]
async fn a_stranger_gets_nothing_of_a_relay() {
    let mut world = World::new();
    let relay = world.relay(&[]).await;
    let seed = address(&relay, "quic");
    let mut abroad = World::new();
    let (one, stranger) = (world.node(&[&seed]).await, abroad.node(&[&seed]).await);
    soon(one.wait_peers(1)).await.unwrap();
    // He trusts the relay, which does not trust him.
    abroad.user.home().accept(relay.identity(), None).unwrap();
    let failed = relay.stats().control.handshakes_failed;
    assert!(leg_to(&stranger, &relay).await.is_none());
    until(|| relay.stats().control.handshakes_failed > failed).await;
    assert_eq!(relaying(&relay).admitted, 0);
    assert_eq!(relaying(&relay).lines, 1);
}

#[tokio::test]
async fn who_speaks_for_others_or_too_much_is_refused() {
    let mut world = World::new();
    let relay = world.relay(&[]).await;
    let seed = address(&relay, "quic");
    let (one, two) = (world.node(&[&seed]).await, world.node(&[&seed]).await);
    soon(one.wait_peers(2)).await.unwrap();
    let claimed = Open {
        origin: two.shared().party(),
        ..open(&one, nobody(&one))
    };
    let reply = soon(ask(&one, &relay, claimed)).await;
    assert!(matches!(reply, Reply::Refused(Why::Absurd, _)), "{reply:?}");
    // Nothing that may be said first.
    for octets in [vec![], vec![1, 9], vec![0; 2_000], Reply::Opened.encode()] {
        let before = relaying(&relay).offenders;
        let leg = leg_to(&one, &relay).await.unwrap();
        leg.say(octets).await;
        soon(leg.gone()).await;
        assert_eq!(relaying(&relay).offenders, before + 1);
    }
    // Others' circuits are not fetched by guessing.
    let leg = leg_to(&one, &relay).await.unwrap();
    assert!(leg.say(Ask::Fetch(1).encode()).await);
    soon(leg.gone()).await;
    // A line is for listening.
    let before = relaying(&relay).offenders;
    let leg = leg_to(&one, &relay).await.unwrap();
    assert_eq!(leg.ask(&Ask::Line, SECOND).await, Ok(Reply::Opened));
    leg.say(Ask::Line.encode()).await;
    soon(leg.gone()).await;
    assert_eq!(relaying(&relay).offenders, before + 1);
}

#[tokio::test]
async fn a_relay_has_so_many_circuits_and_lets_idle_ones_go() {
    let mut world = World::new();
    let relay = Relay {
        circuits: 2,
        per_node: 2,
        idle: Duration::from_millis(300),
    };
    let builder = world.builder(&[]).relay(relay).listen(anywhere());
    let relay = builder.build().await.unwrap();
    let seed = address(&relay, "quic");
    let target = world.node(&[&seed]).await;
    until(|| relaying(&relay).lines == 1).await;
    // A node that nobody gossips with: all circuits here are made by hand.
    let hand = world.node(&[]).await;
    let target = target.shared().party();
    let mut legs = Vec::new();
    for _ in 0..2 {
        let leg = leg_to(&hand, &relay).await.unwrap();
        let reply = leg.ask(&Ask::Open(open(&hand, target)), SECOND * 5).await;
        assert_eq!(reply, Ok(Reply::Opened));
        legs.push(leg);
    }
    let reply = soon(ask(&hand, &relay, open(&hand, target))).await;
    assert!(matches!(reply, Reply::Refused(Why::Busy, _)), "{reply:?}");
    // Nothing is said on them.
    for leg in legs {
        soon(async { while leg.next().await.is_some_and(|it| !it.is_empty()) {} }).await;
    }
    until(|| relaying(&relay).relaying == 0).await;
    assert_eq!(relaying(&relay).idle, 2);
}

#[tokio::test]
async fn permissions_say_for_whom_a_relay_is_and_may_change() {
    let (ours, theirs) = (User::new(), User::new());
    ours.home().identity().unwrap();
    let (our, their) = (
        ours.home().identity().unwrap().id(),
        theirs.home().identity().unwrap().id(),
    );
    ours.home().accept(their, None).unwrap();
    theirs.home().accept(our, None).unwrap();
    let host = User::new();
    let trust = crate::Trust::open(&ours.home()).unwrap();
    let mut relay = host.builder().home(&ours.home()).trust(&trust);
    relay.apart = true;
    let relay = relay.relay(Relay::default()).listen(anywhere());
    let relay = relay.build().await.unwrap();
    let seed: Seed = address(&relay, "quic").parse().unwrap();
    let node = |user: &User, host: &User| {
        let mut builder = host.builder().home(&user.home());
        builder.apart = true;
        builder.seed(seed.clone()).unwrap()
    };
    let (here, there) = (User::new(), User::new());
    let one = node(&theirs, &here).build().await.unwrap();
    let two = node(&theirs, &there).build().await.unwrap();
    let subscriber = two.subscriber("topic").unwrap();
    let publisher = one.publisher("topic").unwrap();
    soon(publisher.wait_subscribed(1)).await.unwrap();
    let rules = |text: &str| Some(text.parse().unwrap());
    trust.set_permissions(rules(&format!("{their} publish,subscribe #")));
    until(|| relaying(&relay).relaying == 0).await;
    until(|| relaying(&relay).refused.contains_key(&Why::NotPermitted)).await;
    trust.set_permissions(rules(&format!("{their} relay {their}")));
    soon(async {
        loop {
            publisher.publish("again").await.unwrap();
            let heard = tokio::time::timeout(SECOND / 10, subscriber.recv()).await;
            if heard.is_ok() {
                break;
            }
        }
    })
    .await;
}

/// A slow receiver holds its sender up, and the relay keeps a bounded part of what is under way.
#[tokio::test]
async fn who_does_not_read_holds_up_who_writes_and_nobody_else() {
    let mut world = World::new();
    let relay = world.relay(&[]).await;
    let seed = address(&relay, "quic");
    let (one, two) = (world.node(&[&seed]).await, world.node(&[&seed]).await);
    let push = one.push("slow").unwrap();
    let pull = two.pull("slow").unwrap();
    soon(push.wait_peers(1)).await.unwrap();
    let chunk = vec![7; 1_000_000];
    let mut sent = 0;
    // It stops by itself: nothing on the way takes more than it may.
    while push
        .send_timeout(chunk.clone(), Duration::from_millis(1_000))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 100, "nothing holds it up");
    }
    let carried = relaying(&relay).octets;
    assert!(carried < 60_000_000, "{carried}");
    // Others go on.
    let publisher = one.publisher("topic").unwrap();
    let subscriber = two.subscriber("topic").unwrap();
    soon(publisher.wait_subscribed(1)).await.unwrap();
    publisher.publish(MARKER).await.unwrap();
    assert_eq!(soon(subscriber.recv()).await.unwrap().body, MARKER);
    for _ in 0..sent {
        assert_eq!(soon(pull.recv()).await.unwrap().first(), &chunk[..]);
    }
}

//! A mesh of many nodes in one thread: seeded, with loss, churn, splits and merges.

mod gaps;
mod messages;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use withy_proto::crypto::Provider;
use withy_proto::crypto::Randomness as _;

use super::*;
use crate::hints::Hint;
use crate::record::{Kind, Service};
use crate::revocation::Target;
use crate::testing::NOW;
use world::{Node, World, authority};

const NULL: Provider = Provider::DangerNull;

/// `small` on every change, `large` in a long suite.
fn count(small: usize, large: usize) -> usize {
    let full = std::env::var("WITHY_TESTS").is_ok_and(|size| size == "full");
    if full { large } else { small }
}

fn seed() -> u64 {
    let seed = std::env::var("WITHY_SEED").ok();
    seed.and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_mesh_that_knows_one_seed_knows_all() {
    let nodes = count(200, 1_000);
    let mut world = World::new(nodes, 0);
    let took = world.converge(secs(30));
    println!("count: time until {nodes} nodes know each other: {took:?}");
    println!(
        "count: octets per second and node meanwhile: {}",
        world.traffic(took)
    );
    world.run(secs(20));
    assert!(world.connected());
    for node in world.nodes.values() {
        let links = node.discovery.gossip().links().count();
        assert!((2..=12).contains(&links), "{links} links");
    }
    world.traffic(secs(1));
    world.run(secs(20));
    let idle = world.traffic(secs(20));
    println!("count: octets per second and idle node: {idle}");
    assert!(idle < 4_096, "{idle} octets per second and idle node");
    assert_eq!(world.seen.false_deaths, 0);
    assert_eq!(world.missing(), 0);
}

/// Nobody knows a seed; each hears what the others announce, in half of them for members only.
#[test]
fn a_mesh_finds_itself_by_announcements() {
    let nodes = 30;
    let mut world = World::new(nodes, 0);
    world.seeds.clear();
    world.run(secs(1));
    assert_eq!(world.missing(), nodes * (nodes - 1), "nobody knows anybody");
    let heard: Vec<_> = world.nodes.values().map(|node| node.announce()).collect();
    let time = world.time();
    for node in world.nodes.values_mut() {
        for (heard, from) in &heard {
            let hint = Hint::Heard(heard.clone());
            // One's own is refused, and who is met meanwhile is known.
            let _ = node.discovery.hint(hint, Origin::Mdns(*from), time);
        }
        node.due = Duration::ZERO;
        assert_eq!(node.discovery.hint_counters().ourselves, 1);
    }
    let took = world.converge(secs(10));
    println!("count: time until {nodes} nodes know each other by announcements: {took:?}");
    world.run(secs(2));
    let tried: u64 = world
        .nodes
        .values()
        .map(|node| node.discovery.hint_counters().tried)
        .sum();
    println!("count: dials of {nodes} nodes by announcements: {tried}");
    assert!(tried < (nodes * nodes / 2) as u64, "{tried} dials");
    for node in world.nodes.values() {
        assert_eq!(node.discovery.hints_waiting(), 0);
    }
}

#[test]
fn a_killed_node_is_noticed_everywhere_within_three_heartbeats() {
    let mut world = World::new(50, 0);
    world.converge(secs(30));
    world.run(secs(5));
    for _ in 0..5 {
        let victim = *world
            .nodes
            .keys()
            .nth(world.random.next_u64() as usize % 40)
            .unwrap();
        world.end(victim);
        world.run(secs(4));
    }
    let deaths = &world.seen.deaths;
    assert_eq!(deaths.len(), 49 + 48 + 47 + 46 + 45);
    let slowest = deaths.iter().max().unwrap();
    println!("count: slowest notice of a killed node: {slowest:?}");
    assert!(
        *slowest <= secs(3) + Duration::from_millis(100),
        "{slowest:?}"
    );
    assert_eq!(world.seen.false_deaths, 0);
}

#[test]
fn churn_and_loss_kill_few_that_live() {
    let nodes = count(200, 1_000);
    let mut world = World::new(nodes, 0);
    world.converge(secs(30));
    world.loss = 30;
    let minutes = count(1, 3) as u64;
    world.traffic(secs(1));
    // Ten of a hundred a minute, in steps of a second.
    let mut due = 0;
    for _ in 0..minutes * 60 {
        due += nodes;
        while due >= 600 {
            due -= 600;
            let peers: Vec<_> = world.nodes.keys().copied().collect();
            let victim = peers[world.random.next_u64() as usize % peers.len()];
            if !world.seeds.contains(&victim) {
                world.end(victim);
                world.start();
            }
        }
        world.run(secs(1));
    }
    let traffic = world.traffic(secs(minutes * 60));
    let false_deaths = world.seen.false_deaths;
    println!("count: octets per second and node under churn and loss: {traffic}");
    println!(
        "count: false deaths of {nodes} nodes in {minutes} min, as seen by all: {false_deaths}"
    );
    assert!(traffic < 32 * 1_024, "{traffic} octets per second and node");
    // Of all pairs, so many a minute.
    let pairs = (nodes * nodes) as u64 * minutes;
    assert!(false_deaths * 1_000 <= pairs, "{false_deaths} of {pairs}");
    let took = world.converge(secs(30));
    println!("count: time to know each other after churn, under loss: {took:?}");
}

/// Who is there and who was gone is settled in one round, however different what nodes remember of the
/// dead: else their listings would never end, and those of a large mesh would be cut.
#[test]
fn those_that_are_gone_make_no_difference() {
    let mut world = World::new(30, 0);
    world.converge(secs(30));
    for _ in 0..5 {
        let peer = *world.nodes.keys().next_back().unwrap();
        world.end(peer);
    }
    world.run(secs(5));
    for _ in 0..3 {
        // It knows nothing of those that died before.
        world.start();
    }
    world.converge(secs(5));
    world.run(secs(5));
    let summaries: Vec<_> = world
        .nodes
        .values()
        .map(|node| node.discovery.summary())
        .collect();
    assert!(summaries.iter().all(|it| *it == summaries[0]));
    let dead = |node: &Node| node.discovery.membership().lost().count();
    let remembered: BTreeSet<_> = world.nodes.values().map(dead).collect();
    assert_eq!(remembered, [0, 5].into(), "or nothing was tested");
}

#[test]
fn both_sides_of_a_split_merge_again() {
    // Those that are gone are remembered for ten minutes.
    for (nodes, span) in [
        (count(100, 1_000), 30),
        (50, 1),
        (50, count(60, 300) as u64),
        (50, count(20, 420) as u64),
    ] {
        let mut world = World::new(nodes, 0);
        world.converge(secs(30));
        world.run(secs(5));
        world.split = true;
        world.run(secs(span));
        if span > 10 {
            assert_eq!(world.missing(), 0, "each side knows itself and nobody else");
        }
        world.split = false;
        let took = world.converge(secs(20));
        println!("count: time to heal a split of {span} s of {nodes} nodes: {took:?}");
        world.run(secs(10));
        assert_eq!(world.missing(), 0, "the merge holds");
        assert_eq!(world.seen.false_deaths, 0);
        assert!(world.connected());
    }
}

#[test]
fn what_changes_and_who_is_revoked_is_known_within_a_second() {
    let mut world = World::new(50, 0);
    world.converge(secs(30));
    world.run(secs(5));
    let peer = *world.nodes.keys().next().unwrap();
    let node = world.nodes.get_mut(&peer).unwrap();
    node.content.sequence += 1;
    node.content
        .services
        .push(Service::new(Kind::Queue, "jobs"));
    let record = node.content.clone().sign(&node.key).unwrap();
    node.discovery.set_own(record);
    let identity = node.content.certificate.identity();
    let revocation = Revocation::issue(&authority(), Target::Identity(identity), NOW);
    node.discovery.revoke(revocation);
    node.due = Duration::ZERO;
    let forged = Revocation::issue(&node.key, Target::Serial(7), NOW);
    node.discovery.revoke(forged);
    assert_eq!(node.discovery.gossip().counters().forged, 1);
    world.run(secs(1));
    for node in world.nodes.values() {
        let jobs = node.discovery.table().instances(Kind::Queue, "jobs");
        assert_eq!(jobs.count(), 1);
        assert_eq!(node.discovery.gossip().revocations().len(), 1);
    }
    // One that comes later learns it, too.
    let late = world.start();
    world.run(secs(3));
    assert_eq!(world.nodes[&late].discovery.gossip().revocations().len(), 1);
}

#[test]
fn one_that_leaves_is_gone_at_once_and_stays_gone() {
    let mut world = World::new(30, 0);
    world.converge(secs(30));
    world.run(secs(5));
    let peer = *world.nodes.keys().next_back().unwrap();
    let time = world.time();
    let node = world.nodes.get_mut(&peer).unwrap();
    let octets = node
        .discovery
        .table()
        .record(peer)
        .unwrap()
        .octets()
        .clone();
    node.discovery.leave(time);
    world.transmit(peer);
    world.run(Duration::from_millis(200));
    world.end(peer);
    world.run(Duration::from_millis(300));
    assert_eq!(world.missing(), 0);
    // Its record still counts, but it is gone.
    let time = world.time();
    for node in world.nodes.values_mut() {
        let refused = node.discovery.learn(&octets, Origin::Fixed, time);
        assert_eq!(refused, Err(Refusal::Gone));
    }
    world.run(secs(5));
    assert_eq!((world.missing(), world.seen.deaths.len()), (0, 0));
}

/// Each time that it wakes costs more than what it does then.
#[test]
fn a_node_at_rest_wakes_rarely() {
    let record = crate::testing::content(1, 1);
    let record = record.sign(&crate::testing::key(1)).unwrap();
    let mut discovery = Discovery::new(Provider::Real, Config::default(), record, seed());
    let at = |monotonic| Time {
        monotonic,
        unix: NOW,
    };
    let (mut now, mut wakes) = (Duration::ZERO, 0);
    while now < secs(60) {
        discovery.handle_timeout(at(now));
        while discovery.poll_action().is_some() {}
        now = discovery.poll_timeout(at(now));
        wakes += 1;
    }
    // For a round, and for links.
    assert!(wakes <= 130, "{wakes} times in a minute");
}

/// The two of a round learn from each other, whoever began it.
#[test]
fn whoever_lacks_a_revocation_asks_for_it() {
    let mut world = World::new(2, 0);
    world.converge(secs(30));
    let peers: Vec<_> = world.nodes.keys().copied().collect();
    let time = world.time();
    let node = world.nodes.get_mut(&peers[0]).unwrap();
    while node.discovery.poll_transmit(time).is_some() {}
    for answers in [false, true] {
        let digests = vec![[7; 8]];
        let list = Message::Revoked { answers, digests }.encode();
        node.discovery.handle_input(peers[1], &list, time).unwrap();
        let sent = node.discovery.poll_transmit(time);
        let said = sent.map(|(_, octets)| Message::decode(&octets).unwrap());
        let asks = Message::Revoked {
            answers: true,
            digests: Vec::new(),
        };
        assert_eq!(said, (!answers).then_some(asks));
    }
}

/// A node that says nothing but nonsense loses its link, and nothing else happens.
#[test]
fn nonsense_changes_nothing() {
    let mut world = World::new(2, 0);
    world.converge(secs(30));
    let peers: Vec<_> = world.nodes.keys().copied().collect();
    let time = world.time();
    let node = world.nodes.get_mut(&peers[0]).unwrap();
    let refused = node.discovery.handle_input(peers[1], &[1, 9], time);
    assert_eq!(refused, Err(MessageError::Kind { found: 9 }));
    assert_eq!(node.discovery.gossip().counters().invalid, 1);
    assert_eq!(world.missing(), 0);
}

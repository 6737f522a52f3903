//! Topics and queues on top of a mesh of many nodes: the engines of `withy_proto`, led by what the table of
//! each node says, while nodes die and come, messages are lost, and the network splits and merges.
//!
//! Connections are not what is simulated here: each is reliable and in order, slow where datagrams are lost,
//! and breaks when its other end was silent for three seconds.

mod bus;
mod queues;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use withy_proto::crypto::{Randomness as _, Seeded};

use super::world::World;
use super::{count, secs, seed};
use crate::peer::PeerTag;
use crate::record::Service;
use bus::Bus;
use queues::Queues;

/// How often the engines have their turn.
const TURN: Duration = Duration::from_millis(20);

/// How often a node looks at its table for what it wants. One that runs does so when the table changes.
const LOOK: Duration = Duration::from_millis(500);

/// For how long an end of a connection may be silent.
const SILENCE: Duration = Duration::from_secs(3);

/// How much later what was lost once comes.
const AGAIN: Duration = Duration::from_millis(100);

/// Octets for each node and second, of topics and queues together: of what is asked and said, not of
/// how it is packed.
const MOST: u64 = 4_096;

impl World {
    /// What follows from the order in which nodes were made.
    fn number(&self, peer: PeerTag) -> u64 {
        u64::from_be_bytes(self.nodes[&peer].content.process)
    }

    /// Offers something from now on, in place of what it was before; or nothing of this name.
    fn offer(&mut self, peer: PeerTag, service: Service, offered: bool) {
        let Some(node) = self.nodes.get_mut(&peer) else {
            return;
        };
        let services = &mut node.content.services;
        services.retain(|it| (it.kind, &it.name) != (service.kind, &service.name));
        services.extend(offered.then_some(service));
        node.content.sequence += 1;
        let record = node.content.clone().sign(&node.key).unwrap();
        node.discovery.set_own(record);
        node.due = Duration::ZERO;
    }

    /// When something arrives that sets out now over a connection.
    fn arrival(&mut self) -> Duration {
        let mut at = self.now + Duration::from_millis(1 + self.random.next_u64() % 20);
        while self.random.next_u64() % 100 < self.loss {
            at += AGAIN;
        }
        at
    }
}

/// When the two ends of a connection were last seen to reach each other.
#[derive(Debug, Clone, Copy)]
struct Heard(Duration);

impl Heard {
    /// Whether it is broken by now.
    fn is_broken(&mut self, world: &World, ends: (PeerTag, PeerTag)) -> bool {
        if world.reaches(ends.0, ends.1) {
            self.0 = world.now;
        }
        world.now > self.0 + SILENCE
    }
}

/// A mesh with topics and queues.
struct Mesh {
    world: World,
    bus: Bus,
    queues: Queues,
}

impl Mesh {
    fn new(nodes: usize, queues: u64, seed: u64) -> Self {
        let mut world = World::new(nodes, 0);
        world.random = Seeded::new(seed);
        let numbered: BTreeMap<u64, PeerTag> = world
            .nodes
            .keys()
            .map(|peer| (world.number(*peer), *peer))
            .collect();
        let mut bus = Bus::default();
        for peer in numbered.values() {
            bus.attach(&mut world, *peer);
        }
        let queues = Queues::new(&mut world, queues, &numbered);
        Self { world, bus, queues }
    }

    fn run(&mut self, span: Duration) {
        let end = self.world.now + span;
        while self.world.now < end {
            self.world.run(TURN);
            self.bus.step(&mut self.world);
            self.queues.step(&mut self.world);
        }
    }

    /// A node dies, and another one comes, which does what that one did.
    fn replace(&mut self, victim: PeerTag) {
        self.world.end(victim);
        let fresh = self.world.start();
        self.bus.attach(&mut self.world, fresh);
        self.queues.replace(&mut self.world, victim, fresh);
    }

    /// Ten of a hundred nodes a minute are replaced, and one node publishes ten times a second.
    fn churn(&mut self, minutes: u64) {
        let nodes = self.world.nodes.len();
        let mut due = 0;
        for _ in 0..minutes * 60 {
            due += nodes;
            while due >= 600 {
                due -= 600;
                let peers: Vec<_> = self.world.nodes.keys().copied().collect();
                let victim = peers[self.world.random.next_u64() as usize % peers.len()];
                if !self.world.seeds.contains(&victim) && !self.queues.is_keeper(victim) {
                    self.replace(victim);
                }
            }
            for _ in 0..10 {
                self.bus.publish_somewhere(&mut self.world);
                self.run(Duration::from_millis(100));
            }
        }
    }

    /// All publish once; each publication arrives at those who want it, once each, and at nobody else.
    fn all_publish(&mut self) {
        // Until all that was to be learnt was looked at, and asked for.
        self.run(secs(3));
        let from = self.bus.published();
        self.bus.publish_everywhere(&mut self.world);
        self.run(secs(3));
        let missed = self.bus.missed(from);
        assert_eq!(missed, [], "of what was published from {from} on");
    }

    /// Puts no more; all that was accepted has to be worked on, and each queue has one keeper.
    fn drain(&mut self) {
        self.queues.puts = false;
        let start = self.world.now;
        while !self.queues.is_done() {
            let took = self.world.now - start;
            assert!(
                took < secs(120),
                "after {took:?}: {}",
                self.queues.explain()
            );
            self.run(secs(1));
        }
        self.queues.check();
    }

    /// Octets for each node and second, since the last time.
    fn traffic(&mut self, span: Duration) -> u64 {
        let octets = std::mem::take(&mut self.bus.octets) + std::mem::take(&mut self.queues.octets);
        octets / self.world.nodes.len() as u64 * 1_000 / span.as_millis() as u64
    }
}

/// The runs of a test: nodes, queues and seeds. A long suite has a large mesh, and many small ones.
fn runs() -> Vec<(usize, u64, u64)> {
    let small = (seed()..).map(|seed| (60, 2, seed));
    let mut runs: Vec<_> = small.take(count(1, 10)).collect();
    if count(0, 1) == 1 {
        runs.push((1_000, 5, seed()));
    }
    runs
}

#[test]
fn topics_and_queues_go_on_under_churn_and_loss() {
    for (nodes, queues, seed) in runs() {
        let start = Instant::now();
        let mut mesh = Mesh::new(nodes, queues, seed);
        mesh.world.converge(secs(30));
        mesh.all_publish();
        mesh.world.loss = 30;
        mesh.traffic(secs(1));
        let from = mesh.bus.published();
        // A minute of a thousand nodes takes as long as all the small ones together.
        let minutes = if nodes < 1_000 { count(1, 3) as u64 } else { 1 };
        mesh.churn(minutes);
        let traffic = mesh.traffic(secs(minutes * 60));
        let missed = mesh.bus.missed(from).len();
        let wanted = mesh.bus.wanted(from);
        let which = format!("{nodes} nodes, churn, seed {seed}");
        println!("count: {which}: octets of topics and queues per second and node: {traffic}");
        println!("count: {which}: publications that were missed: {missed} of {wanted}");
        assert!(traffic < MOST, "{traffic} octets per second and node");
        // Those that came a moment ago, or are taken for dead, miss some.
        assert!(missed * 10 < wanted, "{missed} of {wanted}");
        mesh.world.converge(secs(30));
        mesh.world.loss = 0;
        mesh.world.converge(secs(30));
        mesh.all_publish();
        mesh.drain();
        println!("count: {which}: {}", mesh.queues.summary());
        println!("count: {which}: took {:.1?}", start.elapsed());
    }
}

#[test]
fn topics_and_queues_heal_after_a_split() {
    for (nodes, queues, seed) in runs() {
        let start = Instant::now();
        let mut mesh = Mesh::new(nodes, queues, seed);
        mesh.world.converge(secs(30));
        let splits = if nodes < 1_000 { 2 } else { 1 };
        for _ in 0..splits {
            mesh.all_publish();
            mesh.world.split = true;
            mesh.run(secs(20));
            // Each side has a keeper of its own, and its own publishers.
            assert_eq!(mesh.queues.holders(), 2, "of each queue");
            mesh.all_publish();
            mesh.world.split = false;
            mesh.world.converge(secs(20));
        }
        mesh.all_publish();
        mesh.drain();
        let which = format!("{nodes} nodes, splits: {splits}, seed {seed}");
        println!("count: {which}: {}", mesh.queues.summary());
        println!("count: {which}: took {:.1?}", start.elapsed());
    }
}

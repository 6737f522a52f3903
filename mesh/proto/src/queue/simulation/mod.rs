//! Producers, keepers and workers over links that break, with nodes and workers that die.
//!
//! One step at a time, drawn from a seed: whoever can do something does it. What a node has not
//! synced is lost with it, but for a part that is torn. In the end nothing breaks any more, and all
//! that was accepted has to have been worked on.

mod links;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::*;
use crate::crypto::{Randomness as _, Seeded};
use crate::message::Message;
use crate::trust::id::NodeId;

const PRODUCERS: usize = 3;
const WORKERS: usize = 3;
const CLIENTS: usize = PRODUCERS + WORKERS;
const MESSAGES: u64 = 60;
/// Who empties the queue of a node that is no keeper any more.
const HEIR: ConsumerId = ConsumerId(u64::MAX);

/// What happens to keepers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One node with a store, which dies and comes back.
    Stored,
    /// Nodes without a store, which die.
    Memory,
    /// Nodes without a store, which hand over.
    Moving,
}

struct Node {
    id: NodeId,
    keeper: Keeper,
    /// What is synced, what is written, and what to say when that is synced.
    disk: Vec<u8>,
    written: Vec<u8>,
    receipt: Option<Receipt>,
    /// Puts to the next keeper what is left here, by the tags of its deliveries.
    heir: Producer,
    inherited: BTreeMap<u64, Tag>,
}

struct Link {
    node: usize,
    peer: PeerId,
    up: VecDeque<Message>,
    down: VecDeque<Message>,
}

/// A worker, and what it works on.
struct Busy {
    worker: Worker,
    work: Vec<(WorkId, u64)>,
}

type WorkId = worker::WorkId;

struct World {
    kind: Kind,
    random: Seeded,
    now: Duration,
    nodes: Vec<Node>,
    /// What discovery has found out.
    epoch: Epoch,
    /// Those of clients, then those of heirs.
    links: Vec<Option<Link>>,
    peers: u64,
    producers: Vec<Producer>,
    workers: Vec<Busy>,
    next: u64,
    sent: BTreeMap<(usize, u64), u64>,
    accepted: BTreeSet<u64>,
    seen: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    /// What was only in the memory of nodes that died.
    at_risk: BTreeSet<u64>,
}

fn node_id(number: usize) -> NodeId {
    NodeId::from_octets([number as u8 + 1; 32])
}

fn number(message: &Message) -> u64 {
    u64::from_be_bytes(message.first().as_slice().try_into().unwrap())
}

fn push(number: u64, redelivered: bool) -> producer::Push {
    producer::Push {
        redelivered,
        message: Message::from(number.to_be_bytes()),
        ..producer::Push::default()
    }
}

impl World {
    fn new(kind: Kind, seed: u64) -> Self {
        let count = if kind == Kind::Stored { 1 } else { 3 };
        let mut world = Self {
            kind,
            random: Seeded::new(seed),
            now: Duration::from_secs(1),
            nodes: Vec::new(),
            epoch: Epoch::NONE,
            links: (0..CLIENTS + count).map(|_| None).collect(),
            peers: 0,
            producers: Vec::new(),
            workers: Vec::new(),
            next: 0,
            sent: BTreeMap::new(),
            accepted: BTreeSet::new(),
            seen: BTreeSet::new(),
            acked: BTreeSet::new(),
            at_risk: BTreeSet::new(),
        };
        for number in 0..PRODUCERS {
            let window = 1 + world.below(8);
            world
                .producers
                .push(Producer::new(ProducerId([number as u8; 16]), window));
        }
        for _ in 0..WORKERS {
            let worker = world.worker();
            world.workers.push(worker);
        }
        for number in 0..count {
            let node = world.node(number, Vec::new());
            world.nodes.push(node);
        }
        world
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random.next_u64() as usize % limit
    }

    fn worker(&mut self) -> Busy {
        let credit = 1 + self.below(5) as u32;
        Busy {
            worker: Worker::new(credit),
            work: Vec::new(),
        }
    }

    fn options(&self) -> Options {
        Options {
            max_messages: 30,
            max_attempts: None,
            lease: Duration::from_millis(400),
            durable: self.kind == Kind::Stored,
            ..Options::default()
        }
    }

    /// A node that begins, with what is on its disk.
    fn node(&mut self, number: usize, disk: Vec<u8>) -> Node {
        let name: QueueName = "jobs".parse().unwrap();
        let mut reader = LogReader::new(&disk);
        let records: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
        let end = reader.end();
        let queue = match self.kind {
            Kind::Stored => Queue::restore(name, self.options(), records).unwrap(),
            _ => Queue::new(name, self.options()),
        };
        let id = node_id(number);
        let mut heir = [number as u8 + 100; 16];
        self.random.fill(&mut heir[1..]);
        Node {
            id,
            keeper: Keeper::new(id, queue),
            disk: disk[..end].to_vec(),
            written: Vec::new(),
            receipt: None,
            heir: Producer::new(ProducerId(heir), 4),
            inherited: BTreeMap::new(),
        }
    }

    fn push(&mut self) {
        let client = self.below(PRODUCERS);
        if self.next < MESSAGES && self.producers[client].has_room() {
            let body = self.next;
            self.next += 1;
            let sequence = self.producers[client]
                .push(push(body, false), self.now)
                .unwrap();
            self.sent.insert((client, sequence), body);
        }
    }

    fn work(&mut self) {
        let at = self.below(WORKERS);
        if self.workers[at].work.is_empty() {
            return;
        }
        let which = self.below(self.workers[at].work.len());
        let (id, body) = self.workers[at].work.swap_remove(which);
        if self.below(6) == 0 {
            _ = self.workers[at].worker.nack(id, Nack::Requeue, "later");
        } else if self.workers[at].worker.ack(id).is_ok() {
            self.acked.insert(body);
        }
    }

    fn store(&mut self, at: usize, sync: bool) {
        let node = &mut self.nodes[at];
        while let Some((receipt, record)) = node.keeper.poll_store() {
            record.encode(&mut node.written);
            node.receipt = Some(receipt);
        }
        if sync {
            node.disk.append(&mut node.written);
            node.receipt
                .take()
                .into_iter()
                .for_each(|it| node.keeper.stored(it));
        }
    }

    fn claim(&mut self, at: usize) {
        let patience = Duration::from_millis(20);
        let keeper = &mut self.nodes[at].keeper;
        keeper.observe(self.epoch, self.now);
        self.epoch = keeper.claim(self.now, patience).unwrap();
    }

    /// A node that lost the queue puts what it has to the next one.
    fn inherit(&mut self, at: usize) {
        let now = self.now;
        let Node {
            id,
            keeper,
            heir,
            inherited,
            ..
        } = &mut self.nodes[at];
        let keeps = keeper.known().holder() == *id;
        let queue = keeper.queue_mut();
        if keeps {
            // What is on its way to another keeper comes twice, flagged.
            return queue.lost(HEIR, now);
        }
        if !heir.has_room() {
            return;
        }
        queue.grow(HEIR, 1).unwrap();
        if let Some(delivery) = queue.poll(now) {
            let body = number(&delivery.message);
            let sequence = heir.push(push(body, true), now).unwrap();
            inherited.insert(sequence, delivery.tag);
        }
        queue.pause(HEIR);
    }

    fn die(&mut self, at: usize) {
        let links = 0..self.links.len();
        for client in links.filter(|client| *client != CLIENTS + at) {
            if self.links[client]
                .as_ref()
                .is_some_and(|link| link.node == at)
            {
                self.cut(client);
            }
        }
        self.cut(CLIENTS + at);
        if self.kind != Kind::Stored {
            let (_, records) = self.nodes[at].keeper.queue_mut().snapshot();
            let lost = records.filter_map(|record| match record {
                Record::Put { message, .. } => Some(number(&message)),
                _ => None,
            });
            self.at_risk.extend(lost);
        }
        self.store(at, false);
        let node = &self.nodes[at];
        let torn = self.random.next_u64() as usize % (node.written.len() + 1);
        let disk = [&node.disk[..], &node.written[..torn]].concat();
        self.nodes[at] = self.node(at, disk);
    }

    fn hear(&mut self) {
        let at = self.below(self.nodes.len());
        self.nodes[at].keeper.observe(self.epoch, self.now);
        let client = self.below(self.links.len());
        let epoch = self.epoch;
        match self.producer(client) {
            Some(producer) => producer.observe(epoch),
            None => self.workers[client - PRODUCERS].worker.observe(epoch),
        }
    }

    fn pass_time(&mut self) {
        self.now += Duration::from_millis(self.random.next_u64() % 20);
        for node in &mut self.nodes {
            node.keeper.handle_timeout(self.now);
        }
    }

    fn step(&mut self, breaks: bool) {
        let client = self.below(self.links.len());
        let at = self.below(self.nodes.len());
        match self.below(24) {
            0..3 => self.push(),
            3..7 => self.send(client),
            7..11 => self.answer(at),
            11..15 => self.arrive(client),
            15..17 => self.work(),
            17 => {
                let sync = self.below(2) == 0;
                self.store(at, sync);
            }
            18 => self.pass_time(),
            19 => self.hear(),
            20 if self.links[client].is_none() => {
                let anywhere = breaks && self.below(4) == 0;
                self.connect(client, anywhere);
            }
            21 => self.inherit(at),
            22 if breaks => self.go_wrong(client, at),
            23 => self.mend(client, at, breaks),
            _ => {}
        }
    }

    fn go_wrong(&mut self, client: usize, at: usize) {
        match self.below(12) {
            0 if self.kind != Kind::Moving => self.die(at),
            1 | 2 => self.claim(at),
            3 if (PRODUCERS..CLIENTS).contains(&client) => {
                self.cut(client);
                self.workers[client - PRODUCERS] = self.worker();
            }
            4..8 => self.cut(client),
            _ => {}
        }
    }

    /// Somebody keeps the queue, and links go there.
    fn mend(&mut self, client: usize, at: usize, breaks: bool) {
        let holder = self
            .nodes
            .iter()
            .position(|node| node.id == self.epoch.holder());
        let keeper = holder.map(|at| &self.nodes[at].keeper);
        let keeps = |keeper: &Keeper| keeper.held().is_some() || keeper.is_claiming();
        let is_kept = keeper.is_some_and(keeps);
        if !is_kept && (!breaks || self.below(4) == 0) {
            self.claim(at);
        }
        let known = self.known(client);
        let goes_to = self.links[client]
            .as_ref()
            .map(|link| self.nodes[link.node].id);
        if goes_to.is_some_and(|node| node != known.holder()) && self.below(4) == 0 {
            self.cut(client);
        }
    }

    fn is_done(&self) -> bool {
        let producers = self.producers.iter().all(|it| it.unconfirmed() == 0);
        let heirs = self.nodes.iter().all(|node| node.heir.unconfirmed() == 0);
        let queues = self.nodes.iter().all(|node| node.keeper.queue().is_empty());
        self.next == MESSAGES && producers && heirs && queues
    }

    fn check(&self) {
        let lost: Vec<_> = self.accepted.difference(&self.acked).collect();
        let excused = lost.iter().all(|body| self.at_risk.contains(body));
        assert!(excused, "{lost:?} were accepted, and lost");
        assert_eq!(self.accepted.len() as u64, MESSAGES);
        if self.kind == Kind::Stored {
            self.check_log();
        }
    }

    /// No message was queued twice.
    fn check_log(&self) {
        let mut there = BTreeMap::new();
        let mut queued = BTreeMap::new();
        for record in LogReader::new(&self.nodes[0].disk).map(Result::unwrap) {
            match record {
                Record::Put { id, message, .. } => {
                    *queued.entry(number(&message)).or_insert(0) += 1;
                    there.insert(id, number(&message));
                }
                Record::Withdrawn { id, .. } => *queued.entry(there[&id]).or_insert(0) -= 1,
                _ => {}
            }
        }
        assert!(queued.values().all(|count| *count == 1), "{queued:?}");
    }
}

fn simulate(kind: Kind, seeds: std::ops::Range<u64>) -> Totals {
    let mut totals = Totals::default();
    for seed in seeds {
        let mut world = World::new(kind, seed);
        for _ in 0..6_000 {
            world.step(true);
        }
        let mut steps = 0;
        while !world.is_done() {
            world.step(false);
            steps += 1;
            assert!(
                steps < 400_000,
                "{kind:?}, seed {seed}: it does not come to an end"
            );
        }
        world.check();
        totals.resent += world.producers.iter().map(Producer::resent).sum::<u64>();
        totals.epochs += world.epoch.number();
        totals.lost += world.accepted.difference(&world.acked).count();
        totals.stale += world
            .workers
            .iter()
            .map(|busy| busy.worker.stale())
            .sum::<u64>();
    }
    totals
}

#[derive(Debug, Default)]
struct Totals {
    resent: u64,
    epochs: u64,
    lost: usize,
    stale: u64,
}

#[test]
fn with_a_store_nothing_accepted_is_lost_and_nothing_queued_twice() {
    let totals = simulate(Kind::Stored, 0..25);
    assert!(
        totals.lost == 0 && totals.resent > 100 && totals.epochs > 100,
        "{totals:?}"
    );
}

#[test]
fn without_a_store_only_what_a_dead_node_had_is_lost() {
    let totals = simulate(Kind::Memory, 0..25);
    assert!(
        totals.lost > 0 && totals.resent > 100 && totals.epochs > 100,
        "{totals:?}"
    );
}

#[test]
fn a_keeper_that_steps_down_hands_on_what_it_has() {
    let totals = simulate(Kind::Moving, 0..25);
    assert!(
        totals.lost == 0 && totals.resent > 100 && totals.epochs > 100,
        "{totals:?}"
    );
}

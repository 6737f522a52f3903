//! A mesh of many nodes in one thread: seeded, with loss, churn, splits and merges.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use withy_proto::crypto::keys::PublicKey;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::crypto::{Provider, Randomness as _, Seeded};
use withy_proto::trust::{Certificate, Name, NodeId, Secret, Validity};

use super::*;
use crate::announcement::{Announcement, Opened, Places, Private};
use crate::hints::{Heard, Hint};
use crate::record::{Address, Content, Kind, Service};
use crate::revocation::Target;
use crate::testing::NOW;

const NULL: Provider = Provider::DangerNull;
const TICK: Duration = Duration::from_millis(10);

/// `small` on every change, `large` in a long suite.
fn count(small: usize, large: usize) -> usize {
    let full = std::env::var("WITHY_TESTS").is_ok_and(|size| size == "full");
    if full { large } else { small }
}

fn seed() -> u64 {
    let seed = std::env::var("WITHY_SEED").ok();
    seed.and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

fn authority() -> SigningKey {
    SigningKey::from_seed(NULL, &[200; 32])
}

fn network() -> Network {
    Network {
        id: NetworkId::of(&authority()),
        name: "sim".parse::<Name>().unwrap(),
        secret: Secret::from_octets([9; 32]),
    }
}

struct Node {
    discovery: Discovery,
    key: SigningKey,
    content: Content,
    side: u8,
    /// When its turn is.
    due: Duration,
}

impl Node {
    /// What its neighbours on the local network hear, and from where.
    fn announce(&self) -> (Heard, std::net::IpAddr) {
        let record = self.content.clone().sign(&self.key).unwrap();
        let from = self.content.addresses[0].ip().unwrap();
        let places = Places::choose([from]).unwrap();
        let (name, announcement) = match self.side {
            0 => {
                let content = crate::announcement::Content::of(&record, 7_100, places);
                let public = content.sign(&self.key).unwrap();
                (String::new(), Announcement::Public(public))
            }
            _ => {
                let opened = Opened {
                    peer: record.peer(),
                    sequence: self.content.sequence,
                    expires: self.content.validity.not_after,
                };
                let mut random = Seeded::new(self.content.sequence);
                let secret = network().secret;
                let sealed = Private::seal(&secret, &opened, 7_100, places, NOW, &mut random);
                let (name, private) = sealed.unwrap();
                (name, Announcement::Private(private))
            }
        };
        let heard = Heard {
            instance: name.into(),
            txt: announcement.encode(),
            port: 7_100,
            addresses: vec![(from, 0).into()],
        };
        (heard, from)
    }
}

/// What happened to the members as nodes saw them.
#[derive(Default)]
struct Seen {
    /// Deaths of nodes that were running, and not cut off.
    false_deaths: u64,
    /// How long after its end each node saw another's.
    deaths: Vec<Duration>,
}

struct World {
    nodes: BTreeMap<PeerTag, Node>,
    /// When those ended that did.
    ended: BTreeMap<PeerTag, Duration>,
    links: BTreeSet<(PeerTag, PeerTag)>,
    /// Messages, by when they arrive.
    under_way: BTreeMap<(Duration, u64), (PeerTag, PeerTag, Bytes)>,
    seeds: Vec<PeerTag>,
    now: Duration,
    random: Seeded,
    /// Of 100 messages, so many are lost.
    loss: u64,
    split: bool,
    made: u64,
    octets: u64,
    seen: Seen,
}

impl World {
    fn new(nodes: usize, loss: u64) -> Self {
        let mut world = Self {
            nodes: BTreeMap::new(),
            ended: BTreeMap::new(),
            links: BTreeSet::new(),
            under_way: BTreeMap::new(),
            seeds: Vec::new(),
            now: Duration::from_secs(1),
            random: Seeded::new(seed()),
            loss,
            split: false,
            made: 0,
            octets: 0,
            seen: Seen::default(),
        };
        for _ in 0..nodes {
            world.start();
        }
        world
    }

    fn time(&self) -> Time {
        Time {
            monotonic: self.now,
            unix: NOW + self.now.as_secs(),
        }
    }

    fn start(&mut self) -> PeerTag {
        self.made += 1;
        let number = self.made;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let key = SigningKey::from_seed(NULL, &seed);
        let node = NodeId::of(&key);
        let noise = PublicKey::from_octets([3; 32]);
        let unix = self.time().unix;
        let validity = Validity::starting(unix, Certificate::LIFETIME);
        let certificate = Certificate::issue(&key, node, noise, validity);
        let identity = certificate.identity();
        let network = network();
        let [_, _, .., a, b] = number.to_be_bytes();
        let content = Content {
            certificate,
            public: false,
            sequence: 1,
            validity: Validity::starting(unix, Record::LIFETIME),
            host: [a; 8],
            process: number.to_be_bytes(),
            networks: vec![crate::record::NetworkTag::of(
                &network.secret,
                identity,
                node,
            )],
            addresses: vec![Address::Quic(([10, 0, a, b], 7_100).into())],
            services: vec![Service::new(
                Kind::Service,
                &format!("service-{}", number % 10),
            )],
        };
        let config = Config {
            networks: vec![network],
            ..Config::default()
        };
        let own = content.clone().sign(&key).unwrap();
        let peer = own.peer();
        let discovery = Discovery::new(NULL, config, own, number * 7_919 + 1);
        let side = (number % 2) as u8;
        let node = Node {
            discovery,
            key,
            content,
            side,
            due: Duration::ZERO,
        };
        self.nodes.insert(peer, node);
        if self.seeds.len() < 3 {
            self.seeds.push(peer);
        }
        peer
    }

    /// As by `kill -9`: nobody is told.
    fn end(&mut self, peer: PeerTag) {
        self.nodes.remove(&peer);
        self.ended.insert(peer, self.now);
        self.links.retain(|(a, b)| *a != peer && *b != peer);
    }

    fn reaches(&self, a: PeerTag, b: PeerTag) -> bool {
        let (Some(a), Some(b)) = (self.nodes.get(&a), self.nodes.get(&b)) else {
            return false;
        };
        !self.split || a.side == b.side
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now += TICK;
            self.deliver();
            let due = self.nodes.iter().filter(|(_, node)| node.due <= self.now);
            let due: Vec<_> = due.map(|(peer, _)| *peer).collect();
            for peer in due {
                self.turn(peer);
            }
        }
    }

    fn deliver(&mut self) {
        let later = self.under_way.split_off(&(self.now, u64::MAX));
        let due = std::mem::replace(&mut self.under_way, later);
        for (from, to, octets) in due.into_values() {
            let linked = self.links.contains(&(from.min(to), from.max(to)));
            if !linked || !self.reaches(from, to) || self.random.next_u64() % 100 < self.loss {
                continue;
            }
            let time = self.time();
            if let Some(node) = self.nodes.get_mut(&to) {
                node.discovery.handle_input(from, &octets, time).unwrap();
                node.due = Duration::ZERO;
            }
        }
    }

    fn turn(&mut self, peer: PeerTag) {
        let time = self.time();
        let Some(node) = self.nodes.get_mut(&peer) else {
            return;
        };
        if node.discovery.poll_timeout(time) <= self.now {
            node.discovery.handle_timeout(time);
        }
        let mut actions = Vec::new();
        while let Some(action) = node.discovery.poll_action() {
            actions.push(action);
        }
        assert_eq!(node.discovery.dropped(), 0);
        self.drain(peer);
        for action in actions {
            self.act(peer, action);
        }
        self.transmit(peer);
    }

    fn drain(&mut self, peer: PeerTag) {
        loop {
            let node = self.nodes.get_mut(&peer);
            match node.and_then(|node| node.discovery.poll_event()) {
                Some(Event::Member(other, State::Dead)) => self.dead(peer, other),
                Some(_) => {}
                None => return,
            }
        }
    }

    fn dead(&mut self, at: PeerTag, other: PeerTag) {
        match self.ended.get(&other) {
            Some(ended) => self.seen.deaths.push(self.now - *ended),
            None if self.reaches(at, other) => self.seen.false_deaths += 1,
            None => {}
        }
    }

    fn act(&mut self, peer: PeerTag, action: Action) {
        match action {
            Action::Open(other) => self.open(peer, other),
            Action::Call(record) => self.open(peer, record.peer()),
            Action::Try(attempt) => self.attempt(peer, &attempt),
            Action::Close(other) => {
                self.links.remove(&(peer.min(other), peer.max(other)));
                let time = self.time();
                for (one, other) in [(peer, other), (other, peer)] {
                    if let Some(node) = self.nodes.get_mut(&one) {
                        node.due = Duration::ZERO;
                        node.discovery.link_down(other, false, time);
                    }
                }
            }
            Action::Seek => {
                for seed in self.seeds.clone() {
                    if seed != peer {
                        self.open(peer, seed);
                    }
                }
            }
            Action::Renew => {
                let unix = self.time().unix;
                if let Some(node) = self.nodes.get_mut(&peer) {
                    node.content.sequence += 1;
                    node.content.validity = Validity::starting(unix, Record::LIFETIME);
                    let record = node.content.clone().sign(&node.key).unwrap();
                    node.discovery.set_own(record);
                }
            }
        }
    }

    fn open(&mut self, peer: PeerTag, other: PeerTag) {
        let time = self.time();
        let reaches = self.reaches(peer, other);
        if !reaches {
            if let Some(node) = self.nodes.get_mut(&peer) {
                node.discovery.link_failed(other, time);
            }
            return;
        }
        self.links.insert((peer.min(other), peer.max(other)));
        for (one, other) in [(peer, other), (other, peer)] {
            if let Some(node) = self.nodes.get_mut(&one) {
                node.due = Duration::ZERO;
                node.discovery.link_up(other, time);
            }
        }
    }

    /// Whoever listens at one of the addresses is there.
    fn attempt(&mut self, peer: PeerTag, attempt: &Try) {
        let listens = |node: &&Node| {
            let addresses = &node.content.addresses;
            addresses.iter().any(|it| attempt.addresses.contains(it))
        };
        let found = self.nodes.values().find(listens);
        let found = found.map(|node| &node.content.certificate);
        let found = found.filter(|it| attempt.expects.fits(it.identity(), it.node()));
        let found = found.map(|it| PeerTag::of(it.identity(), it.node()));
        let found = found.filter(|other| self.reaches(peer, *other));
        if let Some(other) = found {
            self.open(peer, other);
        }
        let time = self.time();
        if let Some(node) = self.nodes.get_mut(&peer) {
            node.discovery.try_ended(attempt.tag, found.is_some(), time);
            node.due = Duration::ZERO;
        }
    }

    fn transmit(&mut self, peer: PeerTag) {
        let time = self.time();
        let Some(node) = self.nodes.get_mut(&peer) else {
            return;
        };
        while let Some((to, octets)) = node.discovery.poll_transmit(time) {
            self.octets += octets.len() as u64;
            let latency = Duration::from_millis(1 + self.random.next_u64() % 20);
            let order = (self.now + latency, self.random.next_u64());
            self.under_way.insert(order, (peer, to, octets));
        }
        node.due = node.discovery.poll_timeout(time);
    }

    /// How many pairs of nodes that reach each other do not know each other, or know somebody who is
    /// not there.
    fn missing(&self) -> usize {
        let mut missing = 0;
        for (peer, node) in &self.nodes {
            let known: BTreeSet<_> = node.discovery.table().peers().map(|(it, _)| it).collect();
            for other in self.nodes.keys() {
                missing += usize::from(self.reaches(*peer, *other) != known.contains(other));
            }
            missing += known
                .iter()
                .filter(|it| !self.nodes.contains_key(it))
                .count();
        }
        missing
    }

    /// Runs until all know all, and says how long it took.
    fn converge(&mut self, limit: Duration) -> Duration {
        let start = self.now;
        while self.missing() > 0 {
            assert!(
                self.now < start + limit,
                "{} pairs do not know each other after {limit:?}; seed {}",
                self.missing(),
                seed()
            );
            self.run(TICK * 10);
        }
        self.now - start
    }

    /// Octets per second and node, since the last time.
    fn traffic(&mut self, span: Duration) -> u64 {
        let octets = std::mem::take(&mut self.octets);
        octets / self.nodes.len() as u64 * 1_000 / span.as_millis() as u64
    }

    fn connected(&self) -> bool {
        let mut todo: Vec<_> = self.nodes.keys().take(1).copied().collect();
        let mut seen = BTreeSet::new();
        while let Some(peer) = todo.pop() {
            if seen.insert(peer) {
                todo.extend(self.nodes[&peer].discovery.gossip().links());
            }
        }
        seen.len() == self.nodes.len()
    }
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

/// The two of a round learn from each other, whoever began it.
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

//! Many nodes in one thread and virtual time, and the network between them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use withy_proto::crypto::keys::PublicKey;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::crypto::{Randomness as _, Seeded};
use withy_proto::trust::{Certificate, Name, Network, NetworkId, NodeId, Secret, Validity};

use super::{NULL, seed};
use crate::announcement::{Announcement, Opened, Places, Private};
use crate::engine::{Action, Config, Discovery, Event, Time};
use crate::hints::{Heard, Try};
use crate::membership::State;
use crate::peer::PeerTag;
use crate::record::{Address, Content, Kind, Record, Service};
use crate::testing::NOW;

const TICK: Duration = Duration::from_millis(10);

pub(super) fn authority() -> SigningKey {
    SigningKey::from_seed(NULL, &[200; 32])
}

pub(super) fn network() -> Network {
    Network {
        id: NetworkId::of(&authority()),
        name: "sim".parse::<Name>().unwrap(),
        secret: Secret::from_octets([9; 32]),
    }
}

pub(super) struct Node {
    pub(super) discovery: Discovery,
    pub(super) key: SigningKey,
    pub(super) content: Content,
    pub(super) side: u8,
    /// When its turn is.
    pub(super) due: Duration,
}

impl Node {
    /// What its neighbours on the local network hear, and from where.
    pub(super) fn announce(&self) -> (Heard, std::net::IpAddr) {
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
pub(super) struct Seen {
    /// Deaths of nodes that were running, and not cut off.
    pub(super) false_deaths: u64,
    /// How long after its end each node saw another's.
    pub(super) deaths: Vec<Duration>,
}

pub(super) struct World {
    pub(super) nodes: BTreeMap<PeerTag, Node>,
    /// When those ended that did.
    pub(super) ended: BTreeMap<PeerTag, Duration>,
    links: BTreeSet<(PeerTag, PeerTag)>,
    /// Messages, by when they arrive.
    under_way: BTreeMap<(Duration, u64), (PeerTag, PeerTag, Bytes)>,
    pub(super) seeds: Vec<PeerTag>,
    pub(super) now: Duration,
    pub(super) random: Seeded,
    /// Of 100 messages, so many are lost.
    pub(super) loss: u64,
    pub(super) split: bool,
    made: u64,
    octets: u64,
    pub(super) seen: Seen,
}

impl World {
    pub(super) fn new(nodes: usize, loss: u64) -> Self {
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

    pub(super) fn time(&self) -> Time {
        Time {
            monotonic: self.now,
            unix: NOW + self.now.as_secs(),
        }
    }

    pub(super) fn start(&mut self) -> PeerTag {
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
    pub(super) fn end(&mut self, peer: PeerTag) {
        self.nodes.remove(&peer);
        self.ended.insert(peer, self.now);
        self.links.retain(|(a, b)| *a != peer && *b != peer);
    }

    /// Whether there is a link, whatever its ends believe.
    pub(super) fn linked(&self, a: PeerTag, b: PeerTag) -> bool {
        self.links.contains(&(a.min(b), a.max(b)))
    }

    pub(super) fn reaches(&self, a: PeerTag, b: PeerTag) -> bool {
        let (Some(a), Some(b)) = (self.nodes.get(&a), self.nodes.get(&b)) else {
            return false;
        };
        !self.split || a.side == b.side
    }

    pub(super) fn run(&mut self, span: Duration) {
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
            let linked = self.linked(from, to);
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

    pub(super) fn transmit(&mut self, peer: PeerTag) {
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

    /// Runs until all know all, and says how long it took.
    pub(super) fn converge(&mut self, limit: Duration) -> Duration {
        let start = self.now;
        while self.missing() > 0 {
            assert!(
                self.now < start + limit,
                "after {limit:?}, with the seed {}: {}",
                seed(),
                self.explain()
            );
            self.run(TICK * 10);
        }
        self.now - start
    }

    /// Octets per second and node, since the last time.
    pub(super) fn traffic(&mut self, span: Duration) -> u64 {
        let octets = std::mem::take(&mut self.octets);
        octets / self.nodes.len() as u64 * 1_000 / span.as_millis() as u64
    }

    pub(super) fn connected(&self) -> bool {
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

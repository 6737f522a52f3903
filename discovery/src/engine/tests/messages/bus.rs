//! Publishers say in their records what they publish; whoever wants some of it connects to them and
//! subscribes, and their filter trees choose who gets what.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use withy_proto::bus::{Filter, FilterTree, Topic};
use withy_proto::crypto::Randomness as _;

use super::{Heard, LOOK, World};
use crate::membership::State;
use crate::peer::PeerTag;
use crate::record::{Kind, Service};

const ROOMS: u64 = 10;

/// Of a publication, beside its topic: a header, and a body of 8 octets.
const HEADER: u64 = 16;

/// What a node publishes and wants.
struct Station {
    filter: Filter,
    scope: Option<Filter>,
    /// Of those who are connected to it, by the numbers of their connections.
    tree: FilterTree,
    next_look: Duration,
}

struct Connection {
    publisher: PeerTag,
    subscriber: PeerTag,
    heard: Heard,
}

/// What is on its way over a connection.
#[derive(Debug, Clone)]
enum Said {
    Subscribe(Filter),
    Publication(usize),
}

struct Published {
    topic: Topic,
    /// Who wanted it when it was published, and was reached.
    wanted: BTreeSet<PeerTag>,
    arrived: BTreeSet<PeerTag>,
}

#[derive(Default)]
pub(super) struct Bus {
    stations: BTreeMap<PeerTag, Station>,
    connections: BTreeMap<u32, Connection>,
    of: BTreeMap<(PeerTag, PeerTag), u32>,
    next: u32,
    under_way: BTreeMap<(Duration, u64), (u32, Said)>,
    /// So that what set out first over a connection arrives first.
    last: BTreeMap<u32, Duration>,
    sent: u64,
    published: Vec<Published>,
    pub(super) octets: u64,
}

impl Bus {
    /// A node takes part: each wants one room, one of fifty all; one of ten publishes, about one room.
    pub(super) fn attach(&mut self, world: &mut World, peer: PeerTag) {
        let number = world.number(peer);
        let room = number % ROOMS;
        let filter = match number % 50 {
            1 => "rooms/+/temp".to_owned(),
            2..26 => format!("rooms/{room}/#"),
            _ => format!("rooms/{room}/temp"),
        };
        let scope = number
            .is_multiple_of(10)
            .then(|| format!("rooms/{}/#", number / 10 % ROOMS));
        if let Some(scope) = &scope {
            world.offer(peer, Service::new(Kind::Publisher, scope), true);
        }
        let station = Station {
            filter: filter.parse().unwrap(),
            scope: scope.map(|it| it.parse().unwrap()),
            tree: FilterTree::default(),
            next_look: world.now,
        };
        self.stations.insert(peer, station);
    }

    pub(super) fn step(&mut self, world: &mut World) {
        self.stations
            .retain(|peer, _| world.nodes.contains_key(peer));
        let broken = self.connections.iter_mut().filter_map(|(number, it)| {
            let ends = (it.publisher, it.subscriber);
            it.heard.is_broken(world, ends).then_some(*number)
        });
        for number in broken.collect::<Vec<_>>() {
            self.close(number);
        }
        let due = self
            .stations
            .iter()
            .filter(|(_, it)| it.next_look <= world.now);
        let due: Vec<_> = due.map(|(peer, _)| *peer).collect();
        for peer in due {
            self.look(world, peer);
        }
        let later = self.under_way.split_off(&(world.now, u64::MAX));
        let arrived = std::mem::replace(&mut self.under_way, later);
        for (number, said) in arrived.into_values() {
            self.arrive(world, number, said);
        }
    }

    /// Connects to those who publish what is wanted, as the table says, and leaves those who are gone.
    fn look(&mut self, world: &mut World, peer: PeerTag) {
        let station = self.stations.get_mut(&peer).expect("it is there");
        station.next_look = world.now + LOOK;
        let filter = station.filter.clone();
        let discovery = &world.nodes[&peer].discovery;
        let meets = |service: &Service| {
            let scope = || service.name.parse::<Filter>();
            service.kind == Kind::Publisher && scope().is_ok_and(|it| it.overlaps(&filter))
        };
        let gone = |tag| {
            let member = discovery.membership().state(tag);
            member.is_some_and(State::is_gone)
        };
        let peers = discovery.table().peers();
        let wanted = peers.filter(|(_, record)| record.content().services.iter().any(meets));
        let wanted = wanted.filter(|(tag, _)| !gone(*tag));
        let wanted: BTreeSet<_> = wanted.map(|(tag, _)| tag).collect();
        let ours = self.of.range((peer, PeerTag::from_octets([0; 16]))..);
        let ours = ours.take_while(|((subscriber, _), _)| *subscriber == peer);
        let ours: BTreeMap<_, _> = ours.map(|((_, to), number)| (*to, *number)).collect();
        for (to, number) in &ours {
            if !wanted.contains(to) {
                self.close(*number);
            }
        }
        for to in wanted {
            if !ours.contains_key(&to) && world.reaches(peer, to) {
                self.next += 1;
                let connection = Connection {
                    publisher: to,
                    subscriber: peer,
                    heard: Heard(world.now),
                };
                self.connections.insert(self.next, connection);
                self.of.insert((peer, to), self.next);
                self.say(world, self.next, Said::Subscribe(filter.clone()));
            }
        }
    }

    fn close(&mut self, number: u32) {
        let Some(gone) = self.connections.remove(&number) else {
            return;
        };
        self.last.remove(&number);
        self.of.remove(&(gone.subscriber, gone.publisher));
        if let Some(station) = self.stations.get_mut(&gone.publisher) {
            station.tree.remove(number, &mut |_| {});
        }
    }

    fn say(&mut self, world: &mut World, number: u32, said: Said) {
        self.octets += match &said {
            Said::Subscribe(filter) => filter.as_octets().len() as u64,
            Said::Publication(at) => self.published[*at].topic.as_octets().len() as u64 + HEADER,
        };
        let at = world.arrival();
        self.put(number, at, said);
    }

    fn put(&mut self, number: u32, at: Duration, said: Said) {
        let last = self.last.entry(number).or_default();
        *last = at.max(*last);
        self.sent += 1;
        self.under_way.insert((*last, self.sent), (number, said));
    }

    fn arrive(&mut self, world: &World, number: u32, said: Said) {
        let Some(Connection {
            publisher,
            subscriber,
            ..
        }) = self.connections.get(&number)
        else {
            return;
        };
        let (publisher, subscriber) = (*publisher, *subscriber);
        if !world.reaches(publisher, subscriber) {
            // Sent again until the connection breaks.
            return self.put(number, world.now + super::AGAIN, said);
        }
        match said {
            Said::Subscribe(filter) => {
                let station = self.stations.get_mut(&publisher).expect("it is reached");
                station.tree.subscribe(&filter, number).unwrap();
            }
            Said::Publication(at) => {
                let published = &mut self.published[at];
                let wanted = self.stations[&subscriber].filter.matches(&published.topic);
                assert!(wanted, "{subscriber} does not want {}", published.topic);
                let fresh = published.arrived.insert(subscriber);
                assert!(fresh, "{at} came twice to {subscriber}");
            }
        }
    }

    /// The publishers.
    fn publishers(&self) -> Vec<(PeerTag, Filter)> {
        let scopes = self.stations.iter();
        let scopes = scopes.filter_map(|(peer, it)| Some((*peer, it.scope.clone()?)));
        scopes.collect()
    }

    fn publish(&mut self, world: &mut World, peer: PeerTag, scope: &Filter, leaf: &str) {
        let topic: Topic = scope.as_str().replace('#', leaf).parse().unwrap();
        let wants = |(other, it): (&PeerTag, &Station)| {
            (it.filter.matches(&topic) && world.reaches(peer, *other)).then_some(*other)
        };
        let wanted = self.stations.iter().filter_map(wants).collect();
        let number = self.published.len();
        let mut to = Vec::new();
        let station = self.stations.get_mut(&peer).expect("it publishes");
        station
            .tree
            .matches(&topic, &mut |connection| to.push(connection));
        self.published.push(Published {
            topic,
            wanted,
            arrived: BTreeSet::new(),
        });
        for connection in to {
            let is_there = self.connections.contains_key(&connection);
            assert!(is_there, "who left is chosen no more");
            self.say(world, connection, Said::Publication(number));
        }
    }

    pub(super) fn publish_somewhere(&mut self, world: &mut World) {
        let publishers = self.publishers();
        let at = world.random.next_u64() as usize % publishers.len();
        let (peer, scope) = &publishers[at];
        let leaf = if world.random.next_u64().is_multiple_of(2) {
            "temp"
        } else {
            "light"
        };
        self.publish(world, *peer, scope, leaf);
    }

    pub(super) fn publish_everywhere(&mut self, world: &mut World) {
        for (peer, scope) in self.publishers() {
            for leaf in ["temp", "light"] {
                self.publish(world, peer, &scope, leaf);
            }
        }
    }

    pub(super) fn published(&self) -> usize {
        self.published.len()
    }

    /// What did not arrive where it was wanted, of those that are still there.
    pub(super) fn missed(&self, from: usize) -> Vec<(usize, PeerTag)> {
        let mut missed = Vec::new();
        for (number, it) in self.published.iter().enumerate().skip(from) {
            let left = it.wanted.difference(&it.arrived);
            let left = left.filter(|peer| self.stations.contains_key(peer));
            missed.extend(left.map(|peer| (number, *peer)));
        }
        missed
    }

    pub(super) fn wanted(&self, from: usize) -> usize {
        self.published[from..]
            .iter()
            .map(|it| it.wanted.len())
            .sum()
    }
}

//! The world: what happens when, and what the driver does about it.

mod applications;
mod faults;
mod life;
mod links;
mod reading;
mod writing;

use std::collections::BTreeMap;
use std::time::Duration;

use withy_proto::peer::{Backoff, Reconnect};

use crate::dice::Dice;
use crate::laws::{self, Ledger};
use crate::link::{Link, Time};
use crate::node::{Node, Side};
use crate::scenario::Scenario;
use crate::trace::Trace;

const MILLISECOND: Time = 1_000;
const SECOND: Time = 1_000_000;

/// Faults happen until then.
const FAULTS: Time = 2 * SECOND;
/// By then everything has drained.
const END: Time = FAULTS + 90 * SECOND;

#[derive(Debug, Clone, Copy)]
enum Event {
    Dial(usize),
    /// Something arrives on `streams[1]` of link `0`.
    Arrive(usize, usize),
    /// Node `0` writes to link `1`.
    Flush(usize, usize),
    /// Node `0` looks after the life of link `1`.
    Beat(usize, usize),
    /// A link must be established.
    Deadline(usize),
    /// An application has its turn.
    Turn(usize),
    Fault,
    Return(usize),
    /// Is everything over?
    Look,
}

/// What a run was.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) trace: u64,
    pub(crate) delivered: u64,
    pub(crate) cuts: u64,
    pub(crate) deaths: u64,
}

#[derive(Debug)]
struct Edge {
    dialer: usize,
    listener: usize,
    backoff: Backoff,
    link: Option<usize>,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    dice: Dice,
    now: Time,
    scheduled: u64,
    events: BTreeMap<(Time, u64), Event>,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    links: Vec<Link>,
    ledger: Ledger,
    trace: Trace,
    cuts: u64,
    deaths: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let Scenario { specs, edges } = Scenario::new(&mut dice);
        let reconnect = Reconnect {
            initial: Duration::from_millis(20),
            max: Duration::from_millis(400),
            enabled: true,
        };
        let dialing = |node| edges.iter().filter(|(dialer, _)| *dialer == node).count();
        let nodes: Vec<_> = (specs.into_iter().enumerate())
            .map(|(node, spec)| Node::new(spec, 0, dialing(node)))
            .collect();
        let edges: Vec<_> = edges
            .iter()
            .map(|&(dialer, listener)| Edge {
                dialer,
                listener,
                backoff: Backoff::new(reconnect),
                link: None,
            })
            .collect();
        let mut world = Self {
            dice,
            now: 0,
            scheduled: 0,
            events: BTreeMap::new(),
            nodes,
            edges,
            links: Vec::new(),
            ledger: Ledger::default(),
            trace: Trace::new(),
            cuts: 0,
            deaths: 0,
        };
        for node in 0..world.nodes.len() {
            world.begin(node);
            world.later(0, 10 * MILLISECOND, Event::Turn(node));
        }
        for edge in 0..world.edges.len() {
            world.later(0, 20 * MILLISECOND, Event::Dial(edge));
        }
        world.later(0, 200 * MILLISECOND, Event::Fault);
        world.at(FAULTS, Event::Look);
        world
    }

    /// Runs until everything is over.
    pub(crate) fn run(mut self) -> Outcome {
        loop {
            let ((time, _), event) = self
                .events
                .pop_first()
                .expect("there is always a next look");
            assert!(time < END, "it does not drain: {}", self.describe());
            self.now = time;
            match event {
                Event::Dial(edge) => self.dial(edge),
                Event::Arrive(link, stream) => self.arrive(link, stream),
                Event::Flush(node, link) => self.flush(node, link),
                Event::Beat(node, link) => self.beat(node, link),
                Event::Deadline(link) => self.deadline(link),
                Event::Turn(node) => self.turn(node),
                Event::Fault => self.fault(),
                Event::Return(node) => self.come_back(node),
                Event::Look if self.is_over() => break,
                Event::Look => self.later(50 * MILLISECOND, 50 * MILLISECOND + 1, Event::Look),
            }
        }
        laws::settled(&self.nodes, &self.links);
        self.trace.note(&[self.now, self.ledger.delivered]);
        Outcome {
            trace: self.trace.hash(),
            delivered: self.ledger.delivered,
            cuts: self.cuts,
            deaths: self.deaths,
        }
    }

    fn is_over(&self) -> bool {
        let linked = |edge: &Edge| {
            edge.link.is_some_and(|link| {
                let up =
                    |node: usize| matches!(self.nodes[node].sides.get(&link), Some(Side::Up(_)));
                up(edge.dialer) && up(edge.listener)
            })
        };
        self.nodes.iter().all(|node| node.alive && node.is_done())
            && self.edges.iter().all(linked)
            && self.links.iter().all(|link| !link.up || !link.silent)
            && laws::agree(&self.nodes, &self.links)
    }

    /// What keeps it from being over.
    fn describe(&self) -> String {
        let mut lines = vec![format!("at {}", self.now)];
        for (number, node) in self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| !node.is_done())
        {
            lines.push(format!(
                "node {number}, {}: sent {} of {}, blocked {}, replies {}, asked {:?}, to receive {}, \
                 to send {}",
                node.spec.kind,
                node.next,
                node.spec.messages,
                node.blocked.is_some(),
                node.replies.len(),
                node.asked,
                node.inc.queued(),
                node.out.queued()
            ));
        }
        for (number, edge) in self.edges.iter().enumerate() {
            lines.push(format!("edge {number}: {:?}", edge.link));
            let Some(link) = edge.link else { continue };
            for (end, node) in self.links[link].ends.into_iter().enumerate() {
                let side = match self.nodes[node].sides.get(&link) {
                    Some(Side::Up(up)) => format!("{up:?}"),
                    side => format!("{side:?}"),
                };
                let Link {
                    streams,
                    gone,
                    decoded,
                    ..
                } = &self.links[link];
                let (stream, gone, decoded) = (&streams[end], gone[end], decoded[end]);
                lines.push(format!(
                    "  node {node}: {stream:?}, gone {gone}, decoded {decoded}, {side:.300}"
                ));
            }
        }
        lines.join("\n")
    }

    fn at(&mut self, time: Time, event: Event) {
        self.scheduled += 1;
        self.events.insert((time, self.scheduled), event);
    }

    fn later(&mut self, from: Time, to: Time, event: Event) {
        let time = self.now + self.dice.within(from, to);
        self.at(time, event);
    }

    fn faulty(&self) -> bool {
        self.now < FAULTS
    }

    fn moment(&self) -> Duration {
        Duration::from_micros(self.now)
    }
}

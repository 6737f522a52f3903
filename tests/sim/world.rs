//! The world: what happens when, and what the driver does about it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BufMut;
use withy_proto::mechanism::zap::Decision;
use withy_proto::pattern::incoming::{Control, Event as Incoming};
use withy_proto::pattern::outgoing::{NotSent, Overflown};
use withy_proto::pattern::pipe::{Carrier, Flush, Load};
use withy_proto::pattern::request::{Reply, wrap};
use withy_proto::pattern::{PipeKey, reply};
use withy_proto::peer::{Backoff, Beat, Reconnect};
use withy_proto::zmtp::Command;
use withy_proto::{Frame, Message, SocketType};

use crate::content::{self, Id};
use crate::dice::Dice;
use crate::laws::{self, Ledger};
use crate::link::{Link, Time};
use crate::node::{Asked, Node, Side, Up};
use crate::scenario::{Role, Scenario};
use crate::trace::Trace;

const MILLISECOND: Time = 1_000;
const SECOND: Time = 1_000_000;

/// Faults happen until then.
const FAULTS: Time = 2 * SECOND;
/// By then everything has drained.
const END: Time = FAULTS + 90 * SECOND;
/// How long a handshake may take.
const HANDSHAKE: Time = SECOND;
/// How long a connection may owe a reply that nobody waits for.
const GRACE: Time = 300 * MILLISECOND;

/// What each node sends when faults have stopped.
const LAST: u32 = 3;

const TOPICS: [&[u8]; 5] = [b"", b"a", b"ab", b"abc", b"b"];

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

    // Faults.

    fn fault(&mut self) {
        if !self.faulty() {
            return;
        }
        let up: Vec<usize> = (0..self.links.len())
            .filter(|link| self.links[*link].up)
            .collect();
        match self.dice.within(0, 100) {
            0..45 if !up.is_empty() => {
                let link = self.dice.one_of(&up);
                self.cuts += 1;
                self.close(link);
            }
            45..70 if !up.is_empty() => {
                let link = self.dice.one_of(&up);
                let stream = self.dice.index(2);
                let until = self.now + self.dice.within(MILLISECOND, 500 * MILLISECOND);
                self.links[link].streams[stream].stall(until);
                self.at(until, Event::Arrive(link, stream));
            }
            70..80 if !up.is_empty() => {
                let link = self.dice.one_of(&up);
                // Without heartbeats nobody would ever notice.
                let watched = self.links[link]
                    .ends
                    .iter()
                    .all(|node| self.nodes[*node].spec.heartbeat.is_some());
                self.links[link].silent |= watched;
            }
            80..100 => {
                let node = self.dice.index(self.nodes.len());
                if self.nodes[node].alive {
                    self.die(node);
                }
            }
            _ => {}
        }
        self.later(10 * MILLISECOND, 250 * MILLISECOND, Event::Fault);
    }

    fn die(&mut self, node: usize) {
        self.deaths += 1;
        self.trace.note(&[1, self.now, node as u64]);
        let links: Vec<usize> = self.nodes[node].sides.keys().copied().collect();
        links.into_iter().for_each(|link| self.close(link));
        laws::conserved(&self.nodes[node]);
        self.nodes[node].alive = false;
        self.later(50 * MILLISECOND, 600 * MILLISECOND, Event::Return(node));
    }

    fn come_back(&mut self, node: usize) {
        let dialing = self.edges.iter().filter(|edge| edge.dialer == node).count();
        let old = &self.nodes[node];
        self.nodes[node] = Node::new(old.spec.clone(), old.life + 1, dialing);
        self.begin(node);
    }

    /// What an application does first.
    fn begin(&mut self, node: usize) {
        if self.nodes[node].subscribes() {
            for _ in 0..self.dice.within(1, 4) {
                self.subscribe(node, true);
            }
        }
    }

    // Links come and go.

    fn dial(&mut self, edge: usize) {
        let Edge {
            dialer, listener, ..
        } = self.edges[edge];
        if self.edges[edge].link.is_some() {
            return;
        }
        if !self.nodes[dialer].alive || !self.nodes[listener].alive {
            self.redial(edge);
            return;
        }
        let link = self.links.len();
        self.links
            .push(Link::new([dialer, listener], edge, &mut self.dice));
        self.edges[edge].link = Some(link);
        for (node, accepting) in [(dialer, false), (listener, true)] {
            let connection = self.nodes[node].connection(accepting, &mut self.dice);
            let side = Side::Shaking(Box::new(connection));
            self.nodes[node].sides.insert(link, side);
        }
        self.at(self.now + HANDSHAKE, Event::Deadline(link));
        for node in [dialer, listener] {
            self.shake(node, link, &[]);
        }
    }

    fn redial(&mut self, edge: usize) {
        let delay = self.edges[edge].backoff.next(self.dice.source());
        let delay = delay.as_micros() as Time;
        self.at(self.now + delay, Event::Dial(edge));
    }

    fn deadline(&mut self, link: usize) {
        let shaking = |node: &usize| {
            let side = self.nodes[*node].sides.get(&link);
            matches!(side, Some(Side::Shaking(_)))
        };
        if self.links[link].ends.iter().any(shaking) {
            self.close(link);
        }
    }

    fn close(&mut self, link: usize) {
        if !std::mem::replace(&mut self.links[link].up, false) {
            return;
        }
        self.trace.note(&[2, self.now, link as u64]);
        for node in self.links[link].ends {
            self.detach(node, link);
        }
        let edge = self.links[link].edge;
        self.edges[edge].link = None;
        self.redial(edge);
    }

    fn detach(&mut self, node: usize, link: usize) {
        let Some(Side::Up(up)) = self.nodes[node].sides.remove(&link) else {
            return;
        };
        let key = up.key;
        let mut left = Vec::new();
        while let Some(message) = self.nodes[node].inc.dequeue(key) {
            left.push(message);
        }
        if up.undecoded {
            let mut tail = self.nodes[node].inc.decoder(key).unwrap().unstash();
            let mut at = 0;
            while let (used, Some(event)) = self.decode(node, link, key, &mut tail[at..]) {
                at += used;
                if let Incoming::Message(message) = event {
                    left.push(message);
                }
            }
        }
        let this = &mut self.nodes[node];
        let left = left.into_iter().map(|message| (link, key, message));
        this.notices.extend(left);
        this.inc.detach(key);
        // What the link took of an unfinished load is gone for good, or nobody can tell.
        if let Some(Load::Batch(batch)) = &up.load {
            let back = batch.recover().map_or(0, |messages| messages.len());
            let gone = (batch.messages() - back) as u64;
            this.gone += gone;
            let end = self.links[link].end_of(node);
            self.links[link].gone[end] += gone;
        }
        let before = this.out.counts().dropped;
        this.out.detach(key, up.load);
        this.dropped_later += this.out.counts().dropped - before;
        this.out.take_cancelled();
        let lost: Vec<u32> = this.requests.lost(key).collect();
        for number in lost {
            self.fail(node, number);
        }
        self.settle(node);
        laws::conserved(&self.nodes[node]);
    }

    // Handshakes.

    fn shake(&mut self, node: usize, link: usize, octets: &[u8]) {
        let Some(Side::Shaking(mut connection)) = self.nodes[node].sides.remove(&link) else {
            return;
        };
        let mut failed = connection.handle_input(octets, self.dice.source()).is_err();
        loop {
            while let Some(octets) = connection.poll_transmit() {
                self.write(node, link, &octets);
            }
            if failed {
                self.close(link);
                return;
            }
            if connection.poll_auth().is_some() {
                let decision = Decision::accept("ada");
                failed = connection
                    .set_decision(decision, self.dice.source())
                    .is_err();
                continue;
            }
            match connection.poll_admission() {
                Ok(Some(peer)) => match self.nodes[node].out.may_attach(&peer) {
                    Ok(()) => failed = connection.admit(self.dice.source()).is_err(),
                    Err(error) => {
                        connection.refuse(&error.to_string());
                        failed = true;
                    }
                },
                Ok(None) => break,
                Err(_) => failed = true,
            }
        }
        if !connection.is_complete() {
            let side = Side::Shaking(connection);
            self.nodes[node].sides.insert(link, side);
            return;
        }
        let established = connection.finish().unwrap();
        let now = self.now;
        let this = &mut self.nodes[node];
        let carrier = Carrier::Octets(established.outbox);
        let Ok(key) = this.out.attach(carrier, established.peer) else {
            self.close(link);
            return;
        };
        let identity = this.out.identity(key).cloned().unwrap();
        let undecoded = established.decoder.has_tail();
        this.inc.attach(key, Some(established.decoder), identity);
        let up = Up {
            key,
            sealer: established.sealer,
            load: None,
            paused: false,
            undecoded,
            pulse: this.pulse(now),
            heard: [true; 2],
            wants: Default::default(),
        };
        this.sides.insert(link, Side::Up(Box::new(up)));
        let Link { ends, edge, .. } = self.links[link];
        if ends[0] == node {
            self.edges[edge].backoff.reset();
        }
        self.trace.note(&[3, self.now, node as u64, link as u64]);
        self.wind(node, link);
        self.settle(node);
        self.pump(node, link);
    }

    // Writing.

    /// Does what the sending half asks for.
    fn settle(&mut self, node: usize) {
        while let Some((key, flush)) = self.nodes[node].out.touched() {
            self.schedule(node, key, flush);
        }
        while let Some((key, overflown)) = self.nodes[node].out.overflown() {
            if overflown != Overflown::Kicked {
                continue;
            }
            if let Some(link) = self.nodes[node].link_of(key) {
                self.close(link);
            }
        }
    }

    fn schedule(&mut self, node: usize, key: PipeKey, flush: Flush) {
        let Some(link) = self.nodes[node].link_of(key) else {
            return;
        };
        match flush {
            Flush::Now => self.at(self.now, Event::Flush(node, link)),
            Flush::Soon => self.later(0, 3 * MILLISECOND, Event::Flush(node, link)),
            // Its flush is on the way.
            Flush::Later => {}
        }
    }

    fn flush(&mut self, node: usize, link: usize) {
        let Some(up) = self.nodes[node].up(link) else {
            return;
        };
        let key = up.key;
        let mut load = up.load.take();
        if load.is_none() {
            load = self.nodes[node].out.take(key, Vec::new()).0;
            self.settle(node);
        }
        let Some(Load::Batch(mut batch)) = load else {
            return;
        };
        let now = Duration::from_micros(self.now);
        let Some(up) = self.nodes[node].up(link) else {
            unreachable!("taking a load closes no link");
        };
        batch.seal(&mut up.sealer, || now).unwrap();
        let end = self.links[link].end_of(node);
        while !batch.is_done() && self.links[link].streams[end].room() > 0 {
            let mut slices = [std::io::IoSlice::new(&[]); 3];
            let filled = batch.slices(&mut slices);
            let slices: Vec<&[u8]> = slices[..filled].iter().map(|slice| &**slice).collect();
            let octets = slices.concat();
            let room = self.links[link].streams[end].room();
            let most = self.dice.within(1, 40_000) as usize;
            let now = &octets[..octets.len().min(room).min(most)];
            self.write(node, link, now);
            batch.advance(now.len());
        }
        let this = &mut self.nodes[node];
        let Some(up) = this.up(link) else {
            unreachable!("writing closes no link");
        };
        if !batch.is_done() {
            up.load = Some(Load::Batch(batch));
            return;
        }
        let (messages, size) = (batch.messages(), batch.size());
        this.out.written(key, messages, size);
        this.gone += messages as u64;
        self.links[link].gone[end] += messages as u64;
        if this.out.is_waiting(key) {
            self.at(self.now, Event::Flush(node, link));
        }
    }

    fn write(&mut self, node: usize, link: usize, octets: &[u8]) {
        let end = self.links[link].end_of(node);
        let stream = &mut self.links[link].streams[end];
        let arrivals = stream.write(octets, self.now, &mut self.dice);
        for time in arrivals {
            self.at(time, Event::Arrive(link, end));
        }
    }

    // Reading.

    fn arrive(&mut self, link: usize, stream: usize) {
        let this = &mut self.links[link];
        if !this.up || this.silent {
            return;
        }
        this.streams[stream].land(self.now);
        let node = this.ends[1 - stream];
        match self.nodes[node].sides.get(&link) {
            Some(Side::Shaking(_)) => {
                let octets = self.links[link].streams[stream].read(usize::MAX);
                // The other side may write again.
                let other = self.links[link].ends[stream];
                self.at(self.now + 50, Event::Flush(other, link));
                self.shake(node, link, &octets);
            }
            Some(Side::Up(_)) => self.pump(node, link),
            None => {}
        }
    }

    /// Reads what has arrived, as long as there is room for it.
    fn pump(&mut self, node: usize, link: usize) {
        let stream = 1 - self.links[link].end_of(node);
        loop {
            let Some(up) = self.nodes[node].up(link) else {
                return;
            };
            let key = up.key;
            let undecoded = std::mem::take(&mut up.undecoded);
            let this = &mut self.nodes[node];
            if !this.inc.has_room(key) {
                let up = this.up(link).unwrap();
                up.paused = true;
                up.undecoded = undecoded;
                return;
            }
            let decoder = this.inc.decoder(key).unwrap();
            let mut input = Vec::new();
            if undecoded {
                input = decoder.unstash();
            } else {
                let mut most = self.dice.within(1, 30_000) as usize;
                if let Some(body) = decoder.body() {
                    most = most.min(body.remaining_mut());
                }
                let octets = self.links[link].streams[stream].read(most);
                if octets.is_empty() {
                    return;
                }
                if let Some(mut body) = decoder.body() {
                    body.put_slice(&octets);
                } else {
                    input = decoder.unstash();
                    let frames = input.len();
                    input.extend_from_slice(decoder.unopened());
                    input.extend_from_slice(&octets);
                    let opened = decoder.open(&mut input[frames..]).unwrap();
                    input.truncate(frames + opened);
                }
                this.up(link).unwrap().heard = [true; 2];
                // The other side may write again.
                let other = self.links[link].ends[stream];
                self.at(self.now + 50, Event::Flush(other, link));
            }
            let mut at = 0;
            while let (used, Some(event)) = self.decode(node, link, key, &mut input[at..]) {
                at += used;
                self.handle(node, link, key, event);
                let this = &mut self.nodes[node];
                if this.up(link).is_none() {
                    return;
                }
                if !this.inc.has_room(key) {
                    if at < input.len() {
                        this.inc.decoder(key).unwrap().stash(&input[at..]);
                        this.up(link).unwrap().undecoded = true;
                    }
                    break;
                }
            }
        }
    }

    /// Decodes one event, and holds it against the laws.
    fn decode(
        &mut self,
        node: usize,
        link: usize,
        key: PipeKey,
        input: &mut [u8],
    ) -> (usize, Option<Incoming>) {
        let this = &mut self.nodes[node];
        let before = this.inc.counts().discarded;
        let (used, event) = this.inc.decode(key, input).unwrap();
        let discarded = this.inc.counts().discarded - before;
        let stream = 1 - self.links[link].end_of(node);
        self.links[link].decoded[stream] += discarded;
        if let Some(Incoming::Message(message)) = &event {
            self.links[link].decoded[stream] += 1;
            let id = content::read(message);
            let this = &self.nodes[node];
            if this.spec.kind == SocketType::Sub {
                assert!(this.wants(message.first()), "nobody subscribed to {id:?}");
            }
            let reply = this.spec.role == Role::Asks;
            let origin = &self.nodes[id.origin as usize];
            self.ledger.decoded(node, link, id, origin, reply);
            let number = [4, self.now, node as u64, link as u64, id.number.into()];
            self.trace.note(&number);
        }
        (used, event)
    }

    fn handle(&mut self, node: usize, link: usize, key: PipeKey, event: Incoming) {
        let now = self.moment();
        let this = &mut self.nodes[node];
        let control = match event {
            Incoming::Message(message) => {
                this.inc.enqueue(key, message);
                return;
            }
            Incoming::Control(control) => *control,
        };
        match control {
            Control::Subscription { topic, add } => {
                this.out.subscribed(key, &topic, add).unwrap();
                let wants = &mut this.up(link).unwrap().wants;
                if add {
                    wants.insert(topic.to_vec());
                } else {
                    wants.remove(&topic[..]);
                }
            }
            Control::Ping { ttl, context } => {
                this.up(link).unwrap().pulse.set_ttl(ttl, now);
                this.out.send_command(key, Command::Pong { context });
                self.wind(node, link);
                self.settle(node);
            }
            Control::Pong { .. } => {}
            Control::OverLimit(error) => panic!("nothing is over a limit: {error}"),
            Control::Error { reason } => panic!("an established peer says {reason}"),
        }
    }

    // Signs of life.

    fn wind(&mut self, node: usize, link: usize) {
        if let Some(deadline) = self.nodes[node].up(link).unwrap().pulse.deadline() {
            let time = deadline.as_micros() as Time;
            self.at(time.max(self.now + 1), Event::Beat(node, link));
        }
    }

    fn beat(&mut self, node: usize, link: usize) {
        let now = self.moment();
        let stream = 1 - self.links[link].end_of(node);
        let behind = self.links[link].streams[stream].has_arrived();
        let Some(up) = self.nodes[node].up(link) else {
            return;
        };
        let excused = up.paused || behind;
        let key = up.key;
        let (ttl, beat) = (up.pulse.ttl_is_due(now), up.pulse.beat_is_due(now));
        if ttl {
            let heard = std::mem::take(&mut up.heard[1]);
            if up.pulse.expire(now, heard, excused) {
                self.close(link);
                return;
            }
        }
        if beat {
            let heard = std::mem::take(&mut up.heard[0]);
            match up.pulse.beat(now, heard, excused) {
                Beat::Quiet => {}
                Beat::Ping(ttl) => {
                    let context = Frame::new();
                    let ping = Command::Ping { ttl, context };
                    self.nodes[node].out.send_command(key, ping);
                    self.settle(node);
                }
                Beat::GiveUp => {
                    let silent = self.links[link].silent;
                    let quiet = self.now > FAULTS + 2 * SECOND;
                    assert!(silent || !quiet, "link {link} was given up alive");
                    self.close(link);
                    return;
                }
            }
        }
        // Else the deadline has moved, and has an event of its own.
        if ttl || beat {
            self.wind(node, link);
        }
    }

    // Applications.

    fn turn(&mut self, node: usize) {
        self.later(5 * MILLISECOND, 30 * MILLISECOND, Event::Turn(node));
        if !self.nodes[node].alive {
            return;
        }
        laws::bounded(&mut self.nodes[node]);
        laws::conserved(&self.nodes[node]);
        if self.faulty() && self.dice.percent(3) {
            let rest = self.dice.within(10 * MILLISECOND, 300 * MILLISECOND);
            self.nodes[node].away_until = self.now + rest;
        }
        if self.now >= self.nodes[node].away_until {
            for _ in 0..self.dice.within(0, 30) {
                if !self.receive(node) {
                    break;
                }
            }
        }
        if self.faulty() && self.nodes[node].subscribes() && self.dice.percent(10) {
            let add = self.dice.percent(50);
            self.subscribe(node, add);
        }
        self.expire(node);
        for _ in 0..self.dice.within(0, 5) {
            if !self.answer(node) {
                break;
            }
        }
        for _ in 0..self.dice.within(0, 6) {
            if !self.send(node) {
                break;
            }
        }
    }

    fn subscribe(&mut self, node: usize, add: bool) {
        let mut topic = self.dice.one_of(&TOPICS).to_vec();
        let this = &mut self.nodes[node];
        if !add {
            let held: Vec<_> = this.filters.keys().cloned().collect();
            if held.is_empty() {
                return;
            }
            topic = held[self.dice.index(held.len())].clone();
        }
        let this = &mut self.nodes[node];
        if this.spec.kind == SocketType::Sub {
            this.inc.filter(&topic, add);
            this.out.subscribe(&topic, add);
        } else {
            let message = Message::from([&[u8::from(add)], &topic[..]].concat());
            this.out.send(message).unwrap();
        }
        let count = this.filters.entry(topic.clone()).or_default();
        *count = if add { *count + 1 } else { *count - 1 };
        if *count == 0 {
            this.filters.remove(&topic);
        }
        self.settle(node);
    }

    /// Takes one message, of the pipes in turn.
    fn receive(&mut self, node: usize) -> bool {
        let this = &mut self.nodes[node];
        if let Some((_, key, message)) = this.notices.pop_front() {
            self.deliver(node, key, message);
            return true;
        }
        let ups: Vec<_> = this.ups().map(|(link, up)| (link, up.key)).collect();
        for turn in 0..ups.len() {
            let (link, key) = ups[(this.turn + turn) % ups.len()];
            if let Some(message) = this.inc.dequeue(key) {
                this.turn += turn + 1;
                let room = this.inc.has_room(key);
                let paused = &mut this.up(link).unwrap().paused;
                if room && std::mem::take(paused) {
                    self.pump(node, link);
                }
                self.deliver(node, key, message);
                return true;
            }
        }
        false
    }

    fn deliver(&mut self, node: usize, key: PipeKey, message: Message) {
        let id = content::read(&message);
        let this = &mut self.nodes[node];
        let reply = this.spec.role == Role::Asks;
        if reply {
            assert_eq!(
                (id.origin as usize, id.life),
                (node, this.life),
                "whose reply?"
            );
        }
        self.ledger.delivered(node, this, id, reply);
        match (this.spec.role, this.spec.kind) {
            (Role::Answers, SocketType::Rep) => {
                let (envelope, body) = reply::split(message).expect("an envelope");
                let back = reply::join(envelope, body);
                this.replies.push_back((Some(key), back));
            }
            (Role::Answers, _) => this.replies.push_back((None, message)),
            (Role::Asks, SocketType::Req) => match this.requests.reply(key, message) {
                Reply::Answers { asker, frees, .. } => {
                    let asked = this.asked.remove(&asker).expect("who waits is known");
                    assert_eq!(asked.id, id, "the reply of another request");
                    this.answered = true;
                    if frees {
                        this.out.replied(key);
                    }
                }
                Reply::Late { frees } => {
                    if frees {
                        this.out.replied(key);
                    }
                }
                Reply::Malformed => panic!("the envelope of {id:?} is none"),
            },
            _ => {}
        }
    }

    /// Gives up what waited too long.
    fn expire(&mut self, node: usize) {
        let now = self.moment();
        let asked = &self.nodes[node].asked;
        let late: Vec<_> = (asked.iter())
            .filter(|(_, asked)| asked.deadline <= self.now)
            .map(|(number, asked)| (*number, asked.request))
            .collect();
        for (number, request) in late {
            self.nodes[node].requests.abandon(request, now);
            self.fail(node, number);
        }
        let this = &mut self.nodes[node];
        if let Some(then) = self.now.checked_sub(GRACE) {
            let overdue = this.requests.overdue(Duration::from_micros(then));
            let links: Vec<_> = (overdue.into_iter())
                .filter_map(|key| this.link_of(key))
                .collect();
            links.into_iter().for_each(|link| self.close(link));
        }
    }

    /// A request has no reply. Once faults stop the application asks again.
    fn fail(&mut self, node: usize, number: u32) {
        let again = u32::from(!self.faulty());
        let this = &mut self.nodes[node];
        this.asked.remove(&number);
        this.answered = false;
        this.spec.messages += again;
    }

    /// Sends one reply.
    fn answer(&mut self, node: usize) -> bool {
        let this = &mut self.nodes[node];
        let Some((to, message)) = this.replies.pop_front() else {
            return false;
        };
        let sent = match to {
            Some(key) => this.out.send_to(key, message),
            None => this.out.send(message),
        };
        let full = match sent {
            Err(NotSent::Full(message)) => {
                this.replies.push_front((to, message));
                true
            }
            Ok(()) | Err(NotSent::PeerGone(_) | NotSent::Unroutable(_)) => false,
            Err(NotSent::NoIdentity(message)) => panic!("no identity: {message:?}"),
        };
        self.settle(node);
        !full
    }

    /// Sends the next message.
    fn send(&mut self, node: usize) -> bool {
        let this = &mut self.nodes[node];
        if !matches!(this.spec.role, Role::Sends | Role::Asks) || this.next == this.spec.messages {
            return false;
        }
        // The last ones are sent when faults have stopped.
        if self.now < FAULTS && this.next + LAST >= this.spec.messages {
            return false;
        }
        let id = Id {
            origin: node as u32,
            life: this.life,
            number: this.next,
        };
        let message = match this.blocked.take() {
            Some(message) => message,
            None => {
                let topic = this.publishes().then(|| self.dice.one_of(&TOPICS));
                let message = content::message(id, topic, &mut self.dice);
                let this = &self.nodes[node];
                if this.spec.delimits && this.spec.kind == SocketType::Dealer {
                    wrap(message, None)
                } else {
                    message
                }
            }
        };
        let sent = if self.nodes[node].spec.kind == SocketType::Req {
            self.request(node, id, message)
        } else {
            self.send_message(node, id, message)
        };
        let this = &mut self.nodes[node];
        match sent {
            Ok(()) => this.next += 1,
            Err(message) => this.blocked = Some(message),
        }
        let more = this.blocked.is_none();
        self.settle(node);
        more
    }

    fn send_message(&mut self, node: usize, id: Id, message: Message) -> Result<(), Message> {
        let this = &mut self.nodes[node];
        let before = this.out.counts();
        let topic = message.first().to_vec();
        this.largest = this.largest.max(message.size());
        match this.out.send(message) {
            Ok(()) => {
                this.accepted += 1;
                if this.publishes() {
                    let wanted = this.ups().filter(|(_, up)| {
                        let mut wants = up.wants.iter();
                        wants.any(|prefix| topic.starts_with(prefix))
                    });
                    this.dropped_later += laws::published(this, wanted.count(), before);
                } else {
                    let touched = this.out.touched();
                    let link = touched.and_then(|(key, _)| this.link_of(key));
                    this.assigned.insert(id, link);
                    if let Some((key, flush)) = touched {
                        self.schedule(node, key, flush);
                    }
                }
                Ok(())
            }
            Err(NotSent::Full(message)) => Err(message),
            Err(other) => panic!("not sent: {other:?}"),
        }
    }

    fn request(&mut self, node: usize, id: Id, message: Message) -> Result<(), Message> {
        let patience = if self.faulty() {
            self.dice.within(20 * MILLISECOND, SECOND)
        } else {
            30 * SECOND
        };
        let this = &mut self.nodes[node];
        this.largest = this.largest.max(message.size());
        let Some((to, correlated)) = this.out.next_for_request(false) else {
            return Err(message);
        };
        let request = this.requests.start(to, correlated, this.next);
        let asked = Asked {
            id,
            request,
            deadline: self.now + patience,
        };
        this.asked.insert(this.next, asked);
        let wrapped = wrap(message, correlated.then_some(request));
        this.out.send_to(to, wrapped).expect("it has room");
        this.accepted += 1;
        Ok(())
    }
}

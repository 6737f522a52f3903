//! How links come and go: dialled, shaken hands on, lost.

use withy_proto::Message;
use withy_proto::mechanism::zap::Decision;
use withy_proto::pattern::incoming::Event as Incoming;
use withy_proto::pattern::pipe::{Carrier, Load};

use super::{Edge, Event, SECOND, World};
use crate::laws;
use crate::link::{Link, Time};
use crate::node::{Side, Up};

/// How long a handshake may take.
const HANDSHAKE: Time = SECOND;
impl World {
    pub(super) fn dial(&mut self, edge: usize) {
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

    pub(super) fn deadline(&mut self, link: usize) {
        let shaking = |node: &usize| {
            let side = self.nodes[*node].sides.get(&link);
            matches!(side, Some(Side::Shaking(_)))
        };
        if self.links[link].ends.iter().any(shaking) {
            self.close(link);
        }
    }

    pub(super) fn close(&mut self, link: usize) {
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
            let mut message = Message::new();
            let mut at = 0;
            while let (used, Some(event)) =
                self.decode(node, link, key, &mut tail[at..], &mut message)
            {
                at += used;
                if let Incoming::Message = event {
                    left.push(std::mem::take(&mut message));
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
        let lost: Vec<u32> = this.requests.lost(key).map(|(_, asker)| asker).collect();
        for number in lost {
            self.fail(node, number);
        }
        self.settle(node);
        laws::conserved(&self.nodes[node]);
    }

    pub(super) fn shake(&mut self, node: usize, link: usize, octets: &[u8]) {
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
        let Ok(key) = this.out.attach(carrier, &established.peer) else {
            self.close(link);
            return;
        };
        let identity = this.out.identity(key).cloned().unwrap_or_default();
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
}

//! What goes wrong: links are cut, stall or fall silent, and nodes die and return.

use super::{Event, MILLISECOND, World};
use crate::laws;
use crate::node::Node;

impl World {
    pub(super) fn fault(&mut self) {
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

    pub(super) fn come_back(&mut self, node: usize) {
        let dialing = self.edges.iter().filter(|edge| edge.dialer == node).count();
        let old = &self.nodes[node];
        self.nodes[node] = Node::new(old.spec.clone(), old.life + 1, dialing);
        self.begin(node);
    }
}

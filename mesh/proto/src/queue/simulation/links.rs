//! How what clients and keepers say gets to the others, or does not.

use super::*;

impl World {
    pub(super) fn producer(&mut self, client: usize) -> Option<&mut Producer> {
        match client {
            0..PRODUCERS => self.producers.get_mut(client),
            PRODUCERS..CLIENTS => None,
            _ => Some(&mut self.nodes[client - CLIENTS].heir),
        }
    }

    pub(super) fn known(&mut self, client: usize) -> Epoch {
        match self.producer(client) {
            Some(producer) => producer.known(),
            None => self.workers[client - PRODUCERS].worker.known(),
        }
    }

    pub(super) fn connect(&mut self, client: usize, anywhere: bool) {
        let known = self.known(client).max(self.epoch);
        let keeper = self.nodes.iter().position(|node| node.id == known.holder());
        let at = match keeper {
            Some(at) if !anywhere => at,
            _ => self.below(self.nodes.len()),
        };
        self.cut(client);
        self.peers += 1;
        let node = self.nodes[at].id;
        self.links[client] = Some(Link {
            node: at,
            peer: PeerId(self.peers),
            up: VecDeque::new(),
            down: VecDeque::new(),
        });
        match self.producer(client) {
            Some(producer) => producer.connected(node),
            None => self.workers[client - PRODUCERS].worker.connected(node),
        }
    }

    pub(super) fn cut(&mut self, client: usize) {
        let Some(link) = self.links[client].take() else {
            return;
        };
        let now = self.now;
        self.nodes[link.node].keeper.lost(link.peer, now);
        match self.producer(client) {
            Some(producer) => producer.lost(),
            None => self.workers[client - PRODUCERS].worker.lost(),
        }
    }

    pub(super) fn send(&mut self, client: usize) {
        let now = self.now;
        let command = match self.producer(client) {
            Some(producer) => producer.poll_transmit(now),
            None => self.workers[client - PRODUCERS].worker.poll_transmit(),
        };
        if let Some((command, link)) = command.zip(self.links[client].as_mut()) {
            link.up.push_back(command.encode());
        }
    }

    pub(super) fn answer(&mut self, node: usize) {
        let sent = self.nodes[node].keeper.poll_transmit(self.now);
        let Some((peer, command)) = sent else {
            return;
        };
        let mut links = self.links.iter_mut().flatten();
        let link = links.find(|link| link.peer == peer);
        link.expect("only peers are answered")
            .down
            .push_back(command.encode());
    }

    pub(super) fn arrive(&mut self, client: usize) {
        let Some(link) = &mut self.links[client] else {
            return;
        };
        let (node, peer) = (link.node, link.peer);
        if let Some(message) = link.up.pop_front() {
            let command = Command::decode(message).unwrap();
            let keeper = &mut self.nodes[node].keeper;
            keeper.handle(peer, command, self.now).unwrap();
        }
        let down = self.links[client]
            .as_mut()
            .and_then(|link| link.down.pop_front());
        let Some(message) = down else {
            return;
        };
        let command = Command::decode(message).unwrap();
        if let Some(producer) = self.producer(client) {
            producer.handle(command).unwrap();
            self.events(client);
            return;
        }
        let busy = &mut self.workers[client - PRODUCERS];
        if let Some(work) = busy.worker.handle(command).unwrap() {
            let body = number(&work.message);
            busy.work.push((work.id, body));
            let fresh = self.seen.insert(body);
            assert!(
                fresh || work.redelivered,
                "{body} came again, without the flag"
            );
        }
    }

    pub(super) fn events(&mut self, client: usize) {
        while let Some(event) = self.producer(client).and_then(Producer::poll_event) {
            match event {
                producer::Event::Accepted { sequence } => self.took(client, sequence),
                producer::Event::Refused { sequence, push, .. } => {
                    let now = self.now;
                    let again = self
                        .producer(client)
                        .map(|producer| producer.push(push, now));
                    if let Some(Ok(next)) = again {
                        self.rename(client, sequence, next);
                    }
                }
            }
        }
    }

    pub(super) fn took(&mut self, client: usize, sequence: u64) {
        let Some(at) = client.checked_sub(CLIENTS) else {
            self.accepted.extend(self.sent.remove(&(client, sequence)));
            return;
        };
        let node = &mut self.nodes[at];
        if let Some(tag) = node.inherited.remove(&sequence) {
            // It may have been too late, and gone back.
            _ = node.keeper.queue_mut().ack(HEIR, tag);
        }
    }

    /// What was refused has a new number.
    pub(super) fn rename(&mut self, client: usize, sequence: u64, next: u64) {
        if let Some(body) = self.sent.remove(&(client, sequence)) {
            self.sent.insert((client, next), body);
        } else if let Some(at) = client.checked_sub(CLIENTS)
            && let Some(tag) = self.nodes[at].inherited.remove(&sequence)
        {
            self.nodes[at].inherited.insert(next, tag);
        }
    }
}

//! What arrives on links, as long as there is room for it.

use bytes::BufMut;
use withy_proto::pattern::PipeKey;
use withy_proto::pattern::incoming::{Control, Event as Incoming};
use withy_proto::zmtp::Command;
use withy_proto::{Message, SocketType};

use super::{Event, World};
use crate::content;
use crate::node::Side;
use crate::scenario::Role;

impl World {
    pub(super) fn arrive(&mut self, link: usize, stream: usize) {
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
    pub(super) fn pump(&mut self, node: usize, link: usize) {
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
            let mut message = Message::new();
            let mut at = 0;
            while let (used, Some(event)) =
                self.decode(node, link, key, &mut input[at..], &mut message)
            {
                at += used;
                self.handle(node, link, key, event, &mut message);
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
    pub(super) fn decode(
        &mut self,
        node: usize,
        link: usize,
        key: PipeKey,
        input: &mut [u8],
        message: &mut Message,
    ) -> (usize, Option<Incoming>) {
        let this = &mut self.nodes[node];
        let before = this.inc.counts().discarded;
        let (used, event) = this.inc.decode(key, input, message).unwrap();
        let discarded = this.inc.counts().discarded - before;
        let stream = 1 - self.links[link].end_of(node);
        self.links[link].decoded[stream] += discarded;
        if let Some(Incoming::Message) = event {
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

    fn handle(
        &mut self,
        node: usize,
        link: usize,
        key: PipeKey,
        event: Incoming,
        message: &mut Message,
    ) {
        let now = self.moment();
        let this = &mut self.nodes[node];
        let control = match event {
            Incoming::Message => {
                this.inc.enqueue(key, std::mem::take(message));
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
}

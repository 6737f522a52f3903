//! What applications do when it is their turn: receive, answer, ask, send.

use std::time::Duration;

use withy_proto::pattern::outgoing::NotSent;
use withy_proto::pattern::request::{Reply, wrap};
use withy_proto::pattern::{PipeKey, reply};
use withy_proto::{Message, SocketType};

use super::{Event, FAULTS, MILLISECOND, SECOND, World};
use crate::content::{self, Id};
use crate::laws;
use crate::link::Time;
use crate::node::Asked;
use crate::scenario::Role;

/// How long a connection may owe a reply that nobody waits for.
const GRACE: Time = 300 * MILLISECOND;

/// What each node sends when faults have stopped.
const LAST: u32 = 3;

const TOPICS: [&[u8]; 5] = [b"", b"a", b"ab", b"abc", b"b"];

impl World {
    /// What an application does first.
    pub(super) fn begin(&mut self, node: usize) {
        if self.nodes[node].subscribes() {
            for _ in 0..self.dice.within(1, 4) {
                self.subscribe(node, true);
            }
        }
    }

    pub(super) fn turn(&mut self, node: usize) {
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
            let mut message = Message::from([&[u8::from(add)], &topic[..]].concat());
            this.out.send(&mut message).unwrap();
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
    pub(super) fn fail(&mut self, node: usize, number: u32) {
        let again = u32::from(!self.faulty());
        let this = &mut self.nodes[node];
        this.asked.remove(&number);
        this.answered = false;
        this.spec.messages += again;
    }

    /// Sends one reply.
    fn answer(&mut self, node: usize) -> bool {
        let this = &mut self.nodes[node];
        let Some((to, mut message)) = this.replies.pop_front() else {
            return false;
        };
        let sent = match to {
            Some(key) => this.out.send_to(key, &mut message),
            None => this.out.send(&mut message),
        };
        let full = match sent {
            Err(NotSent::Full) => {
                this.replies.push_front((to, message));
                true
            }
            Ok(()) | Err(NotSent::PeerGone | NotSent::Unroutable) => false,
            Err(NotSent::NoIdentity) => panic!("no identity: {message:?}"),
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

    fn send_message(&mut self, node: usize, id: Id, mut message: Message) -> Result<(), Message> {
        let this = &mut self.nodes[node];
        let before = this.out.counts();
        let topic = message.first().to_vec();
        this.largest = this.largest.max(message.size());
        match this.out.send(&mut message) {
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
            Err(NotSent::Full) => Err(message),
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
        let mut wrapped = wrap(message, correlated.then_some(request));
        this.out.send_to(to, &mut wrapped).expect("it has room");
        this.accepted += 1;
        Ok(())
    }
}

//! What a node that keeps a queue no more does with what it has: it puts it to the next keeper, as any
//! producer does, and forgets what that one has accepted.
//!
//! Invariant: a message stays here until the next keeper has it. All are flagged as redelivered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use withy_proto::queue::producer::{DEFAULT_WINDOW, Event, Push};
use withy_proto::queue::{
    Command, ConsumerId, Delivery, Nack, Producer as Engine, Queue, QueueName, Refusal, Tag,
};

use super::TURN;
use super::client::{Change, Client, News};
use super::offers::Said;
use super::producer::fresh_id;
use crate::node::shared::Shared;

/// As whom it takes messages out of the queue; no peer has this number.
pub(super) const HEIR: ConsumerId = ConsumerId(u64::MAX);

/// How long a message is left alone that the next keeper has no room for.
const PAUSE: Duration = Duration::from_secs(1);

/// Hands a queue on.
#[derive(Debug)]
pub(super) struct Heir {
    engine: Engine,
    pub(super) client: Client,
    pub(super) news: News,
    pub(super) is_news: bool,
    /// What is under way, by its number there.
    tags: BTreeMap<u64, Tag>,
    /// What was refused for now.
    again: VecDeque<(Duration, Tag, Push)>,
}

impl Heir {
    pub(super) fn new(shared: &Arc<Shared>, queue: &QueueName) -> Self {
        let client = Client::new(shared, queue);
        Self {
            engine: Engine::new(fresh_id(), DEFAULT_WINDOW),
            news: News::new(shared, client.core()),
            client,
            is_news: true,
            tags: BTreeMap::new(),
            again: VecDeque::new(),
        }
    }

    pub(super) fn heard(&mut self, command: Command) {
        let known = self.engine.known();
        if let Err(error) = self.engine.handle(command) {
            self.client.let_go(&error);
        }
        // Another link may be the keeper's now.
        self.is_news |= self.engine.known() != known;
    }

    /// Does everything that is to be done now; `said` is who else says to keep the queue. Says when
    /// there is more.
    pub(super) fn settle(
        &mut self,
        queue: &mut Queue,
        said: Option<Said>,
        now: Duration,
    ) -> Option<Duration> {
        for _ in 0..TURN {
            match self.client.try_recv() {
                Ok(Some(command)) => self.heard(command),
                Ok(None) => {}
                Err(_) => break,
            }
        }
        if std::mem::take(&mut self.is_news) {
            let news = self.client.news(said);
            news.into_iter().for_each(|it| self.engine.observe(it));
            match self.client.look(self.engine.known(), said) {
                Some(Change::Connected(node)) => self.engine.connected(node),
                Some(Change::Lost) => self.engine.lost(),
                None => {}
            }
        }
        self.engine.handle_timeout(now);
        self.end(queue, now);
        self.begin(queue, now);
        while self.client.has_room()
            && let Some(command) = self.engine.poll_transmit(now)
        {
            self.client.send(command);
        }
        let again = self.again.front().filter(|_| self.engine.has_room());
        let again = again.map(|(at, ..)| *at);
        self.engine.next_timeout().into_iter().chain(again).min()
    }

    /// Takes in what became of messages.
    fn end(&mut self, queue: &mut Queue, now: Duration) {
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::Accepted { sequence } => {
                    if let Some(tag) = self.tags.remove(&sequence) {
                        // It may have been out for too long, and come again then.
                        _ = queue.ack(HEIR, tag);
                    }
                }
                Event::Refused {
                    sequence,
                    refusal,
                    push,
                } => {
                    let Some(tag) = self.tags.remove(&sequence) else {
                        continue;
                    };
                    match refusal {
                        Refusal::Full | Refusal::Busy | Refusal::Store => {
                            self.again.push_back((now + PAUSE, tag, push));
                        }
                        // Back in line, it is a dead letter.
                        Refusal::Expired => _ = queue.nack(HEIR, tag, Nack::Requeue, "", now),
                        refusal => {
                            let why = format!("the next keeper says: {refusal}");
                            _ = queue.nack(HEIR, tag, Nack::DeadLetter, &why, now);
                        }
                    }
                }
            }
        }
    }

    /// Takes messages out of the queue, as many as may be under way.
    fn begin(&mut self, queue: &mut Queue, now: Duration) {
        while self.engine.has_room() {
            let due = self.again.front().is_some_and(|(at, ..)| *at <= now);
            let (tag, push) = match self.again.pop_front_if(|_| due) {
                Some((_, tag, push)) => (tag, push),
                // One that refuses some for now gets no others before it has taken those.
                None if !self.again.is_empty() => break,
                None => match next(queue, now) {
                    Some(next) => next,
                    None => break,
                },
            };
            if let Ok(sequence) = self.engine.push(push, now) {
                self.tags.insert(sequence, tag);
            }
        }
    }
}

fn next(queue: &mut Queue, now: Duration) -> Option<(Tag, Push)> {
    queue.grow(HEIR, 1).ok()?;
    let delivery = queue.poll(now);
    queue.pause(HEIR);
    let Delivery {
        tag,
        priority,
        ttl,
        history,
        message,
        ..
    } = delivery?;
    let push = Push {
        priority,
        ttl,
        redelivered: true,
        history,
        message,
    };
    Some((tag, push))
}

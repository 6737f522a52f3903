//! A subscriber that joins late, and gets what the publishers kept before what they publish: no gap, no
//! double.
//!
//! Each publisher with a history has a [`Joiner`] of its own. One task feeds them from the bus, from the
//! publishers' answers and from the clock, and hands out what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;
use withy_discovery::{Kind, PeerTag};
use withy_proto::bus::Filter;
use withy_proto::bus::joiner::{Joiner, Limits, Step};
use withy_proto::bus::snapshot::Reply;
use withy_proto::crypto::Randomness as _;
use withy_proto::pattern::PipeKey;
use withy_proto::{Message, SocketType};

use super::super::interest::Wants;
use super::super::links;
use super::super::shared::Shared;
use super::history::PROPERTY;
use super::subscriber::Reader;
use super::waiting::Waiting;
use crate::driver::handshake::OsRandomness;
use crate::event::{PeerInfo, Reason};
use crate::socket::{Owner, PeerKey};

/// How often links are looked at that did not change: their nodes may have said something new.
const LOOK: Duration = Duration::from_secs(1);

/// A joiner, and the connection over which its publisher's updates come.
#[derive(Debug)]
struct Joining {
    joiner: Joiner,
    bus: PipeKey,
    /// Whether the mark is subscribed to.
    marked: bool,
}

/// The joiners of one subscriber.
#[derive(Debug)]
pub(super) struct Late {
    shared: Arc<Shared>,
    filter: Filter,
    bus: Reader,
    asks: Owner,
    joining: BTreeMap<PeerTag, Joining>,
    /// Those that are not live.
    waiting: BTreeSet<PeerTag>,
    /// The links of the bus when they were last looked at.
    known: BTreeSet<PipeKey>,
    /// Over which pipe each publisher is asked.
    asked: BTreeMap<PeerTag, PipeKey>,
    started: Instant,
    out: Arc<Waiting>,
}

impl Late {
    /// The joiners of a subscriber to a filter, whose updates are read there, and the socket over which
    /// they ask.
    pub(super) fn new(
        shared: &Arc<Shared>,
        filter: &Filter,
        bus: Reader,
        out: Arc<Waiting>,
    ) -> (Self, Owner) {
        let asks = shared.socket(SocketType::Dealer, shared.options());
        let late = Self {
            shared: Arc::clone(shared),
            filter: filter.clone(),
            bus,
            asks: asks.clone(),
            joining: BTreeMap::new(),
            waiting: BTreeSet::new(),
            known: BTreeSet::new(),
            asked: BTreeMap::new(),
            started: Instant::now(),
            out,
        };
        (late, asks)
    }

    /// Whom the asking socket is connected to.
    pub(super) fn wants(filter: &Filter) -> Wants {
        Wants::Histories(filter.clone())
    }

    /// Runs until nobody takes what comes, or the node is closed.
    pub(super) async fn run(mut self) {
        let (stop, out) = (self.shared.stop.clone(), Arc::clone(&self.out));
        tokio::select! {
            () = self.join() => {}
            () = stop.cancelled() => {}
            () = out.left.cancelled() => {}
        }
        out.close();
    }

    async fn join(&mut self) {
        let mut links = self.bus.socket.core().peers.subscribe();
        let mut asks = self.asks.core().peers.subscribe();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.ask();
            tokio::select! {
                Ok(received) = self.bus.socket.recv_from() => self.updated(received).await,
                Ok((message, key)) = self.asks.recv_from() => self.answered(message, key).await,
                Ok(()) = links.changed() => self.look_at_links(),
                Ok(()) = asks.changed() => self.look_at_asks(),
                _ = look.tick() => {
                    self.look_at_links();
                    self.look_at_asks();
                }
                () = tokio::time::sleep(due) => self.handle_timeout(),
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Begins to join whoever has a history, and again whoever was away.
    fn look_at_links(&mut self) {
        let links = self.bus.socket.core().links();
        self.known = links.iter().map(|(key, _)| *key).collect();
        for (key, info) in links {
            let Some(tag) = links::tag_of(&info).filter(|tag| self.has_history(*tag)) else {
                continue;
            };
            let mark = OsRandomness.next_u64();
            match self.joining.get_mut(&tag) {
                Some(known) if known.bus == key => {}
                Some(known) => {
                    known.bus = key;
                    let old = known.joiner.mark_topic().clone();
                    if std::mem::take(&mut known.marked) {
                        self.bus.socket.core().subscribe(old.as_octets(), false);
                    }
                    known.joiner.restart(mark);
                    self.waiting.insert(tag);
                }
                None => {
                    let joiner = Joiner::new(self.filter.clone(), mark, Limits::default());
                    let joining = Joining {
                        joiner,
                        bus: key,
                        marked: false,
                    };
                    self.joining.insert(tag, joining);
                    self.waiting.insert(tag);
                }
            }
        }
        let known = self.shared.state.lock();
        let table = known.discovery.table();
        let gone = |tag: &PeerTag| table.record(*tag).is_none();
        let bus = self.bus.socket.core();
        self.joining.retain(|tag, joining| {
            let goes = gone(tag) && bus.peer(joining.bus).is_none();
            if goes && joining.marked {
                bus.subscribe(joining.joiner.mark_topic().as_octets(), false);
            }
            !goes
        });
        let joining = &self.joining;
        self.waiting.retain(|tag| joining.contains_key(tag));
    }

    /// Notes over which pipe each publisher is asked: the newest.
    fn look_at_asks(&mut self) {
        let links = self.asks.core().links().into_iter();
        let tagged = links.filter_map(|(key, info)| Some((links::tag_of(&info)?, key)));
        self.asked = tagged.collect();
    }

    fn has_history(&self, tag: PeerTag) -> bool {
        let state = self.shared.state.lock();
        let record = state.discovery.table().record(tag);
        record.is_some_and(|record| {
            let mut services = record.content().services.iter();
            services.any(|it| {
                it.kind == Kind::Publisher
                    && it.properties.iter().any(|(key, _)| &**key == PROPERTY)
            })
        })
    }

    /// Asks whom it is time to ask, and says when there is more to do.
    fn ask(&mut self) -> Duration {
        let now = self.now();
        let mut due = LOOK;
        let core = self.asks.core();
        for tag in &self.waiting {
            let (Some(joining), Some(key)) = (self.joining.get_mut(tag), self.asked.get(tag))
            else {
                continue;
            };
            if !joining.marked {
                let mark = joining.joiner.mark_topic();
                self.bus.socket.core().subscribe(mark.as_octets(), true);
                joining.marked = true;
            }
            if let Some(ask) = joining.joiner.poll_ask(now) {
                // One that does not arrive is asked again.
                let _ = core.try_send_to(*key, &mut Message::from(ask));
            }
            if let Some(deadline) = joining.joiner.poll_timeout() {
                due = due.min(deadline.saturating_sub(now));
            }
        }
        due
    }

    fn handle_timeout(&mut self) {
        let now = self.now();
        for tag in &self.waiting {
            if let Some(joining) = self.joining.get_mut(tag) {
                joining.joiner.handle_timeout(now);
            }
        }
    }

    /// Takes in what came over the bus.
    async fn updated(&mut self, (message, key): (Message, PeerKey)) {
        let Some(publication) = self.bus.read((message, key)) else {
            return;
        };
        let core = self.bus.socket.core();
        let sender = core.sender(key.0);
        let tag = sender.and_then(|info: Arc<PeerInfo>| links::tag_of(&info));
        if !self.known.contains(&key.0) && core.peer(key.0).is_some() {
            // It came over a link that is newer than the last look.
            self.look_at_links();
        }
        let core = self.bus.socket.core();
        let now = self.now();
        let joining = tag.and_then(|tag| self.joining.get_mut(&tag));
        let step = match joining {
            Some(joining) if publication.header.sequence > 0 || !joining.joiner.is_live() => {
                joining.joiner.handle_update(publication, now)
            }
            _ => Ok(Step::Deliver(Box::new(publication))),
        };
        match step {
            Ok(step) => self.deliver(step, tag).await,
            Err(error) => core.close_link(key.0, Reason::Application(error.to_string())),
        }
    }

    /// Takes in a part of a snapshot.
    async fn answered(&mut self, message: Message, key: PeerKey) {
        let core = self.asks.core();
        let sender = core.peer(key.0);
        let Some(tag) = sender.and_then(|info| links::tag_of(&info)) else {
            return;
        };
        let now = self.now();
        let Some(joining) = self.joining.get_mut(&tag) else {
            return;
        };
        let reply = Reply::try_from(message).map_err(|error| error.to_string());
        let step = reply.and_then(|reply| {
            let step = joining.joiner.handle_reply(reply, now);
            step.map_err(|error| error.to_string())
        });
        match step {
            Ok(step) => self.deliver(step, Some(tag)).await,
            Err(error) => core.close_link(key.0, Reason::Application(error)),
        }
    }

    /// Hands out what came of a message.
    async fn deliver(&mut self, step: Step, tag: Option<PeerTag>) {
        let all = match step {
            Step::Nothing => return,
            Step::Deliver(publication) => vec![*publication],
            Step::Live(all) => {
                if let Some(tag) = tag {
                    self.waiting.remove(&tag);
                }
                if let Some(joining) = tag.and_then(|tag| self.joining.get_mut(&tag))
                    && std::mem::take(&mut joining.marked)
                {
                    let mark = joining.joiner.mark_topic();
                    self.bus.socket.core().subscribe(mark.as_octets(), false);
                }
                all
            }
        };
        for publication in all {
            self.out.put(publication).await;
        }
    }
}

//! The table, the membership and the gossip of one node, put together.
//!
//! ```text
//!  sources --hint---> hints: try
//!          --learn--> table <--records-- gossip <--handle_input-- links
//!                       |  membership <--updates, beats-- |  ^
//!                       v      |                          v  |
//!                     events <-+          actions: open, close, call, seek
//! ```
//!
//! The engine says which links it wants, and the caller opens and closes them; a link carries whole
//! messages in order, and its ends proved who they are. Deliberately not here: sockets, trust, and
//! which of two links a pair of nodes keeps that dialled each other.
//!
//! Invariant: who is in the table is a member that is not gone, this node aside.

mod rounds;
#[cfg(test)]
mod tests;
mod tries;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use withy_proto::crypto::{Provider, Randomness as _, Seeded};
use withy_proto::trust::{Network, NetworkId};

use crate::dials::{DialLimits, Dials};
use crate::gossip::links::{self, Step};
use crate::gossip::{Gossip, Item, Message, MessageError, Spread, Summary};
use crate::hints::{Hints, Try};
use crate::membership::{Change, Membership, Outgoing, Pace, State};
use crate::peer::PeerTag;
use crate::record::Record;
use crate::revocation::Revocation;
use crate::table::{self, Learnt, Limits, Origin, Refusal, Table};

/// What time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Since any fixed moment, on a clock that does not jump.
    pub monotonic: Duration,
    /// In seconds since the Unix epoch.
    pub unix: u64,
}

/// How a node takes part.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// What the table holds.
    pub limits: Limits,
    /// How fast membership is.
    pub pace: Pace,
    /// How much gossip there is.
    pub spread: Spread,
    /// How many peers are dialled.
    pub dials: DialLimits,
    /// The networks that the node belongs to.
    pub networks: Vec<Network>,
}

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Open a link to a peer of the table, and call [`Discovery::link_up`] or
    /// [`Discovery::link_failed`].
    Open(PeerTag),
    /// Close the link to a peer, when nothing else needs it, and call [`Discovery::link_down`].
    Close(PeerTag),
    /// Try to open a link to a node that was lost, and is in no table any more.
    Call(Box<Record>),
    /// Try the addresses of a hint, and call [`Discovery::try_ended`].
    Try(Box<Try>),
    /// Give the addresses that were configured to [`Discovery::hint`], or try them otherwise: this node
    /// has no link, or some nodes were lost.
    Seek,
    /// Sign this node's record anew: half of its time is over.
    Renew,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// In the table.
    Table(table::Event),
    /// A member is in another state: suspected, there after all, or gone. Of one that is new, or was gone,
    /// the table tells.
    Member(PeerTag, State),
    /// A network revoked something, and signed it.
    Revoked(Revocation),
    /// Somebody sends announcements that are not by whom they say; told once a minute at most.
    Forged {
        /// Whom they name, if they name anybody.
        peer: Option<PeerTag>,
        /// Whom they came from, as far as they tell.
        origin: Origin,
    },
    /// Some events were dropped, since nobody took them.
    Lagged,
}

/// The discovery of one node.
#[derive(Debug)]
pub struct Discovery {
    provider: Provider,
    networks: BTreeSet<NetworkId>,
    table: Table,
    membership: Membership,
    gossip: Gossip,
    /// What was said last of all that is known, and how often that had changed by then.
    summarized: Option<((u64, u64, usize), Box<Summary>)>,
    dials: Dials,
    hints: Hints,
    /// The records of those that are dead, for calls.
    graves: BTreeMap<PeerTag, Record>,
    random: Seeded,
    next_plan: Duration,
    /// There was nothing to do about links when they were last planned.
    rests: bool,
    next_mix: Duration,
    next_call: Duration,
    next_seek: Duration,
    next_try: Duration,
    renewed: u64,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
    lagged: bool,
    dropped: u64,
}

impl Discovery {
    /// The most actions, and events that are not the table's, that wait to be taken.
    pub const MAX_WAITING: usize = 8_192;
    /// How often links are planned while something is to be done about them.
    const PLAN: Duration = Duration::from_millis(250);
    /// How often else.
    const REST: Duration = Duration::from_secs(1);
    /// How often a link changes by chance. Each costs a handshake, which is most of what a node does that
    /// has nothing else to do.
    const MIX: Duration = Duration::from_secs(120);
    /// How often one that was lost is called.
    const CALL: Duration = Duration::from_secs(2);
    /// How often the configured addresses are tried while somebody is lost; without any link, they
    /// are as often as one is called.
    const SEEK: Duration = Duration::from_secs(30);

    /// A node that knows nobody. Chance follows from the seed, which should be random.
    pub fn new(provider: Provider, config: Config, own: Record, seed: u64) -> Self {
        let mut random = Seeded::new(seed);
        let secrets: Vec<_> = config.networks.iter().map(|it| it.secret.clone()).collect();
        Self {
            provider,
            networks: config.networks.iter().map(|network| network.id).collect(),
            membership: Membership::new(own.peer(), config.pace),
            gossip: Gossip::new(own.peer(), config.spread, random.next_u64()),
            summarized: None,
            dials: Dials::new(config.dials),
            hints: Hints::new(secrets.clone(), config.dials.hints),
            table: Table::new(provider, config.limits, secrets, own),
            graves: BTreeMap::new(),
            random,
            next_plan: Duration::ZERO,
            rests: false,
            next_mix: Self::MIX,
            next_call: Duration::ZERO,
            next_seek: Duration::ZERO,
            next_try: Duration::ZERO,
            renewed: 0,
            actions: VecDeque::new(),
            events: VecDeque::new(),
            lagged: false,
            dropped: 0,
        }
    }

    /// Says something new about this node, and spreads it.
    pub fn set_own(&mut self, record: Record) {
        self.table.set_own(record.clone());
        self.gossip
            .spread(&Item::Record(record.octets().clone()), None);
    }

    /// Takes a record in from a source.
    ///
    /// # Errors
    /// It is refused, and counted.
    pub fn learn(&mut self, octets: &[u8], origin: Origin, time: Time) -> Result<Learnt, Refusal> {
        let record = self.table.decode(octets)?;
        let peer = record.peer();
        if self.membership.state(peer).is_some_and(State::is_gone) {
            return Err(self.table.refuse(Refusal::Gone));
        }
        let learnt = self.table.learn_record(record, origin, time.unix)?;
        if learnt.is_news() {
            self.plan_soon(time.monotonic);
            if !self.membership.learnt(peer) {
                self.table.forget(peer);
                return Err(self.table.refuse(Refusal::Full));
            }
            let from = match origin {
                Origin::Gossip(from) => Some(from),
                _ => None,
            };
            if let Some(record) = self.table.record(peer) {
                let item = Item::Record(record.octets().clone());
                self.gossip.spread(&item, from);
            }
        }
        self.settle(time);
        Ok(learnt)
    }

    /// Takes a node out that is not trusted any more.
    pub fn forget(&mut self, peer: PeerTag) {
        self.table.forget(peer);
        self.membership.forget(peer);
        self.graves.remove(&peer);
    }

    /// Keeps and spreads a revocation that did not come by gossip.
    pub fn revoke(&mut self, revocation: Revocation) {
        self.revoked(revocation, None);
    }

    fn revoked(&mut self, revocation: Revocation, from: Option<PeerTag>) {
        let known = self.gossip.revocations().contains_key(&revocation.digest());
        if known {
            return;
        }
        let ours = self.networks.contains(&revocation.network());
        if !ours || !revocation.verify(self.provider) {
            return self.gossip.count_forged();
        }
        if self.gossip.keep(revocation) {
            self.tell(Event::Revoked(revocation));
            self.gossip.spread(&Item::Revocation(revocation), from);
        }
    }

    /// Gossips over a link from now on. The peer proved who it is; that its record is not known is no
    /// hindrance.
    pub fn link_up(&mut self, peer: PeerTag, time: Time) {
        self.dials.end(peer, true, time.monotonic);
        self.hints.end(peer, true);
        self.hints.forget(peer);
        if self.gossip.links().any(|link| link == peer) {
            return;
        }
        self.gossip.link_up(peer);
        self.membership.link_up(peer, time.monotonic);
        let own = self.table.own();
        if let Some(record) = self.table.record(own) {
            let item = Item::Record(record.octets().clone());
            self.gossip.send(peer, item);
        }
        self.begin_round(peer);
        self.settle(time);
    }

    /// A link to a peer could not be opened: a reason for suspicion. Of those to whom nobody has a
    /// link, some node's ring neighbour is the one who notices that they are gone.
    pub fn link_failed(&mut self, peer: PeerTag, time: Time) {
        self.dials.end(peer, false, time.monotonic);
        self.plan_soon(time.monotonic);
        self.membership.unreachable(peer, time.monotonic);
        self.settle(time);
    }

    /// A link is not to be opened, since the peer is not trusted. That says nothing about whether it
    /// is there.
    pub fn link_refused(&mut self, peer: PeerTag, time: Time) {
        self.dials.end(peer, false, time.monotonic);
        self.plan_soon(time.monotonic);
    }

    /// A link is closed; `lost` says that nobody meant it.
    pub fn link_down(&mut self, peer: PeerTag, lost: bool, time: Time) {
        self.gossip.link_down(peer);
        self.membership.link_down(peer, lost, time.monotonic);
        self.next_plan = time.monotonic;
        self.settle(time);
    }

    /// Says goodbye to all neighbours; what [`poll_transmit`](Self::poll_transmit) has then is the
    /// last.
    pub fn leave(&mut self, time: Time) {
        self.membership.leave();
        self.settle(time);
    }

    /// Takes a message in that came over a link.
    ///
    /// # Errors
    /// It is not gossip; the link should be closed.
    pub fn handle_input(
        &mut self,
        from: PeerTag,
        octets: &[u8],
        time: Time,
    ) -> Result<(), MessageError> {
        let now = time.monotonic;
        let Some(message) = self.gossip.receive(from, octets, now)? else {
            return Ok(());
        };
        self.membership.heard(from, now);
        match message {
            Message::News(items) => items.into_iter().for_each(|it| self.news(from, it, time)),
            Message::Summary(summary) => self.compare(from, &summary),
            Message::Listing { buckets, entries } => self.reconcile(from, buckets, &entries, time),
            Message::Want(peers) => self.answer(from, &peers),
            Message::Revoked { answers, digests } => self.complete(from, answers, &digests),
            Message::Beat(beat) => self.membership.handle_beat(from, beat, now),
        }
        self.settle(time);
        Ok(())
    }

    fn news(&mut self, from: PeerTag, item: Item, time: Time) {
        match item {
            // What is refused is counted there.
            Item::Record(octets) => drop(self.learn(&octets, Origin::Gossip(from), time)),
            Item::Update(update) => self.membership.handle_update(from, update, time.monotonic),
            Item::Revocation(revocation) => self.revoked(revocation, Some(from)),
        }
    }

    /// Brings what membership decided to where it belongs.
    fn settle(&mut self, time: Time) {
        while let Some((peer, beat)) = self.membership.poll_beat() {
            self.gossip.say(peer, &Message::Beat(beat));
        }
        while let Some(change) = self.membership.poll_change() {
            match change {
                Change::Appeared(peer) => self.appeared(peer, time),
                Change::State(peer, state) => self.changed(peer, state, time),
                Change::Refuted => {}
            }
        }
        while let Some(outgoing) = self.membership.poll_update() {
            match outgoing {
                Outgoing::Spread(update, except) => {
                    self.gossip.spread(&Item::Update(update), except);
                }
                Outgoing::To(peer, update) => self.gossip.send(peer, Item::Update(update)),
            }
        }
    }

    /// A node is there that was not: the table tells of it.
    fn appeared(&mut self, peer: PeerTag, time: Time) {
        self.plan_soon(time.monotonic);
        // It comes back with what was known of it, if that still counts.
        if let Some(record) = self.graves.remove(&peer) {
            let origin = Origin::Gossip(peer);
            let _ = self.table.learn_record(record, origin, time.unix);
        }
    }

    fn changed(&mut self, peer: PeerTag, state: State, time: Time) {
        match state {
            State::Dead => {
                if let Some(record) = self.table.record(peer) {
                    self.graves.insert(peer, record.clone());
                }
                self.table.forget(peer);
                self.close(peer, time.monotonic);
                self.next_plan = time.monotonic;
            }
            State::Left => {
                self.table.forget(peer);
                self.close(peer, time.monotonic);
                self.next_plan = time.monotonic;
            }
            State::Alive => self.plan_soon(time.monotonic),
            State::Suspected => {}
        }
        self.tell(Event::Member(peer, state));
    }

    fn tell(&mut self, event: Event) {
        match self.events.len() < Self::MAX_WAITING {
            true => self.events.push_back(event),
            false => {
                self.lagged = true;
                self.dropped += 1;
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self, time: Time) -> Duration {
        let gossip = self.gossip.poll_timeout(time.monotonic);
        let membership = self.membership.poll_timeout().unwrap_or(gossip);
        gossip.min(membership).min(self.next_plan)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, time: Time) {
        let now = time.monotonic;
        self.membership.handle_timeout(now);
        for peer in self.table.handle_timeout(time.unix) {
            self.membership.forget(peer);
        }
        // A node at rest does what is due soon when it is awake: else it would wake for that.
        let early = match self.rests {
            true => Self::REST / 4,
            false => Duration::ZERO,
        };
        if let Some(peer) = self.gossip.poll_round(now + early) {
            self.begin_round(peer);
        }
        if now + early >= self.next_plan {
            self.rests = self.plan(now) && self.hints.len() == 0;
            self.next_plan = now + if self.rests { Self::REST } else { Self::PLAN };
            self.try_waiting(time);
            self.renew(time.unix);
        }
        if now >= self.next_call {
            self.next_call = now + Self::CALL * 3 / 4 + self.part(Self::CALL / 2);
            self.call(now);
        }
        self.settle(time);
    }

    /// A random part of a span.
    fn part(&mut self, span: Duration) -> Duration {
        span * (self.random.next_u64() % 1_024) as u32 / 1_024
    }

    /// Plans links earlier than a node at rest does, and at once if there is none: through the first one
    /// others learn of this node.
    fn plan_soon(&mut self, now: Duration) {
        self.rests = false;
        let lonely = self.gossip.links().next().is_none() && self.dials.under_way() == 0;
        let soon = if lonely { Duration::ZERO } else { Self::PLAN };
        self.next_plan = self.next_plan.min(now + soon);
    }

    /// Opens and closes links; whether there was none to.
    fn plan(&mut self, now: Duration) -> bool {
        let there: BTreeSet<_> = self.membership.members().collect();
        let mut links: BTreeSet<_> = self.gossip.links().collect();
        let hints = &self.hints;
        links.extend(self.dials.peers().filter(|it| !hints.is_under_way(*it)));
        let mixes = now >= self.next_mix;
        if mixes {
            self.next_mix = now + Self::MIX;
        }
        let max = self.gossip.most_links();
        let steps = links::plan(
            max,
            self.table.own(),
            &there,
            &links,
            mixes,
            &mut self.random,
        );
        let rests = steps.is_empty();
        for step in steps {
            match step {
                Step::Open(peer) => {
                    let origin = self.table.origin(peer);
                    let start = origin.map(|origin| self.dials.start(peer, origin, now));
                    if start == Some(Ok(())) {
                        self.act(Action::Open(peer));
                    }
                }
                Step::Close(peer) => self.close(peer, now),
            }
        }
        rests
    }

    /// Gives a link up, and lets the caller close it.
    fn close(&mut self, peer: PeerTag, now: Duration) {
        if self.gossip.links().any(|link| link == peer) {
            self.gossip.link_down(peer);
            self.membership.link_down(peer, false, now);
            self.act(Action::Close(peer));
        }
    }

    fn call(&mut self, now: Duration) {
        let membership = &self.membership;
        self.graves
            .retain(|peer, _| membership.state(*peer) == Some(State::Dead));
        let lonely = self.gossip.links().next().is_none();
        let count = self.graves.len();
        if lonely || count > 0 && now >= self.next_seek {
            self.next_seek = now + Self::SEEK;
            self.act(Action::Seek);
        }
        if count > 0 {
            let at = self.random.next_u64() as usize % count;
            if let Some(record) = self.graves.values().nth(at).cloned() {
                self.act(Action::Call(Box::new(record)));
            }
        }
    }

    fn renew(&mut self, unix: u64) {
        let own = self.table.own();
        let Some(content) = self.table.record(own).map(Record::content) else {
            return;
        };
        let validity = content.validity;
        let sequence = content.sequence.saturating_add(1);
        let half = validity.not_before.saturating_add(validity.lifetime() / 2);
        if unix > half && self.renewed != sequence {
            self.renewed = sequence;
            self.act(Action::Renew);
        }
    }

    fn act(&mut self, action: Action) {
        match self.actions.len() < Self::MAX_WAITING {
            true => self.actions.push_back(action),
            false => self.dropped += 1,
        }
    }

    /// The next message to send, and over which link.
    pub fn poll_transmit(&mut self, time: Time) -> Option<(PeerTag, Bytes)> {
        self.gossip.poll_transmit(time.monotonic)
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What changed next.
    pub fn poll_event(&mut self) -> Option<Event> {
        let table = self.table.poll_event().map(Event::Table);
        let event = table.or_else(|| self.events.pop_front());
        event.or_else(|| std::mem::take(&mut self.lagged).then_some(Event::Lagged))
    }

    /// The peers that are known.
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// Notes names that are pinned, and where peers were met.
    pub const fn table_mut(&mut self) -> &mut Table {
        &mut self.table
    }

    /// Who is there.
    pub const fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The links, what was revoked, and how much was said.
    pub const fn gossip(&self) -> &Gossip {
        &self.gossip
    }

    /// How many actions and events were dropped because nobody took them.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

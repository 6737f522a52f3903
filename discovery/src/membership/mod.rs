//! Who is there: heartbeats over the links that exist, suspicion, death, and refutation.
//!
//! ```text
//!            silent 1.5 H, unreachable          no refutation within H
//!   Alive ------------------------> Suspected -----------------------> Dead --MAX_GRAVE--> unknown
//!     ^ ^                             |  |                              |
//!     | +------- heard, refuted ------+  +--- told that it is dead ---->|
//!     +------------------- refuted: a higher incarnation ---------------+
//!   Alive --told that it is dead--> Suspected (for H / 2)      any --it leaves--> Left
//! ```
//!
//! H is the heartbeat. Of two neighbours one leads: it beats on all the links that it leads at one moment,
//! and the other answers at once, so that few moments wake a node. A leader that is late is one no longer.
//!
//! Who has a link to a member watches it: silence of 1.25 H asks for an answer each
//! quarter of H, silence of 1.5 H is suspicion, which spreads, and reaches the suspect on other
//! ways, who refutes it by raising its incarnation (as SWIM does). Watchers declare it dead after
//! another H, and who could not dial it after 3 H. Others believe them, but let a member that they took for alive have H / 2 for its
//! answer; so a mesh that was split, each half of which took the other for dead, merges without a
//! single member dying. A watcher that hears a member does not believe anybody who says otherwise,
//! and tells the member.
//!
//! A node that is late itself judges nobody as soon as usual: see `lateness`.
//!
//! Those that are gone are remembered for a while, so that old news does not revive them, and so
//! that somebody looks for them: see [`Membership::lost`].
//!
//! Time is an argument, counted from any fixed moment. Nothing here is about records: a member is
//! known when [`learnt`](Membership::learnt) was called for it.
//!
//! Invariant: a member is gone only by an update of its incarnation or a later one, and comes back
//! only by a later one.

mod lateness;
#[cfg(test)]
mod tests;
mod update;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use update::{State, Update};

use lateness::Lateness;

use crate::peer::PeerTag;

/// Times of the membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How often a member says over each link that it is there. Default 1 s.
    pub heartbeat: Duration,
    /// How long those that are gone are remembered. Default 10 minutes.
    pub grave: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            grave: Duration::from_secs(600),
        }
    }
}

/// A heartbeat, over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// The sender's incarnation.
    pub incarnation: u32,
    /// Whether the receiver should answer at once.
    pub asks: bool,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It is a member now, and was none, or was gone.
    Appeared(PeerTag),
    /// The member is in another state.
    State(PeerTag, State),
    /// Others took this node for gone, and it told them otherwise.
    Refuted,
}

/// How often what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Members that became suspected.
    pub suspected: u64,
    /// Members that became dead.
    pub died: u64,
    /// Members that left.
    pub left: u64,
    /// Members that were dead or suspected, and refuted it.
    pub revived: u64,
    /// How often this node refuted that it is gone.
    pub refuted: u64,
    /// Updates about nodes that are not known.
    pub unknown: u64,
    /// Updates that said what is known already, or something older.
    pub old: u64,
    /// Updates with an incarnation that cannot be.
    pub absurd: u64,
    /// Members that there was no room for.
    pub full: u64,
    /// Members that are gone and were forgotten early, for want of room.
    pub graves_dropped: u64,
    /// Changes and updates that nobody took in time.
    pub dropped: u64,
}

/// The members that are known, and those that are gone.
#[derive(Debug)]
pub struct Membership {
    pace: Pace,
    own: PeerTag,
    incarnation: u32,
    leaving: bool,
    members: BTreeMap<PeerTag, Member>,
    links: BTreeMap<PeerTag, Link>,
    deadlines: BTreeSet<(Duration, PeerTag)>,
    graves: usize,
    lateness: Lateness,
    /// How often what is [said](Self::said) of somebody may have changed.
    alterations: u64,
    beats: VecDeque<(PeerTag, Beat)>,
    updates: VecDeque<Outgoing>,
    changes: VecDeque<Change>,
    counters: Counters,
}

/// An update that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing {
    /// To all links but the one that it came over.
    Spread(Update, Option<PeerTag>),
    /// To this one.
    To(PeerTag, Update),
}

#[derive(Debug, Clone, Copy)]
struct Member {
    state: State,
    incarnation: u32,
    /// When a suspect is dead, or a grave forgotten.
    deadline: Option<Duration>,
    /// The worst that others said of this incarnation, which may not be believed yet.
    said: State,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    heard: Duration,
    next_beat: Duration,
    next_question: Duration,
    /// Whether this side beats and the other answers.
    leads: bool,
    /// When it was last told that it is taken for gone.
    told: Option<Duration>,
}

impl Membership {
    /// The most members, those that are gone not counted.
    pub const MAX_MEMBERS: usize = 4_096;
    /// The most of those that are gone; of more, the one to be forgotten first is.
    pub const MAX_GRAVES: usize = 512;
    /// How far an incarnation may be ahead of what is known: nobody refutes so often unseen.
    pub const MAX_AHEAD: u32 = 1_024;
    /// The most changes, and updates, that wait to be taken; those beyond are counted.
    pub const MAX_WAITING: usize = 8_192;

    /// A mesh of this node alone.
    pub const fn new(own: PeerTag, pace: Pace) -> Self {
        Self {
            pace,
            own,
            incarnation: 0,
            leaving: false,
            members: BTreeMap::new(),
            links: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            graves: 0,
            lateness: Lateness::NONE,
            alterations: 0,
            beats: VecDeque::new(),
            updates: VecDeque::new(),
            changes: VecDeque::new(),
            counters: Counters {
                suspected: 0,
                died: 0,
                left: 0,
                revived: 0,
                refuted: 0,
                unknown: 0,
                old: 0,
                absurd: 0,
                full: 0,
                graves_dropped: 0,
                dropped: 0,
            },
        }
    }

    /// Takes a node for a member of whom a record was learnt. Those that are gone stay gone.
    ///
    /// Returns whether it is one now.
    pub fn learnt(&mut self, peer: PeerTag) -> bool {
        if let Some(member) = self.members.get(&peer) {
            return !member.state.is_gone();
        }
        if peer == self.own || self.members.len() - self.graves >= Self::MAX_MEMBERS {
            self.counters.full += u64::from(peer != self.own);
            return false;
        }
        let member = Member {
            state: State::Alive,
            incarnation: 0,
            deadline: None,
            said: State::Alive,
        };
        self.members.insert(peer, member);
        self.alterations += 1;
        self.change(Change::Appeared(peer));
        true
    }

    /// Forgets a node without a grave: its record expired, or it is not trusted any more.
    pub fn forget(&mut self, peer: PeerTag) {
        if let Some(member) = self.members.remove(&peer) {
            self.alterations += 1;
            self.graves -= usize::from(member.state.is_gone());
            if let Some(deadline) = member.deadline {
                self.deadlines.remove(&(deadline, peer));
            }
        }
    }

    /// Watches a member over a link from now on.
    pub fn link_up(&mut self, peer: PeerTag, now: Duration) {
        let link = Link {
            heard: now,
            next_beat: now,
            next_question: now + self.patience(),
            leads: true,
            told: None,
        };
        self.links.insert(peer, link);
        self.tell_if_gone(peer, now);
    }

    /// Stops watching over a link. One that was lost, and not closed on purpose, is a reason for
    /// suspicion.
    pub fn link_down(&mut self, peer: PeerTag, lost: bool, now: Duration) {
        if self.links.remove(&peer).is_none() || !lost {
            return;
        }
        self.suspect(peer, self.pace.heartbeat, now);
    }

    /// Notes that a link to a member could not be opened.
    pub fn unreachable(&mut self, peer: PeerTag, now: Duration) {
        if !self.links.contains_key(&peer) {
            // Who dials hears less than who watches: a member that has much to do misses a dial sooner than
            // its heartbeats.
            self.suspect(peer, self.pace.heartbeat * 3, now);
        }
    }

    /// Notes that anything came over a link.
    pub fn heard(&mut self, peer: PeerTag, now: Duration) {
        let patience = self.patience();
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        link.heard = now;
        link.next_question = now + patience;
        let member = self.members.get(&peer).copied();
        if let Some(member) = member.filter(|member| member.state == State::Suspected) {
            // Others still suspect it, until it refutes that itself.
            self.send(Outgoing::To(peer, update_of(peer, &member)));
            self.set(peer, State::Alive, None);
            self.counters.revived += 1;
        }
        self.tell_if_gone(peer, now);
    }

    /// How long a neighbour may be silent before it is asked: a heartbeat may be a little late.
    fn patience(&self) -> Duration {
        self.pace.heartbeat * 5 / 4
    }

    /// Tells a member that it is taken for gone, so that it refutes it.
    fn tell_if_gone(&mut self, peer: PeerTag, now: Duration) {
        let gone = self.members.get(&peer).filter(|it| it.state.is_gone());
        let (Some(member), Some(link)) = (gone, self.links.get_mut(&peer)) else {
            return;
        };
        let lately = |told| now < told + self.pace.heartbeat / 4;
        if !link.told.is_some_and(lately) {
            link.told = Some(now);
            let update = update_of(peer, member);
            self.send(Outgoing::To(peer, update));
        }
    }

    /// Takes a heartbeat in.
    pub fn handle_beat(&mut self, from: PeerTag, beat: Beat, now: Duration) {
        self.heard(from, now);
        let update = Update {
            peer: from,
            incarnation: beat.incarnation,
            state: State::Alive,
        };
        if self.known(from) < Some((beat.incarnation, 0)) {
            self.handle_update(from, update, now);
        }
        if beat.asks && !self.leaving {
            self.beat(from, false);
            self.follow(from, now);
        }
    }

    /// Lets a neighbour that asked lead from now on: what it was answered is our heartbeat.
    fn follow(&mut self, peer: PeerTag, now: Duration) {
        let (heartbeat, patience) = (self.pace.heartbeat, self.patience());
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        // Where both ask at the same moment, one of them goes on.
        let crossed = link.leads && now + heartbeat * 7 / 8 < link.next_beat;
        if !crossed || peer < self.own {
            link.leads = false;
            link.next_beat = now + patience;
        }
    }

    /// The incarnation and the state that are known of a member.
    fn known(&self, peer: PeerTag) -> Option<(u32, u8)> {
        let member = self.members.get(&peer)?;
        Some(update_of(peer, member).rank())
    }

    /// Takes news about a member in that came over a link.
    pub fn handle_update(&mut self, from: PeerTag, update: Update, now: Duration) {
        if update.peer == self.own {
            return self.refute(update);
        }
        let Some(&member) = self.members.get(&update.peer) else {
            self.counters.unknown += 1;
            return;
        };
        if update.incarnation > member.incarnation.saturating_add(Self::MAX_AHEAD) {
            self.counters.absurd += 1;
            return;
        }
        let said = (member.incarnation, member.state.max(member.said) as u8);
        if update.rank() <= said {
            self.counters.old += 1;
            return;
        }
        self.alterations += 1;
        if update.state == State::Alive {
            let member = self.members.get_mut(&update.peer);
            let revived = member.is_some_and(|member| {
                member.incarnation = update.incarnation;
                member.said = State::Alive;
                member.state != State::Alive
            });
            if revived {
                self.set(update.peer, State::Alive, None);
                self.counters.revived += 1;
            }
            return self.send(Outgoing::Spread(update, Some(from)));
        }
        if self.hears(update.peer, now) && update.state != State::Left {
            // It is there; let it say so itself.
            return self.send(Outgoing::To(update.peer, update));
        }
        self.believe(update, member.state, now);
        self.send(Outgoing::Spread(update, Some(from)));
    }

    /// Whether a member was heard over a link of our own lately.
    fn hears(&self, peer: PeerTag, now: Duration) -> bool {
        let lately = self.pace.heartbeat * 3 / 2;
        let link = self.links.get(&peer);
        link.is_some_and(|link| now < link.heard + lately)
    }

    fn believe(&mut self, update: Update, before: State, now: Duration) {
        let heartbeat = self.pace.heartbeat;
        let given = self.lateness.given(now, heartbeat);
        if let Some(member) = self.members.get_mut(&update.peer) {
            member.incarnation = update.incarnation;
            member.said = update.state;
        }
        let (state, patience) = match (update.state, before) {
            // Watchers decide; this is for when all of them are gone, too.
            (State::Suspected, _) => (State::Suspected, heartbeat * 5 + given),
            (State::Dead, State::Alive) => (State::Suspected, heartbeat / 2 + given),
            (state, _) => (state, self.pace.grave),
        };
        self.set(update.peer, state, Some(now + patience));
    }

    fn refute(&mut self, update: Update) {
        let ahead = self.incarnation.saturating_add(Self::MAX_AHEAD);
        if update.state == State::Alive || update.incarnation < self.incarnation || self.leaving {
            self.counters.old += 1;
            return;
        }
        if update.incarnation >= ahead {
            self.counters.absurd += 1;
            return;
        }
        self.incarnation = update.incarnation + 1;
        self.alterations += 1;
        self.counters.refuted += 1;
        self.change(Change::Refuted);
        self.send(Outgoing::Spread(self.own_update(State::Alive), None));
    }

    /// Says goodbye over all links. Whoever calls it sends what [`poll_update`](Self::poll_update)
    /// has, and closes.
    pub fn leave(&mut self) {
        self.leaving = true;
        self.alterations += 1;
        self.send(Outgoing::Spread(self.own_update(State::Left), None));
    }

    const fn own_update(&self, state: State) -> Update {
        Update {
            peer: self.own,
            incarnation: self.incarnation,
            state,
        }
    }

    /// Suspects a member, which has so long to refute it.
    fn suspect(&mut self, peer: PeerTag, patience: Duration, now: Duration) {
        let Some(&member) = self.members.get(&peer) else {
            return;
        };
        if member.state.is_gone() {
            return;
        }
        // A watcher of its own decides earlier than who was told.
        let deadline = now + patience + self.lateness.given(now, self.pace.heartbeat);
        let deadline = member.deadline.map_or(deadline, |it| it.min(deadline));
        self.set(peer, State::Suspected, Some(deadline));
        let update = Update {
            peer,
            incarnation: member.incarnation,
            state: State::Suspected,
        };
        if member.state == State::Alive {
            self.send(Outgoing::Spread(update, None));
        }
    }

    /// Puts a member into a state.
    fn set(&mut self, peer: PeerTag, state: State, deadline: Option<Duration>) {
        let Some(member) = self.members.get_mut(&peer) else {
            return;
        };
        if let Some(deadline) = member.deadline {
            self.deadlines.remove(&(deadline, peer));
        }
        self.alterations += 1;
        let before = std::mem::replace(&mut member.state, state);
        member.deadline = deadline;
        if state == State::Alive {
            member.said = State::Alive;
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, peer));
        }
        if before == state {
            return;
        }
        self.graves -= usize::from(before.is_gone());
        self.graves += usize::from(state.is_gone());
        match state {
            State::Alive => {}
            State::Suspected => self.counters.suspected += 1,
            State::Dead => self.counters.died += 1,
            State::Left => self.counters.left += 1,
        }
        self.change(match state {
            State::Alive if before.is_gone() => Change::Appeared(peer),
            state => Change::State(peer, state),
        });
        if self.graves > Self::MAX_GRAVES {
            self.drop_a_grave();
        }
    }

    fn drop_a_grave(&mut self) {
        let is_grave = |(_, peer): &&(Duration, PeerTag)| {
            let member = self.members.get(peer);
            member.is_some_and(|member| member.state.is_gone())
        };
        if let Some((_, peer)) = self.deadlines.iter().find(is_grave).copied() {
            self.counters.graves_dropped += 1;
            self.forget(peer);
        }
    }

    fn beat(&mut self, to: PeerTag, asks: bool) {
        let incarnation = self.incarnation;
        // At most one answer and one of our own for each link are of use.
        if self.beats.len() < 2 * self.links.len() + 2 {
            self.beats.push_back((to, Beat { incarnation, asks }));
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let links = self
            .links
            .values()
            .map(|link| link.next_beat.min(link.next_question));
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        links.chain(deadline).min()
    }

    /// Sends heartbeats, and judges who is silent.
    pub fn handle_timeout(&mut self, now: Duration) {
        let Some(due) = self.poll_timeout().filter(|due| *due <= now) else {
            return;
        };
        let late = self.lateness.note(due, now, self.pace.heartbeat);
        if !late.is_zero() {
            self.allow(late, now);
        }
        // All that are due soon go now: the fewer moments there are, the less often a node wakes.
        let due = self
            .links
            .values()
            .any(|it| it.leads && it.next_beat <= now);
        let early = match due {
            true => self.pace.heartbeat / 2,
            false => Duration::ZERO,
        };
        let links: Vec<_> = self.links.keys().copied().collect();
        for peer in links {
            self.watch(peer, now, early);
        }
        while let Some(&(deadline, peer)) = self.deadlines.first() {
            if deadline > now {
                return;
            }
            self.pass(peer, now);
        }
    }

    /// Lets nobody's silence count by which this node is late.
    fn allow(&mut self, late: Duration, now: Duration) {
        for link in self.links.values_mut() {
            link.heard = (link.heard + late).min(now);
        }
        let suspected = |(_, peer): &&(Duration, PeerTag)| {
            let member = self.members.get(peer);
            member.is_some_and(|member| member.state == State::Suspected)
        };
        let suspected: Vec<_> = self.deadlines.iter().filter(suspected).copied().collect();
        for (deadline, peer) in suspected {
            self.deadlines.remove(&(deadline, peer));
            self.deadlines.insert((deadline + late, peer));
            if let Some(member) = self.members.get_mut(&peer) {
                member.deadline = Some(deadline + late);
            }
        }
    }

    /// Sends a heartbeat, if one is due so soon, and judges who is silent.
    fn watch(&mut self, peer: PeerTag, now: Duration, early: Duration) {
        let heartbeat = self.pace.heartbeat;
        let given = self.lateness.given(now, heartbeat);
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        let asks = link.next_question <= now;
        let early = if link.leads { early } else { Duration::ZERO };
        let beats = link.next_beat <= now + early;
        if beats {
            link.next_beat = now + heartbeat;
            link.leads = true;
        }
        if asks {
            link.next_question = now + heartbeat / 4;
        }
        let silent = now.saturating_sub(link.heard) >= heartbeat * 3 / 2 + given;
        if beats || asks {
            self.beat(peer, true);
        }
        let alive = self
            .members
            .get(&peer)
            .is_some_and(|it| it.state == State::Alive);
        if silent && alive {
            self.suspect(peer, heartbeat, now);
        }
    }

    /// A deadline passes.
    fn pass(&mut self, peer: PeerTag, now: Duration) {
        let Some(&member) = self.members.get(&peer) else {
            return;
        };
        if member.state != State::Suspected {
            return self.forget(peer);
        }
        self.set(peer, State::Dead, Some(now + self.pace.grave));
        let update = Update {
            peer,
            incarnation: member.incarnation,
            state: State::Dead,
        };
        self.send(Outgoing::Spread(update, None));
    }

    /// The next heartbeat to send.
    pub fn poll_beat(&mut self) -> Option<(PeerTag, Beat)> {
        self.beats.pop_front()
    }

    /// The next news to send.
    pub fn poll_update(&mut self) -> Option<Outgoing> {
        self.updates.pop_front()
    }

    /// What changed next.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    fn send(&mut self, outgoing: Outgoing) {
        match self.updates.len() < Self::MAX_WAITING {
            true => self.updates.push_back(outgoing),
            false => self.counters.dropped += 1,
        }
    }

    fn change(&mut self, change: Change) {
        match self.changes.len() < Self::MAX_WAITING {
            true => self.changes.push_back(change),
            false => self.counters.dropped += 1,
        }
    }

    /// What is known of a member.
    pub fn state(&self, peer: PeerTag) -> Option<State> {
        self.members.get(&peer).map(|member| member.state)
    }

    /// What is said of every member, those that are gone included, and of this node to those who
    /// compare. Suspicion passes too soon for that.
    pub(crate) fn said(&self) -> impl Iterator<Item = Update> + '_ {
        let own = self.own_update(if self.leaving {
            State::Left
        } else {
            State::Alive
        });
        let said = self.members.iter().map(|(peer, member)| {
            let mut update = update_of(*peer, member);
            if update.state == State::Suspected {
                update.state = State::Alive;
            }
            update
        });
        said.chain([own])
    }

    /// A number that is another one once something else is [said](Self::said).
    pub(crate) const fn alterations(&self) -> u64 {
        self.alterations
    }

    /// The members that are there, suspected ones included.
    pub fn members(&self) -> impl Iterator<Item = PeerTag> + '_ {
        let there = self
            .members
            .iter()
            .filter(|(_, member)| !member.state.is_gone());
        there.map(|(peer, _)| *peer)
    }

    /// Those that are taken for dead: a mesh that was split heals when somebody calls them.
    pub fn lost(&self) -> impl Iterator<Item = PeerTag> + '_ {
        let dead = self
            .members
            .iter()
            .filter(|(_, member)| member.state == State::Dead);
        dead.map(|(peer, _)| *peer)
    }

    /// How often what happened.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn update_of(peer: PeerTag, member: &Member) -> Update {
    Update {
        peer,
        incarnation: member.incarnation,
        state: member.state,
    }
}

//! The sending half of a socket: which pipe a message takes, and what happens when none has room.
//!
//! Messages are encoded when they are sent. What cannot go to a pipe yet waits in the backlog, in
//! order, as long as a connection is being made; what a lost connection did not send goes back to
//! it, so another peer gets it. Nothing is dropped without being counted.

use std::collections::{BTreeMap, VecDeque};

use slab::Slab;

mod by_identity;
mod in_turn;
mod options;
mod requests;
mod run;
mod to_many;

use super::pipe::{Carrier, Flush, Load, OutPipe, PipeKey};
use super::publish::{Matching, Publishing, SubscribeError, Subscribed, Verbose};
use super::{Sends, SocketType};
use crate::bus::Filter;
use crate::message::{Frame, Message};
use crate::routing::filters::Filters;
use crate::zmtp::{Command, Common, Item, Peer};

pub use options::{Balance, Overflow, SendOptions};

/// Counters of the sending half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendCounts {
    /// Messages accepted, once for each peer that they go to.
    pub sent: u64,
    /// Messages dropped because a peer had no room, or CONFLATE replaced them.
    pub dropped: u64,
    /// Messages that a lost connection may or may not have delivered.
    pub uncertain: u64,
}

/// Why a message was not accepted. It stays where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSent {
    /// No pipe has room, or there is none yet: wait.
    Full,
    /// A ROUTER knows no such peer.
    Unroutable,
    /// The peer that asked is gone.
    PeerGone,
    /// The message lacks the frame that names the peer.
    NoIdentity,
}

/// What comes of a pipe that had no room for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflown {
    /// Messages for it are dropped, for the first time since nothing waited for it.
    Drops,
    /// It is to be closed, as [`Overflow::Disconnect`] says.
    Kicked,
}

/// Why a peer was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// A PAIR has its peer already.
    #[error("a PAIR socket talks to one peer only, and has one")]
    SecondPeer,
    /// A ROUTER knows another peer under this routing id. `holder` may be closed to hand it over.
    #[error("another peer has this routing id")]
    IdentityTaken {
        /// Who has it.
        holder: PipeKey,
        /// Whether the newcomer proved the key that the holder proved, so that it may take over.
        same_key: bool,
    },
}

/// The sending half.
#[derive(Debug)]
pub struct Outgoing {
    kind: SocketType,
    options: SendOptions,
    pipes: Slab<OutPipe>,
    generation: u32,
    /// Those that send in turn: the pipes with room, and whose turn it is.
    active: Vec<u32>,
    turn: usize,
    by_identity: BTreeMap<Frame, u32>,
    auto_identity: u32,
    publishing: Publishing,
    filters: Filters,
    backlog: VecDeque<Message>,
    backlog_size: usize,
    /// Connections that are being made.
    dialing: usize,
    touched: Vec<(PipeKey, Flush)>,
    overflown: Vec<(PipeKey, Overflown)>,
    cancelled: Vec<Frame>,
    /// What pipes have in common.
    common: Common,
    run: run::Run,
    targets: Vec<u32>,
    counts: SendCounts,
}

impl Outgoing {
    /// The half of a new socket.
    pub fn new(kind: SocketType, options: SendOptions) -> Self {
        Self {
            kind,
            options,
            pipes: Slab::new(),
            generation: 0,
            active: Vec::new(),
            turn: 0,
            by_identity: BTreeMap::new(),
            auto_identity: 0,
            publishing: Publishing::new(
                options.matching,
                options.max_subscriptions,
                options.max_topic,
            ),
            filters: Filters::new(),
            backlog: VecDeque::new(),
            backlog_size: 0,
            dialing: 0,
            touched: Vec::new(),
            overflown: Vec::new(),
            cancelled: Vec::new(),
            common: Common::default(),
            run: run::Run::default(),
            targets: Vec::new(),
            counts: SendCounts::default(),
        }
    }

    /// Numbers the peers that a ROUTER names from `first` on, so that nobody can guess the names of
    /// others and claim one that is gone.
    #[must_use]
    pub fn numbering_from(mut self, first: u32) -> Self {
        self.auto_identity = first;
        self
    }

    /// Says what an XPUB's application hears of, and in manual mode that it decides.
    #[must_use]
    pub fn reporting(mut self, verbose: Verbose, manual: bool) -> Self {
        self.publishing.report(verbose, manual);
        self
    }

    /// Whether the pattern has a place for a peer.
    ///
    /// # Errors
    /// It has none.
    pub fn may_attach(&self, peer: &Peer) -> Result<(), AttachError> {
        if self.kind == SocketType::Pair && !self.pipes.is_empty() {
            return Err(AttachError::SecondPeer);
        }
        if self.kind == SocketType::Router
            && !peer.identity.is_empty()
            && let Some(&index) = self
                .by_identity
                .get(&Frame::copy_from_slice(&peer.identity))
        {
            let holder = &self.pipes[index as usize];
            let proven = holder.peer.key.as_deref();
            let same_key =
                self.options.handover || (proven.is_some() && peer.key.as_ref() == proven);
            return Err(AttachError::IdentityTaken {
                holder: PipeKey {
                    index,
                    generation: holder.generation,
                },
                same_key,
            });
        }
        Ok(())
    }

    /// Takes in the pipe of an established connection. A ROUTER gives it a routing id; a SUB and
    /// an XSUB send their subscriptions; what waited in the backlog moves on.
    ///
    /// # Errors
    /// The pattern has no place for this peer; the connection must close.
    pub fn attach(&mut self, carrier: Carrier, peer: &Peer) -> Result<PipeKey, AttachError> {
        self.may_attach(peer)?;
        self.catch_up();
        let identity = self.identity_for(peer);
        self.generation = self.generation.wrapping_add(1);
        let mut pipe = OutPipe::new(self.generation, carrier, peer, identity.clone());
        for topic in self.filters.iter() {
            push_subscription(&mut pipe, topic, true);
        }
        if self.pipes.capacity() == 0 {
            // Many sockets have one peer: the memory of more comes with the next.
            self.pipes.reserve_exact(1);
        }
        let index = self.pipes.insert(pipe) as u32;
        let key = PipeKey {
            index,
            generation: self.generation,
        };
        if let Some(identity) = identity {
            self.by_identity.insert(identity, index);
        }
        self.activate(index);
        self.touch(key);
        self.drain_backlog();
        if self.backlog.is_empty() {
            // What it grew to while there was no peer.
            self.backlog = VecDeque::new();
        }
        Ok(key)
    }

    /// Lets a pipe go. `unfinished` is the load that its link did not write whole. What no peer
    /// can have got goes back to the backlog, for patterns that send to whoever has room.
    pub fn detach(&mut self, key: PipeKey, unfinished: Option<Load>) {
        let Some(pipe) = self.pipe(key) else {
            return;
        };
        let identity = pipe.identity.take();
        if pipe.active {
            self.deactivate(key.index);
        }
        if let Some(identity) = identity
            && self.by_identity.get(&*identity) == Some(&key.index)
        {
            self.by_identity.remove(&*identity);
        }
        let cancelled = &mut self.cancelled;
        self.publishing.remove(key.index, &mut |topic| {
            cancelled.push(Frame::copy_from_slice(topic))
        });
        let pipe = self.pipes.remove(key.index());
        let waiting = pipe.into_waiting(&mut self.common);
        self.common.forget_unneeded();
        self.give_on(waiting);
        if let Some(load) = unfinished {
            self.reclaim(load);
        }
        self.drain_backlog();
    }

    /// Takes back a load that its link did not write whole, of a pipe that is gone.
    pub fn reclaim(&mut self, load: Load) {
        let messages = load.messages();
        match load.recover() {
            Some(recovered) => self.give_on(recovered),
            None => self.counts.uncertain += messages as u64,
        }
        self.drain_backlog();
    }

    /// Puts messages that no peer can have got in front of the backlog, where the type sends to
    /// whoever has room; elsewhere they are lost with their peer.
    fn give_on(&mut self, mut messages: Vec<Message>) {
        let sends = self.kind.row().sends;
        if self.kind == SocketType::Req || !matches!(sends, Sends::InTurn | Sends::ToOne) {
            self.counts.dropped += messages.len() as u64;
            return;
        }
        if self.options.conflate {
            // Only the newest, and only if nothing newer waits.
            let newer =
                !self.backlog.is_empty() || self.pipes.iter().any(|(_, pipe)| pipe.waiting() > 0);
            let old = messages.len().saturating_sub(usize::from(!newer));
            self.counts.dropped += old as u64;
            messages.drain(..old);
        }
        for message in messages.into_iter().rev() {
            self.counts.sent = self.counts.sent.saturating_sub(1);
            self.backlog_size += message.footprint();
            self.backlog.push_front(message);
        }
    }

    /// Says how many connections are being made; without any, messages wait for no one.
    pub fn set_dialing(&mut self, dialing: usize) {
        self.dialing = dialing;
    }

    /// Sends a message the way the socket's type does it. What is to be flushed then stands in
    /// [`Outgoing::touched`]. What is left in `message` is of no use: it is read where it is, since a
    /// message that is not moved costs less.
    ///
    /// # Errors
    /// The reason; the message is as it was.
    #[inline]
    pub fn send(&mut self, message: &mut Message) -> Result<(), NotSent> {
        match self.kind.row().sends {
            Sends::InTurn | Sends::ToOne => self.send_in_turn(message),
            Sends::Publishes => self.publish(message.frames()),
            Sends::ToAll => self.send_to_all(message),
            Sends::ByIdentity => self.send_by_identity(message),
            Sends::Nothing | Sends::Replies => Err(NotSent::Unroutable),
        }
    }

    /// Sends a REP's reply, room or no room: whoever asks without reading the replies is not
    /// read any more, rather than that the application waits for it. Returns whether there is
    /// room for another.
    ///
    /// # Errors
    /// The pipe is gone; the message is as it was.
    pub fn reply_to(&mut self, key: PipeKey, message: &mut Message) -> Result<bool, NotSent> {
        let mark = self.options.high_water_mark;
        let Some(pipe) = self.pipe(key) else {
            return Err(NotSent::PeerGone);
        };
        pipe.push(message);
        let room = pipe.has_room(mark);
        self.counts.sent += 1;
        self.touch(key);
        Ok(room)
    }

    /// Whether a pipe has room.
    pub fn has_room(&mut self, key: PipeKey) -> bool {
        let mark = self.options.high_water_mark;
        self.pipe(key).is_some_and(|pipe| pipe.has_room(mark))
    }

    /// Sends a message to one pipe, where no routing id or turn says so: a REQ's request, an
    /// XPUB's message to a newcomer.
    ///
    /// # Errors
    /// The pipe is gone or full; the message is as it was.
    pub fn send_to(&mut self, key: PipeKey, message: &mut Message) -> Result<(), NotSent> {
        let mark = self.options.high_water_mark;
        match self.pipe(key) {
            None => Err(NotSent::PeerGone),
            Some(pipe) if !pipe.has_room(mark) => {
                self.deactivate(key.index);
                Err(NotSent::Full)
            }
            Some(_) => {
                let pipe = &mut self.pipes[key.index()];
                pipe.part(&mut self.common);
                pipe.push(message);
                self.counts.sent += 1;
                self.touch(key);
                Ok(())
            }
        }
    }

    /// Appends a command to a pipe.
    pub fn send_command(&mut self, key: PipeKey, command: Command) {
        if let Some(pipe) = self.pipe(key) {
            pipe.push_command(command);
            self.touch(key);
        }
    }

    /// Answers a PING; returns `false` when so many answers wait that this one is left out.
    pub fn send_pong(&mut self, key: PipeKey, context: Frame) -> bool {
        let Some(pipe) = self.pipe(key) else {
            return true;
        };
        let answered = pipe.push_pong(context);
        self.touch(key);
        answered
    }

    /// Adds (or takes back) a subscription of a SUB or XSUB, counted; only the first and the last
    /// of a topic go upstream. Returns whether that changed what the socket receives. With
    /// [`Matching::Filters`], what is no [`Filter`] changes nothing.
    pub fn subscribe(&mut self, topic: &[u8], add: bool) -> bool {
        if self.options.matching == Matching::Filters && Filter::check(topic).is_err() {
            return false;
        }
        let changed = if add {
            self.filters.add(topic)
        } else {
            self.filters.remove(topic)
        };
        if changed {
            self.tell_all(topic, add);
        }
        changed
    }

    /// Tells all peers of a subscription without counting it (libzmq: XSUB verbose).
    fn tell_all(&mut self, topic: &[u8], add: bool) {
        let keys: Vec<PipeKey> = self.keys().collect();
        self.catch_up();
        for key in keys {
            let pipe = &mut self.pipes[key.index()];
            pipe.part(&mut self.common);
            push_subscription(pipe, topic, add);
            self.touch(key);
        }
    }

    /// How many peers of a PUB or XPUB want a topic.
    pub fn subscribers(&mut self, topic: &[u8]) -> usize {
        let mut count = 0;
        self.publishing.matches(topic, &mut |_| count += 1);
        count
    }

    /// Notes what a peer of a PUB or XPUB wants.
    ///
    /// # Errors
    /// The peer is over a limit or wants what is no filter, and must be closed.
    pub fn subscribed(
        &mut self,
        key: PipeKey,
        topic: &[u8],
        add: bool,
    ) -> Result<Subscribed, SubscribeError> {
        if self.pipe(key).is_none() {
            return Ok(Subscribed::Ignored);
        }
        self.publishing.change(key.index, topic, add)
    }

    /// Notes what a peer of an XPUB in manual mode asks for, until it leaves.
    ///
    /// # Errors
    /// The peer is over a limit or wants what is no filter, and must be closed.
    pub fn asked(&mut self, key: PipeKey, topic: &[u8], add: bool) -> Result<(), SubscribeError> {
        if self.pipe(key).is_none() {
            return Ok(());
        }
        self.publishing.ask(key.index, topic, add)
    }

    /// The patterns' own part of publishing.
    pub fn publishing(&mut self) -> &mut Publishing {
        &mut self.publishing
    }

    /// Takes the pipes that got something, with what to do about each.
    #[inline]
    pub fn touched(&mut self) -> Option<(PipeKey, Flush)> {
        self.touched.pop()
    }

    /// Whether nothing is left to be taken by [`Outgoing::touched`] and
    /// [`Outgoing::overflown`].
    #[inline]
    pub fn is_settled(&self) -> bool {
        self.touched.is_empty() && self.overflown.is_empty()
    }

    /// Takes the pipes that had no room, with what to do about each.
    pub fn overflown(&mut self) -> Option<(PipeKey, Overflown)> {
        self.overflown.pop()
    }

    /// Takes the topics of peers that were detached which an XPUB's application hears of: those
    /// that nobody else wants, or with [`Verbose::All`] and in manual mode all.
    pub fn take_cancelled(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.cancelled)
    }

    /// Takes what waits on a pipe, to be written; and whether senders that wait may try again.
    pub fn take(&mut self, key: PipeKey, spare: Vec<u8>) -> (Option<Load>, bool) {
        self.catch_up();
        let Some(pipe) = pipe(&mut self.pipes, key) else {
            return (None, false);
        };
        let load = pipe.take(spare, &mut self.common);
        self.common.forget_unneeded();
        let room = load.is_some() && !pipe.active && !pipe.busy;
        if room {
            self.activate(key.index);
            self.drain_backlog();
        }
        (load, room)
    }

    /// Adds to a load of items that was not written whole what need not wait for that; returns whether
    /// senders that wait may try again.
    pub fn take_more(&mut self, key: PipeKey, load: &mut Load) -> bool {
        // With CONFLATE what waits may still be replaced.
        let all = !self.options.conflate;
        self.catch_up();
        let Some(pipe) = pipe(&mut self.pipes, key) else {
            return false;
        };
        let room = pipe.take_more(load, all, &mut self.common) && !pipe.active && !pipe.busy;
        if room {
            self.activate(key.index);
            self.drain_backlog();
        }
        room
    }

    /// Takes back what the streams of a lost connection had taken: messages that no peer can have got
    /// go to another, as in [`Outgoing::reclaim`]; of the others so many may not have arrived.
    pub fn take_back(&mut self, messages: Vec<Message>, uncertain: u64) {
        self.counts.uncertain += uncertain;
        self.give_on(messages);
        self.drain_backlog();
    }

    /// Notes that a load, or a part of it, was written.
    pub fn written(&mut self, key: PipeKey, messages: usize, size: usize) {
        if let Some(pipe) = self.pipe(key) {
            pipe.written(messages, size);
        }
    }

    /// Takes the memory of a load of items back, for the next.
    pub fn keep(&mut self, key: PipeKey, items: VecDeque<Item>) {
        if let Some(pipe) = self.pipe(key) {
            pipe.keep(items);
        }
    }

    /// Messages of a pipe that nobody has taken to be written.
    #[inline]
    pub fn waiting(&mut self, key: PipeKey) -> usize {
        self.pipe(key).map_or(0, |pipe| pipe.waiting())
    }

    /// Octets of a pipe that nobody has taken to be written.
    pub fn waiting_size(&mut self, key: PipeKey) -> usize {
        self.pipe(key).map_or(0, |pipe| pipe.waiting_size())
    }

    /// Whether something of a pipe is to be taken.
    pub fn is_waiting(&mut self, key: PipeKey) -> bool {
        self.pipe(key).is_some_and(|pipe| !pipe.nothing_waits())
    }

    /// Whether a pipe has nothing waiting and nothing in flight.
    pub fn is_idle(&mut self, key: PipeKey) -> bool {
        self.pipe(key).is_none_or(|pipe| pipe.is_idle())
    }

    /// Whether nothing waits anywhere.
    pub fn is_drained(&self) -> bool {
        self.backlog.is_empty() && self.pipes.iter().all(|(_, pipe)| pipe.is_idle())
    }

    /// Messages that wait, in the backlog and on all pipes.
    pub fn queued(&self) -> usize {
        self.backlog.len()
            + self.run.queued()
            + self
                .pipes
                .iter()
                .map(|(_, pipe)| pipe.messages())
                .sum::<usize>()
    }

    /// The number of pipes.
    pub fn peers(&self) -> usize {
        self.pipes.len()
    }

    /// The routing id by which a ROUTER knows a peer.
    pub fn identity(&mut self, key: PipeKey) -> Option<&Frame> {
        self.pipe(key)?.identity.as_deref()
    }

    /// Messages dropped for one peer since it was attached.
    pub fn dropped_for(&mut self, key: PipeKey) -> u64 {
        self.pipe(key).map_or(0, |pipe| pipe.dropped)
    }

    /// The counters.
    pub fn counts(&self) -> SendCounts {
        self.counts
    }

    /// The pipes.
    pub fn keys(&self) -> impl Iterator<Item = PipeKey> {
        self.pipes.iter().map(|(index, pipe)| PipeKey {
            index: index as u32,
            generation: pipe.generation,
        })
    }

    /// Takes the whole backlog, when the socket closes.
    pub fn give_up(&mut self) -> Vec<Message> {
        self.backlog_size = 0;
        self.backlog.drain(..).collect()
    }

    #[inline]
    fn pipe(&mut self, key: PipeKey) -> Option<&mut OutPipe> {
        self.catch_up();
        pipe(&mut self.pipes, key)
    }

    #[inline]
    fn touch(&mut self, key: PipeKey) {
        if let Some(flush) = self.pipes[key.index()].flush(self.options.high_water_mark) {
            self.touched.push((key, flush));
        }
    }
}

#[inline]
fn pipe(pipes: &mut Slab<OutPipe>, key: PipeKey) -> Option<&mut OutPipe> {
    pipes
        .get_mut(key.index())
        .filter(|pipe| pipe.generation == key.generation)
}

/// A subscription as the peer's version takes it: a command from 3.1 on, a message before.
fn push_subscription(pipe: &mut OutPipe, topic: &[u8], add: bool) {
    if pipe.peer.takes_subscribe_commands {
        let topic = Frame::copy_from_slice(topic);
        pipe.push_command(if add {
            Command::Subscribe(topic)
        } else {
            Command::Cancel(topic)
        });
    } else {
        pipe.push(&mut Message::from([&[u8::from(add)], topic].concat()));
    }
}

#[cfg(test)]
mod tests;

//! Spreads records, news about members and revocations over a few links.
//!
//! News goes out when it comes: a record to three links chosen by chance, what is small to all of
//! them, and nobody repeats what is not news to him. Once a second each node sends one neighbour a
//! summary; where it differs from the neighbour's, the neighbour lists what it knows, and each sends
//! what the other lacks:
//!
//! ```text
//!  A --summary--> B      differs? --listing of some buckets--> A
//!  A --want, news--> B   B --news--> A
//! ```
//!
//! What goes out over a link and what is taken from it are bounded each second, for each link alone,
//! so that a neighbour that floods takes nothing from the others.
//!
//! Time is an argument, counted from any fixed moment; randomness follows from a seed.
//!
//! Invariant: no queue is longer than its limit, and what is dropped is counted; a later summary
//! makes up for it.

pub(crate) mod links;
mod message;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use withy_proto::crypto::{Randomness as _, Seeded};
use withy_proto::rate::{Bucket, RateLimit};

pub(crate) use message::{BUCKETS, bucket, mix};
pub use message::{Entry, Item, Message, MessageError, Summary};

use crate::peer::PeerTag;
use crate::revocation::Revocation;

/// How much and how often a node gossips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// How often a summary goes to one of the neighbours. Default 1 s.
    pub round: Duration,
    /// Octets per second that go out over each link. Default 64 KiB.
    pub out: u64,
    /// Octets per second that are taken from each link, with as much at once. Default 128 KiB.
    pub taken: u64,
    /// How many neighbours a new record is sent to, those next on the ring of all tags first. Default 3.
    pub fan_out: usize,
    /// The most links; beyond, others that are not to ring neighbours are closed. Default 8.
    pub links: usize,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            round: Duration::from_secs(1),
            out: 64 * 1024,
            taken: 128 * 1024,
            fan_out: 3,
            links: links::MAX,
        }
    }
}

/// How often what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Messages that went out.
    pub sent: u64,
    /// Their octets.
    pub octets_sent: u64,
    /// Messages that were taken in.
    pub received: u64,
    /// Their octets.
    pub octets_received: u64,
    /// Messages that a neighbour sent beyond what is taken from it.
    pub over_quota: u64,
    /// Messages that were not gossip.
    pub invalid: u64,
    /// Items for which a link had no room.
    pub dropped: u64,
    /// Revocations that did not verify, or of networks that are not ours.
    pub forged: u64,
    /// Revocations that there was no room for.
    pub full: u64,
}

/// The links for gossip and what waits to go out over them.
#[derive(Debug)]
pub struct Gossip {
    own: PeerTag,
    spread: Spread,
    lanes: BTreeMap<PeerTag, Lane>,
    revocations: BTreeMap<[u8; 8], Revocation>,
    random: Seeded,
    round: Duration,
    turn: Option<PeerTag>,
    counters: Counters,
}

#[derive(Debug)]
struct Lane {
    /// Heartbeats, which do not wait.
    beats: VecDeque<Bytes>,
    /// Parts of rounds.
    messages: VecDeque<Bytes>,
    items: VecDeque<Item>,
    octets: usize,
    out: Bucket,
    taken: Bucket,
}

impl Gossip {
    /// The most items that wait for one link.
    pub const MAX_ITEMS: usize = 2_048;
    /// The most octets of them.
    pub const MAX_OCTETS: usize = 512 * 1024;
    /// The most messages of rounds that wait for one link.
    pub const MAX_MESSAGES: usize = 16;
    /// The most revocations that a node knows.
    pub const MAX_REVOCATIONS: usize = 1_024;

    /// Gossip of this node, without neighbours. Chance follows from the seed.
    pub const fn new(own: PeerTag, spread: Spread, seed: u64) -> Self {
        Self {
            own,
            spread,
            lanes: BTreeMap::new(),
            revocations: BTreeMap::new(),
            random: Seeded::new(seed),
            round: Duration::ZERO,
            turn: None,
            counters: Counters {
                sent: 0,
                octets_sent: 0,
                received: 0,
                octets_received: 0,
                over_quota: 0,
                invalid: 0,
                dropped: 0,
                forged: 0,
                full: 0,
            },
        }
    }

    /// Gossips over a link from now on.
    pub fn link_up(&mut self, peer: PeerTag) {
        let limit = |octets| {
            Bucket::new(RateLimit {
                messages: None,
                octets: Some(octets),
            })
        };
        let lane = || Lane {
            beats: VecDeque::new(),
            messages: VecDeque::new(),
            items: VecDeque::new(),
            octets: 0,
            out: limit(self.spread.out),
            taken: limit(self.spread.taken),
        };
        self.lanes.entry(peer).or_insert_with(lane);
    }

    /// Forgets a link and what waits for it.
    pub fn link_down(&mut self, peer: PeerTag) {
        self.lanes.remove(&peer);
    }

    /// How many links there are to be at most.
    pub(crate) const fn most_links(&self) -> usize {
        self.spread.links
    }

    /// The neighbours.
    pub fn links(&self) -> impl Iterator<Item = PeerTag> + '_ {
        self.lanes.keys().copied()
    }

    /// Takes a message in that came over a link; `None` if it is more than is taken from it.
    ///
    /// # Errors
    /// It is not gossip; the link should be closed.
    pub fn receive(
        &mut self,
        from: PeerTag,
        octets: &[u8],
        now: Duration,
    ) -> Result<Option<Message>, MessageError> {
        let Some(lane) = self.lanes.get_mut(&from) else {
            return Ok(None);
        };
        if lane.taken.rest(now) > Some(Duration::from_secs(1)) {
            self.counters.over_quota += 1;
            return Ok(None);
        }
        let length = octets.len() as u64;
        lane.taken.charge(1, length, now);
        self.counters.received += 1;
        self.counters.octets_received += length;
        let message = Message::decode(octets);
        self.counters.invalid += u64::from(message.is_err());
        message.map(Some)
    }

    /// Sends news to the neighbours that may not know it: a record to some, anything else to all.
    pub fn spread(&mut self, item: &Item, except: Option<PeerTag>) {
        let mut targets: Vec<_> = self.links().filter(|it| Some(*it) != except).collect();
        if matches!(item, Item::Record(_)) {
            // Those next on the ring first, so that what chance leaves out is reached along it.
            let ring = links::ring(self.own, &self.links().collect());
            let (mut first, mut others): (Vec<_>, Vec<_>) =
                targets.into_iter().partition(|it| ring.contains(it));
            first.truncate(self.spread.fan_out);
            while first.len() < self.spread.fan_out && !others.is_empty() {
                let at = self.random.next_u64() as usize % others.len();
                first.push(others.swap_remove(at));
            }
            targets = first;
        }
        for peer in targets {
            self.send(peer, item.clone());
        }
    }

    /// Sends news to one neighbour.
    pub fn send(&mut self, peer: PeerTag, item: Item) {
        let Some(lane) = self.lanes.get_mut(&peer) else {
            return;
        };
        if lane.items.contains(&item) {
            return;
        }
        let size = item.size();
        if lane.items.len() >= Self::MAX_ITEMS || lane.octets + size > Self::MAX_OCTETS {
            self.counters.dropped += 1;
            return;
        }
        lane.octets += size;
        match item {
            // What is small is urgent.
            Item::Update(_) | Item::Revocation(_) => lane.items.push_front(item),
            Item::Record(_) => lane.items.push_back(item),
        }
    }

    /// Sends a message of another kind than news to one neighbour.
    pub fn say(&mut self, peer: PeerTag, message: &Message) {
        let Some(lane) = self.lanes.get_mut(&peer) else {
            return;
        };
        let queue = match message {
            Message::Beat(_) => &mut lane.beats,
            _ => &mut lane.messages,
        };
        match queue.len() < Self::MAX_MESSAGES {
            true => queue.push_back(message.encode()),
            false => self.counters.dropped += 1,
        }
    }

    /// The next message to send, and to whom: the neighbours take turns.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<(PeerTag, Bytes)> {
        if !self.lanes.values().any(Lane::waits) {
            return None;
        }
        let after = |turn: &PeerTag| self.lanes.range(*turn..).skip(1).map(|(peer, _)| *peer);
        let mut order: Vec<_> = self.turn.iter().flat_map(after).collect();
        order.extend(self.lanes.keys());
        let (peer, octets) = order.into_iter().find_map(|peer| {
            let lane = self.lanes.get_mut(&peer)?;
            Some((peer, lane.next(now)?))
        })?;
        self.turn = Some(peer);
        self.counters.sent += 1;
        self.counters.octets_sent += octets.len() as u64;
        Some((peer, octets))
    }

    /// When there is something to send that has to wait until then, or a round is due.
    pub fn poll_timeout(&self, now: Duration) -> Duration {
        let waiting = self.lanes.values().filter(|lane| lane.waits());
        let ready = waiting.map(|lane| now + lane.out.rest(now).unwrap_or_default());
        ready.chain([self.round]).min().unwrap_or(self.round)
    }

    /// With whom a round begins, if one is due.
    pub fn poll_round(&mut self, now: Duration) -> Option<PeerTag> {
        if now < self.round {
            return None;
        }
        // Not all nodes at the same time.
        let part = self.random.next_u64() % 256;
        self.round = now + self.spread.round * 7 / 8 + self.spread.round * part as u32 / 1_024;
        let links: Vec<_> = self.links().collect();
        let at = self.random.next_u64() as usize % links.len().max(1);
        links.get(at).copied()
    }

    /// Keeps a revocation that was verified; whether it is news.
    pub fn keep(&mut self, revocation: Revocation) -> bool {
        let digest = revocation.digest();
        if self.revocations.contains_key(&digest) {
            return false;
        }
        if self.revocations.len() >= Self::MAX_REVOCATIONS {
            self.counters.full += 1;
            return false;
        }
        self.revocations.insert(digest, revocation);
        true
    }

    /// Counts a revocation that did not verify.
    pub(crate) const fn count_forged(&mut self) {
        self.counters.forged += 1;
    }

    /// The revocations that are known, by their digests.
    pub const fn revocations(&self) -> &BTreeMap<[u8; 8], Revocation> {
        &self.revocations
    }

    /// How often what happened.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Lane {
    fn waits(&self) -> bool {
        !self.beats.is_empty() || !self.messages.is_empty() || !self.items.is_empty()
    }

    fn next(&mut self, now: Duration) -> Option<Bytes> {
        if let Some(octets) = self.beats.pop_front() {
            return Some(octets);
        }
        if self.out.rest(now).is_some() {
            return None;
        }
        // News comes first; a round is the same a little later.
        let octets = self.news().or_else(|| self.messages.pop_front())?;
        self.out.charge(1, octets.len() as u64, now);
        Some(octets)
    }

    /// As much news as one message holds.
    fn news(&mut self) -> Option<Bytes> {
        let mut items = Vec::new();
        let mut octets = Message::HEADER;
        while let Some(item) = self.items.front() {
            let size = item.size();
            if octets + size > Message::MAX {
                break;
            }
            octets += size;
            self.octets -= size;
            items.extend(self.items.pop_front());
        }
        (!items.is_empty()).then(|| Message::News(items).encode())
    }
}

//! What is known of peers, from all sources.
//!
//! ```text
//!  octets --decode--> same as known? --> Known
//!                     ours, foreign, from elsewhere, over a quota, no room, pinned name --> Refusal
//!                     older, or the same sequence and not the winner --> Stale
//!                     signatures hold --> New or Newer, and events for each service
//! ```
//!
//! The newest record of a node wins: by sequence, then by time of issue. Two with the same of both
//! are the work of a broken or a dishonest node; the one with the greater digest wins, so that all
//! tables hold the same one, and it is counted.
//!
//! Deliberately not here: who is trusted, which the handshake decides, and who is alive, which
//! membership decides and [`Table::forget`] is told.
//!
//! Time is in seconds since the Unix epoch, since records are.
//!
//! Invariant: the indices say what the records say, and no limit is passed.

mod event;
mod limits;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use withy_proto::crypto::Provider;
use withy_proto::trust::{IdentityId, Secret};

pub use event::{Event, Instance};
pub use limits::{Conflict, Counters, Learnt, Limits, Origin, Refusal};

use crate::peer::PeerTag;
use crate::record::{Address, Kind, NetworkTag, Place, Reach, Record, Service};
use event::Events;

/// The peers that are known.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    provider: Provider,
    secrets: Vec<Secret>,
    own: PeerTag,
    peers: BTreeMap<PeerTag, Entry>,
    names: BTreeMap<Kind, BTreeMap<Box<str>, BTreeSet<PeerTag>>>,
    origins: BTreeMap<Origin, usize>,
    identities: BTreeMap<IdentityId, usize>,
    expiries: BTreeSet<(u64, PeerTag)>,
    /// At which addresses, in which process or host if they reach no further, which peer was met.
    met: BTreeMap<(Address, Option<Place>), PeerTag>,
    pinned: BTreeMap<Box<str>, Pin>,
    octets: usize,
    instances: usize,
    /// How often a record came or went.
    alterations: u64,
    events: Events,
    counters: Counters,
}

/// What is known of one node.
#[derive(Debug)]
struct Entry {
    record: Record,
    /// The record's digest, which stands for its content.
    digest: [u8; 8],
    origin: Origin,
    /// Where it was met.
    met: Option<Address>,
}

#[derive(Debug)]
struct Pin {
    identity: IdentityId,
    warned: bool,
}

impl Table {
    /// A table that knows only its own node.
    ///
    /// `secrets` are those of the networks whose nodes it takes; those that show no network are
    /// taken in any case, since one may trust an identity by itself.
    pub fn new(provider: Provider, limits: Limits, secrets: Vec<Secret>, own: Record) -> Self {
        let mut table = Self {
            limits,
            provider,
            secrets,
            own: own.peer(),
            peers: BTreeMap::new(),
            names: BTreeMap::new(),
            origins: BTreeMap::new(),
            identities: BTreeMap::new(),
            expiries: BTreeSet::new(),
            met: BTreeMap::new(),
            pinned: BTreeMap::new(),
            octets: 0,
            instances: 0,
            alterations: 0,
            events: Events::default(),
            counters: Counters::default(),
        };
        table.replace(own, Origin::Own);
        table
    }

    /// This node.
    pub const fn own(&self) -> PeerTag {
        self.own
    }

    /// Says something new about this node. A record of another node is ignored.
    pub fn set_own(&mut self, record: Record) {
        if record.peer() == self.own {
            self.replace(record, Origin::Own);
        }
    }

    /// Ties a name to an identity; another that uses it is refused from now on.
    pub fn pin(&mut self, name: &str, identity: IdentityId) {
        let warned = false;
        self.pinned.insert(name.into(), Pin { identity, warned });
    }

    /// Takes a record in.
    ///
    /// # Errors
    /// It is refused, and counted.
    pub fn learn(&mut self, octets: &[u8], origin: Origin, now: u64) -> Result<Learnt, Refusal> {
        let record = self.decode(octets)?;
        self.learn_record(record, origin, now)
    }

    /// Reads a record, and counts it if it is none.
    pub(crate) fn decode(&mut self, octets: &[u8]) -> Result<Record, Refusal> {
        Record::decode(octets).map_err(|error| self.refuse(error.into()))
    }

    /// Counts a refusal.
    pub(crate) fn refuse(&mut self, refusal: Refusal) -> Refusal {
        self.counters.refused(&refusal);
        refusal
    }

    pub(crate) fn learn_record(
        &mut self,
        record: Record,
        origin: Origin,
        now: u64,
    ) -> Result<Learnt, Refusal> {
        let learnt = self.judge(record, origin, now);
        match &learnt {
            Ok(Learnt::New | Learnt::Newer) => self.counters.learnt += 1,
            Ok(Learnt::Known) => self.counters.known += 1,
            Ok(Learnt::Stale) => self.counters.stale += 1,
            Err(refusal) => {
                self.counters.refused(refusal);
                self.warn(refusal);
            }
        }
        learnt
    }

    fn judge(&mut self, record: Record, origin: Origin, now: u64) -> Result<Learnt, Refusal> {
        let peer = record.peer();
        let known = self.peers.get(&peer);
        if known.is_some_and(|known| known.record == record) {
            return Ok(Learnt::Known);
        }
        if peer == self.own {
            return Err(Refusal::Ourselves);
        }
        self.check_origin(&record, origin)?;
        self.check_room(&record, peer, origin)?;
        if known.is_some_and(|known| rank(&known.record).0 > record.content().sequence) {
            return Ok(Learnt::Stale);
        }
        record.verify(self.provider, now)?;
        // Names are compared last, so that only the holder of a key can accuse it.
        self.check_names(&record)?;
        let Some(known) = known else {
            self.replace(record, origin);
            return Ok(Learnt::New);
        };
        if known.record.content().sequence == record.content().sequence {
            self.counters.suspicious += 1;
        }
        if rank(&known.record) > rank(&record) {
            return Ok(Learnt::Stale);
        }
        self.replace(record, origin);
        Ok(Learnt::Newer)
    }

    fn check_origin(&self, record: &Record, origin: Origin) -> Result<(), Refusal> {
        let content = record.content();
        let (identity, node) = (record.identity(), record.node());
        let ours = |secret| {
            let tag = NetworkTag::of(secret, identity, node);
            content.networks.contains(&tag)
        };
        if !content.networks.is_empty() && !self.secrets.iter().any(ours) {
            return Err(Refusal::Foreign);
        }
        let Origin::Mdns(sender) = origin else {
            return Ok(());
        };
        match content.addresses.iter().any(|it| it.ip() == Some(sender)) {
            true => Ok(()),
            false => Err(Refusal::Elsewhere { sender }),
        }
    }

    fn check_room(&self, record: &Record, peer: PeerTag, origin: Origin) -> Result<(), Refusal> {
        let known = self.peers.get(&peer).map(|known| &known.record);
        let size = |record: &Record| record.octets().len();
        if self.octets - known.map_or(0, size) + size(record) > self.limits.octets {
            return Err(Refusal::Full);
        }
        let services = record.content().services.len();
        let before = known.map_or(0, |known| known.content().services.len());
        if self.instances - before + services > self.limits.instances {
            return Err(Refusal::Names { services });
        }
        if known.is_some() {
            return Ok(());
        }
        if self.peers.len() >= self.limits.nodes {
            return Err(Refusal::Full);
        }
        let nodes = self.origins.get(&origin).copied().unwrap_or_default();
        if nodes >= origin.quota(&self.limits) || self.crowded(origin) {
            return Err(Refusal::Origin { nodes });
        }
        let identity = record.identity();
        let nodes = self.identities.get(&identity).copied().unwrap_or_default();
        match identity == self.peers[&self.own].record.identity()
            || nodes < self.limits.per_identity
        {
            true => Ok(()),
            false => Err(Refusal::Identity { nodes }),
        }
    }

    /// Whether all senders of multicast together have their share, a quarter of the table: a sender's
    /// address costs nothing.
    fn crowded(&self, origin: Origin) -> bool {
        let is_mdns = |origin: &Origin| matches!(origin, Origin::Mdns(_));
        let all = self.origins.iter().filter(|(origin, _)| is_mdns(origin));
        is_mdns(&origin) && all.map(|(_, nodes)| nodes).sum::<usize>() >= self.limits.nodes / 4
    }

    fn check_names(&self, record: &Record) -> Result<(), Refusal> {
        let found = record.identity();
        let taken = |service: &Service| {
            let pin = self.pinned.get(&service.name)?;
            (pin.identity != found).then(|| Conflict {
                name: service.name.clone(),
                pinned: pin.identity,
                found,
            })
        };
        // Several identities belong to one group, and relay.
        let mut owned = record
            .content()
            .services
            .iter()
            .filter(|service| !matches!(service.kind, Kind::Group | Kind::Relay));
        match owned.find_map(taken) {
            Some(conflict) => Err(conflict.into()),
            None => Ok(()),
        }
    }

    fn warn(&mut self, refusal: &Refusal) {
        let Refusal::Conflict(conflict) = refusal else {
            return;
        };
        let pin = self.pinned.get_mut(&conflict.name);
        if pin.is_some_and(|pin| !std::mem::replace(&mut pin.warned, true)) {
            self.tell(Event::Conflict(conflict.clone()));
        }
    }

    fn replace(&mut self, record: Record, origin: Origin) {
        let peer = record.peer();
        let old = self.remove(peer);
        let origin = old.as_ref().map_or(origin, |old| old.origin);
        let before = old.as_ref().map(|old| &old.record);
        for event in event::difference(peer, before, Some(&record)) {
            self.tell(event);
        }
        *self.origins.entry(origin).or_default() += 1;
        *self.identities.entry(record.identity()).or_default() += 1;
        self.octets += record.octets().len();
        self.instances += record.content().services.len();
        if peer != self.own {
            self.expiries.insert((record.expires(), peer));
        }
        for service in &record.content().services {
            let names = self.names.entry(service.kind).or_default();
            names.entry(service.name.clone()).or_default().insert(peer);
        }
        let still = |it: &Address| record.content().addresses.contains(it);
        let met = old.and_then(|old| old.met).filter(still);
        let digest = record.digest();
        let entry = Entry {
            record,
            digest,
            origin,
            met: None,
        };
        self.peers.insert(peer, entry);
        self.alterations += 1;
        if let Some(address) = met {
            self.meet(peer, &address);
        }
    }

    /// Takes a node out of the table and of every index.
    fn remove(&mut self, peer: PeerTag) -> Option<Entry> {
        let entry = self.peers.remove(&peer)?;
        self.alterations += 1;
        let record = &entry.record;
        take_one(&mut self.origins, &entry.origin);
        take_one(&mut self.identities, &record.identity());
        self.octets -= record.octets().len();
        self.instances -= record.content().services.len();
        self.expiries.remove(&(record.expires(), peer));
        if let Some(address) = &entry.met {
            let place = place(address, record);
            self.met.remove(&(address.clone(), place));
        }
        for service in &record.content().services {
            let Some(names) = self.names.get_mut(&service.kind) else {
                continue;
            };
            if let Some(peers) = names.get_mut(&service.name) {
                peers.remove(&peer);
                if peers.is_empty() {
                    names.remove(&service.name);
                }
            }
        }
        Some(entry)
    }

    /// Takes a node out that is dead, has left, or is not trusted. A later record brings it back.
    pub fn forget(&mut self, peer: PeerTag) {
        if peer == self.own {
            return;
        }
        if let Some(entry) = self.remove(peer) {
            for event in event::difference(peer, Some(&entry.record), None) {
                self.tell(event);
            }
        }
    }

    /// Notes that a handshake proved this peer at an address: another that names the same is not
    /// dialled there.
    pub fn meet(&mut self, peer: PeerTag, address: &Address) {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        if !entry.record.content().addresses.contains(address) {
            return;
        }
        if let Some(old) = entry.met.replace(address.clone()) {
            let place = place(&old, &entry.record);
            self.met.remove(&(old, place));
        }
        let place = place(address, &entry.record);
        let before = self.met.insert((address.clone(), place), peer);
        let before = before.filter(|before| *before != peer);
        if let Some(entry) = before.and_then(|before| self.peers.get_mut(&before)) {
            entry.met = None;
        }
    }

    /// Where to dial a peer from a process on a host, the best first: what reaches there, and is not
    /// where another peer was met.
    pub fn candidates(&self, peer: PeerTag, host: Place, process: Place) -> Vec<&Address> {
        let Some(entry) = self.peers.get(&peer) else {
            return Vec::new();
        };
        let content = entry.record.content();
        let reaches = |address: &&Address| match address.reach() {
            Some(Reach::Process) => content.host == host && content.process == process,
            Some(Reach::Host) => content.host == host,
            Some(Reach::Site | Reach::Public) => true,
            None => false,
        };
        let free = |address: &&Address| {
            let place = place(address, &entry.record);
            let met = self.met.get(&((*address).clone(), place));
            met.is_none_or(|met| *met == peer)
        };
        let addresses = content.addresses.iter();
        let mut candidates: Vec<_> = addresses.filter(reaches).filter(free).collect();
        // The order of the kinds is that of their costs.
        let kind = |it: &&Address| match it {
            Address::Inproc(_) => 0,
            Address::Ipc(_) => 1,
            Address::Quic(_) => 2,
            Address::Tcp(_) => 3,
        };
        candidates.sort_by_key(|it| (it.reach(), kind(it)));
        candidates
    }

    /// The record of a peer.
    pub fn record(&self, peer: PeerTag) -> Option<&Record> {
        self.peers.get(&peer).map(|entry| &entry.record)
    }

    /// Whom the record of a peer came from first.
    pub fn origin(&self, peer: PeerTag) -> Option<Origin> {
        self.peers.get(&peer).map(|entry| entry.origin)
    }

    /// A number that is another one once there are other records.
    pub(crate) const fn alterations(&self) -> u64 {
        self.alterations
    }

    /// The sequence of a peer's record, and the beginning of its digest.
    pub(crate) fn version(&self, peer: PeerTag) -> Option<(u64, [u8; 4])> {
        let entry = self.peers.get(&peer)?;
        let [a, b, c, d, ..] = entry.digest;
        Some((entry.record.content().sequence, [a, b, c, d]))
    }

    /// All nodes, this one included, in the order of their tags.
    pub fn peers(&self) -> impl Iterator<Item = (PeerTag, &Record)> + '_ {
        self.peers
            .iter()
            .map(|(peer, entry)| (*peer, &entry.record))
    }

    /// The nodes that offer something of a kind under a name, this one included.
    pub fn instances(
        &self,
        kind: Kind,
        name: &str,
    ) -> impl Iterator<Item = (PeerTag, &Record)> + '_ {
        let peers = self.names.get(&kind).and_then(|names| names.get(name));
        let peers = peers.into_iter().flatten();
        peers.filter_map(|peer| Some((*peer, self.record(*peer)?)))
    }

    /// How many nodes are known, this one included.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether no node is known, which does not happen: this one is.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// The octets of all records.
    pub const fn octets(&self) -> usize {
        self.octets
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, in seconds since the Unix epoch.
    pub fn poll_timeout(&self) -> Option<u64> {
        let (expires, _) = self.expiries.first()?;
        Some(expires.saturating_add(1))
    }

    /// Forgets the nodes whose records do not count any more, and says which.
    pub fn handle_timeout(&mut self, now: u64) -> Vec<PeerTag> {
        let mut expired = Vec::new();
        while let Some(&(expires, peer)) = self.expiries.first() {
            if expires >= now {
                break;
            }
            self.counters.expired += 1;
            self.forget(peer);
            expired.push(peer);
        }
        expired
    }

    /// What changed next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    fn tell(&mut self, event: Event) {
        if !self.events.push(event, self.limits.events) {
            self.counters.events_dropped += 1;
        }
    }

    /// How often what happened.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// By what the newest record is chosen.
fn rank(record: &Record) -> (u64, u64, [u8; 8]) {
    let content = record.content();
    let issued = content.validity.not_before;
    (content.sequence, issued, record.digest())
}

/// The process or the host of an address that means something there only.
fn place(address: &Address, record: &Record) -> Option<Place> {
    match address.reach() {
        Some(Reach::Process) => Some(record.content().process),
        Some(Reach::Host) => Some(record.content().host),
        _ => None,
    }
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

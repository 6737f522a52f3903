//! Who gets an answer: the tags of first packets, made and judged.
//!
//! A dial puts the tag of its network into the destination connection id of its first packet, where
//! QUIC wants 20 random octets. A listener ignores first packets without a good tag, and those
//! whose tag it has seen before, so that strangers cannot tell it from a closed port.
//!
//! Invariant: a tag lets one handshake begin, and the table of those seen is bounded.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::slice::from_ref;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use quinn::ConnectionId;
use withy_proto::crypto::tag::{self, NONCE, TAG};

use crate::options::Secret;

/// Tags that are remembered for each hour: 18 handshakes a second. If there are more, the oldest are
/// forgotten before their time.
const HOURLY: usize = 1 << 16;

/// Hours that a tag is remembered for, the one in which it came included: as long as it is good.
const HOURS: usize = tag::LIFETIME as usize;

/// The first destination connection id of a dial by a member of the network.
pub(super) fn first(secret: &[u8; 32]) -> ConnectionId {
    let mut nonce = [0; NONCE];
    // Without random numbers rustls ends the handshake before anything is sent.
    let _ = getrandom::fill(&mut nonce);
    ConnectionId::new(&tag::make(secret, hour(), nonce))
}

/// The secret that a dial shows knowledge of.
pub(super) fn shown(networks: &[Secret]) -> &[u8; 32] {
    networks.first().map_or(&tag::PUBLIC, Secret::expose)
}

/// What a listener knows of tags.
pub(super) struct Gate(Mutex<Known>);

struct Known {
    /// Whose members get an answer, each with a number that no other ever has here.
    networks: Vec<(u64, Secret)>,
    /// How many numbers were given.
    numbers: u64,
    seen: Seen,
}

impl Gate {
    pub(super) fn new(networks: &[Secret]) -> Self {
        let gate = Self(Mutex::new(Known {
            networks: Vec::new(),
            numbers: 0,
            seen: Seen::default(),
        }));
        gate.set_networks(networks);
        gate
    }

    /// Hears members of these networks from now on, or with none those without one.
    pub(super) fn set_networks(&self, networks: &[Secret]) {
        let open = [Secret::from(tag::PUBLIC)];
        let networks = if networks.is_empty() { &open } else { networks };
        let mut known = self.0.lock();
        let before = std::mem::take(&mut known.networks);
        for secret in networks {
            let same = before.iter().find(|(_, other)| other == secret);
            let number = same.map_or(known.numbers, |(number, _)| *number);
            known.networks.push((number, secret.clone()));
            known.numbers += u64::from(same.is_none());
        }
    }

    /// Whether a member made this first connection id lately. Only then can it be judged.
    ///
    /// Of an id that is new it costs one check for each network.
    pub(super) fn hears(&self, id: &[u8]) -> bool {
        let Ok(tag) = <&[u8; TAG]>::try_from(id) else {
            return false;
        };
        let mut known = self.0.lock();
        let seen = known.seen.get(tag);
        if let Some(Entry { network, state }) = seen
            && state == State::Begun
        {
            // More of what began with it; its time may be over.
            return known.secret(network).is_some();
        }
        let Some(network) = known.network_of(tag) else {
            return false;
        };
        if seen.is_none_or(|entry| entry.network != network) {
            let state = State::Heard;
            known.seen.put(*tag, Entry { network, state });
        }
        true
    }

    /// A handshake that was to begin does not: there is no room. A tag that nobody spent anything on is
    /// not remembered.
    pub(super) fn put_back(&self, id: &ConnectionId, validated: bool) {
        let Ok(tag) = <[u8; TAG]>::try_from(&id[..]) else {
            return;
        };
        let mut known = self.0.lock();
        // The answer to a retry has another id, so that it would not be heard again.
        if let Some(Entry { network, .. }) = known.seen.remove(&tag).filter(|_| validated) {
            let state = State::Heard;
            known.seen.put(tag, Entry { network, state });
        }
    }

    /// Decides on a first packet that was heard. `validated` says that it answers a retry of ours.
    pub(super) fn judge(
        &self,
        id: &ConnectionId,
        from: SocketAddr,
        validated: bool,
        busy: bool,
    ) -> Verdict {
        let Ok(tag) = <[u8; TAG]>::try_from(&id[..]) else {
            return Verdict::Ignore;
        };
        let mut known = self.0.lock();
        let Some(Entry { network, state }) = known.seen.get(&tag) else {
            return Verdict::Ignore;
        };
        let Some(secret) = known.secret(network) else {
            return Verdict::Ignore;
        };
        let begin = match state {
            State::Heard => true,
            State::Begun => false,
            // The retry or its answer may have been lost, or the answer be this one.
            State::Retried(to) => validated || to == from,
        };
        let (state, verdict) = match (begin, busy && !validated) {
            (false, _) => return Verdict::Ignore,
            (true, false) => {
                let network = (*secret.expose() != tag::PUBLIC).then_some(secret);
                (State::Begun, Verdict::Begin(network))
            }
            (true, true) => (State::Retried(from), Verdict::Retry),
        };
        known.seen.put(tag, Entry { network, state });
        verdict
    }
}

impl Known {
    fn secret(&self, network: u64) -> Option<Secret> {
        let mut networks = self.networks.iter();
        let found = networks.find(|(number, _)| *number == network);
        found.map(|(_, secret)| secret.clone())
    }

    /// The network whose member made a tag lately. Each is tried, so that the time does not tell which
    /// one it was.
    fn network_of(&self, tag: &[u8; TAG]) -> Option<u64> {
        let hour = hour();
        self.networks.iter().fold(None, |found, (number, secret)| {
            match tag::check(from_ref(secret.expose()), hour, tag) {
                true => Some(*number),
                false => found,
            }
        })
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate(..)")
    }
}

/// What to do with a first packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Begin the handshake, in the network of this secret.
    Begin(Option<Secret>),
    /// Let the peer show that it receives at its address.
    Retry,
    /// Send nothing.
    Ignore,
}

/// A tag that was seen.
#[derive(Clone, Copy)]
struct Entry {
    /// The number of its network.
    network: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Heard,
    Retried(SocketAddr),
    Begun,
}

/// Tags in one generation for each hour, the youngest first. A full one ends before its hour does.
#[derive(Default)]
struct Seen {
    generations: [HashMap<[u8; TAG], Entry>; HOURS],
    /// That of the youngest.
    hour: u64,
}

impl Seen {
    fn get(&self, tag: &[u8; TAG]) -> Option<Entry> {
        let mut generations = self.generations.iter();
        generations.find_map(|it| it.get(tag)).copied()
    }

    fn remove(&mut self, tag: &[u8; TAG]) -> Option<Entry> {
        // One that was heard in one hour and judged in the next is in two.
        let removed = self.generations.each_mut().map(|it| it.remove(tag));
        removed.into_iter().flatten().next()
    }

    fn put(&mut self, tag: [u8; TAG], entry: Entry) {
        self.put_at(hour(), tag, entry);
    }

    fn put_at(&mut self, hour: u64, tag: [u8; TAG], entry: Entry) {
        let passed = hour.saturating_sub(self.hour).min(HOURS as u64);
        let full = self.generations[0].len() >= HOURLY;
        for _ in 0..passed.max(u64::from(full)) {
            self.generations.rotate_right(1);
            self.generations[0] = HashMap::new();
        }
        self.hour = self.hour.max(hour);
        self.generations[0].insert(tag, entry);
    }
}

/// Whole hours since 1970.
fn hour() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs() / 3_600)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    /// Hears and judges a first packet.
    fn judge(gate: &Gate, id: &ConnectionId, port: u16, validated: bool, busy: bool) -> Verdict {
        match gate.hears(id) {
            true => gate.judge(id, from(port), validated, busy),
            false => Verdict::Ignore,
        }
    }

    #[test]
    fn a_tag_opens_once_and_only_for_members() {
        let gate = Gate::new(&[Secret::from([1; 32]), Secret::from([2; 32])]);
        for secret in [[1; 32], [2; 32]] {
            let id = first(&secret);
            let begin = Verdict::Begin(Some(Secret::from(secret)));
            assert_eq!(judge(&gate, &id, 1, false, false), begin);
            for validated in [false, true] {
                assert_eq!(judge(&gate, &id, 1, validated, false), Verdict::Ignore);
            }
            assert!(gate.hears(&id), "more of the same handshake");
        }
        for id in [
            first(&[3; 32]),
            first(&tag::PUBLIC),
            ConnectionId::new(&[0; 8]),
        ] {
            assert!(!gate.hears(&id));
            assert_eq!(gate.judge(&id, from(1), false, false), Verdict::Ignore);
        }
        let open = Gate::new(&[]);
        let id = first(shown(&[]));
        assert_eq!(judge(&open, &id, 1, false, false), Verdict::Begin(None));
    }

    #[test]
    fn networks_come_and_go_and_what_was_seen_stays() {
        let (one, other) = (Secret::from([1; 32]), Secret::from([2; 32]));
        let gate = Gate::new(&[]);
        let [old, heard, new] = [&one; 3].map(|secret| first(secret.expose()));
        assert!(!gate.hears(&old));
        gate.set_networks(&[other.clone(), one.clone()]);
        assert!(!gate.hears(&first(&tag::PUBLIC)));
        let begin = Verdict::Begin(Some(one.clone()));
        assert_eq!(judge(&gate, &old, 1, false, false), begin);
        assert!(gate.hears(&heard));
        // The order says which one is dialled into, and no more.
        gate.set_networks(&[one.clone(), other.clone()]);
        assert_eq!(judge(&gate, &old, 1, false, false), Verdict::Ignore);
        gate.set_networks(&[other]);
        assert_eq!(gate.judge(&heard, from(1), false, false), Verdict::Ignore);
        assert!(!gate.hears(&old) && !gate.hears(&heard) && !gate.hears(&new));
        gate.set_networks(&[one]);
        assert_eq!(judge(&gate, &new, 1, false, false), begin);
        assert_eq!(judge(&gate, &heard, 1, false, false), begin);
        assert_eq!(judge(&gate, &old, 1, false, false), Verdict::Ignore);
    }

    #[test]
    fn a_lost_retry_is_made_again_for_the_same_address_only() {
        let gate = Gate::new(&[]);
        let id = first(&tag::PUBLIC);
        assert_eq!(judge(&gate, &id, 1, false, true), Verdict::Retry);
        assert_eq!(judge(&gate, &id, 2, false, true), Verdict::Ignore);
        assert_eq!(judge(&gate, &id, 1, false, true), Verdict::Retry);
        assert_eq!(judge(&gate, &id, 1, true, true), Verdict::Begin(None));
        assert_eq!(judge(&gate, &id, 1, true, true), Verdict::Ignore);
    }

    #[test]
    fn a_tag_that_found_no_room_is_as_if_it_had_not_come() {
        let gate = Gate::new(&[]);
        let known = || {
            let seen = &gate.0.lock().seen;
            seen.generations.iter().map(HashMap::len).sum::<usize>()
        };
        let id = first(&tag::PUBLIC);
        for _ in 0..3 {
            assert_eq!(judge(&gate, &id, 1, false, false), Verdict::Begin(None));
            gate.put_back(&id, false);
            assert_eq!(known(), 0);
        }
        // Whoever answered a retry may answer it again.
        assert_eq!(judge(&gate, &id, 1, false, true), Verdict::Retry);
        for _ in 0..3 {
            let verdict = gate.judge(&id, from(1), true, true);
            assert_eq!(verdict, Verdict::Begin(None));
            gate.put_back(&id, true);
        }
        assert_eq!(known(), 1);
    }

    fn numbered(number: usize) -> [u8; TAG] {
        let mut tag = [0; TAG];
        tag[..8].copy_from_slice(&(number as u64).to_be_bytes());
        tag
    }

    const BEGUN: Entry = Entry {
        network: 0,
        state: State::Begun,
    };

    #[test]
    fn a_tag_is_remembered_as_long_as_it_is_good() {
        let mut seen = Seen::default();
        for hour in 0..10 {
            seen.put_at(1_000 + hour as u64, numbered(hour), BEGUN);
            for before in 0..=hour {
                let good = hour - before < tag::LIFETIME as usize;
                assert_eq!(seen.get(&numbered(before)).is_some(), good);
            }
        }
        // A clock that was set back, and one that was set forward.
        seen.put_at(1_000, numbered(20), BEGUN);
        assert!(seen.get(&numbered(9)).is_some() && seen.get(&numbered(20)).is_some());
        seen.put_at(2_000, numbered(21), BEGUN);
        assert!(seen.get(&numbered(9)).is_none() && seen.get(&numbered(20)).is_none());
    }

    #[test]
    fn the_table_of_tags_is_bounded() {
        let mut seen = Seen::default();
        let most = (HOURS + 1) * HOURLY;
        for number in 0..most {
            seen.put_at(1_000, numbered(number), BEGUN);
        }
        let known: usize = seen.generations.iter().map(HashMap::len).sum();
        assert!(known <= HOURS * HOURLY);
        assert!(seen.get(&numbered(most - 2 * HOURLY)).is_some());
        assert!(seen.get(&numbered(0)).is_none());
    }
}

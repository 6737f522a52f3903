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

/// Nonces that are remembered: 65,536 to 131,072, which is 30 handshakes a second for an hour.
const REMEMBERED: usize = 1 << 17;

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
pub(super) struct Gate {
    secrets: Vec<Secret>,
    seen: Mutex<Seen>,
}

impl Gate {
    pub(super) fn new(networks: &[Secret]) -> Self {
        let mut secrets = networks.to_vec();
        if secrets.is_empty() {
            secrets.push(Secret::from(tag::PUBLIC));
        }
        Self {
            secrets,
            seen: Mutex::default(),
        }
    }

    /// Whether a member made this first connection id lately.
    pub(super) fn is_member(&self, id: &[u8]) -> bool {
        self.network_of(id).is_some()
    }

    /// The secret with which a member made this first connection id lately.
    fn network_of(&self, id: &[u8]) -> Option<&Secret> {
        let tag = <&[u8; TAG]>::try_from(id).ok()?;
        let hour = hour();
        // Each secret is tried, so that the time does not tell which one it was.
        let tries = self.secrets.iter();
        tries.fold(None, |found, secret| {
            match tag::check(from_ref(secret.expose()), hour, tag) {
                true => Some(secret),
                false => found,
            }
        })
    }

    /// Decides on a first packet. `validated` says that it answers a retry of ours.
    pub(super) fn judge(
        &self,
        id: &ConnectionId,
        from: SocketAddr,
        validated: bool,
        busy: bool,
    ) -> Verdict {
        let Some(network) = self.network_of(id) else {
            return Verdict::Ignore;
        };
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&id[..NONCE]);
        let mut seen = self.seen.lock();
        let begin = match seen.get(&nonce) {
            None => true,
            Some(State::Begun) => false,
            // The retry or its answer may have been lost, or the answer be this one.
            Some(State::Retried(to)) => validated || to == from,
        };
        match (begin, busy && !validated) {
            (false, _) => Verdict::Ignore,
            (true, false) => {
                seen.put(nonce, State::Begun);
                let in_none = *network.expose() == tag::PUBLIC;
                Verdict::Begin((!in_none).then(|| network.clone()))
            }
            (true, true) => {
                seen.put(nonce, State::Retried(from));
                Verdict::Retry
            }
        }
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

#[derive(Clone, Copy)]
enum State {
    Retried(SocketAddr),
    Begun,
}

/// Nonces in two generations: when the younger is full the older is forgotten.
#[derive(Default)]
struct Seen {
    younger: HashMap<[u8; NONCE], State>,
    older: HashMap<[u8; NONCE], State>,
}

impl Seen {
    fn get(&self, nonce: &[u8; NONCE]) -> Option<State> {
        let found = self.younger.get(nonce);
        found.or_else(|| self.older.get(nonce)).copied()
    }

    fn put(&mut self, nonce: [u8; NONCE], state: State) {
        if self.younger.len() >= REMEMBERED / 2 {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(nonce, state);
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

    #[test]
    fn a_tag_opens_once_and_only_for_members() {
        let gate = Gate::new(&[Secret::from([1; 32]), Secret::from([2; 32])]);
        for secret in [[1; 32], [2; 32]] {
            let id = first(&secret);
            let begin = Verdict::Begin(Some(Secret::from(secret)));
            assert_eq!(gate.judge(&id, from(1), false, false), begin);
            for validated in [false, true] {
                let again = gate.judge(&id, from(1), validated, false);
                assert_eq!(again, Verdict::Ignore);
            }
        }
        for id in [
            first(&[3; 32]),
            first(&tag::PUBLIC),
            ConnectionId::new(&[0; 8]),
        ] {
            assert_eq!(gate.judge(&id, from(1), false, false), Verdict::Ignore);
        }
        let open = Gate::new(&[]);
        let id = first(shown(&[]));
        assert_eq!(open.judge(&id, from(1), false, false), Verdict::Begin(None));
    }

    #[test]
    fn a_lost_retry_is_made_again_for_the_same_address_only() {
        let gate = Gate::new(&[]);
        let id = first(&tag::PUBLIC);
        assert_eq!(gate.judge(&id, from(1), false, true), Verdict::Retry);
        assert_eq!(gate.judge(&id, from(2), false, true), Verdict::Ignore);
        assert_eq!(gate.judge(&id, from(1), false, true), Verdict::Retry);
        assert_eq!(gate.judge(&id, from(1), true, true), Verdict::Begin(None));
        assert_eq!(gate.judge(&id, from(1), true, true), Verdict::Ignore);
    }

    #[test]
    fn the_table_of_nonces_is_bounded() {
        let mut seen = Seen::default();
        let nonce = |number: usize| (number as u64).to_be_bytes();
        for number in 0..3 * REMEMBERED {
            seen.put(nonce(number), State::Begun);
        }
        assert!(seen.younger.len() + seen.older.len() <= REMEMBERED);
        assert!(seen.get(&nonce(3 * REMEMBERED - REMEMBERED / 2)).is_some());
        assert!(seen.get(&nonce(0)).is_none());
    }
}

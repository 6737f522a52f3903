//! Signatures that were found to hold: what a peer shows on each of its connections, and in its record, is
//! verified once.
//!
//! Whether a signature holds never changes; whether what it is under counts now is looked at each time.
//! Signatures that do not hold are not remembered.
//!
//! Invariant: there are [`MOST`] at most, of which the oldest leaves first.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::hash::{HASH, sha256};
use super::sign::{PUBLIC, SIGNATURE};

/// The most that are remembered, in 64 KiB and what a tree of them takes: one or two for each peer. Who meets
/// more peers in turn, again and again, verifies each time.
const MOST: usize = 1_024;

static VERIFIED: Mutex<Verified> = Mutex::new(Verified::new());

#[derive(Debug)]
struct Verified {
    known: BTreeSet<[u8; HASH]>,
    /// The oldest first.
    order: VecDeque<[u8; HASH]>,
}

impl Verified {
    const fn new() -> Self {
        Self {
            known: BTreeSet::new(),
            order: VecDeque::new(),
        }
    }

    fn insert(&mut self, digest: [u8; HASH]) {
        if !self.known.insert(digest) {
            return;
        }
        self.order.push_back(digest);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// Whether a signature holds, which `verify` says if it is not known already.
pub(super) fn or(
    signer: &[u8; PUBLIC],
    signature: &[u8; SIGNATURE],
    domain: &[u8],
    body: &[u8],
    verify: impl FnOnce() -> bool,
) -> bool {
    // What is of one length goes first, and then how long the next is: no two texts have the same octets.
    let length = (domain.len() as u64).to_be_bytes();
    let digest = sha256(&[signer, signature, &length, domain, body]);
    // It is whole after each change.
    let lock = || VERIFIED.lock().unwrap_or_else(PoisonError::into_inner);
    if lock().known.contains(&digest) {
        return true;
    }
    let holds = verify();
    if holds {
        lock().insert(digest);
    }
    holds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(octet: u8, body: &[u8], verify: impl FnOnce() -> bool) -> bool {
        or(
            &[octet; PUBLIC],
            &[octet; SIGNATURE],
            b"verified.rs ",
            body,
            verify,
        )
    }

    #[test]
    fn what_holds_is_verified_once_and_nothing_else_is_taken_for_it() {
        assert!(!is(1, b"a", || false));
        assert!(is(1, b"a", || true));
        assert!(is(1, b"a", || unreachable!()));
        for (octet, body) in [(2, &b"a"[..]), (1, b"b"), (1, b""), (1, b"aa")] {
            assert!(!is(octet, body, || false), "{octet} {body:?}");
        }
        let moved = or(&[1; PUBLIC], &[1; SIGNATURE], b"verified.rs", b" a", || {
            false
        });
        assert!(!moved);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut verified = Verified::new();
        let digest = |number: usize| sha256(&[&number.to_be_bytes()]);
        for number in 0..MOST + 10 {
            verified.insert(digest(number));
            verified.insert(digest(number));
        }
        assert_eq!((verified.known.len(), verified.order.len()), (MOST, MOST));
        assert!(!verified.known.contains(&digest(9)));
        assert!(verified.known.contains(&digest(10)));
    }
}

//! What may be sent to addresses that may be another's, with long headers: three times what came from
//! there (RFC 9000 §8.1), to the octet. quinn sends one whole datagram more.
//!
//! ```text
//!  first packet ---> limited ---> a packet to the id that we told that address ---> free
//!                       \-------> too old ---> forgotten
//! ```
//!
//! Short headers are not held, since a connection that was made has no other: a first packet that
//! comes late, twice, or from somebody else does not touch it.
//!
//! Invariant: the table is bounded, and an address in it stays until it is free or too old.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::ids::ID;

/// How often what came may be sent back.
const FACTOR: usize = 3;

/// Addresses that are remembered: far more than handshakes that begin without a retry. When there are
/// as many, newcomers must show first that they receive at theirs.
const ADDRESSES: usize = 4_096;

/// A connection id of ours.
type Id = [u8; ID];

/// Addresses from which a first packet came and nothing yet that shows that somebody receives there.
#[derive(Debug)]
pub(super) struct Budgets {
    /// For how long an address is remembered, at least; twice that at most.
    lifetime: Duration,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    younger: HashMap<SocketAddr, Budget>,
    older: HashMap<SocketAddr, Budget>,
    /// When the younger ones began.
    since: Instant,
}

#[derive(Debug, Clone, Copy, Default)]
struct Budget {
    received: usize,
    sent: usize,
    /// The id that the address was told last. Whoever knows it receives there.
    told: Option<Id>,
}

impl Budgets {
    pub(super) fn new(lifetime: Duration) -> Self {
        let known = Known {
            younger: HashMap::new(),
            older: HashMap::new(),
            since: Instant::now(),
        };
        Self {
            lifetime,
            known: Mutex::new(known),
        }
    }

    /// A first packet of so many octets came from an address.
    pub(super) fn earn(&self, from: SocketAddr, octets: usize) {
        let mut known = self.known.lock();
        known.age(Instant::now(), self.lifetime);
        if let Some(budget) = known.get(&from) {
            budget.received += octets;
        } else if known.count() < ADDRESSES {
            let budget = Budget {
                received: octets,
                ..Budget::default()
            };
            known.younger.insert(from, budget);
        }
    }

    /// Whether an address has a budget.
    pub(super) fn limit(&self, address: SocketAddr) -> bool {
        self.known.lock().get(&address).is_some()
    }

    /// A packet to an id of ours came from an address: somebody receives there if it is the one that was
    /// sent there. Others can be learnt elsewhere.
    pub(super) fn free(&self, address: SocketAddr, id: &[u8]) {
        let mut known = self.known.lock();
        let told = known.get(&address).and_then(|budget| budget.told);
        if told.is_some_and(|told| told == id) {
            known.younger.remove(&address);
            known.older.remove(&address);
        }
    }

    /// Whether so many octets may be sent to an address, which tell it an id of ours; they are then
    /// spent.
    pub(super) fn spend(&self, to: SocketAddr, octets: usize, id: Option<Id>) -> bool {
        let mut known = self.known.lock();
        known.age(Instant::now(), self.lifetime);
        let Some(budget) = known.get(&to) else {
            return true;
        };
        let good = budget.sent + octets <= FACTOR * budget.received;
        if good {
            budget.sent += octets;
            budget.told = id.or(budget.told);
        }
        good
    }

    /// What was spent was not sent.
    pub(super) fn refund(&self, to: SocketAddr, octets: usize) {
        if let Some(budget) = self.known.lock().get(&to) {
            budget.sent = budget.sent.saturating_sub(octets);
        }
    }
}

impl Known {
    fn get(&mut self, address: &SocketAddr) -> Option<&mut Budget> {
        let found = self.younger.get_mut(address);
        found.or_else(|| self.older.get_mut(address))
    }

    fn count(&self) -> usize {
        self.younger.len() + self.older.len()
    }

    /// Forgets those that are too old.
    fn age(&mut self, now: Instant, lifetime: Duration) {
        let passed = now.saturating_duration_since(self.since);
        if passed < lifetime {
            return;
        }
        self.older = std::mem::take(&mut self.younger);
        if passed >= 2 * lifetime {
            self.older.clear();
        }
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn address(number: usize) -> SocketAddr {
        let [.., a, b, c] = number.to_be_bytes();
        ([10, a, b, c], 1).into()
    }

    fn spend(budgets: &Budgets, number: usize, octets: usize) -> bool {
        budgets.spend(address(number), octets, None)
    }

    #[test]
    fn three_times_what_came_may_go_until_somebody_is_there() {
        let budgets = Budgets::new(LONG);
        assert!(spend(&budgets, 1, 9_000));
        budgets.earn(address(1), 1_200);
        assert!(spend(&budgets, 1, 2_400) && spend(&budgets, 1, 1_200));
        assert!(!spend(&budgets, 1, 1));
        budgets.refund(address(1), 10);
        assert!(spend(&budgets, 1, 10) && !spend(&budgets, 1, 1));
        assert!(spend(&budgets, 2, 9_000));
        budgets.earn(address(1), 1_000);
        assert!(budgets.spend(address(1), 3_000, Some([7; ID])) && !spend(&budgets, 1, 1));
        budgets.free(address(1), &[7; ID]);
        assert!(spend(&budgets, 1, 9_000) && !budgets.limit(address(1)));
    }

    #[test]
    fn only_who_knows_what_was_told_an_address_is_there() {
        let budgets = Budgets::new(LONG);
        budgets.earn(address(1), 1_200);
        budgets.free(address(1), &[7; ID]);
        assert!(budgets.spend(address(1), 1_200, Some([7; ID])));
        assert!(budgets.spend(address(1), 1_200, Some([8; ID])));
        // Withheld, so that nobody can know it.
        assert!(!budgets.spend(address(1), 9_000, Some([9; ID])));
        for other in [6, 7, 9] {
            budgets.free(address(1), &[other; ID]);
            assert!(!spend(&budgets, 1, 9_000));
        }
        budgets.free(address(2), &[8; ID]);
        assert!(!spend(&budgets, 1, 9_000));
        budgets.free(address(1), &[8; ID]);
        assert!(spend(&budgets, 1, 9_000));
    }

    #[test]
    fn a_full_table_forgets_nobody_until_they_are_too_old() {
        let budgets = Budgets::new(LONG);
        for number in 0..=ADDRESSES {
            budgets.earn(address(number), 1);
        }
        assert!(!spend(&budgets, 0, 4) && !spend(&budgets, ADDRESSES - 1, 4));
        assert!(budgets.limit(address(0)) && !budgets.limit(address(ADDRESSES)));
        let count = |passed| {
            let mut known = budgets.known.lock();
            let now = known.since + passed;
            known.age(now, LONG);
            known.count()
        };
        assert_eq!(count(LONG - Duration::from_secs(1)), ADDRESSES);
        assert_eq!(count(LONG), ADDRESSES);
        assert_eq!(count(LONG), 0);
        budgets.earn(address(1), 1);
        assert_eq!(count(2 * LONG), 0);
    }
}

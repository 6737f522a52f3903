//! What may be sent to addresses that may be another's: three times what came from there (RFC 9000
//! §8.1), to the octet. quinn sends one whole datagram more.
//!
//! ```text
//!  first packet ---> limited ---> a packet to a connection id of ours ---> free
//! ```
//!
//! Invariant: the table is bounded, and empty while nobody begins a handshake.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// How often what came may be sent back.
const FACTOR: usize = 3;

/// Addresses that are remembered, at least half of them the youngest: far more than handshakes that
/// begin without a retry.
const ADDRESSES: usize = 4_096;

/// Addresses from which a first packet came and nothing yet that shows that somebody receives there.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    /// Whether there may be any.
    any: AtomicBool,
    /// In two generations: when the younger is full the older is forgotten.
    generations: Mutex<[HashMap<SocketAddr, Budget>; 2]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Budget {
    received: usize,
    sent: usize,
}

impl Budgets {
    /// A first packet of so many octets came from an address.
    pub(super) fn earn(&self, from: SocketAddr, octets: usize) {
        let mut generations = self.generations.lock();
        let [younger, older] = &mut *generations;
        let mut budget = younger.remove(&from).or_else(|| older.remove(&from));
        budget.get_or_insert_default().received += octets;
        if younger.len() >= ADDRESSES / 2 {
            *older = std::mem::take(younger);
        }
        younger.extend(budget.map(|budget| (from, budget)));
        self.any.store(true, Ordering::Relaxed);
    }

    /// Somebody receives at an address.
    pub(super) fn free(&self, address: SocketAddr) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut generations = self.generations.lock();
        for generation in &mut *generations {
            generation.remove(&address);
        }
        let any = generations.iter().any(|generation| !generation.is_empty());
        self.any.store(any, Ordering::Relaxed);
    }

    /// Whether so many octets may be sent to an address; they are then spent.
    pub(super) fn spend(&self, to: SocketAddr, octets: usize) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return true;
        }
        let mut generations = self.generations.lock();
        let mut found = generations.iter_mut().filter_map(|it| it.get_mut(&to));
        let Some(budget) = found.next() else {
            return true;
        };
        let good = budget.sent + octets <= FACTOR * budget.received;
        if good {
            budget.sent += octets;
        }
        good
    }

    /// What was spent was not sent.
    pub(super) fn refund(&self, to: SocketAddr, octets: usize) {
        let mut generations = self.generations.lock();
        if let Some(budget) = generations.iter_mut().find_map(|it| it.get_mut(&to)) {
            budget.sent = budget.sent.saturating_sub(octets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> SocketAddr {
        let [.., a, b, c] = number.to_be_bytes();
        ([10, a, b, c], 1).into()
    }

    #[test]
    fn three_times_what_came_may_go_until_somebody_is_there() {
        let budgets = Budgets::default();
        assert!(budgets.spend(address(1), 9_000));
        budgets.earn(address(1), 1_200);
        assert!(budgets.spend(address(1), 2_400) && budgets.spend(address(1), 1_200));
        assert!(!budgets.spend(address(1), 1));
        budgets.refund(address(1), 10);
        assert!(budgets.spend(address(1), 10) && !budgets.spend(address(1), 1));
        assert!(budgets.spend(address(2), 9_000));
        budgets.earn(address(1), 1_000);
        assert!(budgets.spend(address(1), 3_000) && !budgets.spend(address(1), 1));
        budgets.free(address(1));
        assert!(budgets.spend(address(1), 9_000) && !budgets.any.into_inner());
    }

    #[test]
    fn the_table_is_bounded_and_keeps_the_youngest() {
        let budgets = Budgets::default();
        for number in 0..3 * ADDRESSES {
            budgets.earn(address(number), 1);
        }
        let known: usize = budgets.generations.lock().iter().map(HashMap::len).sum();
        assert!(known <= ADDRESSES);
        assert!(!budgets.spend(address(3 * ADDRESSES - ADDRESSES / 2), 4));
    }
}

//! Who may keep a queue: one keeper at a time, and each has an epoch that is higher than all before.
//!
//! ```text
//!           claim            nobody objected in time
//!  Aside ----------> Claiming ----------> Holding
//!    ^                  |                    |
//!    +------------------+--------------------+
//!                observe(higher)
//! ```
//!
//! How a claim gets around, and whether who tells of it may do so, is for the caller: it observes
//! claims that it verified. Two nodes that claim at the same time have different epochs, since an
//! epoch names its holder; the higher one stays. A cut network may have a keeper on either side
//! until it is whole again. Clients never go back to an epoch lower than one they know.
//!
//! Invariant: what is known only grows.

use std::time::Duration;

use crate::fields::{Fields, join};
use crate::trust::id::NodeId;

/// A time in which one node keeps a queue. Ordered by number, then by holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch {
    number: u64,
    holder: NodeId,
}

impl Epoch {
    /// Octets of the binary form: the number, big-endian, and the holder.
    pub const SIZE: usize = 40;

    /// Before all others: nobody keeps the queue.
    pub const NONE: Self = Self {
        number: 0,
        holder: NodeId::from_octets([0; 32]),
    };

    /// An epoch.
    pub const fn new(number: u64, holder: NodeId) -> Self {
        Self { number, holder }
    }

    /// How many there were, with this one.
    pub const fn number(self) -> u64 {
        self.number
    }

    /// Who keeps the queue.
    pub const fn holder(self) -> NodeId {
        self.holder
    }

    /// The binary form.
    pub fn encode(self) -> [u8; Self::SIZE] {
        join(&[&self.number.to_be_bytes(), self.holder.as_octets()])
    }

    /// An epoch from its binary form.
    pub fn decode(octets: &[u8; Self::SIZE]) -> Self {
        Self::read(&mut Fields::new(octets)).unwrap_or(Self::NONE)
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let both: [u8; Self::SIZE] = fields.array()?;
        let mut both = Fields::new(&both);
        let number = both.u64()?;
        Some(Self::new(number, NodeId::from_octets(both.array()?)))
    }
}

/// What another's epoch means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// It is lower than what is known: whoever told it should hear of the higher one.
    Older,
    /// It was known.
    Known,
    /// It is higher, and this node was not the keeper.
    Newer,
    /// It is higher, and this node is the keeper no more, or its claim is void.
    SteppedDown,
}

/// No epoch is higher than what is known. No honest node comes that far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("epoch {} is the last", u64::MAX)]
pub struct ClaimError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Aside,
    Claiming { until: Duration },
    Holding,
}

/// What one node has to do with a queue's epochs.
#[derive(Debug)]
pub struct Tenure {
    node: NodeId,
    known: Epoch,
    state: State,
}

impl Tenure {
    /// A node that keeps nothing yet, and knows of one epoch, or of [`Epoch::NONE`].
    pub const fn new(node: NodeId, known: Epoch) -> Self {
        Self {
            node,
            known,
            state: State::Aside,
        }
    }

    /// This node.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The highest epoch that is known.
    pub const fn known(&self) -> Epoch {
        self.known
    }

    /// The epoch in which this node keeps the queue, if it does.
    pub fn held(&self) -> Option<Epoch> {
        (self.state == State::Holding).then_some(self.known)
    }

    /// Whether a claim of this node has not come to its end yet.
    pub const fn is_claiming(&self) -> bool {
        matches!(self.state, State::Claiming { .. })
    }

    /// Claims the queue in an epoch above all that are known, and gives it `patience` to be objected
    /// to. Returns the epoch, to be spread. A claim or tenure that there is already stays.
    ///
    /// # Errors
    /// There is no higher epoch.
    pub fn claim(&mut self, now: Duration, patience: Duration) -> Result<Epoch, ClaimError> {
        self.claim_from(0, now, patience)
    }

    /// As [`claim`](Self::claim), with a number that is not below `least`. Where that is a clock, who
    /// knows of no epoch is above those that everybody has forgotten but some client.
    ///
    /// # Errors
    /// There is no higher epoch.
    pub fn claim_from(
        &mut self,
        least: u64,
        now: Duration,
        patience: Duration,
    ) -> Result<Epoch, ClaimError> {
        if self.state == State::Aside {
            let number = self.known.number.checked_add(1).ok_or(ClaimError)?;
            let number = number.max(least);
            self.known = Epoch::new(number, self.node);
            let until = now.saturating_add(patience);
            self.state = State::Claiming { until };
        }
        Ok(self.known)
    }

    /// Hears of an epoch, and steps down if it is higher.
    pub fn observe(&mut self, epoch: Epoch) -> Observed {
        if epoch <= self.known {
            return match epoch == self.known {
                true => Observed::Known,
                false => Observed::Older,
            };
        }
        self.known = epoch;
        match std::mem::replace(&mut self.state, State::Aside) {
            State::Aside => Observed::Newer,
            State::Claiming { .. } | State::Holding => Observed::SteppedDown,
        }
    }

    /// When a claim comes to its end.
    pub const fn next_timeout(&self) -> Option<Duration> {
        match self.state {
            State::Claiming { until } => Some(until),
            State::Aside | State::Holding => None,
        }
    }

    /// Makes a claim good that nobody objected to in time. Returns whether one became good now.
    pub fn handle_timeout(&mut self, now: Duration) -> bool {
        let due = matches!(self.state, State::Claiming { until } if until <= now);
        if due {
            self.state = State::Holding;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Randomness as _, Seeded};

    const SECOND: Duration = Duration::from_secs(1);

    fn node(number: u8) -> NodeId {
        NodeId::from_octets([number; 32])
    }

    #[test]
    fn a_claim_holds_until_a_higher_one_is_heard_of() {
        let mut tenure = Tenure::new(node(5), Epoch::NONE);
        let epoch = tenure.claim(SECOND, SECOND).unwrap();
        assert_eq!(epoch, Epoch::new(1, node(5)));
        assert_eq!(tenure.claim(SECOND, 5 * SECOND), Ok(epoch));
        assert!(tenure.is_claiming() && tenure.held().is_none());
        assert!(!tenure.handle_timeout(SECOND));
        assert_eq!(tenure.next_timeout(), Some(2 * SECOND));
        assert!(tenure.handle_timeout(2 * SECOND) && !tenure.handle_timeout(2 * SECOND));
        assert_eq!(tenure.held(), Some(epoch));
        assert_eq!(tenure.observe(Epoch::new(1, node(4))), Observed::Older);
        assert_eq!(tenure.observe(epoch), Observed::Known);
        let higher = Epoch::new(1, node(6));
        assert_eq!(tenure.observe(higher), Observed::SteppedDown);
        assert_eq!((tenure.held(), tenure.known()), (None, higher));
        assert_eq!(tenure.observe(Epoch::new(7, node(1))), Observed::Newer);
        assert_eq!(tenure.claim(SECOND, SECOND), Ok(Epoch::new(8, node(5))));
        tenure.observe(Epoch::new(9, node(1)));
        let claimed = tenure.claim_from(5, SECOND, SECOND);
        assert_eq!(claimed, Ok(Epoch::new(10, node(5))));
        tenure.observe(Epoch::new(11, node(1)));
        let claimed = tenure.claim_from(50, SECOND, SECOND);
        assert_eq!(claimed, Ok(Epoch::new(50, node(5))));
        let last = Epoch::new(u64::MAX, node(1));
        assert_eq!(tenure.observe(last), Observed::SteppedDown);
        assert_eq!(tenure.claim(SECOND, SECOND), Err(ClaimError));
    }

    /// However claims and news mix, as soon as all have heard all, one holds at most.
    #[test]
    fn one_stays_when_all_have_heard_all() {
        for seed in 0..300 {
            let mut random = Seeded::new(seed);
            let mut nodes: Vec<_> = (1..6).map(|n| Tenure::new(node(n), Epoch::NONE)).collect();
            let mut now = Duration::ZERO;
            for _ in 0..40 {
                now += SECOND;
                let at = random.next_u64() as usize % nodes.len();
                let from = random.next_u64() as usize % nodes.len();
                match random.next_u64() % 3 {
                    0 => assert!(nodes[at].claim(now, 3 * SECOND).is_ok()),
                    1 => _ = nodes[at].handle_timeout(now),
                    _ => {
                        let told = nodes[from].known();
                        nodes[at].observe(told);
                    }
                }
            }
            let highest = nodes.iter().map(Tenure::known).max().unwrap();
            for tenure in &mut nodes {
                tenure.observe(highest);
                tenure.handle_timeout(now + 10 * SECOND);
            }
            let holders = nodes.iter().filter_map(Tenure::held);
            assert!(holders.eq([highest]), "seed {seed}");
            assert_eq!(Epoch::decode(&highest.encode()), highest);
        }
    }
}

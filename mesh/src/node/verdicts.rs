//! Whether nodes are trusted that are met in networks, as far as their records show it.
//!
//! To find out costs a hash for each network, and is asked whenever anything happens to a node. So it is
//! kept with the record, until the record or whom we trust is another.
//!
//! Invariant: what is kept was found out with this record and this trust.

use std::collections::BTreeMap;

use bytes::Bytes;
use withy_discovery::{PeerTag, Record};

/// The most records whose verdicts are kept; those of more are found out anew.
const MAX: usize = 2_048;

/// What was found out.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// Which trust it was found out with.
    generation: u64,
    known: BTreeMap<PeerTag, (Bytes, bool)>,
}

impl Verdicts {
    /// What was found out about a record with this trust.
    pub(super) fn of(&self, record: &Record, generation: u64) -> Option<bool> {
        let (octets, trusted) = self.known.get(&record.peer())?;
        (self.generation == generation && octets == record.octets()).then_some(*trusted)
    }

    /// Keeps what was found out.
    pub(super) fn keep(&mut self, record: &Record, generation: u64, trusted: bool) {
        if self.generation != generation || self.known.len() >= MAX {
            self.known.clear();
            self.generation = generation;
        }
        let verdict = (record.octets().clone(), trusted);
        self.known.insert(record.peer(), verdict);
    }

    /// Forgets a node that is gone.
    pub(super) fn forget(&mut self, peer: PeerTag) {
        self.known.remove(&peer);
    }
}

#[cfg(test)]
mod tests {
    use super::super::offer::Offers;
    use super::super::place;
    use super::*;
    use crate::identity::Identity;
    use crate::trust::Trust;

    #[test]
    fn a_verdict_holds_for_one_record_and_one_trust() {
        let (identity, trust) = (Identity::ephemeral(), Trust::new());
        let mut offers = Offers::new(place::random(), place::random());
        let mut record = || offers.sign(&identity, &trust).unwrap();
        let (old, new) = (record(), record());
        let mut verdicts = Verdicts::default();
        assert_eq!(verdicts.of(&old, 1), None);
        verdicts.keep(&old, 1, true);
        assert_eq!(verdicts.of(&old, 1), Some(true));
        assert_eq!(verdicts.of(&old, 2), None, "trust changed");
        assert_eq!(verdicts.of(&new, 1), None, "the record changed");
        verdicts.keep(&new, 2, false);
        assert_eq!(verdicts.of(&new, 2), Some(false));
        assert_eq!(verdicts.known.len(), 1);
        verdicts.forget(new.peer());
        assert_eq!(verdicts.of(&new, 2), None);
    }

    #[test]
    fn a_change_of_trust_is_seen() {
        let trust = Trust::new();
        let before = trust.generation();
        trust.accept(Identity::ephemeral().id()).unwrap();
        assert_ne!(trust.generation(), before);
    }
}

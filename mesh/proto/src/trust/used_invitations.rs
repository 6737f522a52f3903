//! Which invitations for a single use were used, and by whom.
//!
//! Deliberately not durable: whoever holds an authority stores the entries and restores them, or a
//! restart makes used invitations good again until they expire.
//!
//! Invariant: an invitation stays with the first identity that used it, until it expired.

use std::collections::BTreeMap;

use super::id::IdentityId;

/// A bounded record of used invitations. Entries go when their invitations expired.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsedInvitations(BTreeMap<u64, Used>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Used {
    by: IdentityId,
    expires: u64,
}

impl UsedInvitations {
    /// The most invitations that are remembered at once.
    pub const MAX: usize = 65_536;

    /// An empty record.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Notes that an identity uses an invitation, which no longer verifies after `expires`. It may
    /// do so again: its answer may have been lost.
    ///
    /// # Errors
    /// Another identity used it, or the record is full; nothing changes then.
    pub fn claim(
        &mut self,
        serial: u64,
        by: IdentityId,
        expires: u64,
        now: u64,
    ) -> Result<(), ClaimError> {
        if let Some(used) = self.0.get(&serial) {
            return match used.by == by {
                true => Ok(()),
                false => Err(ClaimError::Used { by: used.by }),
            };
        }
        if self.0.len() >= Self::MAX {
            self.0.retain(|_, used| used.expires >= now);
        }
        if self.0.len() >= Self::MAX {
            return Err(ClaimError::Full);
        }
        self.0.insert(serial, Used { by, expires });
        Ok(())
    }

    /// All entries: serial, who used it, and until when it matters. Each can be given to
    /// [`claim`](Self::claim) again.
    pub fn entries(&self) -> impl Iterator<Item = (u64, IdentityId, u64)> + '_ {
        let entries = self.0.iter();
        entries.map(|(serial, used)| (*serial, used.by, used.expires))
    }
}

/// Why an invitation cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// It is for a single use, and another identity used it.
    #[error("the invitation was used already, by {by}")]
    Used {
        /// Who used it.
        by: IdentityId,
    },
    /// No more can be remembered before some expire; try again later.
    #[error(
        "{} invitations are in use, and no more are remembered",
        UsedInvitations::MAX
    )]
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IdentityId = IdentityId::from_octets([1; 32]);
    const B: IdentityId = IdentityId::from_octets([2; 32]);

    #[test]
    fn an_invitation_stays_with_the_first_that_used_it() {
        let mut used = UsedInvitations::new();
        assert_eq!(used.claim(7, A, 100, 0), Ok(()));
        assert_eq!(used.claim(7, A, 100, 50), Ok(()));
        assert_eq!(used.claim(7, B, 100, 50), Err(ClaimError::Used { by: A }));
        assert_eq!(used.claim(8, B, 100, 50), Ok(()));
        let entries: Vec<_> = used.entries().collect();
        assert_eq!(entries, [(7, A, 100), (8, B, 100)]);
    }

    #[test]
    fn a_full_record_makes_room_only_for_what_expired() {
        let mut used = UsedInvitations::new();
        for serial in 0..UsedInvitations::MAX as u64 {
            assert_eq!(used.claim(serial, A, 100 + serial % 2, 0), Ok(()));
        }
        let serial = u64::MAX;
        assert_eq!(used.claim(serial, A, 200, 100), Err(ClaimError::Full));
        assert_eq!(used.claim(0, B, 200, 100), Err(ClaimError::Used { by: A }));
        assert_eq!(used.claim(serial, A, 200, 101), Ok(()));
        assert_eq!(used.entries().count(), UsedInvitations::MAX / 2 + 1);
        assert_eq!(used.claim(1, B, 200, 101), Err(ClaimError::Used { by: A }));
    }
}

//! From when until when something is valid, in seconds since the Unix epoch.
//!
//! Nothing here reads a clock. Clocks of two machines differ, so both ends are widened by
//! [`CLOCK_SKEW`] when they are checked, never when they are written.

/// How far a peer's clock may be off, in seconds: 5 minutes.
pub const CLOCK_SKEW: u64 = 5 * 60;

/// A span of time. Both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Validity {
    /// The first second, since the Unix epoch.
    pub not_before: u64,
    /// The last second, since the Unix epoch.
    pub not_after: u64,
}

impl Validity {
    /// The octets of its binary form: both ends, big-endian.
    pub(super) const SIZE: usize = 16;

    /// The span that begins at `now` and lasts so many seconds.
    pub const fn starting(now: u64, seconds: u64) -> Self {
        Self {
            not_before: now,
            not_after: now.saturating_add(seconds),
        }
    }

    /// How long it lasts, in seconds; 0 when it ends before it begins.
    pub const fn lifetime(&self) -> u64 {
        self.not_after.saturating_sub(self.not_before)
    }

    /// The last second at which [`check`](Self::check) passes.
    pub const fn expires(&self) -> u64 {
        self.not_after.saturating_add(CLOCK_SKEW)
    }

    /// Whether `now` lies within, give or take [`CLOCK_SKEW`].
    ///
    /// # Errors
    /// It does not, or the span ends before it begins.
    pub const fn check(&self, now: u64) -> Result<(), ValidityError> {
        if self.not_after < self.not_before {
            return Err(ValidityError::Reversed);
        }
        if now.saturating_add(CLOCK_SKEW) < self.not_before {
            let seconds = self.not_before - now;
            return Err(ValidityError::NotYet { seconds });
        }
        if now > self.expires() {
            let seconds = now - self.not_after;
            return Err(ValidityError::Expired { seconds });
        }
        Ok(())
    }

    pub(super) fn encode(&self) -> [u8; Self::SIZE] {
        crate::fields::join(&[
            &self.not_before.to_be_bytes(),
            &self.not_after.to_be_bytes(),
        ])
    }

    pub(super) fn decode(fields: &mut crate::fields::Fields<'_>) -> Option<Self> {
        Some(Self {
            not_before: fields.u64()?,
            not_after: fields.u64()?,
        })
    }
}

/// Why something is not valid now. Its text continues a sentence about that thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValidityError {
    /// It is not valid yet; one of the two clocks is wrong.
    #[error("is not valid for another {seconds} s; is a clock wrong?")]
    NotYet {
        /// How long until it is, in seconds.
        seconds: u64,
    },
    /// It was valid once.
    #[error("expired {seconds} s ago")]
    Expired {
        /// For how long it has not been, in seconds.
        seconds: u64,
    },
    /// It ends before it begins.
    #[error("ends before it begins")]
    Reversed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_belong_to_it_and_are_widened_by_the_skew() {
        let validity = Validity::starting(10_000, 3_600);
        assert_eq!(validity.lifetime(), 3_600);
        for now in [9_700, 10_000, 13_600, 13_900] {
            assert_eq!(validity.check(now), Ok(()));
        }
        let early = ValidityError::NotYet { seconds: 301 };
        assert_eq!(validity.check(9_699), Err(early));
        let late = ValidityError::Expired { seconds: 301 };
        assert_eq!(validity.check(13_901), Err(late));
        assert_eq!(validity.expires(), 13_900);
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let always = Validity {
            not_before: 0,
            not_after: u64::MAX,
        };
        assert_eq!(always.check(0), Ok(()));
        assert_eq!(always.check(u64::MAX), Ok(()));
        assert_eq!(Validity::starting(u64::MAX, 9).check(u64::MAX), Ok(()));
        assert_eq!(Validity::starting(0, 0).check(CLOCK_SKEW), Ok(()));
        let reversed = Validity {
            not_before: 2,
            not_after: 1,
        };
        assert_eq!(reversed.check(1), Err(ValidityError::Reversed));
        assert_eq!(reversed.lifetime(), 0);
    }
}

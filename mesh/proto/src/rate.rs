//! How fast one peer may send: a bucket for messages and one for octets.
//!
//! A reader charges what it got and then rests until neither bucket is in debt. What arrives in
//! one read may go over the limit; the rest makes up for it, so the average holds. Time is an
//! argument, counted from any fixed moment.

use std::time::Duration;

/// The most that a peer may send; what it sends beyond waits in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimit {
    /// Messages per second. Default no limit.
    pub messages: Option<u32>,
    /// Octets per second, headers included. Default no limit.
    pub octets: Option<u64>,
}

impl RateLimit {
    /// Whether there is any limit.
    pub fn is_set(&self) -> bool {
        self.messages.is_some() || self.octets.is_some()
    }
}

/// What one peer has used of its [`RateLimit`].
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    limit: RateLimit,
    /// When each debt will be paid.
    messages_paid: Duration,
    octets_paid: Duration,
}

impl Bucket {
    /// An unused one.
    pub fn new(limit: RateLimit) -> Self {
        Self {
            limit,
            messages_paid: Duration::ZERO,
            octets_paid: Duration::ZERO,
        }
    }

    /// Notes what the peer sent at `now`.
    pub fn charge(&mut self, messages: u64, octets: u64, now: Duration) {
        if let Some(limit) = self.limit.messages {
            self.messages_paid =
                self.messages_paid.max(now) + per_second(messages, u64::from(limit));
        }
        if let Some(limit) = self.limit.octets {
            self.octets_paid = self.octets_paid.max(now) + per_second(octets, limit);
        }
    }

    /// How long to rest at `now` before the next read; `None` when there is no debt.
    #[must_use]
    pub fn rest(&self, now: Duration) -> Option<Duration> {
        self.messages_paid
            .max(self.octets_paid)
            .checked_sub(now)
            .filter(|rest| !rest.is_zero())
    }
}

/// How long `amount` takes at `limit` a second.
fn per_second(amount: u64, limit: u64) -> Duration {
    let nanos = u128::from(amount) * 1_000_000_000 / u128::from(limit.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_is_kept_and_idle_time_is_no_credit() {
        let limit = RateLimit {
            messages: Some(100),
            octets: Some(1_000_000),
        };
        let mut bucket = Bucket::new(limit);
        let mut now = Duration::from_secs(5);
        let start = now;
        for _ in 0..50 {
            assert_eq!(bucket.rest(now), None);
            bucket.charge(20, 10, now);
            now += bucket.rest(now).unwrap();
        }
        assert_eq!(
            now - start,
            Duration::from_secs(10),
            "1,000 messages at 100 a second"
        );
        now += Duration::from_secs(100);
        bucket.charge(1, 2_000_000, now);
        assert_eq!(bucket.rest(now), Some(Duration::from_secs(2)));
        let unlimited = Bucket::new(RateLimit::default());
        assert_eq!(unlimited.rest(now), None);
        let mut zero = Bucket::new(RateLimit {
            messages: Some(0),
            octets: None,
        });
        zero.charge(u64::MAX, u64::MAX, now);
        assert!(zero.rest(now).is_some());
    }
}

//! A peer in time: when a lost connection is made again, and when a silent peer is given up.
//!
//! ```text
//!  lost --next()--> wait --> dial --failed--> next(), twice as long ...
//!                              |
//!                              +--established--> reset()
//!
//!  beat: Ping --heard?--yes--> Ping at the next beat
//!                     --no---> Ping ... --no--> Ping ... --for as long as the timeout--> GiveUp
//! ```
//!
//! Every beat asks, traffic or not: a beat without an answer counts only if it began with a PING.
//!
//! A side that only receives is heard as well: it sends a PING at each beat. Its peer cannot rely on
//! answers, which on a link of one stream come only after all that it sent before its own PING was read.
//!
//! Moments are durations since any fixed one; nothing here reads a clock.

use std::time::Duration;

use crate::crypto::Randomness;

/// How a lost or failed connection is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// The delay before the first attempt; it doubles up to `max`. Default 100 ms.
    pub initial: Duration,
    /// The longest delay. Default 1 s. Each delay is drawn from its upper half, so that many
    /// peers do not come at once.
    pub max: Duration,
    /// Whether it is tried again at all. Default `true`.
    pub enabled: bool,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
            enabled: true,
        }
    }
}

/// The delays between attempts.
#[derive(Debug)]
pub struct Backoff {
    options: Reconnect,
    next: Duration,
}

impl Backoff {
    /// The delays of one endpoint.
    pub fn new(options: Reconnect) -> Self {
        Self {
            options,
            next: options.initial,
        }
    }

    /// The connection was established: the next delay is the first again.
    pub fn reset(&mut self) {
        self.next = self.options.initial;
    }

    /// The next delay: doubled each time up to the limit, drawn from its upper half.
    pub fn next(&mut self, randomness: &mut dyn Randomness) -> Duration {
        let delay = self.next.min(self.options.max);
        self.next = delay.saturating_mul(2);
        let half = u64::try_from(delay.as_micros() / 2)
            .unwrap_or(u64::MAX)
            .clamp(1, u64::MAX / 2);
        Duration::from_micros(half + randomness.next_u64() % half)
    }
}

/// How a silent peer is noticed (RFC 37 §3.4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// `None` (default): towards Withy peers only. libzmq peers are asked when it is
    /// `Some(true)`; `Some(false)` asks nobody.
    pub enabled: Option<bool>,
    /// A PING is sent this often. Default 5 s.
    pub interval: Duration,
    /// The connection is closed after this much silence, rounded up to whole intervals. Default
    /// 15 s.
    pub timeout: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            enabled: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(15),
        }
    }
}

impl Heartbeat {
    /// Whether a peer is asked that is, or is not, Withy.
    pub fn enabled_for(&self, withy: bool) -> bool {
        self.enabled.unwrap_or(withy)
    }

    /// The TTL that a PING carries: the timeout, but never so short that the peer could give up
    /// between two PINGs. Zero, which is none, where that is over 60 s.
    pub fn ttl(&self) -> Duration {
        let least = self.interval.saturating_mul(2);
        if least > MAX_TTL {
            Duration::ZERO
        } else {
            self.timeout.clamp(least, MAX_TTL)
        }
    }
}

/// The longest TTL that a PING carries. libzmq computes a TTL above 65.5 s wrongly.
const MAX_TTL: Duration = Duration::from_secs(60);

/// What a beat brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// This connection has no heartbeat.
    Quiet,
    /// Ask the peer, and tell it this TTL.
    Ping(Duration),
    /// The peer was silent for too long.
    GiveUp,
}

/// Whether the peer of one connection lives.
#[derive(Debug)]
pub struct Pulse {
    heartbeat: Option<Heartbeat>,
    missed: u32,
    beat_at: Option<Duration>,
    /// How long the peer lives without traffic, by its last PING, and when that is over.
    ttl: Duration,
    ttl_at: Option<Duration>,
}

impl Pulse {
    /// The pulse of a connection that was established `now`. Without a heartbeat the peer is not
    /// asked, but held to its own TTL.
    pub fn new(heartbeat: Option<Heartbeat>, now: Duration) -> Self {
        Self {
            heartbeat,
            missed: 0,
            beat_at: heartbeat.map(|heartbeat| now + heartbeat.interval),
            ttl: Duration::ZERO,
            ttl_at: None,
        }
    }

    /// The TTL of the peer's last PING, or zero.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Notes the TTL of the peer's last PING; zero takes the deadline back.
    pub fn set_ttl(&mut self, ttl: Duration, now: Duration) {
        self.ttl = ttl;
        self.ttl_at = (!ttl.is_zero()).then(|| now + ttl);
    }

    /// When to look next.
    pub fn deadline(&self) -> Option<Duration> {
        self.beat_at.into_iter().chain(self.ttl_at).min()
    }

    /// Whether [`Pulse::beat`] is due.
    pub fn beat_is_due(&self, now: Duration) -> bool {
        self.beat_at.is_some_and(|at| at <= now)
    }

    /// Whether [`Pulse::expire`] is due.
    pub fn ttl_is_due(&self, now: Duration) -> bool {
        self.ttl_at.is_some_and(|at| at <= now)
    }

    /// One beat: was something heard since the last? `excused` says that the silence may be our
    /// own doing, since we do not read.
    pub fn beat(&mut self, now: Duration, heard: bool, excused: bool) -> Beat {
        let Some(heartbeat) = self.heartbeat else {
            return Beat::Quiet;
        };
        let Heartbeat {
            interval, timeout, ..
        } = heartbeat;
        self.beat_at = Some(now + interval);
        if heard {
            self.missed = 0;
        } else if !excused {
            self.missed = self.missed.saturating_add(1);
        }
        if interval * self.missed >= timeout {
            Beat::GiveUp
        } else {
            Beat::Ping(heartbeat.ttl())
        }
    }

    /// Whether the peer missed a heartbeat.
    pub fn is_silent(&self) -> bool {
        self.missed > 1
    }

    /// The peer's TTL is over: `true` when it showed no life since the last look.
    pub fn expire(&mut self, now: Duration, heard: bool, excused: bool) -> bool {
        self.ttl_at = Some(now + self.ttl);
        !heard && !excused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Seeded;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn delays_double_up_to_the_limit_within_their_upper_half() {
        let options = Reconnect::default();
        let mut backoff = Backoff::new(options);
        for expected in [100, 200, 400, 800, 1_000, 1_000] {
            let delay = backoff.next(&mut Seeded::new(expected)).as_millis();
            let expected = u128::from(expected);
            assert!(
                delay >= expected / 2 && delay <= expected,
                "{delay} for {expected}"
            );
        }
        backoff.reset();
        assert!(backoff.next(&mut Seeded::new(1)) <= options.initial);
    }

    #[test]
    fn the_longest_delay_of_all_is_none_that_panics() {
        let endless = Reconnect {
            initial: Duration::MAX,
            max: Duration::MAX,
            enabled: true,
        };
        let mut backoff = Backoff::new(endless);
        for seed in 0..10 {
            let delay = backoff.next(&mut Seeded::new(seed));
            assert!(delay > Duration::from_secs(365 * 24 * 3_600));
        }
    }

    #[test]
    fn a_peer_that_does_not_answer_is_asked_and_then_given_up() {
        let heartbeat = Heartbeat {
            enabled: Some(true),
            interval: SECOND,
            timeout: 3 * SECOND,
        };
        let mut pulse = Pulse::new(Some(heartbeat), SECOND);
        assert_eq!(pulse.deadline(), Some(2 * SECOND));
        let ping = Beat::Ping(3 * SECOND);
        assert_eq!(pulse.beat(2 * SECOND, true, false), ping);
        assert_eq!(pulse.beat(3 * SECOND, true, false), ping);
        assert_eq!(pulse.beat(4 * SECOND, false, false), ping);
        assert!(!pulse.is_silent());
        assert_eq!(pulse.beat(5 * SECOND, false, true), ping);
        assert_eq!(pulse.beat(6 * SECOND, false, false), ping);
        assert!(pulse.is_silent());
        assert_eq!(pulse.beat(7 * SECOND, false, false), Beat::GiveUp);
    }

    /// Against a peer that only answers PINGs, and against one that stops to answer: however the
    /// timeout relates to the interval, the first stays and the second was asked in vain before.
    #[test]
    fn nobody_is_given_up_who_was_not_asked() {
        for percent in [100, 140, 200, 300] {
            let interval = 5 * SECOND;
            let heartbeat = Heartbeat {
                enabled: Some(true),
                interval,
                timeout: interval * percent / 100,
            };
            let mut pulse = Pulse::new(Some(heartbeat), Duration::ZERO);
            let (mut now, mut asked) = (Duration::ZERO, None);
            let mut heard = true;
            for _ in 0..10 {
                now += interval;
                let Beat::Ping(ttl) = pulse.beat(now, heard, false) else {
                    panic!("{percent} %: no PING at {now:?}");
                };
                assert!(
                    ttl > interval,
                    "{percent} %: the peer gives up before the next"
                );
                heard = true;
                asked = Some(now);
            }
            let asked = asked.unwrap();
            while pulse.beat(now + interval, false, false) != Beat::GiveUp {
                now += interval;
            }
            let silence = now + interval - asked;
            assert!(silence >= heartbeat.timeout, "{percent} %: {silence:?}");
            assert!(
                silence < heartbeat.timeout + interval,
                "{percent} %: {silence:?}"
            );
        }
    }

    #[test]
    fn a_ttl_outlives_the_interval_or_is_none() {
        let ttl = |interval: u32, timeout: u32| {
            let heartbeat = Heartbeat {
                enabled: None,
                interval: interval * SECOND,
                timeout: timeout * SECOND,
            };
            heartbeat.ttl()
        };
        assert_eq!(ttl(5, 15), 15 * SECOND);
        assert_eq!(ttl(5, 5), 10 * SECOND);
        assert_eq!(ttl(20, 100), 60 * SECOND);
        assert_eq!(ttl(30, 30), 60 * SECOND);
        assert_eq!(ttl(31, 31), Duration::ZERO);
        assert_eq!(ttl(120, 300), Duration::ZERO);
    }

    #[test]
    fn a_peer_is_held_to_its_last_ttl() {
        let mut pulse = Pulse::new(None, SECOND);
        assert_eq!(pulse.deadline(), None);
        pulse.set_ttl(2 * SECOND, SECOND);
        assert_eq!(pulse.deadline(), Some(3 * SECOND));
        assert!(!pulse.ttl_is_due(2 * SECOND) && pulse.ttl_is_due(3 * SECOND));
        assert!(!pulse.expire(3 * SECOND, true, false));
        assert!(pulse.expire(5 * SECOND, false, false));
        pulse.set_ttl(Duration::ZERO, 5 * SECOND);
        assert_eq!(pulse.deadline(), None);
    }
}

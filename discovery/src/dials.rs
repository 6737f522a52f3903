//! How many peers may be dialled because of records, so that records cause no storm of connections.
//!
//! ```text
//!  start: too many at once ------------------> Wait::Ended
//!         too many of this origin lately ----> Wait::Until
//!         this peer failed a while ago ------> Wait::Until, twice as long each time
//!         else it counts as under way until `end`
//! ```
//!
//! Time is an argument, counted from any fixed moment.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::hints::Hints;
use crate::peer::PeerTag;
use crate::table::Origin;

/// The most dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialLimits {
    /// At once. Default 16.
    pub at_once: usize,
    /// At once because of one origin. Default 8.
    pub per_origin: usize,
    /// How long each dial counts against its origin. Default 250 ms, so four a second.
    pub interval: Duration,
    /// How many an origin may start without a pause after it was quiet. Default 16.
    pub burst: u32,
    /// How long a peer is left alone after the first failure. Default 1 s.
    pub first_pause: Duration,
    /// How long at most. Default 60 s.
    pub longest_pause: Duration,
    /// Hints that wait to be dialled, half of them at most announced by nodes of which nothing is known.
    /// Default 256.
    pub hints: usize,
}

impl Default for DialLimits {
    fn default() -> Self {
        Self {
            at_once: 16,
            per_origin: 8,
            interval: Duration::from_millis(250),
            burst: 16,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            hints: Hints::MAX,
        }
    }
}

/// Why a peer is not dialled now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until another dial ends, or for ever if this one is under way already.
    Ended,
    /// Until then.
    Until(Duration),
}

/// The dials that are under way, and what went before.
#[derive(Debug)]
pub struct Dials {
    limits: DialLimits,
    under_way: BTreeMap<PeerTag, Origin>,
    /// Until when the dials of each origin count.
    origins: BTreeMap<Origin, Duration>,
    failed: BTreeMap<PeerTag, Failure>,
    put_off: u64,
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    until: Duration,
    pause: Duration,
}

impl Dials {
    /// The most origins and peers that are remembered each; of more, what ends first is forgotten.
    pub const MAX_REMEMBERED: usize = 4_096;

    /// Without any dials.
    pub const fn new(limits: DialLimits) -> Self {
        Self {
            limits,
            under_way: BTreeMap::new(),
            origins: BTreeMap::new(),
            failed: BTreeMap::new(),
            put_off: 0,
        }
    }

    /// Counts a dial of a peer that an origin brought as under way.
    ///
    /// # Errors
    /// It has to wait, and nothing changed.
    pub fn start(&mut self, peer: PeerTag, origin: Origin, now: Duration) -> Result<(), Wait> {
        let waits = self.wait(peer, origin, now);
        if let Some(wait) = waits {
            self.put_off += 1;
            return Err(wait);
        }
        self.under_way.insert(peer, origin);
        let counts = self.origins.get(&origin).copied().unwrap_or_default();
        let counts = counts.max(now) + self.limits.interval;
        self.origins.insert(origin, counts);
        if self.origins.len() > Self::MAX_REMEMBERED {
            forget_first(&mut self.origins, |until| *until);
        }
        Ok(())
    }

    fn wait(&self, peer: PeerTag, origin: Origin, now: Duration) -> Option<Wait> {
        let same = self.under_way.values().filter(|it| **it == origin).count();
        if self.under_way.contains_key(&peer)
            || self.under_way.len() >= self.limits.at_once
            || same >= self.limits.per_origin
        {
            return Some(Wait::Ended);
        }
        let failed = self.failed.get(&peer).map(|failure| failure.until);
        let credit = self.limits.interval * self.limits.burst.saturating_sub(1);
        let counts = self
            .origins
            .get(&origin)
            .map(|until| until.saturating_sub(credit));
        let until = failed.max(counts)?;
        (until > now).then_some(Wait::Until(until))
    }

    /// Notes that a dial came to an end. `met` says whether the peer was there and proved to be
    /// itself.
    pub fn end(&mut self, peer: PeerTag, met: bool, now: Duration) {
        if self.under_way.remove(&peer).is_none() {
            return;
        }
        if met {
            self.failed.remove(&peer);
            return;
        }
        let pause = match self.failed.get(&peer) {
            Some(failure) => (failure.pause * 2).min(self.limits.longest_pause),
            None => self.limits.first_pause,
        };
        let until = now + pause;
        self.failed.insert(peer, Failure { until, pause });
        if self.failed.len() > Self::MAX_REMEMBERED {
            forget_first(&mut self.failed, |failure| failure.until);
        }
    }

    /// The most dials.
    pub const fn limits(&self) -> &DialLimits {
        &self.limits
    }

    /// How many dials had to wait.
    pub const fn put_off(&self) -> u64 {
        self.put_off
    }

    /// Whose dials are under way.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerTag> + '_ {
        self.under_way.keys().copied()
    }

    /// How many are under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }
}

fn forget_first<K: Ord + Copy, V>(among: &mut BTreeMap<K, V>, ends: impl Fn(&V) -> Duration) {
    let first = among.iter().min_by_key(|(_, value)| ends(value));
    if let Some(key) = first.map(|(key, _)| *key) {
        among.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u16) -> PeerTag {
        let mut octets = [0; PeerTag::SIZE];
        octets[..2].copy_from_slice(&number.to_be_bytes());
        PeerTag::from_octets(octets)
    }

    #[test]
    fn a_flood_of_records_starts_few_dials() {
        let mut dials = Dials::new(DialLimits::default());
        let mdns = |last| Origin::Mdns([10, 0, 0, last].into());
        let mut now = Duration::from_secs(1);
        let mut started = 0;
        let start = now;
        // A thousand peers of one origin, none of which is there.
        for number in 0..1_000 {
            while let Err(wait) = dials.start(peer(number), mdns(1), now) {
                assert!(dials.under_way() <= 8);
                match wait {
                    Wait::Ended => {
                        let peers: Vec<_> = dials.under_way.keys().copied().collect();
                        peers.into_iter().for_each(|it| dials.end(it, false, now));
                    }
                    Wait::Until(until) => now = until,
                }
            }
            started += 1;
        }
        let rate = (now - start) / (started - 16);
        assert_eq!(rate, Duration::from_millis(250));
        // Another origin has dials of its own.
        assert_eq!(dials.start(peer(2_000), mdns(2), now), Ok(()));
        for last in 3..20 {
            let _ = dials.start(peer(3_000 + u16::from(last)), mdns(last), now);
            let _ = dials.start(peer(4_000 + u16::from(last)), mdns(last), now);
        }
        assert_eq!(dials.under_way(), 16);
        assert!(dials.put_off() > 100);
    }

    #[test]
    fn a_peer_that_fails_is_left_alone_for_longer_each_time() {
        let mut dials = Dials::new(DialLimits::default());
        let mut now = Duration::from_secs(1);
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(dials.start(peer(1), Origin::Host, now), Ok(()));
            assert_eq!(dials.start(peer(1), Origin::Host, now), Err(Wait::Ended));
            dials.end(peer(1), false, now);
            let until = now + Duration::from_secs(pause);
            let wait = dials.start(peer(1), Origin::Host, now);
            assert_eq!(wait, Err(Wait::Until(until)));
            now = until;
        }
        dials.start(peer(1), Origin::Host, now).unwrap();
        dials.end(peer(1), true, now);
        assert_eq!(
            dials.start(peer(1), Origin::Host, now),
            Ok(()),
            "it was there"
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut dials = Dials::new(DialLimits::default());
        for number in 0..5_000 {
            let now = Duration::from_millis(u64::from(number));
            dials
                .start(peer(number), Origin::Gossip(peer(number)), now)
                .unwrap();
            dials.end(peer(number), false, now);
        }
        assert_eq!(dials.failed.len(), Dials::MAX_REMEMBERED);
        assert_eq!(dials.origins.len(), Dials::MAX_REMEMBERED);
        assert!(dials.failed.contains_key(&peer(4_999)));
    }
}

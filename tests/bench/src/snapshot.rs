//! What a process had counted and used at one moment, and the difference of two such moments.
//!
//! A snapshot is one line of text: that is how it reaches the runner.

use std::{fmt, str::FromStr, time::Duration};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

/// The counters of one process at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Since the process began to count.
    pub(crate) at: Duration,
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Resident memory in KiB.
    pub(crate) resident_kib: u64,
    /// Messages that subscribers found missing.
    pub(crate) lost: u64,
    /// Messages or round trips, by lane.
    pub(crate) counts: Vec<u64>,
    /// Histogram buckets of the round trips.
    pub(crate) round_trips: Vec<(usize, u64)>,
}

impl Snapshot {
    /// Returns what happened since `earlier`; memory stays as it is now.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().zip(&earlier.counts);
        let before = |bucket: usize| {
            let found = earlier.round_trips.iter().find(|(at, _)| *at == bucket);
            found.map_or(0, |(_, count)| *count)
        };
        Self {
            at: self.at.saturating_sub(earlier.at),
            cpu: self.cpu.saturating_sub(earlier.cpu),
            resident_kib: self.resident_kib,
            lost: self.lost - earlier.lost,
            counts: counts.map(|(now, before)| now - before).collect(),
            round_trips: self
                .round_trips
                .iter()
                .map(|(at, count)| (*at, count - before(*at)))
                .collect(),
        }
    }

    /// Returns the messages or round trips of all lanes.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, cpu) = (self.at.as_nanos(), self.cpu.as_nanos());
        write!(f, "{at} {cpu} {} {} ", self.resident_kib, self.lost)?;
        for count in &self.counts {
            write!(f, "{count},")?;
        }
        write!(f, " ")?;
        for (bucket, count) in &self.round_trips {
            write!(f, "{bucket}:{count},")?;
        }
        Ok(())
    }
}

impl FromStr for Snapshot {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        parse(line).ok_or_else(|| format!("not a snapshot: {line}"))
    }
}

fn parse(line: &str) -> Option<Snapshot> {
    let mut words = line.split(' ');
    let mut number = || words.next()?.parse::<u64>().ok();
    let (at, cpu, resident_kib, lost) = (number()?, number()?, number()?, number()?);
    let counts = words
        .next()?
        .split_terminator(',')
        .map(|count| count.parse().ok());
    let buckets = words.next()?.split_terminator(',').map(|entry| {
        let (bucket, count) = entry.split_once(':')?;
        Some((bucket.parse().ok()?, count.parse().ok()?))
    });
    Some(Snapshot {
        at: Duration::from_nanos(at),
        cpu: Duration::from_nanos(cpu),
        resident_kib,
        lost,
        counts: counts.collect::<Option<_>>()?,
        round_trips: buckets.collect::<Option<_>>()?,
    })
}

/// Returns the processor time that this process has used, user and system.
pub(crate) fn cpu() -> Duration {
    cpu_of(UsageWho::RUSAGE_SELF)
}

/// Returns the processor time of the processes that this one started and that have ended.
pub(crate) fn cpu_of_children() -> Duration {
    cpu_of(UsageWho::RUSAGE_CHILDREN)
}

fn cpu_of(who: UsageWho) -> Duration {
    let Ok(usage) = getrusage(who) else {
        return Duration::ZERO;
    };
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros.unsigned_abs())
}

/// Returns the resident memory of this process in KiB; 0 where the kernel does not tell.
pub(crate) fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_survives_the_pipe() {
        let snapshot = Snapshot {
            at: Duration::from_nanos(17),
            cpu: Duration::from_micros(3),
            resident_kib: 9,
            lost: 1,
            counts: vec![4, 5],
            round_trips: vec![(77, 2)],
        };
        assert_eq!(snapshot.to_string().parse(), Ok(snapshot));
        let empty = Snapshot::default();
        assert_eq!(empty.to_string().parse(), Ok(empty));
    }

    #[test]
    fn a_window_is_the_difference_of_two_moments() {
        let earlier = Snapshot {
            counts: vec![1, 2],
            round_trips: vec![(5, 1)],
            ..Snapshot::default()
        };
        let later = Snapshot {
            counts: vec![4, 2],
            round_trips: vec![(5, 3), (6, 1)],
            ..Snapshot::default()
        };
        let window = later.since(&earlier);
        assert_eq!(
            (window.total(), window.round_trips),
            (3, vec![(5, 2), (6, 1)])
        );
    }
}

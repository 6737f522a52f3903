//! Counts durations in log-linear buckets, without a lock.
//!
//! Each power of two of nanoseconds is cut into 64 buckets, so a percentile is
//! within 0.8 % of the truth. It has one writer and any number of readers.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

const STEPS: u64 = 64;
/// Up to 2^37 ns, about 137 s; what is longer falls into the last bucket.
const BUCKETS: usize = 32 * STEPS as usize;

/// A live histogram.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: Box<[AtomicU64]>,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Counts one duration.
    pub(crate) fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let cell = &self.buckets[bucket(nanos)];
        cell.store(cell.load(Relaxed) + 1, Relaxed);
    }

    /// Returns the buckets that are not empty, in order.
    pub(crate) fn read(&self) -> Vec<(usize, u64)> {
        let counts = self
            .buckets
            .iter()
            .map(|cell| cell.load(Relaxed))
            .enumerate();
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

/// Returns the nanoseconds below which `share` of the counted durations lie; 0 if there are none.
pub(crate) fn percentile(counts: &[(usize, u64)], share: f64) -> f64 {
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let mut left = share * total as f64;
    for (bucket, count) in counts {
        left -= *count as f64;
        if left <= 0.0 {
            return middle(*bucket);
        }
    }
    counts.last().map_or(0.0, |(bucket, _)| middle(*bucket))
}

fn bucket(nanos: u64) -> usize {
    let octave = u64::from(nanos.max(STEPS).ilog2() - STEPS.ilog2());
    // Below 64 ns a bucket is one nanosecond wide; above, 1/64 of its octave.
    let index = if nanos < STEPS {
        nanos
    } else {
        octave * STEPS + (nanos >> octave)
    };
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

fn middle(bucket: usize) -> f64 {
    let (bucket, steps) = (bucket as f64, STEPS as f64);
    let octave = ((bucket / steps).floor() - 1.0).max(0.0);
    let start = (bucket - octave * steps) * octave.exp2();
    start + octave.exp2() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_within_a_hundredth_of_its_durations() {
        for nanos in [
            0_u64,
            1,
            63,
            64,
            65,
            127,
            128,
            1_000,
            37_613,
            82_500,
            999_999,
            1 << 36,
        ] {
            let found = middle(bucket(nanos));
            assert!(
                (found - nanos as f64).abs() <= 0.51 + nanos as f64 * 0.01,
                "{nanos} read as {found}"
            );
        }
    }

    #[test]
    fn percentiles_count_from_the_smallest() {
        let histogram = Histogram::new();
        for micros in 1..=100 {
            histogram.record(Duration::from_micros(micros));
        }
        let counts = histogram.read();
        assert!((percentile(&counts, 0.5) / 50_000.0 - 1.0).abs() < 0.02);
        assert!((percentile(&counts, 0.99) / 99_000.0 - 1.0).abs() < 0.02);
        assert_eq!(percentile(&[], 0.5).to_bits(), 0.0_f64.to_bits());
    }
}

//! The ratio of two peers over the rounds of a run, and how sure it is.
//!
//! Two values of the same round were measured one right after the other, so it is their ratio that
//! counts, and the median of these; of rounds that do not belong together it is the ratio of the medians.
//! The interval is that of the percentiles of 2,000 draws of rounds with replacement, always the same ones.

use crate::stats::Summary;

/// Draws.
const DRAWS: usize = 2_000;
/// The share of the draws that lies on either side of the interval.
const TAIL: f64 = 0.025;
/// Where the draws begin.
const SEED: u64 = 0x5741_4e44_4552_4c59;

/// A value of each round that worked, with the round's number.
pub(crate) type Rounds = Vec<(usize, f64)>;

/// A ratio and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    /// There is none of a single round.
    pub(crate) interval: Option<(f64, f64)>,
}

impl Ratio {
    /// Divides one peer's rounds by another's; nothing if one has none.
    pub(crate) fn of(one: &[(usize, f64)], other: &[(usize, f64)]) -> Option<Self> {
        let paired = one.iter().filter_map(|(round, value)| {
            let (_, by) = other.iter().find(|(at, _)| at == round)?;
            Some(value / by)
        });
        let paired: Vec<f64> = paired.collect();
        if paired.is_empty() {
            return Self::apart(one, other);
        }
        let mut random = Random(SEED);
        let draw = || median(&random.draw(&paired));
        Some(Self::among(median(&paired)?, paired.len(), draw))
    }

    /// Divides the medians of rounds that were measured at different times.
    pub(crate) fn apart(one: &[(usize, f64)], other: &[(usize, f64)]) -> Option<Self> {
        let [one, other] = [one, other]
            .map(|rounds| -> Vec<f64> { rounds.iter().map(|(_, value)| *value).collect() });
        let ratio = median(&one)? / median(&other)?;
        let mut random = Random(SEED);
        let draw = || Some(median(&random.draw(&one))? / median(&random.draw(&other))?);
        Some(Self::among(ratio, one.len().min(other.len()), draw))
    }

    /// The median of one peer's rounds, as it is.
    pub(crate) fn alone(rounds: &[(usize, f64)]) -> Option<Self> {
        let units: Rounds = rounds.iter().map(|(at, _)| (*at, 1.0)).collect();
        Self::of(rounds, &units)
    }

    fn among(median: f64, rounds: usize, draw: impl FnMut() -> Option<f64>) -> Self {
        let mut draws: Vec<f64> = std::iter::repeat_with(draw).take(DRAWS).flatten().collect();
        draws.sort_by(f64::total_cmp);
        let cut = (TAIL * draws.len() as f64) as usize;
        let interval = || Some((*draws.get(cut)?, *draws.get(draws.len() - 1 - cut)?));
        Self {
            median,
            interval: if rounds > 1 { interval() } else { None },
        }
    }
}

fn median(values: &[f64]) -> Option<f64> {
    Summary::of(values.iter().copied()).map(|summary| summary.median)
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Draws as many values as there are, with replacement.
    fn draw(&mut self, values: &[f64]) -> Vec<f64> {
        let count = values.len() as u64;
        // The upper half is the better one.
        let mut at = || ((self.next() >> 32) % count) as usize;
        values.iter().map(|_| values[at()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(values: impl IntoIterator<Item = f64>) -> Rounds {
        values.into_iter().enumerate().collect()
    }

    #[test]
    fn rounds_that_are_slow_for_both_do_not_widen_it() {
        let other = rounds([10.0, 20.0, 5.0, 40.0]);
        let one = rounds([20.0, 40.0, 10.0, 80.0]);
        let ratio = Ratio {
            median: 2.0,
            interval: Some((2.0, 2.0)),
        };
        assert_eq!(Ratio::of(&one, &other), Some(ratio));
    }

    #[test]
    fn the_interval_of_a_median_lies_about_it() {
        // By the order statistics of 15 values it reaches from the 4th to the 12th.
        let ratio = Ratio::alone(&rounds((1..=15).map(f64::from))).expect("rounds");
        let (low, high) = ratio.interval.expect("an interval");
        assert_eq!(ratio.median, 8.0);
        assert!((4.0..=6.0).contains(&low), "{low}");
        assert!((10.0..=12.0).contains(&high), "{high}");
        assert_eq!(Ratio::alone(&rounds((1..=15).map(f64::from))), Some(ratio));
    }

    #[test]
    fn rounds_that_do_not_meet_are_compared_by_their_medians() {
        let one = rounds([4.0, 6.0]);
        let other = vec![(7, 2.0), (8, 3.0)];
        let ratio = Ratio::of(&one, &other).expect("rounds");
        assert_eq!(
            (ratio.median, ratio.interval),
            (2.0, Some((4.0 / 3.0, 3.0)))
        );
    }

    #[test]
    fn one_round_has_no_interval_and_none_no_ratio() {
        let one = rounds([4.0]);
        let ratio = Ratio::of(&one, &one).expect("a round");
        assert_eq!((ratio.median, ratio.interval), (1.0, None));
        assert_eq!(Ratio::of(&one, &Vec::new()), None);
        assert_eq!(Ratio::of(&Vec::new(), &one), None);
    }
}

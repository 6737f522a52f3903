//! The counts that are held to be right, and what differs from them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::Failure;
use crate::ground::Ground;

const HEAD: &str = "\
# Instructions for a message on each main path, both ends together, without the kernel. A change that moves
# a count by more than its row allows brings a new one, and says in its message why:
#
#   tests/instructions/run --accept [--rows TEXT]
#
# valgrind shows programs the same processor on any x86-64 with AES and AVX2: no AVX-512, no VAES. So counts
# of ciphers hold on all of these, and are higher than where a program finds such instructions. Where the
# libc, valgrind or the compiler is another one, a row may differ by twice as much, and a lower count is no
# failure; where the processor is, nothing is compared.
";

/// What is in the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Baseline {
    /// On what it was counted.
    pub(crate) ground: Ground,
    /// Instructions for a message, by the name of the row.
    pub(crate) counts: BTreeMap<String, f64>,
}

/// How a count compares with the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Holds,
    Slower,
    /// Taken over, or a slowdown by as much would not be seen later.
    Faster,
    /// The baseline does not have the row.
    New,
}

impl Baseline {
    /// Reads a baseline.
    ///
    /// # Errors
    /// A line is none of it.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut baseline = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, value)) = line.split_once(": ") {
                baseline.ground.set(name, value)?;
            } else if let Some((name, count)) = line.split_once(' ') {
                baseline
                    .counts
                    .insert(name.to_owned(), count.trim().parse()?);
            } else if !line.is_empty() {
                return Err(format!("not a line of a baseline: {line}").into());
            }
        }
        Ok(baseline)
    }

    /// The text of the file.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("{HEAD}\n{}\n", self.ground);
        for (name, count) in &self.counts {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<24}{:>10}", written(*count));
        }
        text
    }

    /// Compares a count with the baseline of its row, from which it may differ by `tolerance` percent.
    pub(crate) fn judge(&self, name: &str, count: f64, tolerance: f64) -> Verdict {
        let Some(change) = self.change(name, count) else {
            return Verdict::New;
        };
        if change > tolerance {
            Verdict::Slower
        } else if change < -tolerance {
            Verdict::Faster
        } else {
            Verdict::Holds
        }
    }

    /// By how many percent a count is above the baseline of its row.
    pub(crate) fn change(&self, name: &str, count: f64) -> Option<f64> {
        let before = self.counts.get(name)?;
        Some((count / before - 1.0) * 100.0)
    }
}

/// A count as people read it: one of small messages has a digit behind the point.
pub(crate) fn written(count: f64) -> String {
    format!("{count:.*}", usize::from(count < 1_000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(row: &str, count: f64) -> Baseline {
        Baseline {
            counts: BTreeMap::from([(row.to_owned(), count)]),
            ..Baseline::default()
        }
    }

    #[test]
    fn a_count_beyond_the_tolerance_is_seen_on_either_side() {
        let baseline = baseline("row", 1_000.0);
        for (count, verdict) in [
            (1_049.0, Verdict::Holds),
            (1_051.0, Verdict::Slower),
            (951.0, Verdict::Holds),
            (949.0, Verdict::Faster),
        ] {
            assert_eq!(baseline.judge("row", count, 5.0), verdict, "{count}");
        }
        assert_eq!(baseline.judge("another", 1_000.0, 5.0), Verdict::New);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut baseline = baseline("encode/64", 73.2);
        baseline.counts.insert("connect/tcp".to_owned(), 259_037.0);
        baseline.ground = Ground::of_this_machine();
        let read = Baseline::parse(&baseline.render()).expect("its own text");
        assert_eq!(read, baseline);
        assert!(Baseline::parse("encode/64").is_err());
        assert!(Baseline::parse("encode/64 many").is_err());
        assert!(Baseline::parse("weather: fine").is_err());
    }

    #[test]
    fn the_committed_baseline_has_every_row_and_no_other() {
        let baseline = Baseline::parse(include_str!("baseline.txt")).expect("the committed one");
        let names: Vec<&str> = baseline.counts.keys().map(String::as_str).collect();
        let mut rows: Vec<&str> = crate::rows::ROWS.iter().map(|row| row.name).collect();
        rows.sort_unstable();
        assert_eq!(names, rows);
    }
}

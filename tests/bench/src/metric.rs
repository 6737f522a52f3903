//! What a row measures, and how a value of it is written.

/// One measured quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Messages, deliveries or connections per second. The one quantity that is better when larger.
    Rate,
    /// Processor seconds, user and system, of all processes, per million of what the rate counts.
    Cpu,
    /// The median of a duration, in microseconds.
    P50,
    /// The 99th percentile of a duration, in microseconds.
    P99,
    /// Lost deliveries of all that were due, in percent.
    Loss,
    /// Messages of the busiest connection divided by those of the quietest.
    Fairness,
    /// Resident KiB per connection of the process that binds.
    BoundMemory,
    /// Resident KiB per connection of the process that connects.
    ConnectedMemory,
}

impl Metric {
    /// Returns the words that stand after the name of the case.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Rate => "per second",
            Self::Cpu => "CPU s/M",
            Self::P50 => "p50 µs",
            Self::P99 => "p99 µs",
            Self::Loss => "lost %",
            Self::Fairness => "max/min per sender",
            Self::BoundMemory => "KiB/connection, bound side",
            Self::ConnectedMemory => "KiB/connection, connecting side",
        }
    }

    /// Returns whether `one` is a better value than `other`.
    pub(crate) fn better(self, one: f64, other: f64) -> bool {
        if self == Self::Rate {
            one > other
        } else {
            one < other
        }
    }

    /// Returns whether peers are ranked by it; nobody loses anything, as a rule.
    pub(crate) fn has_rank(self) -> bool {
        self != Self::Loss
    }

    /// Returns whether a ratio of two values says something.
    pub(crate) fn has_ratio(self) -> bool {
        !matches!(self, Self::Loss | Self::Fairness)
    }
}

/// Writes a value with three significant digits.
pub(crate) fn short(value: f64) -> String {
    let magnitude = value.abs();
    match magnitude {
        _ if value.is_infinite() => "∞".to_owned(),
        1e6.. => format!("{} M", digits(value / 1e6)),
        1e4.. => format!("{} k", digits(value / 1e3)),
        _ => digits(value),
    }
}

fn digits(value: f64) -> String {
    match value.abs() {
        99.95.. => format!("{value:.0}"),
        9.995.. => format!("{value:.1}"),
        0.9995.. => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_enough() {
        let written = [
            0.0,
            0.0434,
            1.234,
            45.67,
            814.2,
            9_999.0,
            45_670.0,
            3_984_000.0,
        ]
        .map(short);
        assert_eq!(
            written,
            [
                "0", "0.043", "1.23", "45.7", "814", "9999", "45.7 k", "3.98 M"
            ]
        );
        assert_eq!(short(f64::INFINITY), "∞");
    }
}

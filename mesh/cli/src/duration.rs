//! Durations on the command line: `5s`, `250ms`, `1.5m`.

use std::time::Duration;

/// The longest duration that is taken.
const MAX: Duration = Duration::from_secs(366 * 24 * 3_600);
const EXPECTED: &str = "expected a number and a unit: us, ms, s, m, h or d, as in 250ms or 5s";

/// Units, and how many microseconds each has.
const UNITS: &[(&str, f64)] = &[
    ("us", 1.0),
    ("µs", 1.0),
    ("ms", 1e3),
    ("s", 1e6),
    ("m", 60e6),
    ("min", 60e6),
    ("h", 3_600e6),
    ("d", 86_400e6),
];

/// Reads a duration.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| EXPECTED.to_owned())?;
    let unit = UNITS.iter().find(|(name, _)| *name == unit);
    let (_, micros) = match unit {
        Some(unit) => unit,
        // A zero needs no unit.
        None if number == 0.0 && end == text.len() => return Ok(Duration::ZERO),
        None => return Err(EXPECTED.to_owned()),
    };
    let seconds = number * micros / 1e6;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration <= MAX => Ok(duration),
        _ => Err("expected at most 366d".to_owned()),
    }
}

/// Writes a duration the way it is read, rounded to what matters.
pub(crate) fn show(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0 => "0s".to_owned(),
        1..10_000 => format!("{micros}us"),
        10_000..1_000_000 => format!("{}ms", micros / 1_000),
        _ if micros.is_multiple_of(1_000_000) => format!("{}s", micros / 1_000_000),
        _ => format!("{:.1}s", duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_fractions_are_read() {
        let cases = [
            ("5s", 5_000_000),
            ("250ms", 250_000),
            ("2m", 120_000_000),
            ("1.5s", 1_500_000),
            ("7us", 7),
            ("1h", 3_600_000_000),
            ("0", 0),
            ("0s", 0),
        ];
        for (text, micros) in cases {
            assert_eq!(parse(text), Ok(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "", "5", "s", "-1s", "5 s", "5x", "1.2.3s", "1e3s", "999999d", "nan", "infs",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for micros in [0, 1, 9_999, 250_000, 5_000_000, 1_500_000] {
            let duration = Duration::from_micros(micros);
            assert_eq!(parse(&show(duration)), Ok(duration));
        }
    }
}

//! What Withy is to reach, and whether the rounds of a run show it.
//!
//! A goal is reached, or missed, if all of the 95 % interval is on that side of it; else it is open.

use std::fmt::{self, Write};

use crate::{
    bootstrap::Ratio,
    metric::{Metric, short},
    results::{Line, Results},
};

/// What a goal is a multiple of.
#[derive(Clone, Copy, Debug)]
enum Of {
    /// The best peer.
    Best,
    /// The peer with this name.
    Peer(&'static str),
    /// What a peer has in another row.
    Row(&'static str, &'static str),
    /// One unit of the metric.
    Unit,
}

/// Rows (`*` at the end stands for anything), their metric, and how much of what: one is enough.
type Goal = (&'static [&'static str], Metric, &'static [Way]);

type Way = (f64, Of);

const GOALS: &[Goal] = {
    use {Metric::*, Of::*};
    const LIMIT: Of = Peer("limit");
    const STREAM: Way = (0.85, Peer("limit-stream"));
    const QUIC: Way = (0.9, LIMIT);
    &[
        (SMALL, Rate, &[(2.5, Best)]),
        (SMALL, Rate, &[(1.0, Peer("monocoque"))]),
        (&["push-pull/tcp/64"], Cpu, &[(0.17, Unit)]),
        (&["push-pull/tcp/256"], Rate, &[(2.0, Best)]),
        (&["push-pull/tcp/1024"], Rate, &[(1.3, Best), STREAM]),
        (&["push-pull/tcp/16384"], Rate, &[(1.15, Best), STREAM]),
        (&["push-pull/tcp/131072"], Rate, &[(1.25, Best)]),
        (&["push-pull/tcp/1048576"], Rate, &[(1.5, Best)]),
        (&["push-pull/ipc/*"], Rate, &[(1.5, Best)]),
        (&["push-pull/inproc/*"], Rate, &[(1.3, Best)]),
        (&["blocking/*"], Rate, &[(1.5, Best)]),
        (&["noise/push-pull/64"], Rate, &[(4.0, Best)]),
        (
            &["noise/push-pull/64"],
            Rate,
            &[(1.5, Row("push-pull/tcp/64", "omq"))],
        ),
        (
            &["noise/push-pull/1024", "noise/push-pull/16384"],
            Rate,
            &[(4.0, Peer("libzmq"))],
        ),
        (&["noise/push-pull/131072"], Rate, &[(2.5, Peer("libzmq"))]),
        (&["quic/push-pull/*"], Rate, &[QUIC]),
        (&["quic/push-pull/64"], Rate, &[(2.0, Best), QUIC]),
        (
            &["quic/push-pull/16384", "quic/push-pull/131072"],
            Rate,
            &[(1.5, Best), QUIC],
        ),
        (&["curve/push-pull/*"], Rate, &[(1.5, Best)]),
        (&["req-rep/*"], P50, &[(1.1, LIMIT)]),
        (&["noise/req-rep/*"], P50, &[(1.25, LIMIT)]),
        (&["req-rep/*", "noise/req-rep/*"], P99, &[(1.3, LIMIT)]),
        (PUB_SUB, Rate, &[(1.5, Best)]),
        (PUB_SUB, Loss, &[(0.0, Unit)]),
        (
            &["pub-sub/8/64/stopped"],
            Rate,
            &[(0.95, Row("pub-sub/8/64/dropping", "withy"))],
        ),
        (&["many-push/*"], Rate, &[(2.0, Best)]),
        (&["many-push/*"], Fairness, &[(1.2, Unit)]),
        (&["connect/tcp"], Rate, &[(1.3, Best)]),
        (&["noise/connect"], Rate, &[(1.3, Peer("libzmq"))]),
        (&["idle/*"], BoundMemory, &[(4.0, Unit)]),
        (&["idle/*"], ConnectedMemory, &[(4.0, Unit)]),
        (&["noise/idle/*"], BoundMemory, &[(8.0, Unit)]),
        (&["noise/idle/*"], ConnectedMemory, &[(8.0, Unit)]),
        (&["named/pub-sub/*"], Rate, &[(0.9, Peer("withy-sockets"))]),
        (&["named/pub-sub/*"], Rate, &[(1.0, Best)]),
        (&["named/req-rep/*"], P50, &[(1.1, Peer("withy-sockets"))]),
        (&["named/req-rep/*"], P50, &[(1.0, Best)]),
        (&["appear/*"], P50, &[(1.0, Best)]),
    ]
};

const SMALL: &[&str] = &["push-pull/tcp/16", "push-pull/tcp/64"];
const PUB_SUB: &[&str] = &[
    "pub-sub/8/64",
    "pub-sub/8/4096",
    "pub-sub/64/64",
    "pub-sub/64/4096",
];

/// Returns the goals of a line.
fn goals_of(line: Line<'_>) -> impl Iterator<Item = &'static [Way]> {
    let (row, metric) = (&line.row.name, line.metric());
    let names = move |pattern: &&str| match pattern.strip_suffix('*') {
        Some(begin) => row.starts_with(begin),
        None => row == pattern,
    };
    GOALS
        .iter()
        .filter(move |(rows, on, ..)| *on == metric && rows.iter().any(names))
        .map(|(.., ways)| *ways)
}

/// Returns what of a line's own metric its goals ask for.
pub(crate) fn targets(results: &Results, line: Line<'_>) -> Vec<f64> {
    let target = |(times, of): &Way| {
        let (line, column) = match *of {
            Of::Best => (line, line.best()?),
            Of::Peer(name) => (line, line.named(name)?),
            Of::Row(row, name) => other(results, line, row, name)?,
            Of::Unit => return Some(*times),
        };
        Some(times * line.median(column)?)
    };
    let easiest = |one: f64, other| match line.metric().better(one, other) {
        true => other,
        false => one,
    };
    goals_of(line)
        .filter_map(|ways| ways.iter().filter_map(target).reduce(easiest))
        .collect()
}

fn other<'a>(
    results: &'a Results,
    line: Line<'a>,
    row: &str,
    name: &str,
) -> Option<(Line<'a>, usize)> {
    let other = results.line(row, line.metric())?;
    Some((other, other.named(name)?))
}

/// Returns what was reached of what a goal is a multiple of.
fn reached(results: &Results, line: Line<'_>, of: Of) -> Option<Ratio> {
    let subject = line.subject()?;
    match of {
        Of::Best => line.ratio(Some(subject), line.best()),
        Of::Peer(name) => line.ratio(Some(subject), line.named(name)),
        Of::Row(row, name) => {
            let (other, column) = other(results, line, row, name)?;
            Ratio::apart(&line.rounds(subject), &other.rounds(column))
        }
        Of::Unit => Ratio::alone(&line.rounds(subject)),
    }
}

/// Writes a table of the goals that the rows have.
pub(crate) fn write(results: &Results, text: &mut String) -> fmt::Result {
    let mut begun = false;
    for line in results.lines() {
        for ways in goals_of(line) {
            let is = |way: &Way| Some((*way, reached(results, line, way.1)?));
            let ways: Vec<_> = ways.iter().filter_map(is).collect();
            if ways.is_empty() {
                continue;
            }
            if !begun {
                writeln!(text, "\n## Goals\n\n| case | metric | goal | is | |")?;
                writeln!(text, "|---|---|---|---|---|")?;
                begun = true;
            }
            let (name, metric) = (&line.row.name, line.metric());
            let goals = ways.iter().map(|(way, _)| goal(metric, *way));
            let goals = goals.collect::<Vec<_>>().join(", or ");
            let is = ways.iter().map(|(way, ratio)| is_now(*way, *ratio));
            let is = is.collect::<Vec<_>>().join("; ");
            let verdicts = ways.iter();
            let verdict = verdicts.map(|((times, _), ratio)| verdict(metric, *times, *ratio));
            let verdict = verdict.max().map_or("", Verdict::word);
            writeln!(
                text,
                "| {name} | {} | {goals} | {is} | {verdict} |",
                metric.label()
            )?;
        }
    }
    Ok(())
}

fn goal(metric: Metric, (times, of): Way) -> String {
    let side = if metric.better(1.0, 0.0) {
        "≥"
    } else {
        "≤"
    };
    let of = match of {
        Of::Best => " × best peer".to_owned(),
        Of::Peer(name) => format!(" × {name}"),
        Of::Row(row, name) => format!(" × {name} in {row}"),
        Of::Unit => String::new(),
    };
    format!("{side} {}{of}", short(times))
}

fn is_now((_, of): Way, ratio: Ratio) -> String {
    let is = crate::table::ratio(ratio);
    match of {
        Of::Unit => is.trim_start_matches('×').to_owned(),
        _ => is,
    }
}

/// What a run shows of a goal; of several ways to reach it, the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Missed,
    Open,
    Reached,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Open => "open",
            Self::Reached => "reached",
        }
    }
}

fn verdict(metric: Metric, times: f64, ratio: Ratio) -> Verdict {
    let holds = |value| value == times || metric.better(value, times);
    match ratio.interval {
        Some((low, high)) if holds(low) && holds(high) => Verdict::Reached,
        Some((low, high)) if !holds(low) && !holds(high) => Verdict::Missed,
        _ => Verdict::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rows, table::tests::mixed};

    #[test]
    fn every_goal_has_a_row() {
        let rows = rows::all();
        for (names, metric, ..) in GOALS {
            for name in *names {
                let begin = name.trim_end_matches('*');
                let has =
                    |row: &rows::Row| row.name.starts_with(begin) && row.metrics.contains(metric);
                assert!(rows.iter().any(has), "{name}");
            }
        }
    }

    #[test]
    fn the_interval_decides() {
        let ratio = |interval| Ratio {
            median: 1.0,
            interval,
        };
        let verdicts = [
            (Metric::Rate, Some((1.0, 1.2))),
            (Metric::Rate, Some((0.9, 1.2))),
            (Metric::P50, Some((1.1, 1.2))),
            (Metric::Rate, None),
        ]
        .map(|(metric, interval)| verdict(metric, 1.0, ratio(interval)));
        use Verdict::*;
        assert_eq!(verdicts, [Reached, Open, Missed, Open]);
        assert_eq!(verdicts.into_iter().max(), Some(Reached));
    }

    #[test]
    fn goals_are_listed_with_what_was_reached() {
        let mut text = String::new();
        write(&mixed(), &mut text).expect("a string takes all");
        let line = "| push-pull/tcp/16 | per second | ≥ 2.50 × best peer | ×0.500 [0.500–0.500] | missed |";
        assert!(text.contains(line), "{text}");
    }
}

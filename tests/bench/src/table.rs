//! The results as Markdown: one table per family, one line per case and metric, one column per peer,
//! and what is compared behind them.

use std::fmt::{self, Write};

use crate::{
    bootstrap::Ratio,
    goals,
    metric::short,
    results::{Cell, Line, Results},
    stats::Summary,
};

/// The longest reason that a cell shows.
const REASON: usize = 90;

/// How to read and to repeat a table.
const LEGEND: &str = "\
A cell: **median** (lowest–highest) × libzmq, or × withy-sockets where processes find each other
by themselves. Rates: more is better; all else: less is better. The best peer is the best of those whose
socket takes many peers. A ratio at the end of a line: the median of the rounds' own ratios, and its 95 %
interval by bootstrap.

`tests/bench/run --rounds 15 --samples samples.tsv --out RESULTS.md --plot ratios.svg` repeats it;
`tests/bench/run --from samples.tsv` makes it again from the samples of a run.
";

/// Writes results as Markdown.
pub(crate) fn write(results: &Results) -> String {
    let mut text = String::new();
    // Infallible: writing to a string.
    let _ = write_to(results, &mut text);
    text
}

fn write_to(results: &Results, text: &mut String) -> fmt::Result {
    let (peers, facts): (Vec<_>, Vec<_>) = results
        .heading
        .iter()
        .map(String::as_str)
        .partition(|line| line.starts_with("- "));
    writeln!(text, "# Benchmark\n\n{}\n", facts.join("\n"))?;
    writeln!(text, "{LEGEND}\n{}", peers.join("\n"))?;
    let lines: Vec<_> = results.lines().collect();
    for family in lines.chunk_by(|one, next| one.row.family == next.row.family) {
        table(results, family, text)?;
    }
    goals::write(results, text)?;
    for remark in &results.remarks {
        writeln!(text, "\n{remark}")?;
    }
    Ok(())
}

/// Writes the table of one family.
fn table(results: &Results, lines: &[Line<'_>], text: &mut String) -> fmt::Result {
    let Some(first) = lines.first() else {
        return Ok(());
    };
    let subject = first.subject();
    let yardsticks: Vec<_> = (0..results.peers.len())
        .filter(|column| results.peers[*column].standing().is_yardstick())
        .filter(|column| {
            let has = |line: &Line<'_>| line.ratio(subject, Some(*column)).is_some();
            lines.iter().any(has)
        })
        .collect();
    write!(text, "\n## {}\n\n| case | metric |", first.row.family)?;
    for peer in &results.peers {
        write!(text, " {} |", peer.name())?;
    }
    match subject.map(|column| results.peers[column].name()) {
        Some(name) => {
            write!(text, " best peer | {name} / best |")?;
            for column in &yardsticks {
                write!(text, " {name} / {} |", results.peers[*column].name())?;
            }
        }
        None => write!(text, " best peer | best / libzmq |")?,
    }
    let columns = results.peers.len() + yardsticks.len() + 2;
    writeln!(text, "\n|---|---|{}", "---|".repeat(columns))?;
    for line in lines {
        write_line(results, line, &yardsticks, text)?;
    }
    Ok(())
}

fn write_line(
    results: &Results,
    line: &Line<'_>,
    yardsticks: &[usize],
    text: &mut String,
) -> fmt::Result {
    let reference = line.reference();
    let name = if line.at == 0 { &line.row.name } else { "" };
    write!(text, "| {name} | {} |", line.metric().label())?;
    for (column, cell) in line.cells.iter().enumerate() {
        let written = match cell {
            Cell::Absent(reason) => (*reason).to_owned(),
            Cell::Tried { rounds, failures } => match line.summary(column) {
                Some(summary) => {
                    let by = reference
                        .filter(|at| line.metric().has_ratio() && *at != column)
                        .and_then(|at| line.median(at));
                    value(
                        summary,
                        by.map(|by| summary.median / by),
                        rounds.len(),
                        failures,
                    )
                }
                None => reason(failures),
            },
        };
        write!(text, " {written} |")?;
    }
    let (best, subject) = (line.best(), line.subject());
    write!(
        text,
        " {} |",
        best.map_or("-", |at| results.peers[at].name())
    )?;
    let over = |one, other| line.ratio(one, other).map_or_else(|| "-".to_owned(), ratio);
    match subject {
        Some(_) => write!(text, " {} |", over(subject, best))?,
        None => write!(text, " {} |", over(best, reference))?,
    }
    for column in yardsticks {
        write!(text, " {} |", over(subject, Some(*column)))?;
    }
    writeln!(text)
}

/// Writes a ratio with its interval.
pub(crate) fn ratio(ratio: Ratio) -> String {
    let interval = |(low, high)| format!(" [{}–{}]", short(low), short(high));
    let median = short(ratio.median);
    format!(
        "×{median}{}",
        ratio.interval.map_or_else(String::new, interval)
    )
}

fn value(
    summary: Summary,
    ratio: Option<f64>,
    rounds: usize,
    failures: &[(usize, String)],
) -> String {
    let Summary { median, min, max } = summary;
    let mut written = format!("**{}** ({}–{})", short(median), short(min), short(max));
    if let Some(ratio) = ratio {
        written += &format!(" ×{}", short(ratio));
    }
    if let Some((_, last)) = failures.last() {
        written += &format!(
            "; {} of {} rounds failed: {}",
            failures.len(),
            rounds + failures.len(),
            cut(last)
        );
    }
    written
}

fn reason(failures: &[(usize, String)]) -> String {
    failures.last().map_or_else(
        || "not run".to_owned(),
        |(_, last)| format!("fails: {}", cut(last)),
    )
}

fn cut(reason: &str) -> String {
    reason
        .chars()
        .take(REASON)
        .collect::<String>()
        .replace('|', "/")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{peers, rows};

    fn tried(rounds: &[f64]) -> Cell {
        Cell::Tried {
            rounds: (0..)
                .zip(rounds)
                .map(|(round, rate)| (round, vec![*rate, 1.0]))
                .collect(),
            failures: Vec::new(),
        }
    }

    /// The first row, as some peers did it.
    pub(crate) fn results(cells: Vec<(&str, Cell)>) -> Results {
        let (names, cells): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
        let row = rows::all().into_iter().next();
        Results {
            heading: vec!["2 rounds.".to_owned(), "- omq: 1".to_owned()],
            remarks: vec!["Idle.".to_owned()],
            peers: names.into_iter().filter_map(peers::named).collect(),
            rows: row.map(|row| (row, cells)).into_iter().collect(),
        }
    }

    /// A row that is not won, with a peer that failed and one that failed once.
    pub(crate) fn mixed() -> Results {
        let mut once = tried(&[9000.0, 9000.0, 9000.0]);
        if let Cell::Tried { rounds, failures } = &mut once {
            rounds.remove(1);
            failures.push((1, "reset".to_owned()));
        }
        let failed = Cell::Tried {
            rounds: Vec::new(),
            failures: vec![(0, "nothing in 5 s".to_owned())],
        };
        results(vec![
            ("libzmq", tried(&[100.0, 300.0, 200.0])),
            ("omq", tried(&[400.0, 400.0, 500.0])),
            ("rzmq", failed),
            ("withy", tried(&[200.0, 200.0, 250.0])),
            ("limit", once),
        ])
    }

    #[test]
    fn a_line_names_the_best_peer_and_every_reason() {
        let results = results(vec![
            ("libzmq", tried(&[100.0, 300.0, 200.0])),
            ("omq", tried(&[200.0, 600.0, 400.0])),
            ("zmq.rs", Cell::Absent("-")),
            ("limit", tried(&[9000.0])),
        ]);
        let expected = "| push-pull/tcp/16 | per second | **200** (100–300) | **400** (200–600) ×2.00 | - | \
                        **9000** (9000–9000) ×45.0 | omq | ×2.00 [2.00–2.00] |";
        assert!(write(&results).contains(expected), "{}", write(&results));
    }

    #[test]
    fn what_is_judged_is_compared_with_the_best_and_with_the_limit() {
        let text = write(&mixed());
        let expected = "| fails: nothing in 5 s | **200** (200–250) ×1.00 | \
                        **9000** (9000–9000) ×45.0; 1 of 3 rounds failed: reset | \
                        omq | ×0.500 [0.500–0.500] | ×0.025 [0.022–0.028] |";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("| withy / best | withy / limit |"), "{text}");
    }

    #[test]
    fn a_peer_that_takes_one_peer_is_beside_the_best() {
        let results = results(vec![
            ("omq", tried(&[400.0, 400.0])),
            ("monocoque", tried(&[800.0, 800.0])),
            ("withy", tried(&[400.0, 400.0])),
        ]);
        let text = write(&results);
        let expected = "| omq | ×1.00 [1.00–1.00] | ×0.500 [0.500–0.500] |";
        assert!(text.contains(expected), "{text}");
    }
}

//! The results as Markdown: one table per family, one line per case and metric, one column per peer.

use std::fmt::{self, Write};

use crate::{
    metric::{Metric, short},
    peers::{Peer, Standing},
    rows::Row,
    runner::Cell,
    stats::Summary,
};

/// The longest reason that a cell shows.
const REASON: usize = 90;

/// The results so far.
#[derive(Debug)]
pub(crate) struct Table {
    heading: String,
    columns: Vec<(&'static str, Standing)>,
    lines: Vec<(&'static str, String)>,
    remark: String,
}

impl Table {
    /// Makes a table without rows.
    pub(crate) fn new(heading: String, peers: &[&'static dyn Peer]) -> Self {
        let columns = peers
            .iter()
            .map(|peer| (peer.name(), peer.standing()))
            .collect();
        Self {
            heading,
            columns,
            lines: Vec::new(),
            remark: String::new(),
        }
    }

    /// Adds a remark on the whole run, under the results.
    pub(crate) fn remark(&mut self, remark: String) {
        self.remark = remark;
    }

    /// Adds the results of a row.
    pub(crate) fn add(&mut self, row: &Row, cells: &[Cell]) {
        for (at, metric) in row.metrics.iter().enumerate() {
            let line = self.line(row, cells, at, *metric);
            self.lines.push((row.family, line));
        }
    }

    fn line(&self, row: &Row, cells: &[Cell], at: usize, metric: Metric) -> String {
        let medians: Vec<_> = cells
            .iter()
            .map(|cell| cell.summary(at).map(|summary| summary.median))
            .collect();
        let of = |wanted| {
            self.columns
                .iter()
                .position(|(_, standing)| *standing == wanted)
        };
        let measured = |standing| of(standing).filter(|column| medians[*column].is_some());
        let reference_at = measured(Standing::Reference).or_else(|| measured(Standing::StandIn));
        let reference = reference_at.and_then(|column| medians[column]);
        let best = self.best(&medians, metric).filter(|_| metric.has_rank());
        let best_median = best.and_then(|column| medians[column]);

        let name = if at == 0 { row.name.as_str() } else { "" };
        let mut line = format!("| {name} | {} |", metric.label());
        for (column, cell) in cells.iter().enumerate() {
            let written = match cell {
                Cell::Absent(reason) => (*reason).to_owned(),
                Cell::Tried { rounds, failures } => match cell.summary(at) {
                    Some(summary) => {
                        let ratio = reference
                            .filter(|_| metric.has_ratio() && reference_at != Some(column))
                            .map(|by| summary.median / by);
                        value(summary, ratio, rounds.len(), failures)
                    }
                    None => reason(failures),
                },
            };
            // Infallible: writing to a string.
            let _ = write!(line, " {written} |");
        }
        let named = best.map_or("-", |column| self.columns[column].0);
        let over = |value: Option<f64>, by: Option<f64>| match (value, by) {
            (Some(value), Some(by)) if metric.has_ratio() => format!("×{}", short(value / by)),
            _ => "-".to_owned(),
        };
        let _ = write!(line, " {named} |");
        match of(Standing::Subject) {
            Some(subject) => {
                let _ = write!(line, " {} |", over(medians[subject], best_median));
            }
            None => {
                let _ = write!(line, " {} |", over(best_median, reference));
            }
        }
        line
    }

    /// Returns the column of the best peer.
    fn best(&self, medians: &[Option<f64>], metric: Metric) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (column, (_, standing)) in self.columns.iter().enumerate() {
            let rival = matches!(standing, Standing::Reference | Standing::Peer);
            let Some(median) = medians[column].filter(|_| rival) else {
                continue;
            };
            if best.is_none_or(|(_, holder)| metric.better(median, holder)) {
                best = Some((column, median));
            }
        }
        best.map(|(column, _)| column)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.heading)?;
        let subject = self
            .columns
            .iter()
            .find(|(_, standing)| *standing == Standing::Subject);
        let mut family = "";
        for (of, line) in &self.lines {
            if *of != family {
                family = of;
                write!(f, "\n## {family}\n\n| case | metric |")?;
                for (name, _) in &self.columns {
                    write!(f, " {name} |")?;
                }
                match subject {
                    Some((name, _)) => writeln!(f, " best peer | {name} / best |")?,
                    None => writeln!(f, " best peer | best / libzmq |")?,
                }
                writeln!(f, "|---|---|{}", "---|".repeat(self.columns.len() + 2))?;
            }
            writeln!(f, "{line}")?;
        }
        if !self.remark.is_empty() {
            writeln!(f, "\n{}", self.remark)?;
        }
        Ok(())
    }
}

fn value(summary: Summary, ratio: Option<f64>, rounds: usize, failures: &[String]) -> String {
    let Summary { median, min, max } = summary;
    let mut written = format!("**{}** ({}–{})", short(median), short(min), short(max));
    if let Some(ratio) = ratio {
        written += &format!(" ×{}", short(ratio));
    }
    if let Some(last) = failures.last() {
        written += &format!(
            "; {} of {} rounds failed: {}",
            failures.len(),
            rounds + failures.len(),
            cut(last)
        );
    }
    written
}

fn reason(failures: &[String]) -> String {
    failures.last().map_or_else(
        || "not run".to_owned(),
        |last| format!("fails: {}", cut(last)),
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
mod tests {
    use super::*;
    use crate::{peers, rows};

    fn tried(rounds: &[f64]) -> Cell {
        Cell::Tried {
            rounds: rounds.iter().map(|rate| vec![*rate, 1.0]).collect(),
            failures: Vec::new(),
        }
    }

    #[test]
    fn a_line_names_the_best_peer_and_every_reason() {
        let peers: Vec<_> = ["libzmq", "omq", "rzmq", "zmq.rs", "limit"]
            .into_iter()
            .filter_map(peers::named)
            .collect();
        let cells = [
            tried(&[100.0, 300.0, 200.0]),
            tried(&[400.0]),
            Cell::Tried {
                rounds: Vec::new(),
                failures: vec!["nothing in 5 s".to_owned()],
            },
            Cell::Absent("-"),
            tried(&[9000.0]),
        ];
        let mut table = Table::new(String::new(), &peers);
        let rows = rows::all();
        table.add(&rows[0], &cells);
        let expected = "| push-pull/tcp/16 | per second | **200** (100–300) | **400** (400–400) ×2.00 | \
                        fails: nothing in 5 s | - | **9000** (9000–9000) ×45.0 | omq | ×2.00 |";
        assert_eq!(table.lines[0].1, expected);
    }
}

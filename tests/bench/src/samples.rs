//! Every value that was measured, as lines of text: row, metric, peer, round and value, between tabs.
//!
//! Lines with `#` before them are the heading of the results, and behind the values their remarks. A
//! round that failed is a line whose metric is `failure` and whose value is the reason.

use std::fmt::Write;

use crate::{
    peers::{self, Peer},
    results::{Cell, Results},
    rows::{self, Row},
};

const COLUMNS: &str = "row\tmetric\tpeer\tround\tvalue";
const FAILURE: &str = "failure";

/// Writes all values of all rows.
pub(crate) fn write(results: &Results) -> String {
    let mut text = comments(&results.heading);
    text += COLUMNS;
    text.push('\n');
    for (row, cells) in &results.rows {
        for (peer, cell) in results.peers.iter().zip(cells) {
            let Cell::Tried { rounds, failures } = cell else {
                continue;
            };
            let mut line = |metric, round: usize, value: &str| {
                let (row, peer, round) = (&row.name, peer.name(), round + 1);
                // Infallible: writing to a string.
                let _ = writeln!(text, "{row}\t{metric}\t{peer}\t{round}\t{value}");
            };
            for (round, values) in rounds {
                for (metric, value) in row.metrics.iter().zip(values) {
                    line(metric.label(), *round, &value.to_string());
                }
            }
            for (round, reason) in failures {
                line(FAILURE, *round, reason);
            }
        }
    }
    text + &comments(&results.remarks)
}

fn comments(lines: &[String]) -> String {
    lines.iter().map(|line| format!("# {line}\n")).collect()
}

/// Reads the values of `rows` and `peers` from several texts, as if from one run.
///
/// If two texts have the same row, the rounds of the second follow those of the first.
///
/// # Errors
///
/// Says which line of which text is no sample.
pub(crate) fn read(
    texts: &[String],
    rows: Vec<Row>,
    peers: &[&'static dyn Peer],
) -> Result<Results, String> {
    let cells =
        |row: &Row| -> Vec<Cell> { peers.iter().map(|peer| Cell::new(row, *peer)).collect() };
    let mut results = Results {
        peers: peers.to_vec(),
        rows: rows
            .into_iter()
            .map(|row| {
                let cells = cells(&row);
                (row, cells)
            })
            .collect(),
        ..Results::default()
    };
    for (text, number) in texts.iter().zip(1..) {
        let before: Vec<_> = results
            .rows
            .iter()
            .map(|(_, cells)| rounds(cells))
            .collect();
        let mut values = false;
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let kept = match values {
                    false => &mut results.heading,
                    true => &mut results.remarks,
                };
                if !kept.iter().any(|known| known == comment) {
                    kept.push(comment.to_owned());
                }
            } else {
                values = true;
                add(&mut results, &before, line)
                    .ok_or_else(|| format!("samples {number}: no sample: {line}"))?;
            }
        }
    }
    drop_untouched(&mut results);
    Ok(results)
}

/// Adds a value; what belongs to rows or peers that are not asked for is left out.
fn add(results: &mut Results, before: &[usize], line: &str) -> Option<()> {
    if line == COLUMNS {
        return Some(());
    }
    let mut words = line.splitn(5, '\t');
    let mut word = || words.next();
    let (row, metric, peer, round, value) = (word()?, word()?, word()?, word()?, word()?);
    let round = round.parse::<usize>().ok()?.checked_sub(1)?;
    let row_at = results.rows.iter().position(|(known, _)| known.name == row);
    let column = results.peers.iter().position(|known| known.name() == peer);
    let (Some(row_at), Some(column)) = (row_at, column) else {
        let known = rows::all().iter().any(|known| known.name == row);
        return (known && peers::named(peer).is_some()).then_some(());
    };
    let (row, cells) = &mut results.rows[row_at];
    let round = before[row_at] + round;
    if let Cell::Absent(_) = cells[column] {
        cells[column] = Cell::tried();
    }
    let Cell::Tried { rounds, failures } = &mut cells[column] else {
        return None;
    };
    if metric == FAILURE {
        failures.push((round, value.to_owned()));
        return Some(());
    }
    let at = row
        .metrics
        .iter()
        .position(|known| known.label() == metric)?;
    if rounds.last().is_none_or(|(last, _)| *last != round) {
        rounds.push((round, vec![f64::NAN; row.metrics.len()]));
    }
    let (_, values) = rounds.last_mut()?;
    values[at] = value.parse().ok()?;
    Some(())
}

/// Returns how many rounds a row has had.
fn rounds(cells: &[Cell]) -> usize {
    let last = |cell: &Cell| match cell {
        Cell::Absent(_) => 0,
        Cell::Tried { rounds, failures } => {
            let rounds = rounds.iter().map(|(round, _)| round + 1);
            rounds
                .chain(failures.iter().map(|(round, _)| round + 1))
                .max()
                .unwrap_or(0)
        }
    };
    cells.iter().map(last).max().unwrap_or(0)
}

/// Leaves out rows and peers that no sample is of.
fn drop_untouched(results: &mut Results) {
    results.rows.retain(|(_, cells)| rounds(cells) > 0);
    for column in (0..results.peers.len()).rev() {
        let touched = |(_, cells): &(Row, Vec<Cell>)| rounds(&cells[column..=column]) > 0;
        if !results.rows.iter().any(touched) {
            results.peers.remove(column);
            for (_, cells) in &mut results.rows {
                cells.remove(column);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{self, tests::mixed};

    fn again(texts: &[String]) -> Result<Results, String> {
        read(texts, rows::all(), &peers::all().collect::<Vec<_>>())
    }

    #[test]
    fn a_table_is_made_again_from_its_samples() {
        let results = mixed();
        let read = again(&[write(&results)]).expect("samples");
        assert_eq!(write(&read), write(&results));
        assert_eq!(table::write(&read), table::write(&results));
    }

    #[test]
    fn rounds_of_a_second_text_follow_those_of_the_first() {
        let text = write(&mixed());
        let read = again(&[text.clone(), text.clone()]).expect("samples");
        assert_eq!(read.heading, mixed().heading);
        let Cell::Tried { rounds, failures } = &read.rows[0].1[4] else {
            panic!("the limit was tried");
        };
        let numbers: Vec<_> = rounds.iter().map(|(round, _)| *round).collect();
        assert_eq!((numbers, failures[1].0), (vec![0, 2, 3, 5], 4));
    }

    #[test]
    fn what_is_no_sample_is_named() {
        let text = "push-pull/tcp/16\tper second\tomq\t1\tmany";
        assert_eq!(
            again(&[text.to_owned()]).err(),
            Some(format!("samples 1: no sample: {text}"))
        );
    }
}

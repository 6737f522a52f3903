//! Walks the rows: in every round all peers, one right after the other, so that a slow minute of
//! the machine falls on all of them.

use crate::{
    job::Job,
    metric::short,
    peers::Peer,
    rows::Row,
    stats::Summary,
    trial::{Scratch, Timing, Trial},
};

/// Failures without a success after which a peer is not tried again in a row.
const PATIENCE: usize = 2;

/// What a peer made of a row.
#[derive(Debug)]
pub(crate) enum Cell {
    /// It was not tried; `-` if the library lacks the feature.
    Absent(&'static str),
    /// It was tried.
    Tried {
        /// The values of each round that worked, in the order of the row's metrics.
        rounds: Vec<Vec<f64>>,
        /// Why the others did not.
        failures: Vec<String>,
    },
}

impl Cell {
    /// Summarises one metric, if any round worked.
    pub(crate) fn summary(&self, metric: usize) -> Option<Summary> {
        let Self::Tried { rounds, .. } = self else {
            return None;
        };
        Summary::of(rounds.iter().map(|values| values[metric]))
    }
}

/// Measures a row with every peer, and returns one cell for each, in their order.
pub(crate) fn measure(
    row: &Row,
    peers: &[&'static dyn Peer],
    rounds: usize,
    timing: Timing,
    scratch: &Scratch,
) -> Vec<Cell> {
    let covers = |peer: &dyn Peer, job: &Job| match job.role.is_named() {
        true => peer.covers_named(job),
        false => peer.covers(job),
    };
    let absent = |peer: &&dyn Peer| row.jobs().find_map(|job| covers(*peer, job).err());
    let mut cells: Vec<_> = peers
        .iter()
        .map(|peer| match absent(peer) {
            Some(reason) => Cell::Absent(reason),
            None => Cell::Tried {
                rounds: Vec::new(),
                failures: Vec::new(),
            },
        })
        .collect();
    for round in 0..rounds {
        // Each round begins with another peer, so that none always follows the same one.
        for turn in 0..peers.len() {
            let at = (round + turn) % peers.len();
            let Cell::Tried { rounds, failures } = &mut cells[at] else {
                continue;
            };
            if rounds.is_empty() && failures.len() >= PATIENCE {
                continue;
            }
            let mut trial = Trial::new(peers[at].name(), timing);
            match (row.measure)(row, &mut trial, scratch) {
                Ok(values) => {
                    let written: Vec<_> = values.iter().copied().map(short).collect();
                    eprintln!(
                        "{} {} {}: {}",
                        row.name,
                        round + 1,
                        peers[at].name(),
                        written.join(", ")
                    );
                    rounds.push(values);
                }
                Err(reason) => {
                    eprintln!("{} {} {}: {reason}", row.name, round + 1, peers[at].name());
                    failures.push(reason);
                }
            }
        }
    }
    cells
}

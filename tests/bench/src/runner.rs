//! Walks the rows: in every round all peers, one right after the other, so that a slow minute of
//! the machine falls on all of them.

use crate::{
    metric::short,
    peers::Peer,
    results::Cell,
    rows::Row,
    trial::{Scratch, Timing, Trial},
};

/// Failures without a success after which a peer is not tried again in a row.
const PATIENCE: usize = 2;

/// Measures a row with every peer, and returns one cell for each, in their order.
pub(crate) fn measure(
    row: &Row,
    peers: &[&'static dyn Peer],
    rounds: usize,
    timing: Timing,
    scratch: &Scratch,
) -> Vec<Cell> {
    let mut cells: Vec<_> = peers.iter().map(|peer| Cell::new(row, *peer)).collect();
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
            let said = match (row.measure)(row, &mut trial, scratch) {
                Ok(values) => {
                    let written: Vec<_> = values.iter().copied().map(short).collect();
                    rounds.push((round, values));
                    written.join(", ")
                }
                Err(reason) => {
                    failures.push((round, reason.clone()));
                    reason
                }
            };
            eprintln!("{} {} {}: {said}", row.name, round + 1, peers[at].name());
        }
    }
    cells
}

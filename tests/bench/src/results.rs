//! What was measured, by row and peer, and what of it is compared.

use crate::{
    bootstrap::{Ratio, Rounds},
    job::Job,
    metric::Metric,
    peers::{Peer, Standing},
    rows::Row,
    stats::Summary,
};

/// What a peer made of a row.
#[derive(Debug)]
pub(crate) enum Cell {
    /// It was not tried; `-` if the library lacks the feature.
    Absent(&'static str),
    /// It was tried.
    Tried {
        /// The values of each round that worked, in the order of the row's metrics, by its number.
        rounds: Vec<(usize, Vec<f64>)>,
        /// Why the others did not.
        failures: Vec<(usize, String)>,
    },
}

impl Cell {
    /// Returns a cell without results, which says whether `peer` can do `row`.
    pub(crate) fn new(row: &Row, peer: &dyn Peer) -> Self {
        let covers = |job: &Job| match job {
            job if !peer.callers().contains(&job.caller) => Err("-"),
            job if job.role.is_named() => peer.covers_named(job),
            job => peer.covers(job),
        };
        match row.jobs().find_map(|job| covers(job).err()) {
            Some(reason) => Self::Absent(reason),
            None => Self::tried(),
        }
    }

    /// Returns a cell for results to come.
    pub(crate) fn tried() -> Self {
        Self::Tried {
            rounds: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Returns the rounds of one metric.
    fn rounds(&self, metric: usize) -> Rounds {
        match self {
            Self::Absent(_) => Vec::new(),
            Self::Tried { rounds, .. } => {
                let one = |(round, values): &(usize, Vec<f64>)| (*round, values[metric]);
                rounds.iter().map(one).collect()
            }
        }
    }
}

/// All that was measured.
#[derive(Default)]
pub(crate) struct Results {
    /// What it was measured on and how, and the peers' versions as items of a list.
    pub(crate) heading: Vec<String>,
    /// What is to be said after it.
    pub(crate) remarks: Vec<String>,
    pub(crate) peers: Vec<&'static dyn Peer>,
    /// The rows, with a cell for each peer.
    pub(crate) rows: Vec<(Row, Vec<Cell>)>,
}

impl Results {
    /// Returns every metric of every row.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.rows.iter().flat_map(|(row, cells)| {
            (0..row.metrics.len()).map(|at| Line {
                peers: &self.peers,
                row,
                cells,
                at,
            })
        })
    }

    /// Returns one metric of the row with that name.
    pub(crate) fn line(&self, row: &str, metric: Metric) -> Option<Line<'_>> {
        self.lines()
            .find(|line| line.row.name == row && line.metric() == metric)
    }
}

/// One metric of a row.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    peers: &'a [&'static dyn Peer],
    pub(crate) row: &'a Row,
    pub(crate) cells: &'a [Cell],
    pub(crate) at: usize,
}

impl Line<'_> {
    pub(crate) fn metric(&self) -> Metric {
        self.row.metrics[self.at]
    }

    /// Returns a peer's rounds.
    pub(crate) fn rounds(&self, column: usize) -> Rounds {
        self.cells[column].rounds(self.at)
    }

    /// Summarises a peer's rounds, if any worked.
    pub(crate) fn summary(&self, column: usize) -> Option<Summary> {
        Summary::of(self.rounds(column).into_iter().map(|(_, value)| value))
    }

    /// Returns a peer's median, if any round worked.
    pub(crate) fn median(&self, column: usize) -> Option<f64> {
        self.summary(column).map(|summary| summary.median)
    }

    /// Returns the column of the peer with that name.
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.peers.iter().position(|peer| peer.name() == name)
    }

    /// Returns the column of what is judged.
    pub(crate) fn subject(&self) -> Option<usize> {
        let subject = |peer: &&dyn Peer| peer.standing() == Standing::Subject;
        self.peers.iter().position(subject)
    }

    /// Returns the column that ratios are given to.
    pub(crate) fn reference(&self) -> Option<usize> {
        [Standing::Reference, Standing::StandIn]
            .into_iter()
            .find_map(|standing| {
                let at = |peer: &&dyn Peer| peer.standing() == standing;
                let column = self.peers.iter().position(at)?;
                self.median(column).map(|_| column)
            })
    }

    /// Returns the column of the best peer.
    pub(crate) fn best(&self) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (column, peer) in self.peers.iter().enumerate() {
            let rival = peer.standing().is_rival() && self.metric().has_rank();
            let Some(median) = self.median(column).filter(|_| rival) else {
                continue;
            };
            if best.is_none_or(|(_, holder)| self.metric().better(median, holder)) {
                best = Some((column, median));
            }
        }
        best.map(|(column, _)| column)
    }

    /// Divides one peer's rounds by another's, where that says something.
    pub(crate) fn ratio(&self, one: Option<usize>, other: Option<usize>) -> Option<Ratio> {
        let rounds = |column: Option<usize>| column.map(|column| self.rounds(column));
        Ratio::of(&rounds(one)?, &rounds(other)?).filter(|_| self.metric().has_ratio())
    }
}

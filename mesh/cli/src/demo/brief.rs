//! What the processes of the demo tell each other about themselves: briefs, orders and reports, in JSON.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::scenes::Part;

/// Who a process is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Brief {
    /// Its name on the screen.
    pub(super) name: String,
    /// The seed of the identity that all of this run have.
    pub(super) seed: [u8; 32],
    /// The endpoint where it reports to.
    pub(super) reports: String,
    /// What is on disk of this run.
    pub(super) directory: PathBuf,
    /// Whether the nodes find each other by multicast DNS.
    pub(super) lan: bool,
}

impl Brief {
    /// What is on disk of this run, and is to go with the process.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// What a node is to do next.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Order {
    /// Its number, which the report has.
    pub(super) number: u64,
    /// How often the scene was played, with this time: names have it, so that each round has its own.
    pub(super) round: u64,
    /// It is the node's first part of a scene.
    pub(super) begins: bool,
    pub(super) part: Part,
}

/// What a node says when it has played a part, and once before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) name: String,
    /// The order's number; 0 before the first.
    pub(super) number: u64,
    /// What it is known by among its neighbours.
    pub(super) tag: String,
    /// How many others it knows.
    pub(super) peers: usize,
    /// What carries its links, and how they are encrypted.
    pub(super) over: String,
    /// What it did, or what went wrong.
    pub(super) played: Result<String, String>,
}

//! The rows: one file per family, and one line in [`all`].
//!
//! A row is a case, the jobs of its processes, and the function that measures it once. Every peer
//! gets the same jobs and the same function.

use std::time::Duration;

use crate::{
    job::{Caller, Cores, Job, Role, Seal, Transport},
    metric::Metric,
    trial::{Scratch, Trial},
};

mod blocking;
mod connect;
mod idle;
mod many_push;
mod named;
mod pub_sub;
mod push_pull;
mod req_rep;
mod sealed;

/// How long a case may take to deliver its first message.
const FIRST: Duration = Duration::from_secs(5);

/// Measures a case once.
type Measure = fn(&Row, &mut Trial, &Scratch) -> Result<Vec<f64>, String>;

/// A case that is measured.
#[derive(Debug)]
pub(crate) struct Row {
    /// The heading of its table.
    pub(crate) family: &'static str,
    /// What `--rows` selects by.
    pub(crate) name: String,
    /// The process that binds, or holds both ends.
    pub(crate) bind: Job,
    /// The process that connects, if there is one.
    pub(crate) connect: Option<Job>,
    /// What [`Row::measure`] returns, in its order.
    pub(crate) metrics: &'static [Metric],
    /// How it is measured.
    pub(crate) measure: Measure,
}

impl Row {
    /// Returns the jobs of its processes.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = &Job> {
        [&self.bind].into_iter().chain(&self.connect)
    }

    /// Starts both processes, and waits for the first message on every lane.
    fn start(&self, trial: &mut Trial, scratch: &Scratch, counting: usize) -> Result<(), String> {
        trial.bind(&self.bind, scratch)?;
        if let Some(connect) = &self.connect {
            trial.connect(connect)?;
        }
        trial.flows(counting, FIRST)
    }
}

/// Returns every row, in the order of the table.
pub(crate) fn all() -> Vec<Row> {
    let all = clear().chain(sealed::rows());
    all.chain(named::rows()).collect()
}

/// Returns the rows without encryption.
fn clear() -> impl Iterator<Item = Row> {
    [
        push_pull::rows(),
        req_rep::rows(),
        pub_sub::rows(),
        many_push::rows(),
        idle::rows(),
        connect::rows(),
        blocking::rows(),
    ]
    .into_iter()
    .flatten()
}

/// Returns a job without encryption, of one lane, on any core, not yet bound.
fn job(role: Role, transport: Transport, size: usize) -> Job {
    Job {
        role,
        transport,
        size,
        lanes: 1,
        seal: Seal::Clear,
        cores: Cores::Free,
        caller: Caller::Workers,
        endpoint: String::new(),
    }
}

//! One REQ and one REP: how long a round trip takes.

use super::{Row, job};
use crate::{
    histogram::percentile,
    job::{Role, Transport},
    metric::Metric,
    trial::{Scratch, Trial},
};

pub(super) const METRICS: &[Metric] = &[Metric::P50, Metric::P99, Metric::Cpu];

/// Bytes of a request and of its reply.
pub(super) const SIZE: usize = 64;

pub(super) fn rows() -> Vec<Row> {
    [Transport::Tcp, Transport::Ipc].map(row).into()
}

fn row(transport: Transport) -> Row {
    Row {
        family: "REQ/REP round trip",
        name: format!("req-rep/{transport}/{SIZE}"),
        bind: job(Role::Rep, transport, SIZE),
        connect: Some(job(Role::Req, transport, SIZE)),
        metrics: METRICS,
        measure,
    }
}

pub(super) fn measure(row: &Row, trial: &mut Trial, scratch: &Scratch) -> Result<Vec<f64>, String> {
    row.start(trial, scratch, 1)?;
    let window = trial.window(1)?;
    let micros = |share| percentile(&window.counted().round_trips, share) / 1e3;
    Ok(vec![micros(0.5), micros(0.99), window.cpu()])
}

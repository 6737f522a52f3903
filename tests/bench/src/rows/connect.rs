//! Connect, handshake, one round trip and close, one after the other.

use super::{Row, job, req_rep};
use crate::{
    histogram::percentile,
    job::{Role, Transport},
    metric::Metric,
    trial::{Scratch, Trial},
};

pub(super) fn rows() -> Vec<Row> {
    vec![Row {
        family: "Connect, handshake, round trip, close; sequential",
        name: "connect/tcp".to_owned(),
        bind: job(Role::Rep, Transport::Tcp, req_rep::SIZE),
        connect: Some(job(Role::ConnectLoop, Transport::Tcp, req_rep::SIZE)),
        metrics: &[Metric::Rate, Metric::P50, Metric::Cpu],
        measure,
    }]
}

fn measure(row: &Row, trial: &mut Trial, scratch: &Scratch) -> Result<Vec<f64>, String> {
    row.start(trial, scratch, 1)?;
    let window = trial.window(1)?;
    let p50 = percentile(&window.counted().round_trips, 0.5) / 1e3;
    Ok(vec![window.rate(), p50, window.cpu()])
}

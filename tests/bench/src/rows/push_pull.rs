//! One PUSH to one PULL: the rate at which messages are received.

use super::{Row, job};
use crate::{
    job::{Role, Transport},
    metric::Metric,
    trial::{Scratch, Trial},
};

pub(super) const METRICS: &[Metric] = &[Metric::Rate, Metric::Cpu];

const CASES: [(Transport, &[usize]); 3] = [
    (
        Transport::Tcp,
        &[16, 64, 256, 1024, 16_384, 131_072, 1_048_576],
    ),
    (Transport::Ipc, &[64, 1024, 131_072]),
    (Transport::Inproc, &[64, 1024, 131_072]),
];

pub(super) fn rows() -> Vec<Row> {
    let cases = CASES
        .iter()
        .flat_map(|(transport, sizes)| sizes.iter().map(|size| (*transport, *size)));
    cases
        .map(|(transport, size)| row(transport, size))
        .collect()
}

fn row(transport: Transport, size: usize) -> Row {
    let inproc = transport == Transport::Inproc;
    Row {
        family: "PUSH/PULL, 1 to 1",
        name: format!("push-pull/{transport}/{size}"),
        bind: job(
            if inproc { Role::Inproc } else { Role::Pull },
            transport,
            size,
        ),
        connect: (!inproc).then(|| job(Role::Push, transport, size)),
        metrics: METRICS,
        measure,
    }
}

pub(super) fn measure(row: &Row, trial: &mut Trial, scratch: &Scratch) -> Result<Vec<f64>, String> {
    row.start(trial, scratch, 0)?;
    let window = trial.window(0)?;
    Ok(vec![window.rate(), window.cpu()])
}

//! One PUSH to one PULL: the rate at which messages are received.

use super::{Row, job};
use crate::{
    job::{Role, Transport},
    metric::Metric,
    trial::{Scratch, Trial},
};

const METRICS: &[Metric] = &[Metric::Rate, Metric::Cpu];

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Ipc, Transport::Inproc];
const SIZES: [usize; 7] = [16, 64, 256, 1024, 16_384, 131_072, 1_048_576];

pub(super) fn rows() -> Vec<Row> {
    let sizes = |transport| SIZES.map(|size| row(transport, size));
    TRANSPORTS.into_iter().flat_map(sizes).collect()
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

fn measure(row: &Row, trial: &mut Trial, scratch: &Scratch) -> Result<Vec<f64>, String> {
    row.start(trial, scratch, 0)?;
    let window = trial.window(0)?;
    Ok(vec![window.rate(), window.cpu()])
}

//! Many PUSH connected to one PULL, each after one message: what an idle connection holds.
//!
//! The message shows that the connection stands, for every peer in the same way. Memory is
//! resident memory of the process, thus without the kernel's socket buffers.

use std::{thread::sleep, time::Duration};

use super::{Row, many_push};
use crate::{
    metric::Metric,
    trial::{Scratch, Trial},
};

const CONNECTIONS: [usize; 2] = [many_push::MANY, 10_000];

/// Time for the peers to give back what only the handshakes needed.
const SETTLE: Duration = Duration::from_millis(300);

pub(super) fn rows() -> Vec<Row> {
    let idle = |lanes| Row {
        family: "Idle connections",
        name: format!("idle/{lanes}"),
        metrics: &[Metric::BoundMemory, Metric::ConnectedMemory],
        measure,
        ..many_push::row(lanes)
    };
    CONNECTIONS.map(idle).into()
}

fn measure(row: &Row, trial: &mut Trial, scratch: &Scratch) -> Result<Vec<f64>, String> {
    let before = many_push::connect_all(row, trial, scratch)?;
    sleep(SETTLE);
    let after = trial.mark()?;
    Ok(many_push::memory(row, &before, &after).collect())
}

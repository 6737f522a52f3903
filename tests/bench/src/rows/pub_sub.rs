//! One PUB to many SUB in one process: deliveries of all subscribers, and what they miss.
//!
//! A publisher loses nothing if its peer offers that; what is lost all the same is seen as gaps
//! in the numbers that the messages carry.

use super::{FIRST, Row, job};
use crate::{
    job::{Job, Role, Transport},
    metric::Metric,
    trial::{Scratch, Trial},
};

const CASES: [(usize, usize); 4] = [(8, 64), (8, 4096), (64, 64), (64, 4096)];

pub(super) fn rows() -> Vec<Row> {
    CASES
        .map(|(subscribers, size)| row(subscribers, size))
        .into()
}

fn row(subscribers: usize, size: usize) -> Row {
    Row {
        family: "PUB/SUB deliveries, lossless where the peer offers it",
        name: format!("pub-sub/{subscribers}/{size}"),
        bind: job(Role::Publish, Transport::Tcp, size),
        connect: Some(Job {
            lanes: subscribers,
            ..job(Role::Subscribe, Transport::Tcp, size)
        }),
        metrics: &[Metric::Rate, Metric::Cpu, Metric::Loss],
        measure,
    }
}

pub(super) fn measure(row: &Row, trial: &mut Trial, scratch: &Scratch) -> Result<Vec<f64>, String> {
    trial.bind(&row.bind, scratch)?;
    let subscribers = row.connect.as_ref().ok_or("no process to connect")?;
    trial.connect(subscribers)?.ready()?;
    trial.tell("flood")?;
    trial.flows(1, FIRST)?;
    let window = trial.window(1)?;
    let (lost, delivered) = (
        window.counted().lost as f64,
        window.counted().total() as f64,
    );
    Ok(vec![
        window.rate(),
        window.cpu(),
        100.0 * lost / (lost + delivered),
    ])
}

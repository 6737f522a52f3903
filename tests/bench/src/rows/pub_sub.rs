//! One PUB to many SUB in one process: deliveries of all subscribers, and what they miss.
//!
//! A publisher loses nothing if its peer offers that; what is lost all the same is seen as gaps
//! in the numbers that the messages carry. Twice more with a publisher that drops for whoever has no
//! room: alone, and with one subscriber more, in a process that is stopped. What that costs the others
//! is the difference of the two rows.

use super::{FIRST, Measure, Row, job};
use crate::{
    job::{Job, Role, Transport},
    metric::Metric,
    trial::{Scratch, Trial},
};

const CASES: [(usize, usize); 4] = [(8, 64), (8, 4096), (64, 64), (64, 4096)];

pub(super) fn rows() -> Vec<Row> {
    let mut rows: Vec<_> = CASES
        .map(|(subscribers, size)| row(subscribers, size))
        .into();
    for (name, measure) in [
        ("dropping", measure as Measure),
        ("stopped", measure_stopped),
    ] {
        let row = row(8, 64);
        rows.push(Row {
            family: "PUB/SUB deliveries, a publisher that drops for the slow",
            name: format!("{}/{name}", row.name),
            bind: Job {
                role: Role::PublishDropping,
                ..row.bind
            },
            measure,
            ..row
        });
    }
    rows
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
    deliveries(trial)
}

/// As [`measure`], after one more subscriber got its first message and was stopped.
fn measure_stopped(row: &Row, trial: &mut Trial, scratch: &Scratch) -> Result<Vec<f64>, String> {
    trial.bind(&row.bind, scratch)?;
    let subscribers = row.connect.as_ref().ok_or("no process to connect")?;
    trial.connect(subscribers)?.ready()?;
    let stopping = Job {
        lanes: 1,
        ..subscribers.clone()
    };
    trial.connect(&stopping)?.ready()?;
    trial.tell("flood")?;
    trial.flows(1, FIRST)?;
    trial.flows(2, FIRST)?;
    trial.stop_last()?;
    deliveries(trial)
}

fn deliveries(trial: &mut Trial) -> Result<Vec<f64>, String> {
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

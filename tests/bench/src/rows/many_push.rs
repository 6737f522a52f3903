//! A thousand PUSH to one PULL: the rate, how evenly it is shared, and what a busy connection holds.
//!
//! The senders are independent (a task each, or bursts in turn that skip a socket without room),
//! so how the rate is shared is the work of the receiver. What a connection holds under load is
//! mostly its queue, thus the peer's own limit of it.

use std::time::Duration;

use super::{Row, job};
use crate::{
    job::{Job, Role, Transport},
    metric::Metric,
    snapshot::Snapshot,
    trial::{Scratch, Trial},
};

/// Connections, as a rule.
pub(super) const MANY: usize = 1000;
/// Bytes of a message.
pub(super) const SIZE: usize = 64;

/// How long one more connection may take to deliver its first message.
const FIRST: Duration = Duration::from_secs(30);
/// Windows in one, and warm-ups: the queues of a thousand senders take their time to fill, and one
/// window alone says little about sharing.
const WINDOWS: u32 = 4;

pub(super) fn rows() -> Vec<Row> {
    vec![row(MANY)]
}

pub(super) fn row(lanes: usize) -> Row {
    Row {
        family: "1,000 PUSH to one PULL",
        name: format!("many-push/{lanes}/{SIZE}"),
        bind: Job {
            lanes,
            ..job(Role::Pull, Transport::Tcp, SIZE)
        },
        connect: Some(Job {
            lanes,
            ..job(Role::ManyPush, Transport::Tcp, SIZE)
        }),
        metrics: &[
            Metric::Rate,
            Metric::Cpu,
            Metric::Fairness,
            Metric::BoundMemory,
            Metric::ConnectedMemory,
        ],
        measure,
    }
}

fn measure(row: &Row, trial: &mut Trial, scratch: &Scratch) -> Result<Vec<f64>, String> {
    let before = connect_all(row, trial, scratch)?;
    trial.timing.warm_up *= WINDOWS;
    trial.timing.window *= WINDOWS;
    trial.tell("flood")?;
    let window = trial.window(0)?;
    let counts = &window.counted().counts;
    let most = counts.iter().max().copied().unwrap_or(0) as f64;
    let least = counts.iter().min().copied().unwrap_or(0) as f64;
    let mut values = vec![window.rate(), window.cpu(), most / least];
    values.extend(memory(row, &before, &window.processes));
    Ok(values)
}

/// Starts both processes, connects every socket, and waits for one message from each; returns
/// what the processes used before that.
pub(super) fn connect_all(
    row: &Row,
    trial: &mut Trial,
    scratch: &Scratch,
) -> Result<[Snapshot; 2], String> {
    let bound = trial.bind(&row.bind, scratch)?;
    let connect = row.connect.as_ref().ok_or("no process to connect")?;
    let child = trial.connect(connect)?;
    child.ready()?;
    let connecting = child.mark()?;
    child.tell("connect")?;
    trial.flows(0, FIRST)?;
    Ok([bound, connecting])
}

/// Returns the growth of each process in KiB per connection.
pub(super) fn memory<'a>(
    row: &Row,
    before: &'a [Snapshot],
    after: &'a [Snapshot],
) -> impl Iterator<Item = f64> + use<'a> {
    let lanes = row.bind.lanes as f64;
    let growth = |(after, before): (&Snapshot, &Snapshot)| {
        after.resident_kib.saturating_sub(before.resident_kib)
    };
    after
        .iter()
        .zip(before)
        .map(growth)
        .map(move |kib| kib as f64 / lanes)
}

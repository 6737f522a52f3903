//! One REQ and one REP: how long a round trip takes.
//!
//! A round trip wakes the other process twice. Whether that process sleeps on another core decides
//! more than any library does, above all on a virtual machine; so beside the row in which the
//! kernel places the processes stand one with a core each and one with a single core for both. All of
//! them once more on a runtime of one thread, where no task of a socket wakes another thread.

use super::{Row, job};
use crate::{
    histogram::percentile,
    job::{Caller, Cores, Job, Role, Transport},
    metric::Metric,
    trial::{Scratch, Trial},
};

const METRICS: &[Metric] = &[Metric::P50, Metric::P99, Metric::Cpu];

/// Bytes of a request and of its reply.
pub(super) const SIZE: usize = 64;

pub(super) fn rows() -> Vec<Row> {
    let placed = |(caller, transport)| {
        [Cores::Free, Cores::Apart, Cores::Together].map(|cores| row(transport, cores, caller))
    };
    [Caller::Workers, Caller::OneThread]
        .into_iter()
        .flat_map(|caller| [Transport::Tcp, Transport::Ipc].map(|transport| (caller, transport)))
        .flat_map(placed)
        .collect()
}

fn row(transport: Transport, cores: Cores, caller: Caller) -> Row {
    let suffix = match caller {
        Caller::OneThread => "/one-thread",
        _ => "",
    };
    Row {
        family: "REQ/REP round trip",
        name: format!("req-rep/{transport}/{SIZE}/{cores}{suffix}"),
        bind: Job {
            cores,
            caller,
            ..job(Role::Rep, transport, SIZE)
        },
        connect: Some(Job {
            cores,
            caller,
            ..job(Role::Req, transport, SIZE)
        }),
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

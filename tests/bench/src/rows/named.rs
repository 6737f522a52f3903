//! Processes that find each other by themselves: what it costs to publish and to ask by name, and how
//! long it takes until a process that begins is heard.
//!
//! All of it is encrypted. A way by name is compared with sockets of the same transport and encryption
//! that are told an endpoint. What begins is heard after it was found, by what is on one host, or by
//! multicast; the time of starting a process is left out.

use std::time::Duration;

use super::{Row, job, pub_sub, req_rep};
use crate::{
    histogram::percentile,
    job::{Job, Role, Seal, Transport},
    metric::Metric,
    trial::{Scratch, Trial},
};

/// Subscribers to the topic.
const SUBSCRIBERS: usize = 8;
/// Bytes of a message.
const SIZE: usize = 64;

/// How long the first process may take to be heard.
const FIRST: Duration = Duration::from_secs(20);
/// Windows in one: to be found takes long.
const WINDOWS: u32 = 20;

pub(super) fn rows() -> Vec<Row> {
    let named = |role, lanes| Job {
        lanes,
        seal: Seal::Noise,
        ..job(role, Transport::Ipc, SIZE)
    };
    vec![
        Row {
            family: "By name, encrypted",
            name: format!("named/pub-sub/{SUBSCRIBERS}/{SIZE}"),
            bind: named(Role::NamedPublish, SUBSCRIBERS),
            connect: Some(named(Role::NamedSubscribe, SUBSCRIBERS)),
            metrics: &[Metric::Rate, Metric::Cpu, Metric::Loss],
            measure: pub_sub::measure,
        },
        Row {
            family: "By name, encrypted",
            name: format!("named/req-rep/{SIZE}"),
            bind: named(Role::Serve, 1),
            connect: Some(named(Role::Call, 1)),
            metrics: &[Metric::P50, Metric::P99, Metric::Cpu],
            measure: req_rep::measure,
        },
        appear(Transport::Ipc, "host"),
        appear(Transport::Tcp, "multicast"),
    ]
}

/// A process that begins, and is found by this.
fn appear(transport: Transport, by: &str) -> Row {
    Row {
        family: "From the start of a publisher to its first message at a subscriber",
        name: format!("appear/{by}"),
        bind: job(Role::Await, transport, SIZE),
        connect: Some(job(Role::Appear, transport, SIZE)),
        metrics: &[Metric::P50, Metric::P99],
        measure,
    }
}

fn measure(row: &Row, trial: &mut Trial, scratch: &Scratch) -> Result<Vec<f64>, String> {
    trial.bind(&row.bind, scratch)?;
    trial.connect(row.connect.as_ref().ok_or("no process to connect")?)?;
    trial.flows(0, FIRST)?;
    trial.timing.window *= WINDOWS;
    let window = trial.window(0)?;
    let micros = |share| percentile(&window.counted().round_trips, share) / 1e3;
    Ok(vec![micros(0.5), micros(0.99)])
}

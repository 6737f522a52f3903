//! PUSH/PULL and REQ/REP over TCP with the CURVE mechanism.

use super::{Row, job, push_pull, req_rep};
use crate::job::{Cores, Job, Role, Transport};

const FAMILY: &str = "CURVE over TCP";
const SIZES: [usize; 4] = [64, 1024, 16_384, 131_072];

pub(super) fn rows() -> Vec<Row> {
    let mut rows: Vec<_> = SIZES.map(stream).into();
    rows.extend([Cores::Free, Cores::Together].map(round_trip));
    rows
}

fn stream(size: usize) -> Row {
    Row {
        family: FAMILY,
        name: format!("curve/push-pull/{size}"),
        bind: sealed(Role::Pull, size),
        connect: Some(sealed(Role::Push, size)),
        metrics: push_pull::METRICS,
        measure: push_pull::measure,
    }
}

fn round_trip(cores: Cores) -> Row {
    Row {
        family: FAMILY,
        name: format!("curve/req-rep/{}/{cores}", req_rep::SIZE),
        bind: Job {
            cores,
            ..sealed(Role::Rep, req_rep::SIZE)
        },
        connect: Some(Job {
            cores,
            ..sealed(Role::Req, req_rep::SIZE)
        }),
        metrics: req_rep::METRICS,
        measure: req_rep::measure,
    }
}

fn sealed(role: Role, size: usize) -> Job {
    Job {
        curve: true,
        ..job(role, Transport::Tcp, size)
    }
}

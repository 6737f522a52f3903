//! PUSH/PULL once more, between programs without a runtime, whose calls block.

use super::{Row, push_pull};
use crate::job::{Caller, Job};

/// The row that is measured again.
const AGAIN: &str = "push-pull/tcp/64";

pub(super) fn rows() -> Vec<Row> {
    let blocking = |job| Job {
        caller: Caller::Blocking,
        ..job
    };
    let rows = push_pull::rows().into_iter();
    rows.filter(|row| row.name == AGAIN)
        .map(|row| Row {
            family: "Calls that block",
            name: format!("blocking/{}", row.name.replace("/tcp", "")),
            bind: blocking(row.bind),
            connect: row.connect.map(blocking),
            ..row
        })
        .collect()
}

//! Rows of the other families once more, over TCP with the CURVE mechanism.

use super::{Row, clear};
use crate::job::Job;

/// The rows that are measured with CURVE as well. Crossing cores costs the same as without.
const SEALED: [&str; 10] = [
    "push-pull/tcp/64",
    "push-pull/tcp/1024",
    "push-pull/tcp/16384",
    "push-pull/tcp/131072",
    "req-rep/tcp/64/free",
    "req-rep/tcp/64/together",
    "pub-sub/8/64",
    "many-push/1000/64",
    "idle/1000",
    "connect/tcp",
];

pub(super) fn rows() -> Vec<Row> {
    clear()
        .filter(|row| SEALED.contains(&row.name.as_str()))
        .map(seal)
        .collect()
}

fn seal(row: Row) -> Row {
    let seal = |job| Job { curve: true, ..job };
    Row {
        family: "CURVE over TCP",
        name: format!("curve/{}", row.name),
        bind: seal(row.bind),
        connect: row.connect.map(seal),
        ..row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_row() {
        assert_eq!(rows().len(), SEALED.len());
    }
}

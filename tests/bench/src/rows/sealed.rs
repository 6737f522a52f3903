//! Rows of the other families once more, encrypted: over TCP with CURVE, over TCP with NOISE, and over
//! QUIC. Crossing cores costs the same as without.

use super::{Row, clear};
use crate::job::{Job, Seal, Transport};

/// The rows that are measured again, by their names over TCP.
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

/// And those that are measured again with NOISE only.
const WITH_NOISE: [&str; 3] = [
    "req-rep/tcp/64/free/one-thread",
    "req-rep/tcp/64/together/one-thread",
    "idle/10000",
];

/// The name of the way that Withy itself encrypts.
const NOISE: &str = "noise";

/// How a row is encrypted: its family, its name, and what that changes.
type Way = (&'static str, &'static str, fn(Job) -> Job);

const WAYS: [Way; 3] = [
    ("CURVE over TCP", "curve", |job| Job {
        seal: Seal::Curve,
        ..job
    }),
    (
        "NOISE over TCP, beside the best encryption of each peer",
        NOISE,
        |job| Job {
            seal: Seal::Noise,
            ..job
        },
    ),
    ("QUIC", "quic", |job| Job {
        transport: Transport::Quic,
        ..job
    }),
];

pub(super) fn rows() -> Vec<Row> {
    WAYS.into_iter()
        .flat_map(|way| {
            let chosen = clear().filter(move |row| {
                let name = row.name.as_str();
                SEALED.contains(&name) || way.1 == NOISE && WITH_NOISE.contains(&name)
            });
            chosen.map(move |row| sealed(row, way))
        })
        .collect()
}

fn sealed(row: Row, (family, name, seal): Way) -> Row {
    Row {
        family,
        name: format!("{name}/{}", row.name.replace("/tcp", "")),
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
        assert_eq!(rows().len(), SEALED.len() * WAYS.len() + WITH_NOISE.len());
    }
}

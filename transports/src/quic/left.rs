//! Addresses that listeners of this process have left.
//!
//! A socket is given back to the system when the last connection over it has ended, shortly after its
//! listener is gone; with `tcp` it is at once. Whoever listens there again waits for that.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

/// How long an address may stay taken by those who left it: a connection is drained for three times
/// what it would wait for an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether it is free.
const LOOK: Duration = Duration::from_millis(10);

/// The most addresses that are remembered.
const MAX: usize = 4_096;

static LEFT: LazyLock<Mutex<HashMap<SocketAddr, Instant>>> = LazyLock::new(Mutex::default);

/// Notes that a listener is gone.
pub(super) fn note(address: SocketAddr) {
    let mut left = LEFT.lock();
    left.retain(|_, since| since.elapsed() < PATIENCE);
    if left.len() < MAX {
        left.insert(address, Instant::now());
    }
}

/// Begins to listen, and if the address is taken, waits for those who left it.
pub(super) async fn begin<T>(
    address: SocketAddr,
    begin: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match begin(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && was_left(address) => {
                sleep(LOOK).await;
            }
            result => return result,
        }
    }
}

fn was_left(address: SocketAddr) -> bool {
    let left = LEFT.lock();
    left.get(&address)
        .is_some_and(|since| since.elapsed() < PATIENCE)
}

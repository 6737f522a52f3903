//! How much memory the process takes while a test attacks a socket.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Held by each test for its sieges: shared, or alone where memory is measured.
static MEASURED: RwLock<()> = RwLock::const_new(());

/// A test that measures nothing.
pub(crate) async fn shared() -> RwLockReadGuard<'static, ()> {
    MEASURED.read().await
}

/// The growth of the process's memory, while nothing else runs.
pub(crate) struct Growth {
    before: usize,
    _alone: RwLockWriteGuard<'static, ()>,
}

impl Growth {
    /// Measures from now on, once other tests are out of the way.
    pub(crate) async fn alone() -> Self {
        let alone = MEASURED.write().await;
        Self {
            before: resident(),
            _alone: alone,
        }
    }

    /// Octets that the process grew by.
    pub(crate) fn so_far(&self) -> usize {
        resident().saturating_sub(self.before)
    }

    /// The process grew by no more than so many octets.
    pub(crate) fn within(&self, octets: usize) {
        let grown = self.so_far();
        assert!(grown <= octets, "grew by {grown} octets");
    }
}

/// Octets of the process that are in memory.
pub(crate) fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes * 1024
}

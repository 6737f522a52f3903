//! What the process has: memory, descriptors, tasks. One test at a time may look.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard};

static ALONE: Mutex<()> = Mutex::const_new(());

/// Waits until no other test runs.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

/// What the process has at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Octets in memory.
    pub(crate) memory: usize,
    /// Open descriptors.
    pub(crate) descriptors: usize,
    /// Tasks of this test's runtime.
    pub(crate) tasks: usize,
}

impl Usage {
    pub(crate) fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
        Self {
            memory: kibibytes.parse::<usize>().unwrap() * 1024,
            descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            tasks: Handle::current().metrics().num_alive_tasks(),
        }
    }

    /// Waits until there are no more tasks and descriptors than before.
    pub(crate) async fn settled(before: Self) -> Self {
        let mut last = Self::now();
        let settled = async {
            while last.tasks > before.tasks || last.descriptors > before.descriptors {
                tokio::time::sleep(Duration::from_millis(5)).await;
                last = Self::now();
            }
        };
        let settled = tokio::time::timeout(Duration::from_secs(20), settled).await;
        assert!(settled.is_ok(), "{before:?} became {last:?}");
        last
    }
}

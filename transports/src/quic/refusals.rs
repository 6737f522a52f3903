//! What a listener did not answer, let go or had no room to tell of, until somebody is told.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::Refused;

/// Counts what was refused.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    newcomers: AtomicU64,
    given_up: AtomicU64,
    untold: AtomicU64,
    withheld: AtomicU64,
    some: Notify,
}

impl Refusals {
    /// A first packet found no place.
    pub(super) fn refuse(&self) {
        self.count(&self.newcomers, 1);
    }

    /// A connection was given up before a link of it was admitted, or without one.
    pub(super) fn give_up(&self) {
        self.count(&self.given_up, 1);
    }

    /// A handshake failed, and too much waits to be heard of already.
    pub(super) fn leave_untold(&self) {
        self.count(&self.untold, 1);
    }

    /// Datagrams were not sent.
    pub(super) fn withhold(&self, datagrams: u64) {
        self.count(&self.withheld, datagrams);
    }

    fn count(&self, counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
        self.some.notify_one();
    }

    /// What was refused since the last time, if anything was.
    pub(super) fn take(&self) -> Option<Refused> {
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed);
        let refused = Refused {
            newcomers: take(&self.newcomers),
            given_up: take(&self.given_up),
            untold: take(&self.untold),
            withheld: take(&self.withheld),
        };
        (refused != Refused::default()).then_some(refused)
    }

    /// Waits until something was refused.
    pub(super) async fn taken(&self) -> Refused {
        loop {
            if let Some(refused) = self.take() {
                return refused;
            }
            self.some.notified().await;
        }
    }
}

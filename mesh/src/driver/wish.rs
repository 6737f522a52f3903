//! Whether a peer is wanted: what the owner of a dial and the dial itself tell each other.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Whether a peer is connected to again when its connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Yes,
    /// What it still sends counts.
    No,
    /// It was not, and the connection has ended.
    Over,
}

/// Whether a peer is wanted, and who waits until it is not.
#[derive(Debug)]
pub(crate) struct Wish {
    wanted: Mutex<Wanted>,
    changed: Notify,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            wanted: Mutex::new(Wanted::Yes),
            changed: Notify::new(),
        }
    }
}

impl Wish {
    pub(super) fn get(&self) -> Wanted {
        *self.wanted.lock()
    }

    /// Goes from one state to another, if it is the one; whether it was.
    pub(super) fn turn(&self, from: Wanted, to: Wanted) -> bool {
        let mut wanted = self.wanted.lock();
        let was = *wanted == from;
        if was {
            *wanted = to;
            self.changed.notify_waiters();
        }
        was
    }

    /// Nothing is connected any more, and nothing will be.
    pub(super) fn end(&self) {
        *self.wanted.lock() = Wanted::Over;
        self.changed.notify_waiters();
    }

    /// Waits until the peer is not wanted.
    pub(super) async fn retired(&self) {
        loop {
            // Calls from now on count, whether it is polled by then or not.
            let changed = self.changed.notified();
            if self.get() != Wanted::Yes {
                return;
            }
            changed.await;
        }
    }
}

//! A value that some watch.
//!
//! A channel takes as much memory as all else that an idle socket has to count, and most sockets have
//! nobody who watches: it is made for the first who does.
//!
//! Invariant: the channel's value is that under the lock.

use std::sync::OnceLock;

use parking_lot::Mutex;
use tokio::sync::watch;

/// The value, and who watches it.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    channel: OnceLock<watch::Sender<T>>,
}

impl<T: Copy> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Mutex::new(value),
            channel: OnceLock::new(),
        }
    }

    pub(crate) fn get(&self) -> T {
        *self.value.lock()
    }

    /// Changes the value; `change` says whether it did, and then who watches hears of it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut T) -> bool) {
        let mut value = self.value.lock();
        if change(&mut value)
            && let Some(channel) = self.channel.get()
        {
            channel.send_replace(*value);
        }
    }

    /// Watches the value from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<T> {
        // Under the lock: what changes afterwards is heard of.
        let value = self.value.lock();
        let channel = self.channel.get_or_init(|| watch::Sender::new(*value));
        channel.subscribe()
    }
}

#[cfg(all(test, not(withy_loom)))]
mod tests {
    use super::*;

    #[test]
    fn whoever_watches_sees_the_value_and_its_changes() {
        let watched = Watched::new(1);
        watched.change(|value| {
            *value = 2;
            true
        });
        let mut first = watched.subscribe();
        assert_eq!((*first.borrow(), first.has_changed().unwrap()), (2, false));
        watched.change(|value| {
            *value = 3;
            true
        });
        watched.change(|_| false);
        let second = watched.subscribe();
        assert_eq!((*first.borrow_and_update(), *second.borrow()), (3, 3));
        assert!(!first.has_changed().unwrap() && !second.has_changed().unwrap());
        assert_eq!(watched.get(), 3);
    }
}

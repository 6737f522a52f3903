//! Which pipes became readable, and who is told.
//!
//! The runtime's IO driver wakes a [link](super::link::Link), not a task: it puts the pipe on the list
//! and wakes one receiver. The socket's [watch](super::watch) looks after what nobody takes.

use std::collections::VecDeque;
use std::sync::Arc;

use withy_proto::pattern::PipeKey;

use super::sync::{AtomicBool, AtomicUsize, Mutex, Notify, Ordering};
use super::watch::Watch;

/// The list, and the receivers that wait for it.
#[derive(Debug)]
pub(crate) struct Ready<K = PipeKey> {
    list: Mutex<VecDeque<K>>,
    any: AtomicBool,
    receivers: AtomicUsize,
    notify: Arc<Notify>,
    pub(crate) watch: Watch,
}

impl<K> Default for Ready<K> {
    fn default() -> Self {
        Self {
            list: Mutex::default(),
            any: AtomicBool::default(),
            receivers: AtomicUsize::default(),
            notify: Arc::default(),
            watch: Watch::default(),
        }
    }
}

impl<K> Ready<K> {
    /// Takes what is on the list.
    #[inline]
    pub(crate) fn take(&self, mut taken: impl FnMut(K)) {
        if self.any.swap(false, Ordering::AcqRel) {
            let mut list = self.list.lock();
            while let Some(key) = list.pop_front() {
                taken(key);
            }
        }
    }

    /// Whether a pipe is on the list.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Whether somebody waits for a message.
    pub(crate) fn has_receivers(&self) -> bool {
        self.receivers.load(Ordering::Acquire) > 0
    }

    /// Puts a pipe on the list, and tells who looks at it.
    pub(crate) fn wake(&self, key: K) {
        self.list.lock().push_back(key);
        // Not a store: the model of loom orders stores and swaps only where threads meet.
        self.any.swap(true, Ordering::AcqRel);
        self.watch.start();
        self.notify();
    }

    /// Wakes one receiver; the next to come if none waits.
    pub(crate) fn notify(&self) {
        self.notify.notify_one();
    }

    /// Wakes all receivers: the socket closes.
    pub(crate) fn notify_all(&self) {
        self.notify.notify_waiters();
        self.notify.notify_one();
    }

    /// A receiver that found nothing, and waits until there may be something. Made under the lock
    /// under which it looked: whoever brings something after that sees it. Cancel-safe: a wake-up
    /// that is not used is passed on.
    pub(crate) fn waiting(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<K>
    where
        K: Send + 'static,
    {
        struct Waiting<K>(Arc<Ready<K>>);
        impl<K> Drop for Waiting<K> {
            fn drop(&mut self) {
                self.0.receivers.fetch_sub(1, Ordering::AcqRel);
            }
        }
        self.receivers.fetch_add(1, Ordering::AcqRel);
        let waiting = Waiting(Arc::clone(self));
        let notified = Arc::clone(&self.notify).notified_owned();
        async move {
            let _waiting = waiting;
            notified.await;
        }
    }
}

//! Which pipes became readable, and who is told.
//!
//! The runtime's IO driver wakes a [`ReadWaker`], not a task: it puts the pipe on the list and
//! wakes one receiver. The socket's [watch](super::watch) looks after what nobody takes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Wake;

use parking_lot::Mutex;
use tokio::sync::Notify;
use withy_proto::pattern::PipeKey;

use super::link::Link;
use super::watch::Watch;

/// The list, and the receivers that wait for it.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    list: Mutex<VecDeque<PipeKey>>,
    any: AtomicBool,
    receivers: AtomicUsize,
    notify: Notify,
    pub(crate) watch: Watch,
}

impl Ready {
    /// Moves the list to the back of `rotation`.
    pub(crate) fn take(&self, rotation: &mut VecDeque<PipeKey>) {
        if self.any.swap(false, Ordering::AcqRel) {
            rotation.append(&mut self.list.lock());
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

    fn push(&self, key: PipeKey) {
        self.list.lock().push_back(key);
        self.any.store(true, Ordering::Release);
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

    /// Waits until there may be something. Cancel-safe: a wake-up that is not used is passed on.
    pub(crate) async fn wait(&self) {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::AcqRel);
            }
        }
        self.receivers.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.receivers);
        self.notify.notified().await;
    }
}

/// Wakes the receivers of one pipe.
#[derive(Debug)]
pub(crate) struct ReadWaker {
    pub(crate) ready: Arc<Ready>,
    pub(crate) link: Arc<Link>,
}

impl Wake for ReadWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.link.fall_behind();
        self.ready.push(self.link.key());
        self.ready.watch.start();
        self.ready.notify();
    }
}

//! What the task of a connection is asked to do, and its wake-up.
//!
//! Whoever asks sets flags, and wakes the task only when they were clear: the task takes the flags
//! before it acts on them, so what is asked meanwhile wakes it again.

use std::task::Waker;

use super::sync::{AtomicU8, Mutex, Ordering};

/// Flags, and the task that acts on them.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    flags: AtomicU8,
    task: Mutex<Option<Waker>>,
}

impl Asked {
    /// Registers the task, which looks at the flags after that.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut task = self.task.lock();
        if !task.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }

    /// Asks the task to do something.
    #[inline]
    pub(crate) fn ask(&self, what: u8) {
        if self.flags.fetch_or(what, Ordering::AcqRel) & what != what {
            let task = self.task.lock().clone();
            if let Some(task) = task {
                task.wake();
            }
        }
    }

    /// Takes what was asked, of the things in `mask`.
    pub(crate) fn take(&self, mask: u8) -> u8 {
        self.flags.fetch_and(!mask, Ordering::AcqRel) & mask
    }

    /// Whether any of the things in `mask` is asked.
    pub(crate) fn is(&self, mask: u8) -> bool {
        self.flags.load(Ordering::Acquire) & mask != 0
    }
}

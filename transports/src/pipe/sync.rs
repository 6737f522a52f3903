//! The lock of the pipe: parking_lot's, or the one of loom where its tests explore interleavings.
//!
//! They are switched by `--cfg withy_loom`; the customary `loom` would take tokio's sockets away.

#[cfg(not(all(test, withy_loom)))]
pub(super) use parking_lot::Mutex;

#[cfg(not(all(test, withy_loom)))]
pub(super) use std::sync::Arc;

#[cfg(all(test, withy_loom))]
pub(super) use loom::sync::Arc;

/// Loom's lock with the interface of parking_lot's.
#[cfg(all(test, withy_loom))]
#[derive(Debug)]
pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(all(test, withy_loom))]
impl<T> Mutex<T> {
    pub(super) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(super) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

//! The lock of the pipe: parking_lot's, or the one of loom where its tests explore interleavings.

#[cfg(not(all(test, loom)))]
pub(super) use parking_lot::Mutex;

#[cfg(not(all(test, loom)))]
pub(super) use std::sync::Arc;

#[cfg(all(test, loom))]
pub(super) use loom::sync::Arc;

/// Loom's lock with the interface of parking_lot's.
#[cfg(all(test, loom))]
#[derive(Debug)]
pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(all(test, loom))]
impl<T> Mutex<T> {
    pub(super) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(super) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

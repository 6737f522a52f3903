//! Panics outside of the tests.

use std::panic;
use std::sync::{Mutex, Once, PoisonError};

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

pub(super) fn panics() -> std::sync::MutexGuard<'static, Vec<String>> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes panics outside of the tests: a task that panics takes nobody along who would tell.
pub(super) fn watch_for_panics() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if panic
                .location()
                .is_none_or(|place| !place.file().starts_with("tests/"))
            {
                panics().push(panic.to_string());
            }
            default(panic);
        }));
    });
}

//! How much a test does: little on every change, much in `tests/run --full`.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Whether this is a long suite.
pub fn is_full() -> bool {
    std::env::var("WITHY_TESTS").is_ok_and(|size| size == "full")
}

/// `small` on every change, `large` in a long suite.
pub fn count(small: u64, large: u64) -> u64 {
    if is_full() { large } else { small }
}

/// The seed of this run: `WITHY_SEED`, or 1.
pub fn seed() -> u64 {
    let seed = std::env::var("WITHY_SEED").ok();
    seed.and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// Reports how much was done: `tests/run` shows it, and a long suite keeps it in its results.
pub fn report(what: &str, count: impl Display) {
    // The harness may have left the cursor within a line; and what is printed it hides.
    let line = format!("\ncount: {what}: {count}\n");
    let _ = io::stdout().write_all(line.as_bytes());
}

//! How much a test does: little on every change, much in `tests/run --full`.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

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

/// Raises the limit of open descriptors as far as needed.
///
/// # Panics
/// The machine does not allow so many.
pub fn allow_descriptors(needed: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("every process has one");
    if soft < needed {
        assert!(
            hard >= needed,
            "{needed} open files are needed, {hard} allowed: raise `ulimit -Hn`"
        );
        setrlimit(Resource::RLIMIT_NOFILE, needed, hard).expect("it is within the hard limit");
    }
}

/// Reports how much was done: `tests/run` shows it, and a long suite keeps it in its results.
pub fn report(what: &str, count: impl Display) {
    show(&format!("count: {what}: {count}"));
}

/// Shows the line of a report.
pub(crate) fn show(line: &str) {
    // The harness may have left the cursor within a line; and what is printed it hides.
    let _ = io::stdout().write_all(format!("\n{line}\n").as_bytes());
}

/// That of sorted figures which so many of a hundred are not above.
///
/// # Panics
/// There are none.
pub fn percentile(sorted: &[Duration], of_hundred: usize) -> Duration {
    sorted[(sorted.len() - 1) * of_hundred / 100]
}

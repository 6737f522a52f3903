//! valgrind's callgrind: what of a process is counted, and the count.

use std::path::Path;
use std::process::Command;

use crate::Failure;
use crate::rows::Row;

/// What callgrind counts: nothing but this function and what it calls, on its thread.
///
/// By name, so it is there once, and something is left to do in it after its last call.
#[inline(never)]
pub(crate) fn counted(work: &mut dyn FnMut()) {
    work();
    std::hint::black_box(());
}

/// Runs a row under callgrind, and returns its instructions for a message. The profile stays in `folder`.
pub(crate) fn count(row: &Row, folder: &Path) -> Result<f64, Failure> {
    let profile = folder.join(row.name.replace('/', "-")).with_extension("out");
    let run = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg("--toggle-collect=*::callgrind::counted")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe()?)
        .args(["row", row.name])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&run.stderr);
    if !run.status.success() {
        return Err(format!("{}: {}\n{said}", row.name, run.status).into());
    }
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    let instructions: u64 = collected.ok_or("callgrind did not count")?.1.trim().parse()?;
    if instructions == 0 {
        return Err(format!("{}: callgrind counted nothing", row.name).into());
    }
    Ok(instructions as f64 / row.messages as f64)
}

//! valgrind's callgrind: what of a process is counted, and the count.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::rows::Row;

/// Seconds that a row may take, many times what it does.
const LIMIT: &str = "300";

/// Copies in a loop: valgrind counts an instruction for each octet that `rep movsb` moves, as no processor
/// does, and large messages would be nothing else.
const LIBC: &str = "glibc.cpu.x86_rep_movsb_threshold=1000000000";

/// What callgrind counts: nothing but this function and what it calls, on its thread.
///
/// It is found by its name, so it is there once, and does something after its last call.
#[inline(never)]
pub(crate) fn counted(work: &mut dyn FnMut()) {
    work();
    std::hint::black_box(());
}

/// Where the profile of a row is kept.
pub(crate) fn profile(row: &Row, folder: &Path) -> PathBuf {
    folder.join(row.name.replace('/', "-") + ".out")
}

/// Runs a row under callgrind, and returns its instructions for a message.
pub(crate) fn count(row: &Row, folder: &Path) -> Result<f64, Failure> {
    let profile = profile(row, folder);
    let run = Command::new("timeout")
        .args([LIMIT, "valgrind", "--tool=callgrind"])
        .arg("--toggle-collect=*::callgrind::counted")
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe()?)
        .args(["row", row.name])
        .env("GLIBC_TUNABLES", LIBC)
        .output()?;
    let said = String::from_utf8_lossy(&run.stderr);
    if !run.status.success() {
        return Err(format!("{}: {}\n{said}", row.name, run.status).into());
    }
    let collected = said
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let instructions: u64 = collected
        .ok_or("callgrind says no count")?
        .1
        .trim()
        .parse()?;
    if instructions == 0 {
        return Err(format!("{}: callgrind counted nothing", row.name).into());
    }
    Ok(instructions as f64 / row.messages as f64)
}

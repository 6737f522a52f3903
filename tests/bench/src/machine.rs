//! What the numbers were measured on, and how much of it there was.

use std::{fs, process::Command, time::Duration};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::snapshot;

/// Returns the processor, its cores and the kernel in one phrase.
pub(crate) fn describe() -> String {
    let processors = read("/proc/cpuinfo");
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cores} cores ({}), Linux {}",
        model.unwrap_or("model unknown"),
        kernel.trim()
    )
}

/// Returns the commit that is checked out where this was built, and whether it was changed since.
pub(crate) fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe"])
        .args(["--always", "--dirty", "--abbrev=12", "--exclude=*"]);
    let said = git.output().ok().filter(|output| output.status.success());
    let name = said.and_then(|output| String::from_utf8(output.stdout).ok());
    name.map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// Lets this process and those that it starts open as many files as they may.
pub(crate) fn raise_open_files() {
    let files = Resource::RLIMIT_NOFILE;
    // Without, rows with many connections fail and say why.
    let _ = getrlimit(files).and_then(|(_, most)| setrlimit(files, most, most));
}

/// Where the processor time of the whole machine went since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Load {
    /// All of it, in the kernel's ticks.
    all: u64,
    /// What some process used, in the same.
    busy: u64,
    /// What a hypervisor gave to other machines, in the same.
    stolen: u64,
    /// What this program and its children that have ended used.
    own: Duration,
}

impl Load {
    /// Reads the kernel's counts.
    pub(crate) fn now() -> Self {
        Self {
            own: snapshot::cpu() + snapshot::cpu_of_children(),
            ..Self::parse(&read("/proc/stat"))
        }
    }

    /// Says who else used the machine in the `elapsed` time since `before`.
    pub(crate) fn since(self, before: Self, elapsed: Duration) -> String {
        let all = (self.all - before.all).max(1) as f64;
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let own = (self.own - before.own).as_secs_f64() / (cores * elapsed.as_secs_f64());
        let others = ((self.busy - before.busy) as f64 / all - own).max(0.0);
        let stolen = (self.stolen - before.stolen) as f64 / all;
        format!(
            "Of the machine's processor time, this run used {:.0} %, other processes {:.0} %, other machines \
             on the same host {:.0} %. CPU s/M suffers less from them than rates do.",
            own * 100.0,
            others * 100.0,
            stolen * 100.0,
        )
    }

    fn parse(statistics: &str) -> Self {
        let line = statistics.lines().next().unwrap_or_default();
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in these.
        let ticks = line.split_whitespace().skip(1).take(8);
        let ticks: Vec<u64> = ticks.filter_map(|tick| tick.parse().ok()).collect();
        let of = |columns: &[usize]| columns.iter().filter_map(|column| ticks.get(*column)).sum();
        Self {
            all: ticks.iter().sum(),
            busy: of(&[0, 1, 2, 5, 6]),
            stolen: of(&[7]),
            own: Duration::ZERO,
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_columns_are_told_apart() {
        let load = Load::parse("cpu  10 1 20 50 4 2 3 10 5 5\ncpu0 1 2\n");
        assert_eq!((load.all, load.busy, load.stolen), (100, 36, 10));
        let remark = load.since(Load::default(), Duration::from_secs(1));
        assert!(
            remark.contains(
                "this run used 0 %, other processes 36 %, other machines on the same host 10 %"
            ),
            "{remark}"
        );
    }
}

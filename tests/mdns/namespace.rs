//! Network namespaces: one in which a test runs, and another at the end of a cable.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

/// Names the test that is in its namespace.
const INSIDE: &str = "WITHY_IN_NAMESPACE";

/// The address of this end of the cable.
pub(crate) const HERE: &str = "10.77.0.1";
/// The address of the other end.
pub(crate) const THERE: &str = "10.77.0.2";

/// Runs the rest of a test in a namespace without any interface that is up; `/run` is empty there.
pub(crate) fn inside(test: &str, body: impl FnOnce()) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == test) {
        return body();
    }
    let output = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--net",
            "--mount",
            "--kill-child",
        ])
        .args([
            "sh",
            "-e",
            "-c",
            "mount -t tmpfs none /run; exec \"$@\"",
            "sh",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, test)
        .output()
        .expect("unshare is there");
    let [said, failed] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{said}{failed}");
    said.lines()
        .filter(|line| line.starts_with("count: "))
        .for_each(|line| println!("\n{line}"));
}

/// Runs a command that has to succeed.
pub(crate) fn run(command: &str) {
    let status = Command::new("sh").args(["-e", "-c", command]).status();
    assert!(status.unwrap().success(), "{command}");
}

/// A second namespace. Dropping it takes the cable away.
pub(crate) struct There(File);

impl There {
    /// A namespace with a cable from here, over IPv4 and IPv6.
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let there = Self(made.join().unwrap());
        let path = format!("/proc/{}/fd/{}", std::process::id(), there.0.as_raw_fd());
        run(&format!(
            "ip link set lo up
            ip link add left type veth peer name right
            ip link set right netns {path}
            ip address add {HERE}/24 dev left
            ip link set left up"
        ));
        there.run(&format!(
            "ip link set lo up
            ip address add {THERE}/24 dev right
            ip link set right up"
        ));
        there
    }

    /// Does something there. Threads and processes that it starts stay there.
    pub(crate) fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let done = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                body()
            });
            done.join().unwrap()
        })
    }

    /// Runs a command there.
    pub(crate) fn run(&self, command: &str) {
        self.within(|| run(command));
    }
}

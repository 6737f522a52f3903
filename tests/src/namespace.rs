//! Network namespaces: one in which a test runs, and others beside it.
//!
//! Invariant: nothing outside is changed; all of it is gone when the test is over.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, setns, unshare};

/// Names the test that is in its namespace.
const INSIDE: &str = "WITHY_IN_NAMESPACE";

/// Runs the rest of a test in a namespace without any interface that is up; `/run` is empty there.
///
/// # Panics
/// It fails there, or namespaces cannot be made.
pub fn inside(test: &str, body: impl FnOnce()) {
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
        .arg(std::env::current_exe().expect("it runs"))
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, test)
        .stdin(Stdio::null())
        .output()
        .expect("unshare is there");
    let [said, failed] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{said}{failed}");
    said.lines()
        .filter(|line| line.starts_with("count: "))
        .for_each(crate::scale::show);
}

/// Runs a command that has to succeed.
///
/// # Panics
/// It does not.
pub fn run(command: &str) {
    let status = Command::new("sh").args(["-e", "-c", command]).status();
    assert!(status.expect("sh is there").success(), "{command}");
}

/// Another namespace. Dropping it takes its interfaces away, once no process is in it.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// One without any interface that is up.
    ///
    /// # Panics
    /// There may be none.
    pub fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("namespaces may be made");
            File::open("/proc/thread-self/ns/net").expect("every thread has one")
        });
        Self(made.join().expect("it was made"))
    }

    /// What `ip link set DEVICE netns` takes.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Does something there. Threads and processes that it starts stay there.
    ///
    /// # Panics
    /// That panics.
    pub fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let done = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).expect("it is ours");
                body()
            });
            done.join().expect("it does not panic")
        })
    }

    /// Runs a command there, that has to succeed.
    pub fn run(&self, command: &str) {
        self.within(|| run(command));
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

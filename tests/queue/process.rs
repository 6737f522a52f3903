//! Another process that plays a part: the same test once more, told so by its environment. It ends with
//! the process that started it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// What a process is to be: its part, and a number that tells it from others of that part.
const PART: &str = "WITHY_QUEUE_PART";
const NUMBER: &str = "WITHY_QUEUE_NUMBER";
const FOLDER: &str = "WITHY_QUEUE_FOLDER";

/// How lines begin that one process says to the other; the harness writes others.
const SAID: &str = "said: ";

/// Longer than anything takes, on a machine that is busy.
const LONG: Duration = Duration::from_secs(60);

/// What this process is to be.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) number: u64,
    pub(crate) folder: PathBuf,
}

impl Part {
    /// The part of this process, if it has one.
    pub(crate) fn of_this_process() -> Option<Self> {
        Some(Self {
            name: std::env::var(PART).ok()?,
            number: std::env::var(NUMBER).ok()?.parse().ok()?,
            folder: std::env::var_os(FOLDER)?.into(),
        })
    }
}

/// Says a line to the process that started this one.
pub(crate) fn say(line: &str) {
    // The harness may have left the cursor within a line.
    let text = format!("\n{SAID}{line}\n");
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).unwrap();
    stdout.flush().unwrap();
}

/// The lines that the process which started this one says. This process ends with it.
pub(crate) fn told() -> Receiver<String> {
    let (sender, told) = mpsc::channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            _ = sender.send(line.unwrap());
        }
        std::process::exit(0);
    });
    told
}

/// Another process. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    said: Receiver<String>,
}

impl Process {
    /// Starts the test of this name in another process, which plays a part.
    pub(crate) fn start(test: &str, part: &str, number: u64, folder: &Path) -> Self {
        // A file that grows beyond its limit is an error there, and not a signal.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(PART, part)
            .env(NUMBER, number.to_string())
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, said) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix(SAID) {
                    _ = sender.send(line.to_owned());
                }
            }
        });
        Self { child, stdin, said }
    }

    /// Says a line to it.
    pub(crate) fn tell(&mut self, line: &str) {
        self.stdin
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }

    /// What it says next.
    pub(crate) fn hear(&self) -> String {
        self.said.recv_timeout(LONG).expect("it says nothing")
    }

    /// What it says next, within a time.
    pub(crate) fn hear_within(&self, time: Duration) -> Option<String> {
        self.said.recv_timeout(time).ok()
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

//! The binary as a process: started, fed, watched, and gone when its test is.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub(crate) mod homes;
pub(crate) mod namespace;
pub(crate) mod status;

/// The longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(20);

/// A free port, chosen by whoever binds.
pub(crate) const ANY: &str = "tcp://127.0.0.1:*";

/// A running process.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) out: Receiver<String>,
    pub(crate) err: Receiver<String>,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary with arguments.
pub(crate) fn withy(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_withy"));
    command.args(arguments);
    command
}

/// Python with pyzmq, with a script.
pub(crate) fn python(script: &str, arguments: &[&str]) -> Command {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let python: PathBuf = tests.join(".venv/bin/python");
    assert!(
        python.exists(),
        "tests/.venv is missing: run tests/run once"
    );
    let mut command = Command::new(python);
    command.args(["-u", "-c", script]).args(arguments);
    command
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let out = lines(child.stdout.take().unwrap());
        let err = lines(child.stderr.take().unwrap());
        Self {
            child,
            stdin,
            out,
            err,
        }
    }

    /// Starts what binds, and waits for its endpoint.
    pub(crate) fn bound(command: &mut Command) -> (Self, String) {
        let program = Self::start(command);
        loop {
            let line = program.err.recv_timeout(DEADLINE).expect("an endpoint");
            if let Some(endpoint) = line.strip_prefix("withy: listening on ") {
                return (program, endpoint.to_owned());
            }
        }
    }

    pub(crate) fn feed(&mut self, text: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(text.as_ref()).unwrap();
        stdin.flush().unwrap();
    }

    /// The next line of stdout.
    pub(crate) fn line(&self) -> String {
        self.out.recv_timeout(DEADLINE).expect("a line of output")
    }

    /// Waits for the end: the exit code, the rest of stdout, and of stderr.
    pub(crate) fn end(mut self) -> (i32, String, String) {
        drop(self.stdin.take());
        let code = self.wait();
        let text = |lines: &Receiver<String>| lines.iter().map(|line| line + "\n").collect();
        (code, text(&self.out), text(&self.err))
    }

    /// Waits for the exit code; -1 for a signal.
    pub(crate) fn wait(&mut self) -> i32 {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(start.elapsed() < DEADLINE, "it does not end");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let number = self.child.id().to_string();
        let status = Command::new("kill").args([name, &number]).status();
        assert!(status.unwrap().success());
    }
}

/// Runs the binary to its end, without input.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = withy(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8_lossy(&octets).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// The lines of a stream until it ends.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                return;
            }
        }
    });
    lines
}

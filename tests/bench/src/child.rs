//! The runner's end of a process that plays a part.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child as Process, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{job::Job, snapshot::Snapshot};

/// How long a process may take to answer when the machine is busy.
const ANSWER: Duration = Duration::from_secs(15);

/// A process that plays a part; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Child {
    /// Starts a process that plays `job` with the named peer.
    ///
    /// # Errors
    ///
    /// Fails if the operating system refuses to start it.
    pub(crate) fn start(peer: &str, job: &Job) -> Result<Self, String> {
        let program = env::current_exe().map_err(|error| error.to_string())?;
        let mut process = Command::new(program)
            .args(["role", peer])
            .args(job.to_words())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("process not started: {error}"))?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("process started without pipes".to_owned());
        };
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            process,
            input,
            lines,
        })
    }

    /// Waits until the workload stands, and returns where it is bound.
    ///
    /// # Errors
    ///
    /// Gives the peer's own reason, or says that it took too long.
    pub(crate) fn ready(&mut self) -> Result<String, String> {
        self.answer("ready")
    }

    /// Sends one word to the process.
    ///
    /// # Errors
    ///
    /// Fails if the process is gone; the peer's own reason comes first.
    pub(crate) fn tell(&mut self, word: &str) -> Result<(), String> {
        let told = writeln!(self.input, "{word}").and_then(|()| self.input.flush());
        told.map_err(|_| "process ended".to_owned())
    }

    /// Waits for the counters that `mark` asked for.
    ///
    /// # Errors
    ///
    /// Gives the peer's own reason, or says that it took too long.
    pub(crate) fn counts(&mut self) -> Result<Snapshot, String> {
        self.answer("counts")?.parse()
    }

    /// Reads the counters now.
    ///
    /// # Errors
    ///
    /// As [`Child::counts`].
    pub(crate) fn mark(&mut self) -> Result<Snapshot, String> {
        self.tell("mark")?;
        self.counts()
    }

    /// Stops the process: it runs no more, but its connections stand.
    ///
    /// # Errors
    ///
    /// Fails if the process is gone.
    pub(crate) fn stop(&self) -> Result<(), String> {
        let id = i32::try_from(self.process.id()).map_err(|error| error.to_string())?;
        kill(Pid::from_raw(id), Signal::SIGSTOP).map_err(|error| format!("not stopped: {error}"))
    }

    fn answer(&mut self, word: &str) -> Result<String, String> {
        let line = match self.lines.recv_timeout(ANSWER) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Err(format!("not {word} in {ANSWER:?}")),
            Err(RecvTimeoutError::Disconnected) => {
                let ended = self
                    .process
                    .wait()
                    .map_or_else(|error| error.to_string(), |code| code.to_string());
                return Err(format!("process ended: {ended}"));
            }
        };
        match line.split_once(' ') {
            Some((found, rest)) if found == word => Ok(rest.to_owned()),
            Some(("failed", reason)) => Err(reason.to_owned()),
            _ => Err(format!("{word} expected, got: {line}")),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

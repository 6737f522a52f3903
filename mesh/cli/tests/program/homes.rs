//! Users with homes of their own, and what they do at the command line.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::{Program, withy};

/// A user. Its files are gone when its test is.
#[derive(Debug)]
pub(crate) struct User {
    folder: TempDir,
}

impl User {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Two of them, neither of whom trusts the other.
    pub(crate) fn two() -> (Self, Self) {
        (Self::new(), Self::new())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The binary with arguments, in this home.
    pub(crate) fn withy(&self, arguments: &[&str]) -> Command {
        let mut command = withy(arguments);
        command.env("WITHY_HOME", self.folder.path());
        // Its nodes are found by no other user's, and by nobody on the network.
        command.env("XDG_RUNTIME_DIR", self.folder.path());
        command.env("WITHY_DISCOVERY", "host");
        command
    }

    /// As [`withy`](Self::withy), among the nodes of another user.
    pub(crate) fn withy_beside(&self, other: &Self, arguments: &[&str]) -> Command {
        let mut command = self.withy(arguments);
        command.env("XDG_RUNTIME_DIR", other.folder.path());
        command
    }

    /// Runs the binary to its end: the exit code, stdout and stderr.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        self.run_with(arguments, "")
    }

    /// As [`run`](Self::run), with something on stdin.
    pub(crate) fn run_with(&self, arguments: &[&str], stdin: &str) -> (i32, String, String) {
        let mut program = Program::start(&mut self.withy(arguments));
        if !stdin.is_empty() {
            program.feed(stdin);
        }
        program.end()
    }

    /// Runs what has to succeed, and gives its stdout.
    pub(crate) fn does(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {err}");
        out
    }

    pub(crate) fn id(&self) -> String {
        self.does(&["id"]).trim().to_owned()
    }

    pub(crate) fn trusts(&self, other: &Self) {
        self.does(&["trust", &other.id()]);
    }

    /// A network of this name, and the others as its members.
    pub(crate) fn makes_network(&self, name: &str, members: &[&Self]) {
        self.does(&["network", "create", name]);
        for member in members {
            let ticket = self.does(&["network", "invite", name]);
            let (code, _, err) = member.run_with(&["network", "join"], &ticket);
            assert_eq!(code, 0, "{err}");
        }
    }

    /// Pushes a message; the exit code and stderr. Nobody takes one who does not trust its sender
    /// within `patience`.
    pub(crate) fn push(&self, to: &str, options: &[&str], patience: &str) -> (i32, String) {
        let mut arguments = vec!["push", "--connect", to, "--timeout", patience];
        arguments.extend(options);
        arguments.push("hello");
        let (code, _, err) = self.run(&arguments);
        (code, err)
    }
}

/// The first line of stderr that has these words.
pub(crate) fn until_said(program: &Program, words: &str) -> String {
    loop {
        let line = program.err.recv_timeout(Duration::from_secs(20));
        let line = line.unwrap_or_else(|_| panic!("nobody says {words:?}"));
        if line.contains(words) {
            return line;
        }
    }
}

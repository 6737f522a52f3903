//! How the program ends: the four exit codes, and what stands on stderr with them.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; of a proxy also after its `--timeout` |
//! | 1 | failed |
//! | 2 | usage or configuration |
//! | 3 | timed out, or fewer messages than `--count` |

use std::io;
use std::process::ExitCode;

use withy::{HomeError, IdentityError};

/// Why a verb did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line, a file it names or a line of input is wrong.
    Usage(String),
    /// The work failed.
    Failed(String),
    /// The time was up, or there were fewer messages than `--count`.
    TimedOut(String),
    /// Nobody reads stdout any more: there is nothing left to do, and nobody to tell.
    Closed,
}

/// What a verb ends with.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn usage(text: impl ToString) -> Self {
        Self::Usage(text.to_string())
    }

    pub(crate) fn failed(text: impl ToString) -> Self {
        Self::Failed(text.to_string())
    }

    pub(crate) fn timed_out(text: impl ToString) -> Self {
        Self::TimedOut(text.to_string())
    }

    /// What is wrong with the user's files: they are configuration, unless they cannot be written.
    pub(crate) fn of_home(error: HomeError) -> Self {
        match error {
            HomeError::Write { .. } | HomeError::Thread(_) => Self::failed(error),
            HomeError::Identity(error) => Self::of_identity(error),
            error => Self::usage(error),
        }
    }

    /// As [`of_home`](Self::of_home).
    pub(crate) fn of_identity(error: IdentityError) -> Self {
        match error {
            IdentityError::Write { .. } => Self::failed(error),
            error => Self::usage(error),
        }
    }

    /// A failed write to stdout.
    pub(crate) fn of_stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(format!("cannot write to stdout: {error}")),
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::TimedOut(_) => 3,
        }
    }
}

/// Says on stderr what went wrong, and gives the exit code.
pub(crate) fn report(outcome: &Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Failure::Usage(text) | Failure::Failed(text) | Failure::TimedOut(text) = failure
            {
                complain(text);
            }
            ExitCode::from(failure.code())
        }
    }
}

/// Says something on stderr. That nobody reads there is no reason to stop.
pub(crate) fn complain(text: impl std::fmt::Display) {
    use io::Write as _;
    let _ = writeln!(io::stderr(), "withy: {text}");
}

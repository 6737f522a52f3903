//! A small text file that is read again when it changes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::home::file::Stamp;

/// The largest file that is read.
const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// Why a file of keys or passwords cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is malformed.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and the form that is accepted.
        reason: String,
    },
}

/// The value of a line `NAME = "VALUE"`.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix(name)?.trim_start();
        let value = rest.strip_prefix('=')?.trim();
        value.strip_prefix('"')?.strip_suffix('"')
    })
}

/// A file, parsed, and what it looked like then.
#[derive(Debug)]
pub(super) struct Watched<T> {
    path: PathBuf,
    parse: fn(&str) -> Result<T, String>,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    stamp: Stamp,
    entries: Vec<T>,
}

impl<T> Watched<T> {
    /// Reads a file, one entry a line. Empty lines and those that start with `#` are passed over.
    pub(super) fn open(
        path: &Path,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<Self, FileError> {
        let state = Mutex::new(read(path, parse)?);
        Ok(Self {
            path: path.to_owned(),
            parse,
            state,
        })
    }

    /// Reads the file again.
    pub(super) fn reload(&self) -> Result<(), FileError> {
        let state = read(&self.path, self.parse)?;
        *self.state.lock() = state;
        Ok(())
    }

    /// Looks at the entries, after reading the file again if it changed. A file that cannot be
    /// read or is malformed keeps its last good content, and is logged.
    pub(super) fn with<R>(&self, look: impl FnOnce(&[T]) -> R) -> R {
        let changed = match Stamp::of(&self.path) {
            Ok(stamp) => stamp != self.state.lock().stamp,
            Err(_) => true,
        };
        if changed && let Err(error) = self.reload() {
            tracing::warn!(%error, "the last good content stays in force");
        }
        look(&self.state.lock().entries)
    }
}

fn read<T>(path: &Path, parse: fn(&str) -> Result<T, String>) -> Result<State<T>, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let stamp = Stamp::of(path).map_err(failed)?;
    if stamp.size > MAX_SIZE {
        return Err(failed(io::Error::other(format!(
            "it is larger than {MAX_SIZE} octets"
        ))));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let mut entries = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let entry = parse(line);
            entries.push(entry.map_err(|reason| FileError::Line {
                path: path.to_owned(),
                line: at + 1,
                reason,
            })?);
        }
    }
    Ok(State { stamp, entries })
}

//! A file of seeds that an operator keeps, and changes while programs run.
//!
//! ```text
//!  # The machine room.
//!  10.0.0.1:7100
//!  quic://ID@mesh.example.com:7100    # as in `fixed`, one a line
//! ```
//!
//! Nobody watches the file: [`SeedFile::poll`] looks at its size and times, which costs one call of the
//! system, and reads it when they changed. A file with an error changes nothing, so that a mistake of an
//! operator cuts nobody off.
//!
//! Invariant: the seeds are those of the last file without an error.

use std::fs::{self, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::libc;
use withy_proto::crypto::hash::{self, HASH};

use crate::fixed::{Fixed, SeedError};

/// A file, and what it said last.
#[derive(Debug)]
pub struct SeedFile {
    path: PathBuf,
    seen: Option<Stamp>,
    /// The hash of what was read last.
    read: Option<[u8; HASH]>,
    fixed: Fixed,
}

/// Why the file is not used as it is now. The seeds stay as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A line is neither a seed, nor a comment, nor empty.
    #[error("{path:?}, line {number}: {error}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        number: usize,
        /// What is wrong with it.
        #[source]
        error: SeedError,
    },
    /// It is longer than [`SeedFile::MAX`].
    #[error("{path:?} has {length} octets, which is too long")]
    Length {
        /// The file.
        path: PathBuf,
        /// Its octets.
        length: u64,
    },
    /// It is not a file of text.
    #[error("{path:?} is not a file of UTF-8")]
    Text {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read. Reported each time until it can.
    #[error("{path:?}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// What tells whether a file was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    length: u64,
    modified: Option<SystemTime>,
    changed: (i64, i64),
}

impl SeedFile {
    /// The octets of the longest file.
    pub const MAX: u64 = 256 * 1024;
    /// How old a change has to be before the times of a file tell it from the next one.
    const SETTLED: Duration = Duration::from_secs(2);

    /// A file that is read with the first [`poll`](Self::poll); it need not be there yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            seen: None,
            read: None,
            fixed: Fixed::default(),
        }
    }

    /// The seeds of the last file without an error.
    pub const fn fixed(&self) -> &Fixed {
        &self.fixed
    }

    /// Looks whether the file changed, and says whether the seeds did.
    ///
    /// # Errors
    /// The file cannot be used; what is wrong in it is reported once for each change.
    pub fn poll(&mut self) -> Result<bool, FileError> {
        let path = || self.path.clone();
        let io = |error| FileError::Io {
            path: path(),
            error,
        };
        // A name that leads to a pipe must not block.
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&self.path)
            .map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        let stamp = Stamp::of(&metadata);
        if self.seen == Some(stamp) {
            return Ok(false);
        }
        if !metadata.is_file() {
            self.seen = Some(stamp);
            return Err(FileError::Text { path: path() });
        }
        let mut octets = Vec::new();
        file.take(Self::MAX + 1)
            .read_to_end(&mut octets)
            .map_err(io)?;
        self.seen = stamp.is_settled(Self::SETTLED).then_some(stamp);
        let digest = hash::sha256(&[&octets]);
        if self.read.replace(digest) == Some(digest) {
            return Ok(false);
        }
        let fixed = self.parse(octets, &metadata)?;
        let changed = fixed != self.fixed;
        self.fixed = fixed;
        Ok(changed)
    }

    fn parse(&self, octets: Vec<u8>, metadata: &Metadata) -> Result<Fixed, FileError> {
        let path = || self.path.clone();
        if octets.len() as u64 > Self::MAX {
            let length = metadata.len().max(octets.len() as u64);
            return Err(FileError::Length {
                path: path(),
                length,
            });
        }
        let text = String::from_utf8(octets).map_err(|_| FileError::Text { path: path() })?;
        let mut fixed = Fixed::default();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let added = line.parse().and_then(|seed| fixed.add(seed));
            added.map_err(|error| FileError::Line {
                path: path(),
                number: at + 1,
                error,
            })?;
        }
        Ok(fixed)
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether another change would have other times.
    fn is_settled(&self, after: Duration) -> bool {
        let age = self.modified.and_then(|modified| modified.elapsed().ok());
        age.is_some_and(|age| age > after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        _directory: tempfile::TempDir,
        path: PathBuf,
    }

    impl Place {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("seeds");
            Self {
                _directory: directory,
                path,
            }
        }

        fn write(&self, text: impl AsRef<[u8]>) {
            fs::write(&self.path, text).unwrap();
        }

        /// As if it had been written a while ago.
        fn settle(&self) {
            let file = fs::File::options().append(true).open(&self.path).unwrap();
            let before = SystemTime::now() - 2 * SeedFile::SETTLED;
            file.set_modified(before).unwrap();
        }
    }

    fn seeds(file: &SeedFile) -> Vec<String> {
        let seeds = file.fixed().seeds().iter();
        seeds.map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_is_followed() {
        let place = Place::new();
        let mut file = SeedFile::new(&place.path);
        let missing = file.poll();
        assert!(matches!(missing, Err(FileError::Io { .. })), "{missing:?}");
        place.write("# Seeds.\n\n 10.0.0.1:1 # here\r\ntcp://example.com:2\n10.0.0.1:1");
        assert!(file.poll().unwrap());
        assert_eq!(seeds(&file), ["10.0.0.1:1", "tcp://example.com:2"]);
        assert!(!file.poll().unwrap());
        // Of the same length.
        place.write("# Seeds.\n\n 10.0.0.3:1 # here\r\ntcp://example.com:2\n10.0.0.1:1");
        assert!(file.poll().unwrap());
        assert_eq!(seeds(&file)[0], "10.0.0.3:1");
        place.settle();
        assert!(!file.poll().unwrap(), "nothing but its times changed");
        assert!(file.seen.is_some());
        place.write("");
        assert!(file.poll().unwrap());
        assert_eq!(seeds(&file), [""; 0]);
        fs::remove_file(&place.path).unwrap();
        assert!(file.poll().is_err());
    }

    #[test]
    fn a_mistake_is_told_once_and_changes_nothing() {
        let place = Place::new();
        let mut file = SeedFile::new(&place.path);
        place.write("10.0.0.1:1");
        assert!(file.poll().unwrap());
        for (text, wrong) in [
            ("10.0.0.2:1\n\n# and\n10.0.0.3\n", 4),
            ("ipc:///path", 1),
            ("10.0.0.2:1\n10.0.0.2:0", 2),
        ] {
            place.write(text);
            match file.poll() {
                Err(FileError::Line { number, .. }) => assert_eq!(number, wrong, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
            assert!(!file.poll().unwrap(), "once");
            assert_eq!(seeds(&file), ["10.0.0.1:1"]);
        }
        place.write([0xff, b'\n']);
        assert!(matches!(file.poll(), Err(FileError::Text { .. })));
        place.write(vec![b'#'; SeedFile::MAX as usize + 1]);
        assert!(matches!(file.poll(), Err(FileError::Length { .. })));
        let many: String = (1..=Fixed::MAX + 1)
            .map(|it| format!("10.0.0.1:{it}\n"))
            .collect();
        place.write(many);
        match file.poll() {
            Err(FileError::Line { number, error, .. }) => {
                assert_eq!((number, error), (Fixed::MAX + 1, SeedError::Many));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(seeds(&file), ["10.0.0.1:1"]);
        place.write("10.0.0.9:1");
        assert!(file.poll().unwrap());
        assert_eq!(seeds(&file), ["10.0.0.9:1"]);
    }

    #[test]
    fn what_is_no_file_does_not_block() {
        let place = Place::new();
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&place.path, mode).unwrap();
        let mut file = SeedFile::new(&place.path);
        assert!(matches!(file.poll(), Err(FileError::Text { .. })));
        let directory = tempfile::tempdir().unwrap();
        let mut file = SeedFile::new(directory.path());
        assert!(file.poll().is_err());
    }
}

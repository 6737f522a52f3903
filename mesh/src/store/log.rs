//! The log of one queue, in a folder. Its methods block.
//!
//! Invariant: up to its length as this knows it, the file has whole records that are synced, unless it is suspect.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use withy_proto::queue::{Options, Queue, QueueName, Record};

use super::error::StoreError;
use super::recover::{Records, Wrong};

const LOG: &str = "log";
const NEW_LOG: &str = "log.new";
const LOCK: &str = "lock";
const QUEUE: &str = "queue";
const NEW_QUEUE: &str = "queue.new";

/// Octets of a snapshot that are written at a time.
const PIECE: usize = 1024 * 1024;

/// Below this length a log is not written anew.
pub(crate) const MIN_REWRITE: u64 = 16 * 1024 * 1024;

/// A log that is open.
#[derive(Debug)]
pub(crate) struct Log {
    folder: PathBuf,
    directory: File,
    file: File,
    length: u64,
    /// How long the last snapshot was.
    snapshot: u64,
    is_suspect: bool,
    /// Last: the folder is free when all else is closed.
    _lock: File,
}

impl Log {
    /// Opens the folder of a queue, or makes it, and reads the queue from it.
    ///
    /// # Errors
    /// Nothing was changed but that the folder and its lock may be there.
    pub(crate) fn open(
        folder: &Path,
        name: &QueueName,
        options: Options,
    ) -> Result<(Self, Queue), StoreError> {
        make(folder).map_err(StoreError::io(folder))?;
        let lock = lock(folder)?;
        let directory = File::open(folder).map_err(StoreError::io(folder))?;
        belongs_to(folder, &directory, name)?;
        let path = folder.join(LOG);
        let file = create(&path, false).map_err(StoreError::io(&path))?;
        let mut records = Records::new(&file);
        let queue = Queue::restore(name.clone(), options, &mut records);
        let length = records.finish().map_err(|wrong| match wrong {
            Wrong::Io(source) => StoreError::io(&path)(source),
            Wrong::Damaged(at, error) => StoreError::Damaged {
                path: path.clone(),
                at,
                error: error.error,
            },
        })?;
        let queue = queue.map_err(|error| StoreError::Restore {
            path: path.clone(),
            error,
        })?;
        // A torn tail would be taken for damage with something behind it.
        let cut = file.set_len(length).and_then(|()| file.sync_all());
        cut.and_then(|()| directory.sync_all())
            .map_err(StoreError::io(&path))?;
        let log = Self {
            folder: folder.to_owned(),
            directory,
            file,
            length,
            snapshot: 0,
            is_suspect: false,
            _lock: lock,
        };
        Ok((log, queue))
    }

    /// Its octets.
    #[cfg(test)]
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// Whether it is worth while to write a snapshot instead: it is twice as long as the last one.
    pub(crate) fn is_long(&self) -> bool {
        self.length >= MIN_REWRITE.max(2 * self.snapshot)
    }

    /// Whether something that was written may not be on disk, so that only a [snapshot](Self::rewrite)
    /// will do.
    pub(crate) fn is_suspect(&self) -> bool {
        self.is_suspect
    }

    fn path(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    /// Appends records, and returns when they are on disk.
    ///
    /// # Errors
    /// They do not count, and may be appended again unless the log is suspect then.
    pub(crate) fn append(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        if self.is_suspect {
            return Err(StoreError::Suspect { path: self.path() });
        }
        if let Err(error) = self.file.write_all_at(octets, self.length) {
            // Records that happen to be whole were not told to be stored.
            self.is_suspect = self.file.set_len(self.length).is_err();
            return Err(StoreError::io(self.path())(error));
        }
        if let Err(error) = self.file.sync_data() {
            // What a failed sync left behind is unknown, and another one may succeed without it.
            self.is_suspect = true;
            return Err(StoreError::io(self.path())(error));
        }
        self.length += octets.len() as u64;
        Ok(())
    }

    /// Writes a snapshot in place of all records before, and returns when it is on disk.
    ///
    /// # Errors
    /// The log is as it was, or suspect.
    pub(crate) fn rewrite(
        &mut self,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<(), StoreError> {
        let path = self.folder.join(NEW_LOG);
        let written = create(&path, true).and_then(|mut file| {
            let length = write(&mut file, records)?;
            file.sync_all()?;
            fs::rename(&path, self.path())?;
            Ok((file, length))
        });
        let (file, length) = written.map_err(|error| {
            // It takes room that others may need; it is of no use, and not in the way either.
            _ = fs::remove_file(&path);
            StoreError::io(path)(error)
        })?;
        (self.file, self.length, self.snapshot) = (file, length, length);
        // The folder may have the old log again after a power failure until this is done.
        let synced = self.directory.sync_all();
        self.is_suspect = synced.is_err();
        synced.map_err(StoreError::io(&self.folder))
    }
}

/// Writes records, and returns how many octets they take.
fn write(file: &mut File, records: impl IntoIterator<Item = Record>) -> io::Result<u64> {
    let mut length = 0;
    let mut piece = Vec::with_capacity(PIECE);
    for record in records {
        record.encode(&mut piece);
        if piece.len() >= PIECE {
            file.write_all(&piece)?;
            length += piece.len() as u64;
            piece.clear();
        }
    }
    file.write_all(&piece)?;
    Ok(length + piece.len() as u64)
}

fn create(path: &Path, empty: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(empty)
        .mode(0o600)
        .open(path)
}

/// Makes a folder that is not there, so that it is there after a power failure, too.
fn make(folder: &Path) -> io::Result<()> {
    let above = folder.ancestors().take_while(|path| !path.exists());
    let missing: Vec<&Path> = above.collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder)?;
    for path in missing {
        let parent = path.parent().filter(|parent| *parent != Path::new(""));
        File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let file = create(&path, false).map_err(StoreError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(StoreError::io(path)(error)),
    }
}

/// Makes sure that a folder is for this queue and no other.
fn belongs_to(folder: &Path, directory: &File, name: &QueueName) -> Result<(), StoreError> {
    let path = folder.join(QUEUE);
    match fs::read(&path) {
        Ok(found) if found == name.as_str().as_bytes() => Ok(()),
        Ok(found) => Err(StoreError::OtherQueue {
            path: folder.to_owned(),
            found: String::from_utf8_lossy(&found).into_owned(),
            wanted: name.to_string(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let new = folder.join(NEW_QUEUE);
            let made = create(&new, true).and_then(|mut file| {
                file.write_all(name.as_str().as_bytes())?;
                file.sync_all()?;
                fs::rename(&new, &path)?;
                directory.sync_all()
            });
            made.map_err(StoreError::io(new))
        }
        Err(error) => Err(StoreError::io(path)(error)),
    }
}

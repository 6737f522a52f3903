//! Where acked queues are kept: in memory, or in a folder on disk.
//!
//! The engine of a queue writes [records](withy_proto::queue::Record) that carry their own checksums,
//! and reads them again: that is a log already. A folder holds it as it is, in one file, since a
//! database below would write each record twice.
//!
//! ```text
//!  records --> append, fsync --> `log`      what was told to be stored
//!                                  ^
//!  snapshot --> `log.new`, fsync --+ rename, fsync of the folder
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `log` | the records |
//! | `log.new` | a snapshot that was not finished; of no use |
//! | `lock` | held by the process that has the folder open |
//! | `queue` | the name of the queue that the folder is for |
//!
//! It does not decide when to write, and repairs nothing: a record that was cut off at the end was
//! never told to be stored, and goes; any other damage is an error.
//!
//! Invariant: what was told to be stored is on disk, whatever happens to the process, or to the machine
//! if its disk keeps what it was told to sync.

mod error;
mod log;
mod recover;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use error::StoreError;
pub(crate) use log::Log;

/// Where a queue is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Store {
    /// In the memory of the node that keeps it, and lost with it.
    #[default]
    Memory,
    /// In a folder on disk, which is made with mode 0700 if it is not there. One process at a time has it
    /// open, for one queue.
    Folder(PathBuf),
}

impl Store {
    /// A folder on disk.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self::Folder(path.into())
    }
}

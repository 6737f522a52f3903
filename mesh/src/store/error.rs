//! Why a store does not open, or does not take what it is given.

use std::io;
use std::path::PathBuf;

use withy_proto::queue::{RecordError, RestoreError};

/// What is wrong with a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system refuses. While a queue is kept, what is put is refused until it takes
    /// something again; what was accepted is not touched.
    #[error("{path:?}: {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has the folder open, or this one for another keeper.
    #[error("{path:?} is in use")]
    InUse {
        /// Which folder.
        path: PathBuf,
    },
    /// The folder is for another queue.
    #[error("{path:?} is for the queue {found:?}, not {wanted:?}")]
    OtherQueue {
        /// Which folder.
        path: PathBuf,
        /// The queue that it is for.
        found: String,
        /// The queue that it was opened for.
        wanted: String,
    },
    /// The log is damaged, and not only cut off at its end. Nothing was changed: to go on would lose
    /// what was accepted.
    #[error("{path:?} is damaged at octet {at}: {error}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where the damaged record begins.
        at: u64,
        /// What is wrong with it.
        error: RecordError,
    },
    /// The log's records are whole, but not those of one queue. Nothing was changed.
    #[error("{path:?} has records that do not belong together: {error}")]
    Restore {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: RestoreError,
    },
    /// Something that was written may not be on disk; only a new log will do.
    #[error("{path:?} may not have what was written to it")]
    Suspect {
        /// Which file.
        path: PathBuf,
    },
}

impl StoreError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

//! The nodes of one user on this host: a directory with a file for each, which works without any
//! network interface.
//!
//! ```text
//!  $XDG_RUNTIME_DIR/withy, else TMP/withy-UID      0700, ours, no link
//!    TAG.record     the record of a node, 0600, replaced as a whole
//!    TAG.lock       locked by its node for as long as it lives
//! ```
//!
//! [`Host::poll`] reads only what changed. Which files those are the system tells, and when
//! ([`Host::stirs`]); where it does not, or its limits are reached, `poll` asks whether the directory is as
//! it was. Now and then it looks at all files, since who dies changes none. The files of a node whose lock
//! is free are those of one that died; whoever sees them first takes them away.
//!
//! Invariant: a file that is read is a regular one of ours, no longer than a record, and of a node
//! that lives; there are at most [`Host::MAX`].

#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "host/unwatched.rs"
)]
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::libc;
use nix::unistd::Uid;

use crate::peer::PeerTag;
use crate::record::Record;
use watch::{Stirred, Watch};

/// How often all files are looked at, though nothing seems to have changed.
const LOOK_THROUGH: Duration = Duration::from_secs(60);

/// More than a tick of a file system's clock.
const TICK: Duration = Duration::from_millis(100);

/// A source of records: what it found that may be news.
pub trait Source {
    /// The octets of records that appeared or changed since the last call.
    ///
    /// # Errors
    /// The source cannot be read; another call may do better.
    fn poll(&mut self) -> io::Result<Vec<Vec<u8>>>;
}

/// The directory of this user's nodes, and this node's files in it.
#[derive(Debug)]
pub struct Host {
    directory: PathBuf,
    own: PeerTag,
    /// Tells what is put there, if the system has that.
    watch: Option<Watch>,
    /// Holds the lock of this node.
    _lock: File,
    /// What was read of each file, by its name.
    seen: BTreeMap<String, Stamp>,
    /// When the directory was last looked through, and when it had changed then.
    looked: Option<(Instant, SystemTime)>,
    skipped: u64,
    cleaned: u64,
}

/// What tells whether a file was replaced.
type Stamp = (u64, Option<SystemTime>, u64);

/// Why the directory is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Somebody else owns it, others may write to it, or it is no directory.
    #[error("{path:?} is not a directory of ours with mode 0700")]
    Untrusted {
        /// Which.
        path: PathBuf,
    },
    /// The operating system refused something.
    #[error("{path:?}: {error}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

impl Host {
    /// The most nodes that are looked at; more are skipped, and counted.
    pub const MAX: usize = 512;

    /// The directory that is used unless another is named.
    pub fn default_directory() -> PathBuf {
        match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
            Some(runtime) if runtime.is_absolute() => runtime.join("withy"),
            _ => std::env::temp_dir().join(format!("withy-{}", Uid::effective())),
        }
    }

    /// Puts this node's record into a directory, which is made if it is not there.
    ///
    /// # Errors
    /// The directory is not ours alone, or cannot be written to.
    pub fn open(directory: &Path, record: &Record) -> Result<Self, HostError> {
        make(directory)?;
        let own = record.peer();
        let path = directory.join(format!("{own}.lock"));
        let io = |error| HostError::Io {
            path: path.clone(),
            error,
        };
        let lock = own_file().open(&path).map_err(io)?;
        lock.try_lock().map_err(|error| io(error.into()))?;
        let host = Self {
            directory: directory.into(),
            own,
            // Before it is looked through, so that nothing is missed.
            watch: Watch::new(directory).ok(),
            _lock: lock,
            seen: BTreeMap::new(),
            looked: None,
            skipped: 0,
            cleaned: 0,
        };
        host.publish(record)?;
        Ok(host)
    }

    /// Replaces this node's record.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn publish(&self, record: &Record) -> Result<(), HostError> {
        let path = self.path("record");
        let write = || {
            let new = self.path("new");
            remove(&new)?;
            let mut file = own_file().create_new(true).open(&new)?;
            file.write_all(record.octets())?;
            fs::rename(&new, &path)
        };
        write().map_err(|error| HostError::Io {
            path: path.clone(),
            error,
        })
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.directory.join(format!("{}.{suffix}", self.own))
    }

    /// What becomes readable when there is something for [`poll`](Source::poll), if the system tells of it;
    /// else it has to be asked often.
    pub fn stirs(&self) -> Option<OwnedFd> {
        self.watch.as_ref()?.handle().ok()
    }

    /// Whether the system still tells when something is put into the directory.
    pub const fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// How many files were not looked at because there were too many.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// How many nodes that died were cleaned up after.
    pub const fn cleaned(&self) -> u64 {
        self.cleaned
    }

    /// The names of nodes in the directory, this one left out.
    fn names(&mut self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let own = self.own.to_string();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name().into_string().unwrap_or_default();
            let Some(tag) = tag_of(&name, &own) else {
                continue;
            };
            match names.len() < Self::MAX {
                true => names.push(tag),
                false => self.skipped += 1,
            }
        }
        Ok(names)
    }

    /// Whether the node with these files lives. What a dead one left is taken away.
    fn lives(&mut self, tag: &str) -> bool {
        let path = self.directory.join(format!("{tag}.lock"));
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path);
        let held = match file.map(|file| file.try_lock()) {
            Ok(Err(TryLockError::WouldBlock)) => true,
            Ok(_) => false,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        if !held {
            // The lock goes last: as long as it is there, somebody may clean up.
            for suffix in ["record", "new", "lock"] {
                let _ = remove(&self.directory.join(format!("{tag}.{suffix}")));
            }
            self.cleaned += 1;
        }
        held
    }

    fn read(&mut self, tag: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.directory.join(format!("{tag}.record"));
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)?;
        let metadata = file.metadata()?;
        let stamp = (metadata.ino(), metadata.modified().ok(), metadata.len());
        let ours = metadata.is_file() && metadata.uid() == Uid::effective().as_raw();
        if !ours || metadata.len() > Record::MAX as u64 || self.seen.get(tag) == Some(&stamp) {
            return Ok(None);
        }
        let mut octets = Vec::new();
        file.take(Record::MAX as u64 + 1).read_to_end(&mut octets)?;
        self.seen.insert(tag.to_owned(), stamp);
        Ok(Some(octets))
    }
}

impl Host {
    /// The names of files that were put there, if that is all that happened.
    fn stirred(&mut self) -> Option<BTreeSet<String>> {
        match self.watch.as_ref()?.stirred() {
            Stirred::Named(names) => Some(names),
            Stirred::Much => None,
            Stirred::Over => {
                self.watch = None;
                None
            }
        }
    }

    /// The nodes of these that live, and what is new of them.
    fn look_at(&mut self, tags: impl IntoIterator<Item = String>) -> (Vec<String>, Vec<Vec<u8>>) {
        let (mut there, mut found) = (Vec::new(), Vec::new());
        for tag in tags {
            if self.lives(&tag) {
                // One that vanishes meanwhile is of no interest.
                found.extend(self.read(&tag).ok().flatten());
                there.push(tag);
            }
        }
        (there, found)
    }

    /// Those of these nodes whose files are read: the others, as many as there is room for.
    fn chosen(&mut self, names: BTreeSet<String>) -> Vec<String> {
        let own = self.own.to_string();
        let tags = names.into_iter().filter_map(|name| tag_of(&name, &own));
        let (known, new): (Vec<_>, Vec<_>) = tags.partition(|tag| self.seen.contains_key(tag));
        let room = Self::MAX.saturating_sub(self.seen.len());
        self.skipped += new.len().saturating_sub(room) as u64;
        known
            .into_iter()
            .chain(new.into_iter().take(room))
            .collect()
    }

    /// Looks through the whole directory.
    fn look_through(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let names = self.names()?;
        let (there, found) = self.look_at(names);
        self.seen.retain(|tag, _| there.contains(tag));
        Ok(found)
    }
}

impl Source for Host {
    fn poll(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let stirred = self.stirred();
        let (now, clock) = (Instant::now(), SystemTime::now());
        let lately = |(at, _): &&(Instant, _)| now.duration_since(*at) < LOOK_THROUGH;
        let looked = self.looked.as_ref().filter(lately).map(|(_, then)| *then);
        if let (Some(names), Some(_)) = (stirred, looked) {
            let chosen = self.chosen(names);
            return Ok(self.look_at(chosen).1);
        }
        let changed = fs::metadata(&self.directory)?.modified()?;
        if self.watch.is_none() && looked == Some(changed) {
            return Ok(Vec::new());
        }
        // What changes within one tick of the file system's clock looks the same.
        let age = clock.duration_since(changed).unwrap_or_default();
        let counts = self.watch.is_some() || age > TICK;
        self.looked = counts.then_some((now, changed));
        self.look_through()
    }
}

/// Takes this node's files away.
impl Drop for Host {
    fn drop(&mut self) {
        for suffix in ["record", "new", "lock"] {
            let _ = remove(&self.path(suffix));
        }
    }
}

/// Makes the directory, if it is not there.
///
/// # Errors
/// It cannot be made, or is not ours alone.
pub fn make(directory: &Path) -> Result<(), HostError> {
    let path = || directory.to_owned();
    let made = DirBuilder::new().mode(0o700).create(directory);
    let known = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
    if let Some(error) = made.err().filter(|error| !known(error)) {
        let path = path();
        return Err(HostError::Io { path, error });
    }
    let metadata = fs::symlink_metadata(directory).map_err(|error| HostError::Io {
        path: path(),
        error,
    })?;
    let ours = metadata.uid() == Uid::effective().as_raw();
    match metadata.is_dir() && ours && metadata.mode() & 0o777 == 0o700 {
        true => Ok(()),
        false => Err(HostError::Untrusted { path: path() }),
    }
}

/// The node whose record has this name, unless it is this node's own.
fn tag_of(name: &str, own: &str) -> Option<String> {
    let tag = name.strip_suffix(".record")?;
    (tag.len() == 2 * PeerTag::SIZE && tag != own).then(|| tag.to_owned())
}

/// How files of this node are opened.
fn own_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW);
    options
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests;

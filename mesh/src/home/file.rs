//! Small text files that several programs read and change: read with their permissions looked at,
//! and written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use withy_proto::crypto::Randomness as _;
use zeroize::Zeroizing;

use crate::driver::handshake::OsRandomness;

/// Why a file is not read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    Io(io::Error),
    /// Others than its owner may read or write it; with its permissions.
    TooOpen(u32),
    TooLarge,
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a file that nobody but its owner may read or write, of so many octets at most.
pub(crate) fn read_secret(path: &Path, most: u64) -> Result<Zeroizing<String>, Unreadable> {
    let mode = fs::metadata(path)?.mode();
    match mode & 0o077 {
        0 => read(path, most),
        _ => Err(Unreadable::TooOpen(mode & 0o777)),
    }
}

/// Reads a file of so many octets at most.
pub(crate) fn read(path: &Path, most: u64) -> Result<Zeroizing<String>, Unreadable> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file").into());
    }
    if metadata.len() > most {
        return Err(Unreadable::TooLarge);
    }
    // Of its full size at once: a string that grows leaves copies behind.
    let size = usize::try_from(metadata.len()).map_err(|_| Unreadable::TooLarge)?;
    let mut text = Zeroizing::new(String::with_capacity(size + 1));
    File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a new file, mode 0600, and the folders above it, mode 0700.
///
/// # Errors
/// Among others: there is one of this name.
pub(crate) fn create(path: &Path, text: &str) -> io::Result<()> {
    // Other than a rename, a link takes no other's place.
    write(path, text, |part| fs::hard_link(part, path))
}

/// Puts a new file in the place of what may be there, mode 0600.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    write(path, text, |part| fs::rename(part, path))
}

fn write(path: &Path, text: &str, place: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    create_folder(folder)?;
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{:016x}", OsRandomness.next_u64()));
    let part = PathBuf::from(part);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| place(&part))
        .and_then(|()| File::open(folder)?.sync_all());
    // Where it was renamed, there is nothing to remove.
    let _ = fs::remove_file(&part);
    written
}

fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Waits until no other program changes the files of a folder; it may not for as long as the result
/// lives.
pub(crate) fn lock(folder: &Path) -> io::Result<File> {
    create_folder(folder)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(folder.join(".lock"))?;
    file.lock()?;
    Ok(file)
}

/// What tells whether a file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    pub(crate) size: u64,
    /// A file that took the other's place has another.
    number: u64,
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            modified: metadata.modified().ok(),
            size: metadata.len(),
            number: metadata.ino(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_are_made_once_and_replaced_whole_for_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/file");
        create(&path, "one").unwrap();
        let error = create(&path, "two").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let before = Stamp::of(&path).unwrap();
        assert_eq!(*read_secret(&path, 3).unwrap(), "one");
        replace(&path, "six").unwrap();
        assert_eq!(*read(&path, 3).unwrap(), "six");
        assert_ne!(Stamp::of(&path).unwrap(), before);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let above = path.parent().unwrap();
        assert_eq!(fs::metadata(above).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(above).unwrap().count(), 1);
    }

    #[test]
    fn what_is_too_open_too_large_or_no_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        create(&path, "secret").unwrap();
        assert!(matches!(read(&path, 5), Err(Unreadable::TooLarge)));
        assert!(matches!(read(folder.path(), 5), Err(Unreadable::Io(_))));
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = read_secret(&path, 9);
            assert!(matches!(read, Err(Unreadable::TooOpen(found)) if found == mode));
        }
    }
}

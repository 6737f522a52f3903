//! Which files of the directory were replaced, as the system tells by inotify.
//!
//! Deliberately not here: what they hold, and who died, which changes no file.
//!
//! Invariant: a name that is told is that of a whole record, since records are renamed into place.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// The most times that events are read at once: about a hundred records each. More is read later.
const READS: usize = 16;

/// A watch on the directory. Each takes one of the instances that the user may have, of which there are
/// 128 by default.
#[derive(Debug)]
pub(super) struct Watch(Inotify);

/// What happened since the last time.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stirred {
    /// Files with these names were put there.
    Named(BTreeSet<String>),
    /// More than was noted.
    Much,
    /// The directory is another, or unreadable: nothing more is told.
    Over,
}

impl Watch {
    /// A watch from now on; an error says that the system has none, or none left.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let events = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        inotify.add_watch(directory, events)?;
        Ok(Self(inotify))
    }

    /// What becomes readable when something happens.
    pub(super) fn handle(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }

    pub(super) fn stirred(&self) -> Stirred {
        let mut names = BTreeSet::new();
        for _ in 0..READS {
            let events = match self.0.read_events() {
                Ok(events) => events,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => break,
                Err(_) => return Stirred::Over,
            };
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    return Stirred::Over;
                }
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    return Stirred::Much;
                }
                names.extend(event.name.and_then(|name| name.into_string().ok()));
            }
        }
        Stirred::Named(names)
    }
}

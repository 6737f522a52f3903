//! What stands for a watch where the system has no inotify: there is none.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// No watch.
#[derive(Debug)]
pub(super) enum Watch {}

/// As where there is one.
#[derive(Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "nothing is told without a watch")]
pub(super) enum Stirred {
    Named(BTreeSet<String>),
    Much,
    Over,
}

impl Watch {
    pub(super) fn new(_: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn handle(&self) -> io::Result<OwnedFd> {
        match *self {}
    }

    pub(super) fn stirred(&self) -> Stirred {
        match *self {}
    }
}

//! What can go wrong with the files of a home.

use std::io;
use std::path::{Path, PathBuf};

use withy_proto::trust::{
    ClaimError, Full, JoinError, MembershipError, Name, PinError, TicketError,
};

use super::file::Unreadable;
use crate::identity::IdentityError;

/// Why a home's files do not say what was asked, or are not changed. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than the owner may read the secrets in a file.
    #[error("{} has mode {mode:04o}: others may read the secrets in it; chmod 600 it, or make a new network if somebody did", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A file is not what it should be.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No network of this name was joined or made.
    #[error("there is no network {name:?} here; `withy network list` shows which there are")]
    UnknownNetwork {
        /// The name.
        name: Name,
    },
    /// Another network has the name.
    #[error("there is a network {name:?} here already; choose another name")]
    NetworkExists {
        /// The name.
        name: Name,
    },
    /// The network's signing key is not here.
    #[error(
        "the network {name:?} was made elsewhere: only there is the key that signs invitations"
    )]
    NoAuthority {
        /// The network's name.
        name: Name,
    },
    /// The network's signing key is here, and would be lost.
    #[error("the network {name:?} was made here, and nobody could be invited to it any more; remove {} first if that is meant", path.display())]
    IsAuthority {
        /// The network's name.
        name: Name,
        /// The file with the key.
        path: PathBuf,
    },
    /// The membership is not valid now.
    #[error("{error}, that of the network {name:?}; join again with a new ticket")]
    Membership {
        /// The network's name.
        name: Name,
        /// Why.
        error: MembershipError,
    },
    /// The ticket cannot be used.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// The invitation cannot be used.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The network cannot be joined beside the others.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A name is not pinned.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// There are too many entries.
    #[error(transparent)]
    Full(#[from] Full),
    /// No thread looks after changes.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

impl HomeError {
    pub(super) fn unreadable(path: &Path, unreadable: Unreadable) -> Self {
        let path = path.to_owned();
        match unreadable {
            Unreadable::Io(source) => Self::Read { path, source },
            Unreadable::TooOpen(mode) => Self::TooOpen { path, mode },
            Unreadable::TooLarge => Self::malformed(&path, "it is too large"),
        }
    }

    pub(super) fn malformed(path: &Path, reason: impl ToString) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

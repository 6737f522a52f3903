//! The grammar of who is trusted: `id`, `trust`, `revoke`, `network`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use withy::trust::{IdError, IdentityId, Name, Roles};

use crate::duration;

/// `id`.
#[derive(Debug, Args)]
pub(crate) struct Id {
    /// The identity in FILE, which is made on first use
    #[arg(long = "identity", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Prints {"identity":ID,"file":FILE}
    #[arg(long)]
    pub(crate) json: bool,
    /// Says on stderr where the identity is kept
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// `trust`.
#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// Whom to trust; without it, lists
    pub(crate) id: Option<IdentityId>,
    /// What to call them
    pub(crate) name: Option<Name>,
    /// Trusts ID no longer, and forgets where it was pinned
    #[arg(long, value_name = "ID", conflicts_with_all = ["id", "name"])]
    pub(crate) remove: Option<IdentityId>,
    /// Prints {"ours":ID,"theirs":ID,"name":NAME}; with --remove {"identity":ID,"trusted":false}; of a
    /// list {"identity":ID,"marks":["trusted",...],"name":NAME,"endpoints":[...]} a line. What is not
    /// there is null
    #[arg(long)]
    pub(crate) json: bool,
}

/// `revoke`.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Whom to trust never more
    pub(crate) id: IdentityId,
    /// Takes it back
    #[arg(long)]
    pub(crate) undo: bool,
    /// Prints {"identity":ID,"revoked":true}, or false with --undo
    #[arg(long)]
    pub(crate) json: bool,
}

/// The verbs of `network`.
#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    /// Make a network, whose members this host decides on, and print its id
    #[command(after_help = "Example: withy network create garden")]
    Create {
        /// What to call it
        name: Name,
        /// Prints {"network":ID,"name":NAME}
        #[arg(long)]
        json: bool,
    },
    /// Print a ticket to a network that was made here, on one line
    ///
    /// Who reads the ticket can join: pass it on as you would a password. With --for it makes a member
    /// for a year. Without, it is good for one identity, which is enforced where the network was made,
    /// and makes a member until it expires; who connects to a program of this host meanwhile, or is
    /// connected to by one, is made a member for a year. Memberships are renewed likewise when half
    /// of their time is over. Its serial, for `withy network revoke`, stands on stderr.
    #[command(after_help = "Example: withy network invite garden --expires 1h")]
    Invite(Invite),
    /// Join a network, with a ticket from stdin
    #[command(after_help = "Example: withy network join --file ticket")]
    Join(Join),
    /// List the networks that were joined: id, roles, for how long, name
    ///
    /// "by ticket" stands where a program of the host that made the network is still to be met.
    #[command(after_help = "Example: withy network list")]
    List {
        /// Prints {"network":ID,"name":NAME,"roles":[...],"until":SECONDS,"expired":false,
        /// "by_ticket":false,"made_here":true} a line, the time since the Unix epoch
        #[arg(long)]
        json: bool,
    },
    /// End what a ticket grants, or trust an identity never more
    ///
    /// This host's programs end its connections within a second. On the host that made the network it
    /// is signed, and nodes of the network tell each other, also later: programs with sockets alone do
    /// not hear of it.
    #[command(after_help = "Example: withy network revoke garden 1234567890123456789")]
    Revoke {
        /// The network
        name: Name,
        /// The serial of a ticket, or an identity
        #[arg(value_name = "ID|SERIAL")]
        whom: Whom,
        /// Prints {"network":ID,"name":NAME,"identity":ID,"signed":true}, of a ticket "serial" as text
        /// for "identity"; "signed" says whether other hosts are told
        #[arg(long)]
        json: bool,
    },
    /// Leave a network
    #[command(after_help = "Example: withy network leave garden")]
    Leave {
        /// The network
        name: Name,
        /// Prints {"network":ID,"name":NAME}; the id is null if its file could not be read
        #[arg(long)]
        json: bool,
    },
}

/// `network invite`.
#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// The network
    pub(crate) name: Name,
    /// Nobody but this identity can use the ticket
    #[arg(long = "for", value_name = "ID", conflicts_with = "reusable")]
    pub(crate) member: Option<IdentityId>,
    /// What the member may be besides a member: service, relay, gateway or bridge; repeatable
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Vec<Roles>,
    /// For how long the ticket can be used; clocks may be 5m apart
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "24h")]
    pub(crate) expires: Duration,
    /// Any number of identities can use the ticket
    #[arg(long)]
    pub(crate) reusable: bool,
    /// Prints {"name":NAME,"ticket":TICKET,"serial":SERIAL,"for":ID,"reusable":false,"expires_s":86400},
    /// the serial as text; "for" is null if any identity can use it
    #[arg(long)]
    pub(crate) json: bool,
}

/// `network join`.
#[derive(Debug, Args)]
pub(crate) struct Join {
    /// Reads the ticket from FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// What to call the network here, if not by its own name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<Name>,
    /// Prints what `withy network list --json` does, of this network
    #[arg(long)]
    pub(crate) json: bool,
    /// Refused: what stands on a command line, everybody on the machine can read
    #[arg(hide = true)]
    pub(crate) words: Vec<OsString>,
}

/// Whom `network revoke` is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    Identity(IdentityId),
    Serial(u64),
}

impl std::str::FromStr for Whom {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.parse() {
            Ok(serial) => Ok(Self::Serial(serial)),
            Err(_) => text.parse().map(Self::Identity),
        }
    }
}

//! Where a user's identity, networks and trust are kept.
//!
//! ```text
//!  identity                 the identity: see Identity
//!  trusted                  accepted identities, a line each: ID [NAME] [# COMMENT]
//!  revoked                  whom to trust never more, a line each: ID, or NETWORK SERIAL
//!  pins                     endpoints and who answered there first, a line each: ID ENDPOINT
//!  permissions              what those who are trusted may do: see Permissions
//!  networks/NAME            a network that was joined
//!  networks/NAME.revoked    what it took back, signed, a line each
//!  networks/NAME.authority  the signing key of one that was made here
//! ```
//!
//! All are text, of mode 0600; those with secrets, the identity and the networks, are refused when
//! others may read them. Of the lists a line that starts with `#` is a comment, and stays. Deciding
//! by them is for [`Trust`](crate::Trust), which reads them again when they change.
//!
//! Invariant: programs that change a file at the same time lose nothing of each other's, and who
//! reads meanwhile sees it as it was or as it is. Each change is made under a lock, on what the file
//! has then, and the new file takes the old one's place.

mod confirmation;
mod error;
pub(crate) mod file;
pub(crate) mod follow;
mod networks;
mod revocations;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use withy_proto::trust::{AllowList, IdentityId, Name, NetworkId, Permissions, PinError};

pub use error::HomeError;
pub use networks::KnownNetwork;
pub use withy_discovery::{Revocation, Target};

use crate::identity::{self, Identity, IdentityError};
use file::Unreadable;

/// The largest list that is read, in octets.
const MAX_LIST: u64 = 32 * 1024 * 1024;

const TRUSTED: &str = "trusted";
const REVOKED: &str = "revoked";
const PINS: &str = "pins";
const PERMISSIONS: &str = "permissions";

/// A folder with a user's identity, networks and trust. The files are read and written when they
/// are asked for; what is not there yet is empty.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use withy::{Home, Pull, Push, Trust};
///
/// let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
/// let (ours, theirs) = (Home::at(one.path()), Home::at(two.path()));
/// // As `withy network create garden`, `withy network invite garden` and `withy network join`.
/// let garden = "garden".parse()?;
/// ours.create_network(&garden)?;
/// let ticket = ours.invite(&garden, Default::default(), None)?;
/// theirs.join(&ticket, None)?;
///
/// let (identity, trust) = (ours.identity()?, Trust::open_in(&ours, &garden)?);
/// let pull = Pull::builder().identity(&identity).trust(&trust).build()?;
/// let endpoint = pull.bind_to("tcp://127.0.0.1:*").await?;
/// let (identity, trust) = (theirs.identity()?, Trust::open_in(&theirs, &garden)?);
/// let push = Push::builder().identity(&identity).trust(&trust).build()?;
/// push.connect_to(endpoint)?;
/// push.send("from a member").await?;
/// assert_eq!(pull.recv().await?.first(), "from a member");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

/// Whom to trust never more, whatever else speaks for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Revoked {
    /// Identities.
    pub identities: BTreeSet<IdentityId>,
    /// Memberships and invitations: the network, and the serial in it.
    pub serials: BTreeSet<(NetworkId, u64)>,
}

impl Home {
    /// The home in a folder, which is made when something is written to it.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The user's home: see [`home`](identity::home).
    ///
    /// # Errors
    /// There is none.
    pub fn of_user() -> Result<Self, HomeError> {
        Ok(Self(identity::home()?))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The identity that is kept here, which is made on first use.
    ///
    /// # Errors
    /// As [`Identity::open`].
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        Identity::open(self.0.join("identity"))
    }

    /// The identities that were accepted, and what they are called.
    ///
    /// # Errors
    /// The file cannot be read, or a line is malformed.
    pub fn trusted(&self) -> Result<AllowList, HomeError> {
        self.list(TRUSTED)
    }

    /// Accepts an identity, for everything, under a name.
    ///
    /// # Errors
    /// As [`trusted`](Self::trusted), the file cannot be written, or there are too many.
    pub fn accept(&self, identity: IdentityId, name: Option<&Name>) -> Result<(), HomeError> {
        self.change::<AllowList>(TRUSTED, |list, text| {
            if list.contains(&identity) && list.name(&identity) == name {
                return Ok(());
            }
            list.insert(identity, name.cloned())?;
            remove(text, |line| first(line) == Some(identity));
            match name {
                Some(name) => append(text, format_args!("{identity} {name}")),
                None => append(text, identity),
            }
            Ok(())
        })
    }

    /// Takes back [`accept`](Self::accept), and the pins to this identity. Whether there were any.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn forget(&self, identity: IdentityId) -> Result<bool, HomeError> {
        let mut found = false;
        let mut forget = |text: &mut String| {
            found |= remove(text, |line| first(line) == Some(identity));
        };
        self.change::<AllowList>(TRUSTED, |_, text| {
            forget(text);
            Ok(())
        })?;
        self.change::<Pins>(PINS, |_, text| {
            forget(text);
            Ok(())
        })?;
        Ok(found)
    }

    /// Whom to trust never more.
    ///
    /// # Errors
    /// The file cannot be read, or a line is malformed.
    pub fn revoked(&self) -> Result<Revoked, HomeError> {
        self.list(REVOKED)
    }

    /// Trusts an identity never more, whatever else speaks for it. Sockets that use this home close
    /// its connections within a second.
    ///
    /// # Errors
    /// As [`revoked`](Self::revoked), or the file cannot be written.
    pub fn revoke(&self, identity: IdentityId) -> Result<(), HomeError> {
        self.change::<Revoked>(REVOKED, |revoked, text| {
            if revoked.identities.insert(identity) {
                append(text, identity);
            }
            Ok(())
        })
    }

    /// Takes back [`revoke`](Self::revoke). Whether it was revoked.
    ///
    /// # Errors
    /// As [`revoke`](Self::revoke).
    pub fn reinstate(&self, identity: IdentityId) -> Result<bool, HomeError> {
        let mut found = false;
        self.change::<Revoked>(REVOKED, |_, text| {
            found = remove(text, |line| first(line) == Some(identity));
            Ok(())
        })?;
        Ok(found)
    }

    /// Ends what a membership or an invitation grants, by its serial.
    ///
    /// # Errors
    /// As [`revoke`](Self::revoke).
    pub fn revoke_serial(&self, network: NetworkId, serial: u64) -> Result<(), HomeError> {
        self.change::<Revoked>(REVOKED, |revoked, text| {
            if revoked.serials.insert((network, serial)) {
                append(text, format_args!("{network} {serial}"));
            }
            Ok(())
        })
    }

    /// The endpoints that are tied to the identity that answered there first.
    ///
    /// # Errors
    /// The file cannot be read, or a line is malformed.
    pub fn pinned(&self) -> Result<BTreeMap<String, IdentityId>, HomeError> {
        Ok(self.list::<Pins>(PINS)?.0)
    }

    /// What those who are trusted may do; `None` where there is no such file, and everything is allowed.
    ///
    /// # Errors
    /// The file cannot be read, or a line is malformed.
    pub fn permissions(&self) -> Result<Option<Permissions>, HomeError> {
        match self.0.join(PERMISSIONS).symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => self.list(PERMISSIONS).map(Some),
        }
    }

    /// Ties an endpoint to an identity.
    ///
    /// # Errors
    /// It is tied to another, or cannot be noted.
    pub fn pin(&self, name: &str, identity: IdentityId) -> Result<(), HomeError> {
        self.change::<Pins>(PINS, |pins, text| match pins.0.get(name) {
            _ if name.contains(char::is_control) => Err(HomeError::malformed(
                &self.0.join(PINS),
                "an endpoint with control characters has no place in it",
            )),
            Some(pinned) if *pinned == identity => Ok(()),
            Some(pinned) => Err(PinError::Changed { pinned: *pinned }.into()),
            None => {
                append(text, format_args!("{identity} {name}"));
                Ok(())
            }
        })
    }

    /// Reads a list; one that is not there is empty.
    fn list<L: List>(&self, name: &str) -> Result<L, HomeError> {
        let path = self.0.join(name);
        parse(&path, &read_list(&path)?)
    }

    /// Changes a list, and then its text.
    fn change<L: List>(
        &self,
        name: &str,
        change: impl FnOnce(&mut L, &mut String) -> Result<(), HomeError>,
    ) -> Result<(), HomeError> {
        let path = self.0.join(name);
        let _lock = self.lock()?;
        let old = read_list(&path)?;
        let mut text = old.clone();
        change(&mut parse(&path, &old)?, &mut text)?;
        if text == old {
            return Ok(());
        }
        // What would not be read back is not written.
        parse::<L>(&path, &text)?;
        file::replace(&path, &text).map_err(|source| HomeError::Write { path, source })
    }

    fn lock(&self) -> Result<std::fs::File, HomeError> {
        file::lock(&self.0).map_err(|source| HomeError::Write {
            path: self.0.clone(),
            source,
        })
    }
}

/// What a file of lines says.
trait List: std::str::FromStr<Err: Display> {}
impl<L: std::str::FromStr<Err: Display>> List for L {}

fn read_list(path: &Path) -> Result<String, HomeError> {
    match file::read(path, MAX_LIST) {
        Ok(mut text) => Ok(std::mem::take(&mut *text)),
        Err(Unreadable::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(unreadable) => Err(HomeError::unreadable(path, unreadable)),
    }
}

fn parse<L: List>(path: &Path, text: &str) -> Result<L, HomeError> {
    let parsed = text.parse();
    parsed.map_err(|error: L::Err| HomeError::malformed(path, error))
}

/// The identity that a line begins with.
fn first(line: &str) -> Option<IdentityId> {
    line.split_whitespace().next()?.parse().ok()
}

/// Removes lines; whether there were any.
fn remove(text: &mut String, goes: impl Fn(&str) -> bool) -> bool {
    let kept: String = text
        .split_inclusive('\n')
        .filter(|line| !goes(line))
        .collect();
    let found = kept.len() < text.len();
    *text = kept;
    found
}

fn append(text: &mut String, line: impl Display) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&format!("{line}\n"));
}

/// The lines of a list that say something, and their numbers.
fn entries(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(text.lines());
    lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
}

impl std::str::FromStr for Revoked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut revoked = Self::default();
        for (number, line) in entries(text) {
            let form = |error: &dyn Display| {
                format!("line {number}: {error}; a line is ID, or NETWORK SERIAL")
            };
            match line.trim().split_once(char::is_whitespace) {
                None => {
                    let id = line.trim().parse().map_err(|error| form(&error))?;
                    revoked.identities.insert(id);
                }
                Some((network, serial)) => {
                    let network = network.parse().map_err(|error| form(&error))?;
                    let serial = serial.trim().parse().map_err(|error| form(&error))?;
                    revoked.serials.insert((network, serial));
                }
            }
        }
        Ok(revoked)
    }
}

/// Endpoints, and who answered there first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Pins(BTreeMap<String, IdentityId>);

impl std::str::FromStr for Pins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pins = BTreeMap::new();
        for (number, line) in entries(text) {
            let form =
                |error: &dyn Display| format!("line {number}: {error}; a line is ID ENDPOINT");
            // An endpoint may have spaces, at its end as well.
            let (id, name) = line
                .split_once(' ')
                .ok_or_else(|| form(&"it is one word"))?;
            let id = id.parse().map_err(|error| form(&error))?;
            if name.is_empty() || pins.insert(name.to_owned(), id).is_some() {
                return Err(form(&"the endpoint is missing, or stands there twice"));
            }
        }
        Ok(Self(pins))
    }
}

#[cfg(test)]
mod tests;

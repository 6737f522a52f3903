//! The sockets that share the endpoints of another one.
//!
//! The socket that is bound shakes hands with everybody, and hands peers over to others as soon as they
//! have shown themselves: [`Hosts`] says to which. [`Resources`] goes by the resources that peers ask for
//! (RFC 37 §3.4, "Resource"); who asks for none stays.
//!
//! Invariant: a name has one socket, and a socket that is gone has none.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use withy_proto::SocketType;
use withy_proto::trust::Shown;
use withy_proto::zmtp::connection::RESOURCE;
use withy_proto::zmtp::metadata::Metadata;

use super::core::Core;
use crate::event::{HandshakeFailure, Reason};

/// The most sockets behind one endpoint.
pub(crate) const MAX_RESOURCES: usize = 4_096;

/// A peer that connected, as it has shown itself so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    /// Its socket type.
    pub(crate) kind: SocketType,
    /// Its properties.
    pub(crate) metadata: &'a Metadata,
    /// The identity that it proved.
    pub(crate) shown: Option<&'a Shown>,
    /// The public key that it proved.
    pub(crate) key: Option<[u8; 32]>,
    /// Who the authenticator says it is.
    pub(crate) user: &'a str,
}

/// Which sockets share an endpoint.
pub(crate) trait Hosts: Send + Sync + std::fmt::Debug {
    /// The socket that takes a peer over; `None` if it stays.
    fn host_of(&self, asking: Asking<'_>) -> Result<Option<Arc<Core>>, HandshakeFailure>;
}

/// Sockets by the names of resources.
#[derive(Debug, Default)]
pub(crate) struct Resources(Mutex<BTreeMap<Box<str>, Guest>>);

/// A socket, and whom it is for.
#[derive(Debug)]
struct Guest {
    host: Host,
    guard: Arc<dyn Guard>,
}

/// Who takes those who ask for a name.
#[derive(Debug)]
enum Host {
    /// One socket, all of them.
    One(Weak<Core>),
    /// A fresh socket, each of them.
    Each(Door),
}

/// Makes a socket for somebody who comes; `None` if there are too many.
#[derive(Clone)]
pub(crate) struct Door(pub(crate) Arc<dyn Fn() -> Option<Arc<Core>> + Send + Sync>);

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door")
    }
}

impl Host {
    /// The one socket, if it is there.
    fn one(&self) -> Option<Arc<Core>> {
        match self {
            Self::One(core) => core.upgrade(),
            Self::Each(_) => None,
        }
    }

    fn is_gone(&self) -> bool {
        matches!(self, Self::One(core) if core.strong_count() == 0)
    }
}

/// Decides who gets to a socket.
pub(crate) trait Guard: Send + Sync + std::fmt::Debug {
    /// Whether a peer may connect; one within the process proves nothing, and shows nothing.
    fn admits(&self, shown: Option<&Shown>) -> bool;

    /// Whether a peer may subscribe to something.
    fn may_subscribe(&self, shown: Option<&Shown>, filter: &[u8]) -> bool;
}

/// Why a name was not given to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotNamed {
    /// Another socket has it.
    Taken,
    /// There are [`MAX_RESOURCES`] already.
    Full,
}

impl Resources {
    /// Gives a name to a socket.
    pub(crate) fn insert(
        &self,
        name: &str,
        core: &Arc<Core>,
        guard: Arc<dyn Guard>,
    ) -> Result<(), NotNamed> {
        self.insert_host(name, Host::One(Arc::downgrade(core)), guard)
    }

    /// Gives a name to a door: who asks for it gets a socket of his own.
    pub(crate) fn insert_door(
        &self,
        name: &str,
        door: Door,
        guard: Arc<dyn Guard>,
    ) -> Result<(), NotNamed> {
        self.insert_host(name, Host::Each(door), guard)
    }

    fn insert_host(&self, name: &str, host: Host, guard: Arc<dyn Guard>) -> Result<(), NotNamed> {
        let mut names = self.0.lock();
        names.retain(|_, guest| !guest.host.is_gone());
        if names.contains_key(name) {
            return Err(NotNamed::Taken);
        }
        if names.len() >= MAX_RESOURCES {
            return Err(NotNamed::Full);
        }
        names.insert(name.into(), Guest { host, guard });
        Ok(())
    }

    /// All sockets that have a name.
    pub(crate) fn cores(&self) -> Vec<Arc<Core>> {
        let names = self.0.lock();
        names.values().filter_map(|it| it.host.one()).collect()
    }

    /// Closes the connections of peers that may be connected no longer.
    pub(crate) fn look_again(&self) {
        let all: Vec<_> = {
            let names = self.0.lock();
            let live = |guest: &Guest| Some((guest.host.one()?, Arc::clone(&guest.guard)));
            names.values().filter_map(live).collect()
        };
        for (core, guard) in all {
            for (key, peer) in core.links() {
                let shown = peer.proven.as_ref().map(|proven| &proven.shown);
                if !guard.admits(shown) {
                    core.close_link(key, Reason::NotPermitted);
                }
            }
        }
    }

    /// Takes a name away from whatever socket has it.
    pub(crate) fn remove(&self, name: &str) {
        self.0.lock().remove(name);
    }
}

impl Hosts for Resources {
    fn host_of(&self, asking: Asking<'_>) -> Result<Option<Arc<Core>>, HandshakeFailure> {
        let Asking {
            metadata, shown, ..
        } = asking;
        let Some(wanted) = metadata.value(RESOURCE).filter(|it| !it.is_empty()) else {
            return Ok(None);
        };
        let known = str::from_utf8(wanted).ok();
        let found = known.and_then(|name| {
            let names = self.0.lock();
            let guest = names.get(name).filter(|guest| !guest.host.is_gone())?;
            let host = match &guest.host {
                Host::One(core) => Host::One(Weak::clone(core)),
                Host::Each(door) => Host::Each(door.clone()),
            };
            Some((host, Arc::clone(&guest.guard)))
        });
        let shown_name = || {
            let shown = wanted.escape_ascii().take(64);
            shown.map(char::from).collect()
        };
        match found {
            None => Err(HandshakeFailure::NoResource(shown_name())),
            Some((_, guard)) if !guard.admits(shown) => {
                Err(HandshakeFailure::NotPermitted(shown_name()))
            }
            Some((Host::One(core), _)) => match core.upgrade() {
                Some(core) => Ok(Some(core)),
                None => Err(HandshakeFailure::NoResource(shown_name())),
            },
            Some((Host::Each(door), _)) => match (door.0)() {
                Some(core) => Ok(Some(core)),
                None => Err(HandshakeFailure::Full(shown_name())),
            },
        }
    }
}

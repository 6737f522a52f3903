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
    core: Weak<Core>,
    guard: Arc<dyn Guard>,
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
        let mut names = self.0.lock();
        names.retain(|_, guest| guest.core.strong_count() > 0);
        if names.contains_key(name) {
            return Err(NotNamed::Taken);
        }
        if names.len() >= MAX_RESOURCES {
            return Err(NotNamed::Full);
        }
        let guest = Guest {
            core: Arc::downgrade(core),
            guard,
        };
        names.insert(name.into(), guest);
        Ok(())
    }

    /// All sockets that have a name.
    pub(crate) fn cores(&self) -> Vec<Arc<Core>> {
        let names = self.0.lock();
        names.values().filter_map(|it| it.core.upgrade()).collect()
    }

    /// Closes the connections of peers that may be connected no longer.
    pub(crate) fn look_again(&self) {
        let all: Vec<_> = {
            let names = self.0.lock();
            let live = |guest: &Guest| Some((guest.core.upgrade()?, Arc::clone(&guest.guard)));
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
            let guest = names.get(name)?;
            Some((guest.core.upgrade()?, Arc::clone(&guest.guard)))
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
            Some((core, _)) => Ok(Some(core)),
        }
    }
}

//! The sockets that share the endpoints of another one, by the resources that peers ask for
//! (RFC 37 §3.4, "Resource").
//!
//! The socket that is bound shakes hands with everybody. Who asks for a resource is handed over to the
//! socket that has this name, as soon as it has shown itself; who asks for none stays.
//!
//! Invariant: a name has one socket, and a socket that is gone has none.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use withy_proto::zmtp::connection::RESOURCE;
use withy_proto::zmtp::metadata::Metadata;

use super::core::Core;
use crate::event::HandshakeFailure;

/// The most sockets behind one endpoint.
pub(crate) const MAX_RESOURCES: usize = 4_096;

/// Sockets by the names of resources.
#[derive(Debug, Default)]
pub(crate) struct Resources(Mutex<BTreeMap<Box<str>, Weak<Core>>>);

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
    pub(crate) fn insert(&self, name: &str, core: &Arc<Core>) -> Result<(), NotNamed> {
        let mut names = self.0.lock();
        names.retain(|_, core| core.strong_count() > 0);
        if names.contains_key(name) {
            return Err(NotNamed::Taken);
        }
        if names.len() >= MAX_RESOURCES {
            return Err(NotNamed::Full);
        }
        names.insert(name.into(), Arc::downgrade(core));
        Ok(())
    }

    /// Takes a name away from whatever socket has it.
    pub(crate) fn remove(&self, name: &str) {
        self.0.lock().remove(name);
    }

    /// The socket that a peer with these properties asks for; `None` if it asks for none.
    pub(crate) fn wanted(
        &self,
        metadata: &Metadata,
    ) -> Result<Option<Arc<Core>>, HandshakeFailure> {
        let Some(wanted) = metadata.value(RESOURCE).filter(|it| !it.is_empty()) else {
            return Ok(None);
        };
        let known = str::from_utf8(wanted).ok();
        let core = known.and_then(|name| self.0.lock().get(name)?.upgrade());
        core.map(Some).ok_or_else(|| {
            let shown = wanted.escape_ascii().take(64);
            HandshakeFailure::NoResource(shown.map(char::from).collect())
        })
    }
}

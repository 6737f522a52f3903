//! Who comes in where.

use std::sync::Arc;

use withy_proto::SocketType;
use withy_proto::zmtp::ConnectionError;

use super::hall::{Hall, Offence};
use super::subscribers::Subscribers;
use crate::driver::core::Core;
use crate::driver::resources::{Asking, Hosts};
use crate::event::HandshakeFailure;
use crate::trust::Verb;

/// The way in at a shared endpoint: by the peer's socket type.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) hall: Arc<Hall>,
    pub(super) subscribers: Arc<Subscribers>,
    pub(super) publishers: Arc<Core>,
    pub(super) callers: Arc<Core>,
    pub(super) pushers: Arc<Core>,
}

impl Hosts for Entrance {
    fn host_of(&self, asking: Asking<'_>) -> Result<Option<Arc<Core>>, HandshakeFailure> {
        let host = match asking.kind {
            SocketType::Sub | SocketType::XSub => {
                self.subscribers.host_of(self.hall.asking(&asking))?
            }
            SocketType::Pub | SocketType::XPub => Arc::clone(&self.publishers),
            SocketType::Req | SocketType::Dealer => Arc::clone(&self.callers),
            SocketType::Push => Arc::clone(&self.pushers),
            kind => return Err(misplaced(SocketType::Router, kind)),
        };
        Ok(Some(host))
    }
}

/// The way in at the endpoint of one name.
#[derive(Debug)]
pub(super) struct SideDoor {
    pub(super) hall: Arc<Hall>,
    /// As what we show ourselves.
    pub(super) ours: SocketType,
    pub(super) takes: &'static [SocketType],
    /// What peers do here.
    pub(super) verb: Verb,
    pub(super) name: Box<str>,
}

impl Hosts for SideDoor {
    fn host_of(&self, asking: Asking<'_>) -> Result<Option<Arc<Core>>, HandshakeFailure> {
        if !self.takes.contains(&asking.kind) {
            return Err(misplaced(self.ours, asking.kind));
        }
        let whom = self.hall.asking(&asking);
        if !self.hall.allows(&whom, self.verb, &self.name) {
            let what = format!("no permission to {} {:?}", self.verb, self.name);
            self.hall.offended(Some(whom), Offence::Denied, what);
            return Err(HandshakeFailure::NotPermitted(self.name.to_string()));
        }
        Ok(None)
    }
}

fn misplaced(ours: SocketType, theirs: SocketType) -> HandshakeFailure {
    let theirs = theirs.name().to_owned();
    ConnectionError::SocketType { ours, theirs }.into()
}

//! What all parts of a door share: the node behind it, who may do what, and what is told of those who do
//! what they may not.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use withy_proto::SocketType;
use withy_proto::crypto::keys::PublicKey;

use super::counts::Counts;
use super::{MAX_OFFENCES, MAX_PEERS};
use crate::driver::core::Core;
use crate::driver::resources::Asking;
use crate::event::PeerInfo;
use crate::node::Node;
use crate::options::Options;
use crate::socket::{Owner, PeerKey};
use crate::trust::{Permissions, Principal, Verb};

/// By what peers prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proves {
    Nothing,
    User,
    Key,
}

impl Proves {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "NULL",
            Self::User => "PLAIN",
            Self::Key => "CURVE",
        }
    }

    fn principal(self, key: Option<[u8; 32]>, user: &str) -> Principal {
        match (self, key) {
            (Self::Key, Some(key)) => Principal::Curve(PublicKey::from_octets(key)),
            (Self::User, _) => Principal::Plain(user.into()),
            _ => Principal::Local,
        }
    }
}

/// What a peer did that came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Offence {
    /// It is not what the door takes.
    Malformed,
    /// The permissions do not allow it.
    Denied,
    /// There is no room for it.
    Overflowed,
    /// Nobody took it.
    Undelivered,
}

#[derive(Debug)]
pub(super) struct Hall {
    pub(super) node: Node,
    pub(super) mechanism: Proves,
    /// How long a request waits for its reply.
    pub(super) within: Duration,
    pub(super) counts: Counts,
    told: Mutex<BTreeSet<(Option<Principal>, Offence)>>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Hall {
    pub(super) fn new(node: &Node, mechanism: Proves, within: Duration) -> Self {
        Self {
            node: node.clone(),
            mechanism,
            within,
            counts: Counts::default(),
            told: Mutex::default(),
            stop: node.shared().stop.child_token(),
            tasks: TaskTracker::new(),
        }
    }

    /// Runs a task until the door closes.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let until_stopped = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        };
        self.tasks
            .spawn_on(until_stopped, &self.node.shared().runtime);
    }

    /// A socket of the door, which closes with the node.
    pub(super) fn socket(&self, kind: SocketType, mut options: Options) -> Owner {
        options.connections.max_connections = MAX_PEERS;
        let shared = self.node.shared();
        let socket = shared.socket(kind, options);
        shared.close_with_node(socket.core());
        socket
    }

    /// Who a peer is that connects.
    pub(super) fn asking(&self, asking: &Asking<'_>) -> Principal {
        self.mechanism.principal(asking.key, asking.user)
    }

    /// Who a peer is that is connected.
    pub(super) fn principal(&self, peer: &PeerInfo) -> Principal {
        self.mechanism.principal(peer.key, &peer.user.id)
    }

    /// Who sent a message; `None` of whom has long left.
    pub(super) fn sender(&self, core: &Core, from: PeerKey) -> Option<Principal> {
        // All are the same: nobody has to be looked up.
        if self.mechanism == Proves::Nothing {
            return Some(Principal::Local);
        }
        core.sender(from.0).map(|peer| self.principal(&peer))
    }

    pub(super) fn permissions(&self) -> Option<Arc<Permissions>> {
        self.node.shared().trust.permissions()
    }

    /// Whether somebody may do something with a topic or a name.
    pub(super) fn allows(&self, whom: &Principal, verb: Verb, name: &str) -> bool {
        let permissions = self.permissions();
        permissions.is_none_or(|rules| rules.allow(whom, verb, name))
    }

    /// As [`allows`](Self::allows), of who sent a message.
    pub(super) fn allows_sender(&self, core: &Core, from: PeerKey, verb: Verb, name: &str) -> bool {
        let Some(rules) = self.permissions() else {
            return true;
        };
        let sender = self.sender(core, from);
        sender.is_some_and(|whom| rules.allow(&whom, verb, name))
    }

    /// Counts what came to nothing, and tells of it if it is the first of its kind of this principal.
    pub(super) fn offended(
        &self,
        whom: Option<Principal>,
        offence: Offence,
        what: impl fmt::Display,
    ) {
        self.counter(offence).fetch_add(1, Relaxed);
        let mut told = self.told.lock();
        if told.len() >= MAX_OFFENCES || !told.insert((whom.clone(), offence)) {
            return;
        }
        drop(told);
        let who = whom.map_or_else(|| "a peer that left".to_owned(), |it| it.to_string());
        tracing::warn!(
            who,
            ?offence,
            "at the ZMTP door: {what}; more of this is counted"
        );
    }

    fn counter(&self, offence: Offence) -> &AtomicU64 {
        match offence {
            Offence::Malformed => &self.counts.malformed,
            Offence::Denied => &self.counts.denied,
            Offence::Overflowed => &self.counts.overflowed,
            Offence::Undelivered => &self.counts.undelivered,
        }
    }
}

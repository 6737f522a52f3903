//! Connections to a node that the mesh takes for dead.
//!
//! Over TCP and within a host a process that ends is missed at once; over UDP, and of a host that is
//! gone, nobody hears. Heartbeats between neighbours notice it first, and gossip spreads it.
//!
//! Invariant: who still answers over a connection keeps it, whatever others say.

use std::sync::Arc;
use std::time::Duration;

use withy_discovery::PeerTag;

use super::links::tag_of;
use super::shared::{Shared, State};

/// How long a node that is taken for dead has for its answer.
const PATIENCE: Duration = Duration::from_secs(1);

impl Shared {
    /// Asks a node that is taken for dead over all connections to it, and closes those over which it does
    /// not answer.
    pub(super) fn doubt(&self, state: &State, tag: PeerTag) {
        let mut cores = self.resources.cores();
        cores.extend(state.interests.cores());
        for core in cores {
            let links = core.links().into_iter();
            for (key, _) in links.filter(|(_, info)| tag_of(info) == Some(tag)) {
                let (core, stop) = (Arc::clone(&core), self.stop.clone());
                self.spawn(async move {
                    tokio::select! {
                        () = core.doubt(key, PATIENCE) => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
        }
    }
}

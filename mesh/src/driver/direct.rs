//! The way back from a relay: while a connection leads through one, the direct ways are tried now and
//! then, and it is let go when one of them works.
//!
//! Which of two connections to a peer counts is for its socket to say, and many have one place for each:
//! so the direct one is made after the other was let go, as after any that broke.
//!
//! Invariant: nothing is tried once the connection has ended.

use std::sync::Arc;

use tokio_util::sync::{CancellationToken, DropGuard};
use withy_proto::Endpoint;

use super::core::Core;
use super::dial::Dialed;

/// Watches for direct ways for as long as it lives.
#[derive(Debug)]
pub(crate) struct Direct {
    found: CancellationToken,
    _over: DropGuard,
}

impl Direct {
    /// Watches, if the connection leads through a relay; `host` is whose trust it was made with.
    pub(crate) fn watch(
        host: &Arc<Core>,
        to: &Arc<Dialed>,
        endpoint: &Endpoint,
        stop: &CancellationToken,
    ) -> Option<Self> {
        let circuits = match endpoint {
            Endpoint::Relay(_) => host.options.circuits.clone()?,
            _ => return None,
        };
        let found = stop.child_token();
        let token = found.clone();
        let to = Arc::clone(to);
        host.spawn(async move {
            let search = async {
                loop {
                    circuits.pause().await;
                    let ways = direct(&to);
                    if circuits.reaches(ways, to.expected).await {
                        return;
                    }
                }
            };
            tokio::select! {
                () = token.cancelled() => {}
                () = search => token.cancel(),
            }
        });
        Some(Self {
            _over: found.clone().drop_guard(),
            found,
        })
    }

    /// Is cancelled when a direct way was found, or the connection is not wanted any more.
    pub(crate) const fn found(&self) -> &CancellationToken {
        &self.found
    }
}

/// The ways to a peer that lead through no relay.
pub(crate) fn direct(to: &Dialed) -> Vec<Endpoint> {
    let ways = to.ways.lock();
    let direct = ways.iter().filter(|way| !matches!(way, Endpoint::Relay(_)));
    direct.cloned().collect()
}

//! Services by name: many instances, on as many nodes, of which a client asks one, or all.
//!
//! ```text
//!  Client ── REQ ──> the instance with the fewest of our requests ── REP ──> Desk ──> Service
//!    ^                                                                  │               │
//!    └── done, failed ── or busy, too late, gone: the next instance <───┴── ServiceRequest
//! ```
//!
//! A client is one REQ socket that is connected to every instance, a service one REP socket that others
//! reach by its name; what is said beside the bodies is [`withy_proto::service`]'s. The caller's own
//! thread sends and receives: a request costs no task and no channel.
//!
//! Whether an instance lives is told by heartbeats, see [`HEARTBEAT`], and by the mesh. What it has
//! acted on when it dies nobody knows: only what is [idempotent](Request::idempotent) is asked again.
//!
//! Invariant: each request ends, by a reply or by its deadline; each that an instance took in is
//! answered once.

mod all;
mod client;
mod desk;
mod error;
mod request;
mod serving;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};
use std::time::Duration;

use withy_proto::peer::Heartbeat;

use super::shared::Shared;
use crate::driver::core::{Core, Phase};
use crate::options::Options;

pub use all::{Answer, Instance};
pub use client::{Client, Request};
pub use error::ServiceError;
pub use request::ServiceRequest;
pub use serving::{Service, ServiceCounts};

/// How clients and instances notice that the other is gone: they ask each second, and give up after
/// 3 s of silence, 4 s at most. An instance that keeps its runtime from running for that long, by
/// work that blocks, is given up as well.
pub const HEARTBEAT: Heartbeat = Heartbeat {
    enabled: None,
    interval: Duration::from_secs(1),
    timeout: Duration::from_secs(3),
};

/// How long replies take to be written at most, once the node is closed.
const LINGER: Duration = Duration::from_secs(1);

impl Shared {
    /// The options of the sockets of services and of their clients.
    fn service_options(&self) -> Options {
        let mut options = self.options();
        options.heartbeat = HEARTBEAT;
        options
    }

    /// Closes a socket when the node is closed: who waits for it hears so, and who asked by it that the
    /// instance is gone, once the replies that were given are written.
    pub(super) fn close_with_node(&self, core: &Arc<Core>) {
        let (stop, mut phase) = (self.stop.clone(), core.phase.subscribe());
        let core: Weak<Core> = Arc::downgrade(core);
        self.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                // Its owner closes it.
                _ = phase.wait_for(|phase| *phase != Phase::Open) => return,
            }
            if let Some(core) = core.upgrade() {
                core.start_closing();
                core.finish_closing(LINGER).await;
            }
        });
    }
}

//! The ZMTP door: stock ZeroMQ sockets on the mesh.
//!
//! ```text
//!                    ┌ SUB, XSUB ──> one XPUB for each principal <── tap on the bus
//!  a shared endpoint ┼ PUB, XPUB ──> SUB ──> a publisher of all topics
//!   (the Entrance)   ├ REQ, DEALER > ROUTER ──> a client for each name
//!                    └ PUSH ───────> PULL ──> a lane for each queue
//!  an endpoint of a service: REP, DEALER <── its requests
//!  an endpoint of a queue:   PULL        <── its messages
//! ```
//!
//! The door listens, and so it hears what a peer is before it says what it is itself: one endpoint serves
//! all types that can say a name, each at the socket that talks to it.
//!
//! Not here: what topics, services and queues are, which is the [node](super)'s. The door is a program
//! on the node: for the mesh, what comes through it comes from the node.
//!
//! Invariant: a peer does what the permissions let its [principal](crate::trust::Principal) do, and what
//! does not get through is answered, or counted and told once for each principal and reason.

mod builder;
mod callers;
mod counts;
mod entrance;
mod error;
mod hall;
mod publishers;
mod pushers;
mod subscribers;
mod takers;
#[cfg(test)]
mod tests;
mod widen;
mod workers;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;
use withy_proto::Endpoint;

pub use builder::ZmtpDoorBuilder;
pub use counts::DoorStats;
pub use error::DoorError;

use callers::Callers;
use hall::Hall;
use pushers::Pushers;
use subscribers::Subscribers;
use takers::Takers;
use workers::Workers;

use super::Node;
use crate::socket::Owner;

/// Most peers of one kind that are connected at a time; one more is refused, and tries again.
pub const MAX_PEERS: usize = 4_096;
/// Most prefixes that one SUB or XSUB subscribes to; with more it is disconnected.
pub const MAX_SUBSCRIPTIONS: usize = 1_024;
/// Most principals that have subscribers at a time.
pub const MAX_PRINCIPALS: usize = 1_024;
/// Most services, and as many queues, that peers talk to at a time.
pub const MAX_NAMES: usize = 256;
/// Most requests of all peers that are not answered yet; of one more its peer hears that there is no room.
pub const MAX_REQUESTS: usize = 1_024;
/// Most octets of requests that are not answered yet, unless there is but one.
pub const MAX_REQUEST_OCTETS: usize = 64 * 1024 * 1024;
/// Most requests of one peer that are not answered yet.
pub const MAX_PEER_REQUESTS: usize = 128;
/// Most frames that stand in front of a request for the way back.
pub const MAX_ENVELOPE: usize = 16;
/// Most messages that wait for one queue; more are dropped and counted.
pub const MAX_WAITING: usize = 1_000;
/// Most octets that wait for all queues together; more are dropped and counted.
pub const MAX_WAITING_OCTETS: usize = 64 * 1024 * 1024;
/// Most principals and reasons that are remembered so as to tell of each once.
pub const MAX_OFFENCES: usize = 1_024;

/// An open door, through which ZeroMQ sockets that know nothing of the mesh come to it. A clone is
/// another handle of the same door; it closes when the last one is dropped.
///
/// Which socket does what, and with which frames, is told in the
/// [manual](crate::manual::mesh#the-zmtp-door).
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let home = withy::Home::at(folder.path().join("home"));
/// # let open = || withy::Node::builder().home(&home).runtime_directory(folder.path().join("run"));
/// use withy::node::ZmtpDoor;
/// use withy::{Message, Req};
///
/// let node = open().build().await?;
/// let adder = node.service("adder")?;
/// tokio::spawn(async move {
///     while let Ok(request) = adder.recv().await {
///         let _ = request.reply("3").await;
///     }
/// });
/// let door = ZmtpDoor::builder(&node).listen("tcp://127.0.0.1:*").open().await?;
///
/// // As any ZeroMQ library does it:
/// let req = Req::connect(&door.endpoints()[0])?;
/// let reply = req.request(Message::from_iter(["adder", "1 2"])).await?;
/// assert_eq!(reply.first(), "3");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ZmtpDoor(Arc<Open>);

/// What is open.
#[derive(Debug)]
struct Open {
    hall: Arc<Hall>,
    /// The socket that listens at the shared endpoints.
    entrance: Owner,
    subscribers: Arc<Subscribers>,
    publishers: Owner,
    callers: Arc<Callers>,
    pushers: Arc<Pushers>,
    workers: Vec<Arc<Workers>>,
    takers: Vec<Arc<Takers>>,
    endpoints: Vec<Endpoint>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.hall.stop.cancel();
    }
}

impl ZmtpDoor {
    /// How long a request waits for its reply by default.
    pub const WITHIN: Duration = super::service::Request::WITHIN;

    /// A builder for a door of a node.
    pub fn builder(node: &Node) -> ZmtpDoorBuilder {
        ZmtpDoorBuilder::new(node)
    }

    /// The endpoints that SUB, PUB, REQ, DEALER and PUSH share, with real ports, in the order in which
    /// they were named.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.0.endpoints
    }

    /// The services whose workers come to endpoints of their own, and these endpoints.
    pub fn served(&self) -> Vec<(&str, Endpoint)> {
        let workers = self.0.workers.iter();
        workers.map(|it| (it.name(), it.endpoint())).collect()
    }

    /// The queues that PULLs take from at endpoints of their own, and these endpoints.
    pub fn pulled(&self) -> Vec<(&str, Endpoint)> {
        let takers = self.0.takers.iter();
        takers.map(|it| (it.name(), it.endpoint())).collect()
    }

    /// The mechanism that peers need: `NULL`, `PLAIN` or `CURVE`.
    pub fn mechanism(&self) -> &'static str {
        self.0.hall.mechanism.name()
    }

    /// The counters at this moment.
    pub fn stats(&self) -> DoorStats {
        let open = &*self.0;
        let counts = &open.hall.counts;
        let mut stats = DoorStats {
            filters: open.subscribers.filters(),
            published: counts.published.load(Relaxed),
            requests: counts.requests.load(Relaxed),
            failed: counts.failed.load(Relaxed),
            pushed: counts.pushed.load(Relaxed),
            served: counts.served.load(Relaxed),
            taken: counts.taken.load(Relaxed),
            waiting: open.pushers.waiting(),
            malformed: counts.malformed.load(Relaxed),
            denied: counts.denied.load(Relaxed),
            overflowed: counts.overflowed.load(Relaxed),
            undelivered: counts.undelivered.load(Relaxed),
            ..DoorStats::default()
        };
        open.subscribers.count(&mut stats);
        stats.add([&open.entrance]);
        stats.publishers = stats.add([&open.publishers]);
        stats.callers = stats.add([open.callers.socket()]);
        stats.pushers = stats.add([open.pushers.socket()]);
        stats.workers = stats.add(open.workers.iter().map(|it| it.socket()));
        stats.takers = stats.add(open.takers.iter().map(|it| it.socket()));
        stats
    }

    /// Closes the door: takes nothing more in, lets what waits for queues and peers go on for `linger` at
    /// most, and ends all connections. What is left is counted as undelivered.
    ///
    /// # Cancel safety
    /// A cancelled close leaves the door closing.
    pub async fn close(self, linger: Duration) {
        let open = &*self.0;
        let until = Instant::now() + linger;
        let inputs = [&open.entrance, &open.publishers, open.pushers.socket()];
        inputs.iter().for_each(|it| it.core().start_closing());
        let _ = tokio::time::timeout_at(until, open.pushers.drained()).await;
        open.hall.stop.cancel();
        open.hall.tasks.close();
        // They end at once.
        open.hall.tasks.wait().await;
        let subscribers = open.subscribers.sockets();
        let workers = open.workers.iter().map(|it| it.socket());
        let sockets = [&open.entrance, &open.publishers, open.callers.socket()];
        let sockets = sockets.into_iter().chain([open.pushers.socket()]);
        for socket in sockets.chain(workers).chain(&subscribers) {
            finish(socket, until).await;
        }
        for takers in &open.takers {
            // What no PULL took.
            let unsent = takers.unread() + finish(takers.socket(), until).await as u64;
            let counter = &open.hall.counts.undelivered;
            counter.fetch_add(unsent, Relaxed);
        }
    }
}

async fn finish(socket: &Owner, until: Instant) -> usize {
    let core = socket.core();
    core.start_closing();
    let left = until.saturating_duration_since(Instant::now());
    core.finish_closing(left).await
}

//! A node of the mesh: what it publishes, serves and wants by name, with no address typed.
//!
//! ```text
//!  Node ── record ──> sources, gossip ──> the tables of others
//!   │                                          │
//!   ├─ listener: one endpoint of each kind, whose peers ask for a resource by name
//!   ├─ interests: who offers what a socket wants is dialled, and let go when he offers it no more
//!   └─ control: a socket whose peers gossip
//! ```
//!
//! The engines that decide are sans-IO: [`withy_discovery`] says who is there and which links to
//! keep, [`withy_proto::bus`] what a topic is. Here are their sockets, clocks and tasks.
//!
//! Invariant: whoever is dialled because of a record has to prove the record's node key, and is dialled
//! only if its identity is trusted, as far as a record can show it.

mod addresses;
mod builder;
mod bus;
pub mod door;
mod doubt;
mod engine;
mod error;
mod group;
mod guard;
mod interest;
mod limits;
mod links;
mod listen;
mod offer;
mod peer;
mod ping;
mod place;
pub mod queue;
mod relay;
pub mod service;
mod shared;
mod sources;
mod stats;
#[cfg(test)]
mod tests;
mod verdicts;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Mutex, broadcast};
use withy_proto::SocketType;
use withy_proto::trust::{IdentityId, NodeId};

pub use builder::NodeBuilder;
pub use bus::history::History;
pub use bus::{BusPublisher, BusSubscriber, Matching};
pub use door::{DoorError, DoorStats, ZmtpDoor, ZmtpDoorBuilder};
pub use error::{NameError, NodeError, PingError, PublishError};
pub use group::{Group, Heard};
pub use limits::NodeLimits;
pub use peer::{NodeEvent, Offered, Peer, PeerLink, Presence};
pub use queue::{Job, Producer, QueueKeeper, QueueOptions, Worker};
pub(crate) use relay::Circuits;
pub use relay::{NoCircuit, Relay, RelayCounters};
pub use service::{Client, Service, ServiceError, ServiceRequest};
pub use stats::{
    GossipCounters, HintCounters, MdnsCounters, MemberCounters, Multicast, MulticastState,
    NodeStats, RecordCounters,
};
pub use withy_discovery::fixed::{Fixed, Seed, SeedError};
pub use withy_discovery::{Kind, PeerTag};
pub use withy_proto::bus::{BoxedHeader, Filter, Header, Priority, Publication, Topic, TopicError};

pub(crate) use interest::Wants;
use shared::Shared;

use crate::driver::core::Core;
use crate::socket::{Owner, Pair, Pull, Push};

/// A node of the mesh. A clone is another handle of the same node, which leaves when the last one is
/// dropped, its publishers and subscribers included.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let home = withy::Home::at(folder.path().join("home"));
/// # let open = || withy::Node::builder().home(&home).runtime_directory(folder.path().join("run"));
/// let kitchen = open().build().await?; // `Node::open()`, in one program
/// let screen = open().build().await?; // and in another
///
/// let subscriber = screen.subscriber("home/#")?;
/// let publisher = kitchen.publisher("home/kitchen/temp")?;
/// publisher.wait_subscribed(1).await?;
/// publisher.publish("21.5").await?;
/// let publication = subscriber.recv().await?;
/// assert_eq!(publication.topic.as_str(), "home/kitchen/temp");
/// assert_eq!(publication.body, "21.5");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Node(Arc<Owned>);

#[derive(Debug)]
struct Owned(Arc<Shared>);

impl Drop for Owned {
    /// Without `close`, the node says goodbye in the background.
    fn drop(&mut self) {
        self.0.stop.cancel();
    }
}

impl Node {
    /// The port at which a node listens that others are told to look for, over UDP and over TCP alike.
    pub const PORT: u16 = 7_100;

    /// A node with default options: the user's identity and trust, found by the nodes of this host.
    ///
    /// # Errors
    /// As [`NodeBuilder::build`].
    pub async fn open() -> Result<Self, NodeError> {
        Self::builder().build().await
    }

    /// A builder for a node with other options.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    pub(crate) fn over(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Owned(shared)))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// This node's id, which is new with each process.
    pub fn id(&self) -> NodeId {
        self.shared().identity.node()
    }

    /// The identity that this node belongs to, which others trust.
    pub fn identity(&self) -> IdentityId {
        self.shared().identity.id()
    }

    /// What this node is known by among its neighbours.
    pub fn tag(&self) -> PeerTag {
        self.shared().own
    }

    /// A publisher of one topic, or of all that a filter chooses.
    ///
    /// # Errors
    /// It is no topic and no filter, or the node offers as much as it can.
    pub fn publisher(&self, scope: impl AsRef<str>) -> Result<BusPublisher, NameError> {
        BusPublisher::new(self, parse(scope.as_ref())?)
    }

    /// A subscriber to the topics that a filter chooses, of all nodes, this one included.
    ///
    /// # Errors
    /// It is no filter.
    pub fn subscriber(&self, filter: impl AsRef<str>) -> Result<BusSubscriber, NameError> {
        BusSubscriber::new(self, parse(filter.as_ref())?)
    }

    /// A subscriber that first gets what the publishers keep of the topics that the filter chooses,
    /// retained values and the last messages (see [`NodeBuilder::history`]), and then what they publish:
    /// nothing is missing in between, and nothing comes twice. Of each publisher the order holds.
    ///
    /// # Errors
    /// It is no filter.
    pub fn late_subscriber(&self, filter: impl AsRef<str>) -> Result<BusSubscriber, NameError> {
        BusSubscriber::late(self, parse(filter.as_ref())?)
    }

    /// Sends work to whoever takes it from a queue, each message to one of them in turn. It waits where
    /// nobody has room, and what a node has taken that then dies is lost.
    ///
    /// # Errors
    /// It is no name, or the node was closed.
    pub fn push(&self, queue: impl AsRef<str>) -> Result<Push, NameError> {
        let wants = Wants::Named(Kind::Pull, queue.as_ref().into());
        self.seek(SocketType::Push, queue.as_ref(), wants)
            .map(Push::over)
    }

    /// Takes work from a queue, of all that [push](Self::push) to it.
    ///
    /// # Errors
    /// It is no name, this node takes from this queue already, or offers as much as it can.
    pub fn pull(&self, queue: impl AsRef<str>) -> Result<Pull, NameError> {
        let socket = self.socket(SocketType::Pull);
        self.put(&socket, Kind::Pull, queue.as_ref())?;
        Ok(Pull::over(socket))
    }

    /// One end of a pair: it talks to the one other node that asks for this name, too.
    ///
    /// # Errors
    /// It is no name, this node has an end of it already, or offers as much as it can.
    pub fn pair(&self, name: impl AsRef<str>) -> Result<Pair, NameError> {
        let socket = self.socket(SocketType::Pair);
        self.put(&socket, Kind::Pair, name.as_ref())?;
        self.seek_by(&socket, Wants::Pair(name.as_ref().into()));
        Ok(Pair::over(socket))
    }

    /// The node that sockets share which were given none. It lives for as long as one of them does.
    ///
    /// Boxed, since nodes have sockets, too.
    pub(crate) fn shared_one() -> Pin<Box<dyn Future<Output = Result<Self, NodeError>> + Send>> {
        static ONE: Mutex<Weak<Owned>> = Mutex::const_new(Weak::new());
        Box::pin(async {
            let mut one = ONE.lock().await;
            if let Some(owned) = one.upgrade() {
                return Ok(Self(owned));
            }
            let node = Self::open().await?;
            *one = Arc::downgrade(&node.0);
            Ok(node)
        })
    }

    /// Connects a socket that was made elsewhere.
    pub(crate) fn seek_for(&self, core: &Arc<Core>, wants: Wants) -> Named {
        Named::wanted(self, self.shared().want(wants, core))
    }

    /// Offers a socket that was made elsewhere.
    pub(crate) fn put_socket(&self, core: &Arc<Core>, name: &str) -> Result<Named, NameError> {
        let kind = Kind::Socket(core.kind);
        let offer = self.shared().offer_socket(kind, name, core)?;
        Ok(Named::offered(self, offer))
    }

    /// Joins a group, in which nodes talk to all others or to one.
    ///
    /// # Errors
    /// It is no name, this node is in it already, or offers as much as it can.
    pub fn join(&self, group: impl AsRef<str>) -> Result<Group, NameError> {
        Group::new(self, group.as_ref())
    }

    /// Serves a name: receives what [clients](Self::client) of any node ask, which goes to one of those
    /// who serve the name, or to [all](Client::ask_all).
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let home = withy::Home::at(folder.path().join("home"));
    /// # let open = || withy::Node::builder().home(&home).runtime_directory(folder.path().join("run"));
    /// # let node = open().build().await?;
    /// let orders = node.service("orders")?;
    /// tokio::spawn(async move {
    ///     while let Ok(mut request) = orders.recv().await {
    ///         let message = request.take_message();
    ///         let reply = match message.first().as_str() {
    ///             Some(order) => request.reply(format!("{order}: shipped")).await,
    ///             None => request.fail("an order is text").await,
    ///         };
    ///         let _ = reply; // the client may have left
    ///     }
    /// });
    /// # let node = open().build().await?;
    /// // On any node:
    /// use std::time::Duration;
    /// use withy::node::service::Request;
    ///
    /// let client = node.client("orders")?;
    /// assert_eq!(client.request("7").await?.first(), "7: shipped");
    /// let second = Duration::from_secs(1);
    /// let request = Request::new("8").within(second).idempotent();
    /// assert_eq!(client.request(request).await?.first(), "8: shipped");
    /// for answer in client.ask_all("9", second).await? {
    ///     assert_eq!(answer.reply?.first(), "9: shipped");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// It is no name, this node serves it already, or offers as much as it can.
    pub fn service(&self, name: impl AsRef<str>) -> Result<Service, NameError> {
        Service::new(self, name.as_ref())
    }

    /// Asks whoever serves a name, by now or later.
    ///
    /// # Errors
    /// It is no name, or the node was closed.
    pub fn client(&self, name: impl AsRef<str>) -> Result<Client, NameError> {
        Client::new(self, name.as_ref())
    }

    fn socket(&self, kind: SocketType) -> Owner {
        let shared = self.shared();
        shared.socket(kind, shared.options())
    }

    /// Offers a socket under a name, for as long as it lives.
    fn put(&self, socket: &Owner, kind: Kind, name: &str) -> Result<(), NameError> {
        let offer = self.shared().offer_socket(kind, name, socket.core())?;
        socket.keep(Named::offered(self, offer));
        Ok(())
    }

    /// Connects a socket to whoever offers what it wants, for as long as it lives.
    fn seek_by(&self, socket: &Owner, wants: Wants) {
        socket.keep(self.seek_for(socket.core(), wants));
    }

    /// A socket that connects to whoever offers what it wants.
    fn seek(&self, kind: SocketType, name: &str, wants: Wants) -> Result<Owner, NameError> {
        let shared = self.shared();
        shared.check_name(name)?;
        let socket = self.socket(kind);
        self.seek_by(&socket, wants);
        Ok(socket)
    }

    /// Where this node listens, and is found by others: endpoints.
    pub fn addresses(&self) -> Vec<String> {
        let state = self.shared().state.lock();
        let addresses = state.offers.addresses.iter();
        addresses.map(ToString::to_string).collect()
    }

    /// The addresses of this host that reach no further than its site, loopback ones included: those
    /// at which a node listens that is to be found and was not told where.
    pub fn near_addresses() -> Vec<IpAddr> {
        listen::site()
    }

    /// The counters of this node.
    pub fn stats(&self) -> NodeStats {
        self.shared().stats()
    }

    /// The other nodes that are known, those that are not trusted included.
    pub fn peers(&self) -> Vec<Peer> {
        self.shared().peers()
    }

    /// Asks another node for an answer, and says how long that took. Where there is no link to it, one is
    /// made, which takes as long as it takes; put a timeout around it.
    ///
    /// # Errors
    /// It is not known or not trusted, the link broke, or this node was closed.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn ping(&self, peer: PeerTag) -> Result<Duration, PingError> {
        self.shared().ping(peer).await
    }

    /// Tells what happens to other nodes from now on. Who falls behind by more than
    /// [`NodeEvent::CAPACITY`] events misses some, and hears so.
    pub fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.shared().events.subscribe()
    }

    /// Waits until at least so many other nodes that are trusted are known.
    ///
    /// Waits for ever if there never are; put a timeout around it.
    ///
    /// # Errors
    /// The node was closed meanwhile.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn wait_peers(&self, peers: usize) -> Result<(), crate::error::Closed> {
        self.shared().wait_peers(peers).await
    }

    /// Leaves the mesh: sends what waits, for as long as `linger` at most, closes all sockets of this
    /// node, and says goodbye. What was made by it is of no use then.
    pub async fn close(self, linger: Duration) {
        self.shared().close(linger).await;
    }
}

/// What a socket is on the mesh: offered under a name, or interested in one, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Named {
    offer: Option<offer::Offer>,
    _interest: Option<interest::Interest>,
    /// Last: the node lives for as long as its sockets.
    _node: Node,
}

impl Named {
    /// Whether it is offered to others.
    pub(crate) fn is_offered(&self) -> bool {
        self.offer.is_some()
    }

    fn offered(node: &Node, offer: offer::Offer) -> Self {
        Self {
            offer: Some(offer),
            _interest: None,
            _node: node.clone(),
        }
    }

    fn wanted(node: &Node, interest: interest::Interest) -> Self {
        Self {
            offer: None,
            _interest: Some(interest),
            _node: node.clone(),
        }
    }
}

fn parse(filter: &str) -> Result<Filter, NameError> {
    filter.parse().map_err(NameError::Topic)
}

//! A node, and what is made by it, for programs without an async runtime.
//!
//! ```
//! use std::time::Duration;
//!
//! use withy::blocking::Node;
//!
//! # let folder = tempfile::tempdir()?;
//! # let home = withy::Home::at(folder.path().join("home"));
//! # let builder = withy::Node::builder().home(&home).runtime_directory(folder.path().join("run"));
//! let node = Node::build(builder)?; // Node::open(), in a program of its own
//! let subscriber = node.subscriber("home/#")?; // on any node
//! let publisher = node.publisher("home/hall/temp")?;
//! assert!(publisher.wait_subscribed_timeout(1, Duration::from_secs(5)));
//! publisher.publish("19.5")?;
//! assert_eq!(subscriber.recv()?.body, "19.5");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::time::Duration;

use withy_proto::bus::{Publication, Topic};
use withy_proto::{Frame, Message};

use super::{Blocking, Pair, Pull, Push, block_on, in_time};
use crate::error::{Closed, ReceiveError, SendError};
use crate::node::queue::{KeepError, Put, PutError};
use crate::node::service::{Answer, Request as Asked};
use crate::node::{
    self, Job, NameError, NodeBuilder, NodeError, NodeStats, Peer, PublishError, QueueOptions,
    ServiceError,
};
use crate::stats::Stats;
use crate::store::Store;

/// See [`crate::Node`].
pub type Node = Blocking<crate::Node>;
/// See [`node::BusPublisher`].
pub type BusPublisher = Blocking<node::BusPublisher>;
/// See [`node::Matching`].
pub type Matching = Blocking<node::Matching>;
/// See [`node::BusSubscriber`].
pub type BusSubscriber = Blocking<node::BusSubscriber>;
/// See [`node::Service`].
pub type Service = Blocking<node::Service>;
/// See [`node::ServiceRequest`].
pub type ServiceRequest = Blocking<node::ServiceRequest>;
/// See [`node::Client`].
pub type Client = Blocking<node::Client>;
/// See [`node::Producer`].
pub type Producer = Blocking<node::Producer>;
/// See [`node::Worker`].
pub type Worker = Blocking<node::Worker>;
/// See [`node::Group`].
pub type Group = Blocking<node::Group>;

/// What comes within a time, or nothing.
fn timed<T>(
    timeout: Duration,
    received: impl Future<Output = Result<T, ReceiveError>>,
) -> Result<T, ReceiveError> {
    block_on(async {
        let received = tokio::time::timeout(timeout, received).await;
        received.unwrap_or(Err(ReceiveError::Timeout))
    })
}

impl Node {
    /// A node with default options; see [`crate::Node::open`].
    ///
    /// # Errors
    /// As [`NodeBuilder::build`].
    pub fn open() -> Result<Self, NodeError> {
        Self::build(NodeBuilder::default())
    }

    /// A node with other options.
    ///
    /// # Errors
    /// As [`NodeBuilder::build`].
    pub fn build(builder: NodeBuilder) -> Result<Self, NodeError> {
        super::runtime().map_err(|_| NodeError::NoRuntime)?;
        block_on(builder.build()).map(Self)
    }

    /// A publisher of a topic, or of all that a filter chooses.
    ///
    /// # Errors
    /// As [`crate::Node::publisher`].
    pub fn publisher(&self, scope: impl AsRef<str>) -> Result<BusPublisher, NameError> {
        block_on(async { self.0.publisher(scope) }).map(Blocking)
    }

    /// A subscriber to the topics that a filter chooses.
    ///
    /// # Errors
    /// As [`crate::Node::subscriber`].
    pub fn subscriber(&self, filter: impl AsRef<str>) -> Result<BusSubscriber, NameError> {
        block_on(async { self.0.subscriber(filter) }).map(Blocking)
    }

    /// A subscriber that first gets what publishers keep.
    ///
    /// # Errors
    /// As [`crate::Node::late_subscriber`].
    pub fn late_subscriber(&self, filter: impl AsRef<str>) -> Result<BusSubscriber, NameError> {
        block_on(async { self.0.late_subscriber(filter) }).map(Blocking)
    }

    /// Serves a name.
    ///
    /// # Errors
    /// As [`crate::Node::service`].
    pub fn service(&self, name: impl AsRef<str>) -> Result<Service, NameError> {
        block_on(async { self.0.service(name) }).map(Blocking)
    }

    /// Asks whoever serves a name.
    ///
    /// # Errors
    /// As [`crate::Node::client`].
    pub fn client(&self, name: impl AsRef<str>) -> Result<Client, NameError> {
        block_on(async { self.0.client(name) }).map(Blocking)
    }

    /// Puts messages into an acked queue.
    ///
    /// # Errors
    /// As [`crate::Node::producer`].
    pub fn producer(&self, queue: impl AsRef<str>) -> Result<Producer, NameError> {
        block_on(async { self.0.producer(queue) }).map(Blocking)
    }

    /// Takes jobs from an acked queue.
    ///
    /// # Errors
    /// As [`crate::Node::worker`].
    pub fn worker(&self, queue: impl AsRef<str>) -> Result<Worker, NameError> {
        block_on(async { self.0.worker(queue) }).map(Blocking)
    }

    /// Keeps an acked queue for as long as the returned handle lives.
    ///
    /// # Errors
    /// As [`crate::Node::keep_queue`].
    pub fn keep_queue(
        &self,
        queue: impl AsRef<str>,
        options: QueueOptions,
        store: Store,
    ) -> Result<node::QueueKeeper, KeepError> {
        block_on(self.0.keep_queue(queue, options, store))
    }

    /// Sends work to whoever takes it from a queue.
    ///
    /// # Errors
    /// As [`crate::Node::push`].
    pub fn push(&self, queue: impl AsRef<str>) -> Result<Push, NameError> {
        block_on(async { self.0.push(queue) }).map(Blocking)
    }

    /// Takes work from a queue.
    ///
    /// # Errors
    /// As [`crate::Node::pull`].
    pub fn pull(&self, queue: impl AsRef<str>) -> Result<Pull, NameError> {
        block_on(async { self.0.pull(queue) }).map(Blocking)
    }

    /// One end of a pair.
    ///
    /// # Errors
    /// As [`crate::Node::pair`].
    pub fn pair(&self, name: impl AsRef<str>) -> Result<Pair, NameError> {
        block_on(async { self.0.pair(name) }).map(Blocking)
    }

    /// Joins a group.
    ///
    /// # Errors
    /// As [`crate::Node::join`].
    pub fn join(&self, group: impl AsRef<str>) -> Result<Group, NameError> {
        block_on(async { self.0.join(group) }).map(Blocking)
    }

    /// The other nodes that are known.
    pub fn peers(&self) -> Vec<Peer> {
        self.0.peers()
    }

    /// Waits until so many other nodes that are trusted are known, for `timeout` at most; whether they
    /// are.
    pub fn wait_peers_timeout(&self, peers: usize, timeout: Duration) -> bool {
        in_time(timeout, self.0.wait_peers(peers))
    }

    /// The counters of this node.
    pub fn stats(&self) -> NodeStats {
        self.0.stats()
    }

    /// Leaves the mesh; see [`crate::Node::close`].
    pub fn close(self, linger: Duration) {
        block_on(self.0.close(linger));
    }

    /// The node itself, for an async program.
    pub fn into_inner(self) -> crate::Node {
        self.0
    }
}

impl BusPublisher {
    /// Publishes a body on the publisher's topic.
    ///
    /// # Errors
    /// As [`node::BusPublisher::publish`].
    pub fn publish(&self, body: impl Into<Frame>) -> Result<(), PublishError> {
        block_on(self.0.publish(body))
    }

    /// Publishes a body on one of the topics that the publisher is for.
    ///
    /// # Errors
    /// As [`node::BusPublisher::publish_to`].
    pub fn publish_to(&self, topic: &Topic, body: impl Into<Frame>) -> Result<(), PublishError> {
        block_on(self.0.publish_to(topic, body))
    }

    /// Publishes a message with headers.
    ///
    /// # Errors
    /// As [`node::BusPublisher::send`].
    pub fn send(&self, publication: Publication) -> Result<(), PublishError> {
        block_on(self.0.send(publication))
    }

    /// Waits until so many subscribers want the publisher's topic, for `timeout` at most; whether they
    /// do.
    pub fn wait_subscribed_timeout(&self, subscribers: usize, timeout: Duration) -> bool {
        let waits = async {
            let subscribed = self.0.wait_subscribed(subscribers).await;
            subscribed.map_err(|_| Closed)
        };
        in_time(timeout, waits)
    }

    /// Whether anybody wants something of what the publisher is for, from now on.
    pub fn matching(&self) -> Matching {
        Blocking(self.0.matching())
    }

    /// Waits until all that the node published was handed to the links.
    pub fn flush(&self) {
        block_on(self.0.flush());
    }

    /// The counters of all publishers of the node together.
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }
}

impl Matching {
    /// How many subscribers there are now.
    pub fn subscribers(&mut self) -> usize {
        self.0.subscribers()
    }

    /// Whether there is a subscriber now.
    pub fn is_matching(&mut self) -> bool {
        self.0.is_matching()
    }

    /// Waits until there are more or fewer subscribers than this said last, and says how many.
    ///
    /// # Errors
    /// The node was closed.
    pub fn changed(&mut self) -> Result<usize, Closed> {
        block_on(self.0.changed())
    }

    /// Waits for that, for `timeout` at most; `None` if there are as many as before.
    ///
    /// # Errors
    /// The node was closed.
    pub fn changed_timeout(&mut self, timeout: Duration) -> Result<Option<usize>, Closed> {
        let changed = async { tokio::time::timeout(timeout, self.0.changed()).await };
        block_on(changed).ok().transpose()
    }
}

impl BusSubscriber {
    /// Receives the next message.
    ///
    /// # Errors
    /// The node is closed.
    pub fn recv(&self) -> Result<Publication, ReceiveError> {
        block_on(self.0.recv())
    }

    /// Receives a message if one is there.
    ///
    /// # Errors
    /// None is there, or the node is closed.
    pub fn try_recv(&self) -> Result<Publication, ReceiveError> {
        block_on(async { self.0.try_recv() })
    }

    /// Receives a message if one comes within `timeout`.
    ///
    /// # Errors
    /// None came, or the node is closed.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Publication, ReceiveError> {
        timed(timeout, self.0.recv())
    }

    /// Its counters.
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }
}

impl Service {
    /// Receives the next request.
    ///
    /// # Errors
    /// The node is closed.
    pub fn recv(&self) -> Result<ServiceRequest, ReceiveError> {
        block_on(self.0.recv()).map(Blocking)
    }

    /// Receives a request if one comes within `timeout`.
    ///
    /// # Errors
    /// None came, or the node is closed.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<ServiceRequest, ReceiveError> {
        timed(timeout, self.0.recv()).map(Blocking)
    }
}

impl ServiceRequest {
    /// The request's message.
    pub fn message(&self) -> &Message {
        self.0.message()
    }

    /// How long its reply is waited for, from now on.
    pub fn time_left(&self) -> Option<Duration> {
        self.0.time_left()
    }

    /// Sends the reply.
    ///
    /// # Errors
    /// As [`node::ServiceRequest::reply`].
    pub fn reply(self, message: impl Into<Message>) -> Result<(), SendError> {
        block_on(self.0.reply(message))
    }

    /// Says that it cannot be done, and why.
    ///
    /// # Errors
    /// As [`node::ServiceRequest::fail`].
    pub fn fail(self, reason: impl AsRef<str>) -> Result<(), SendError> {
        block_on(self.0.fail(reason))
    }
}

impl Client {
    /// Asks an instance, and waits for the reply.
    ///
    /// # Errors
    /// As [`node::Client::request`].
    pub fn request(&self, request: impl Into<Asked>) -> Result<Message, ServiceError> {
        block_on(self.0.request(request))
    }

    /// Asks all instances.
    ///
    /// # Errors
    /// As [`node::Client::ask_all`].
    pub fn ask_all(
        &self,
        message: impl Into<Message>,
        within: Duration,
    ) -> Result<Vec<Answer>, ServiceError> {
        block_on(self.0.ask_all(message, within))
    }
}

impl Producer {
    /// Puts a message, and waits until the keeper has it.
    ///
    /// # Errors
    /// As [`node::Producer::put`].
    pub fn put(&self, message: impl Into<Message>) -> Result<(), PutError> {
        block_on(self.0.put(message))
    }

    /// As [`put`](Self::put), with options.
    ///
    /// # Errors
    /// As [`node::Producer::send`].
    pub fn send(&self, put: Put) -> Result<(), PutError> {
        block_on(self.0.send(put))
    }
}

impl Worker {
    /// Receives the next job, whose methods do not block.
    ///
    /// # Errors
    /// The node is closed.
    pub fn recv(&self) -> Result<Job, ReceiveError> {
        block_on(self.0.recv())
    }

    /// Receives a job if one comes within `timeout`.
    ///
    /// # Errors
    /// None came, or the node is closed.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Job, ReceiveError> {
        timed(timeout, self.0.recv())
    }
}

impl Group {
    /// Sends to all others; returns to how many.
    pub fn shout(&self, message: impl Into<Message>) -> usize {
        block_on(async { self.0.shout(message) })
    }

    /// Sends to one of them.
    ///
    /// # Errors
    /// As [`node::Group::whisper`].
    pub fn whisper(
        &self,
        to: withy_discovery::PeerTag,
        message: impl Into<Message>,
    ) -> Result<(), SendError> {
        block_on(async { self.0.whisper(to, message) })
    }

    /// Waits until so many others are in it, for `timeout` at most; whether they are.
    pub fn wait_members_timeout(&self, members: usize, timeout: Duration) -> bool {
        in_time(timeout, self.0.wait_members(members))
    }

    /// Receives what is said next.
    ///
    /// # Errors
    /// The node is closed.
    pub fn recv(&self) -> Result<node::Heard, ReceiveError> {
        block_on(self.0.recv())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A plain thread, as its programs have: no runtime is there.
    #[test]
    fn a_program_without_a_runtime_does_all_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let home = crate::Home::at(folder.path().join("home"));
        let open = || {
            let builder = crate::Node::builder().home(&home);
            Node::build(builder.runtime_directory(folder.path().join("run"))).unwrap()
        };
        let (one, two) = (open(), open());
        assert!(one.wait_peers_timeout(1, SOON));
        let (subscriber, publisher) = (one.subscriber("a/+"), two.publisher("a/b"));
        let (subscriber, publisher) = (subscriber.unwrap(), publisher.unwrap());
        let mut matching = publisher.matching();
        assert!(publisher.wait_subscribed_timeout(1, SOON));
        assert!(matching.is_matching());
        publisher.publish("body").unwrap();
        assert_eq!(subscriber.recv_timeout(SOON).unwrap().body, "body");
        let nothing = subscriber.recv_timeout(Duration::from_millis(1));
        assert!(matches!(nothing, Err(ReceiveError::Timeout)));
        assert_eq!(matching.changed_timeout(Duration::from_millis(1)), Ok(None));
        drop(subscriber);
        assert_eq!(matching.changed_timeout(SOON), Ok(Some(0)));

        let (service, client) = (one.service("adder").unwrap(), two.client("adder").unwrap());
        let serves = std::thread::spawn(move || {
            let request = service.recv_timeout(SOON).unwrap();
            request.reply("3").unwrap();
        });
        assert_eq!(client.request("1 2").unwrap().first(), "3");
        serves.join().unwrap();

        let (producer, worker) = (one.producer("jobs").unwrap(), two.worker("jobs").unwrap());
        producer.put("dig").unwrap();
        let job = worker.recv_timeout(SOON).unwrap();
        assert_eq!(job.message.first(), "dig");
        job.ack().unwrap();

        let (push, pull) = (one.push("work").unwrap(), two.pull("work").unwrap());
        push.send("more").unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap().first(), "more");
        one.close(Duration::from_secs(1));
        two.close(Duration::from_secs(1));
    }
}

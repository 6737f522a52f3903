//! Topics on a node: publishers and subscribers of the bus.
//!
//! All publishers of a node share one socket, to which whoever wants any of its topics connects; a
//! subscriber has a socket of its own, which connects to all nodes with a publisher that it may want
//! something of. Subscriptions travel to the publishers, so that nothing is sent that nobody wants.
//!
//! Invariant: what a subscriber gets is a [`Publication`] that its filter chooses; a peer that sends
//! anything else is disconnected.

pub(super) mod history;
mod late;
mod matching;
mod subscriber;
pub(super) mod tap;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;

use withy_discovery::{Kind, Service};
use withy_proto::bus::{Filter, Publication, Topic};
use withy_proto::pattern::publish;
use withy_proto::{Frame, SocketType};

pub use matching::Matching;
pub use subscriber::BusSubscriber;

use super::Node;
use super::error::{NameError, PublishError};
use super::guard::Permitted;
use super::interest::BUS;
use super::offer::Offer;
use super::shared::Shared;
use crate::driver::resources::Guard;
use crate::error::Closed;
use crate::socket::Owner;
use crate::stats::Stats;
use history::Kept;

/// Publishes one topic, or all that a filter chooses, to whoever on the mesh wants it. A subscriber
/// that has no room misses a message, and that is counted.
///
/// It is made by [`Node::publisher`]. A clone is another handle of the same publisher.
#[derive(Debug, Clone)]
pub struct BusPublisher(Arc<Publishes>);

#[derive(Debug)]
struct Publishes {
    scope: Filter,
    /// The scope, if it is one topic.
    topic: Option<Topic>,
    socket: Owner,
    history: Option<Arc<Kept>>,
    _offer: Offer,
    _node: Node,
}

impl BusPublisher {
    pub(super) fn new(node: &Node, scope: Filter) -> Result<Self, NameError> {
        let shared = node.shared();
        let (socket, history) = shared.bus();
        let mut service = Service::new(Kind::Publisher, &name_of(&scope));
        if history.is_some() {
            service.properties = vec![(history::PROPERTY.into(), Box::default())];
        }
        let offer = shared.offer(service, true)?;
        Ok(Self(Arc::new(Publishes {
            topic: scope.as_str().parse().ok(),
            scope,
            socket,
            history,
            _offer: offer,
            _node: node.clone(),
        })))
    }

    /// Publishes a body on the publisher's topic.
    ///
    /// # Errors
    /// The publisher is for more than one topic, or the node was closed.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call did not publish.
    pub async fn publish(&self, body: impl Into<Frame>) -> Result<(), PublishError> {
        self.say(self.topic()?, body).await
    }

    /// Publishes a body on one of the topics that the publisher is for.
    ///
    /// # Errors
    /// The publisher is not for this topic, or the node was closed.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call did not publish.
    pub async fn publish_to(
        &self,
        topic: &Topic,
        body: impl Into<Frame>,
    ) -> Result<(), PublishError> {
        self.check(topic)?;
        self.say(topic, body).await
    }

    /// Publishes a message with headers.
    ///
    /// # Errors
    /// The publisher is not for its topic, or the node was closed.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call did not publish.
    pub async fn send(&self, publication: Publication) -> Result<(), PublishError> {
        self.check(&publication.topic)?;
        let core = self.0.socket.core();
        core.pay_debt().await;
        let sent = match &self.0.history {
            Some(history) => history.publish(publication, core),
            None => core.try_publish(&publication.into_frames()).is_ok(),
        };
        sent.then_some(()).ok_or(PublishError::Closed)
    }

    /// Publishes a body without headers: where nothing is kept, no publication is made of it.
    async fn say(&self, topic: &Topic, body: impl Into<Frame>) -> Result<(), PublishError> {
        if self.0.history.is_some() {
            let publication = Publication::new(topic.clone(), body);
            return self.send(publication).await;
        }
        let core = self.0.socket.core();
        core.pay_debt().await;
        let frames = Publication::frames_of(topic, body.into());
        core.try_publish(&frames).map_err(|_| PublishError::Closed)
    }

    /// Waits until at least so many subscribers want the publisher's topic.
    ///
    /// Waits for ever if they never do; put a timeout around it.
    ///
    /// # Errors
    /// The publisher is for more than one topic, or the node was closed meanwhile.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn wait_subscribed(&self, subscribers: usize) -> Result<(), PublishError> {
        let topic = self.topic()?;
        self.wait_subscribed_to(topic, subscribers)
            .await
            .map_err(|Closed| PublishError::Closed)
    }

    /// Waits until at least so many subscribers want a topic of this node.
    ///
    /// Waits for ever if they never do; put a timeout around it.
    ///
    /// # Errors
    /// The node was closed meanwhile.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn wait_subscribed_to(
        &self,
        topic: &Topic,
        subscribers: usize,
    ) -> Result<(), Closed> {
        let core = self.0.socket.core();
        let mut changes = core.subscriptions.subscribe();
        let shared = self.0._node.shared();
        while core.subscribers(topic.as_octets()) < subscribers {
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| Closed)?,
                () = shared.stop.cancelled() => return Err(Closed),
            }
        }
        Ok(())
    }

    /// Whether anybody wants something of what the publisher is for, from now on: tells when the first
    /// subscriber comes, and when the last one leaves or dies.
    pub fn matching(&self) -> Matching {
        Matching::new(self)
    }

    /// How many subscribers want a topic of this node now.
    pub fn subscribers(&self, topic: &Topic) -> usize {
        self.0.socket.core().subscribers(topic.as_octets())
    }

    /// Waits until all that this node published was handed to the links.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn flush(&self) {
        self.0.socket.flush().await;
    }

    /// The counters of all publishers of this node together.
    pub fn stats(&self) -> Stats {
        self.0.socket.stats()
    }

    /// Whether the publisher is for a topic.
    fn check(&self, topic: &Topic) -> Result<(), PublishError> {
        if self.0.topic.as_ref() == Some(topic) || self.0.scope.matches(topic) {
            return Ok(());
        }
        Err(PublishError::Scope {
            scope: self.0.scope.to_string(),
            topic: topic.to_string(),
        })
    }

    fn topic(&self) -> Result<&Topic, PublishError> {
        let none = || PublishError::NoTopic {
            scope: self.0.scope.to_string(),
        };
        self.0.topic.as_ref().ok_or_else(none)
    }
}

impl Shared {
    /// The socket that publishes what this node publishes, and what is kept of that.
    fn bus(&self) -> (Owner, Option<Arc<Kept>>) {
        let made = self.bus.get_or_init(|| {
            let mut options = self.options();
            options.send.matching = publish::Matching::Filters;
            let us = self.identity.id();
            let guard: Arc<dyn Guard> =
                Arc::new(Permitted::to_use(us, &self.trust, Kind::Publisher, BUS));
            options.guard = Some(Arc::clone(&guard));
            let socket = self.socket(SocketType::Pub, options);
            let named = self.resources.insert(BUS, socket.core(), guard);
            debug_assert!(named.is_ok(), "nobody else uses this name");
            let history = self.history.map(|it| Kept::start(self, it, &socket));
            (socket, history)
        });
        made.clone()
    }
}

/// What the record says of a scope: the scope, or a wider one that fits.
fn name_of(scope: &Filter) -> String {
    let text = scope.as_str();
    let fits = |text: &str| Service::is_name(text);
    if fits(text) {
        return text.to_owned();
    }
    let ends = text.match_indices('/').map(|(at, _)| &text[..at]);
    let wider = ends.rev().map(|begin| format!("{begin}/#"));
    let mut wider = wider.filter(|it| fits(it) && !it.contains("#/"));
    wider.next().unwrap_or_else(|| "#".to_owned())
}

#[cfg(test)]
mod scopes {
    use super::*;

    #[test]
    fn a_long_scope_is_announced_as_a_wider_one() {
        let name = |text: &str| name_of(&text.parse().unwrap());
        assert_eq!(name("home/+/temp"), "home/+/temp");
        let long = "x".repeat(100);
        assert_eq!(name(&format!("a/{long}/{long}")), format!("a/{long}/#"));
        assert_eq!(name(&"x".repeat(300)), "#");
        assert_eq!(name("a\u{7f}b/c"), "#");
    }
}

//! The link of a producer or a worker to the keeper of a queue.
//!
//! Its socket connects to all nodes that say to keep the queue; the link is that to the holder of the
//! highest epoch that is known. A ROUTER, since what is for one keeper must never go to another one.
//!
//! Invariant: what is received came over the link, and what is sent goes over it or is lost with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use withy_discovery::Kind;
use withy_proto::pattern::PipeKey;
use withy_proto::pattern::outgoing::NotSent;
use withy_proto::queue::{Command, Epoch, MAX_FRAMES, QueueName};
use withy_proto::trust::NodeId;
use withy_proto::{Message, SocketType};

use super::offers::Said;
use crate::driver::core::Core;
use crate::driver::send::Rejected;
use crate::event::Reason;
use crate::node::interest::{Interest, Wants};
use crate::node::peer::NodeEvent;
use crate::node::shared::Shared;
use crate::socket::Owner;

/// Frames that a command has in front of a message.
const OVERHEAD: usize = 3;

/// How long a client that ends takes to send what waits.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// A socket for what is said of queues.
pub(super) fn socket(shared: &Shared) -> Owner {
    let mut options = shared.options();
    options.limits.max_parts = MAX_FRAMES + OVERHEAD;
    options.linger = LINGER;
    shared.socket(SocketType::Router, options)
}

/// A link to the keeper.
#[derive(Debug)]
pub(super) struct Client {
    shared: Arc<Shared>,
    queue: QueueName,
    socket: Owner,
    interest: Interest,
    link: Option<(PipeKey, NodeId)>,
    /// What the link has no room for now.
    stuck: Option<Message>,
}

/// What became of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Connected(NodeId),
    Lost,
}

impl Client {
    pub(super) fn new(shared: &Arc<Shared>, queue: &QueueName) -> Self {
        let socket = socket(shared);
        let wants = Wants::Named(Kind::Queue, queue.as_str().into());
        Self {
            interest: shared.want(wants, socket.core()),
            shared: Arc::clone(shared),
            queue: queue.clone(),
            socket,
            link: None,
            stuck: None,
        }
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        self.socket.core()
    }

    /// Who else says to keep the queue, or this node if `own`, in the highest epoch.
    pub(super) fn keeper(&self, own: bool) -> Option<Said> {
        self.shared.keepers(&self.queue, own).pop()
    }

    /// The epoch that a record tells of, unless the link leads to its holder: that one says so itself, and
    /// who heard it twice would begin twice.
    pub(super) fn news(&self, said: Option<Said>) -> Option<Epoch> {
        let epoch = said.filter(|said| said.is_held)?.epoch;
        let told = self.link.is_some_and(|(_, node)| node == epoch.holder());
        (!told).then_some(epoch)
    }

    /// Takes the link that leads to the holder of an epoch; without one, that to whoever else says to
    /// keep the queue, who may know more.
    pub(super) fn look(&mut self, known: Epoch, said: Option<Said>) -> Option<Change> {
        let links = self.core().links();
        let to = |holder: NodeId| {
            let mut links = links.iter().rev();
            links.find_map(|(key, info)| {
                let node = self.shared.node_at(&self.queue, info)?;
                (node == holder).then_some((*key, node))
            })
        };
        let best = to(known.holder()).or_else(|| to(said?.epoch.holder()));
        let there = |link: &(PipeKey, NodeId)| links.iter().any(|(key, _)| *key == link.0);
        let before = self.link;
        let kept = before.filter(|link| there(link) && best.is_none_or(|best| best.1 == link.1));
        self.link = kept.or(best);
        if self.link == before {
            return None;
        }
        self.stuck = None;
        Some(match self.link {
            Some((_, node)) => Change::Connected(node),
            None => Change::Lost,
        })
    }

    /// Whether more can be sent.
    pub(super) fn has_room(&mut self) -> bool {
        if let Some(message) = self.stuck.take() {
            self.send_message(message);
        }
        self.stuck.is_none()
    }

    /// Sends a command once there is room for it. There is to be [room](Self::has_room).
    pub(super) fn send(&mut self, command: Command) {
        self.send_message(command.encode());
    }

    fn send_message(&mut self, mut message: Message) {
        let Some((key, _)) = self.link else {
            return;
        };
        let sent = self.core().try_send_to(key, &mut message);
        // What a link loses that is gone, the engine says again over the next.
        if let Err(Rejected::NotSent(NotSent::Full)) = sent {
            self.stuck = Some(message);
        }
    }

    /// What a message says, if it came over the link; who sends what is no command is let go.
    pub(super) fn read(&self, mut message: Message, key: PipeKey) -> Option<Command> {
        if self.link.is_none_or(|link| link.0 != key) {
            return None;
        }
        // The routing id that the socket put there.
        message.pop_front();
        match Command::decode(message) {
            Ok(command) => Some(command),
            Err(error) => {
                self.let_go(&error);
                None
            }
        }
    }

    /// The next command that is there.
    pub(super) fn try_recv(&self) -> Result<Option<Command>, crate::error::ReceiveError> {
        let (message, from) = self.socket.try_recv_from()?;
        Ok(self.read(message, from.0))
    }

    /// Waits for a command.
    pub(super) async fn recv(&self) -> Option<Command> {
        match self.socket.recv_from().await {
            Ok((message, from)) => self.read(message, from.0),
            // The node is closing, which its task hears otherwise.
            Err(_) => std::future::pending().await,
        }
    }

    /// Closes the link, since the keeper broke the rules.
    pub(super) fn let_go(&self, error: &dyn std::error::Error) {
        if let Some((key, node)) = self.link {
            tracing::warn!(queue = %self.queue, %node, %error, "a queue's keeper is let go");
            let reason = Reason::Application(error.to_string());
            self.core().close_link(key, reason);
        }
    }

    /// Sends what waits, then ends.
    pub(super) async fn finish(mut self) {
        let flushed = async {
            loop {
                let room = Arc::clone(self.core());
                let room = room.room.notified();
                if self.has_room() {
                    break;
                }
                room.await;
            }
        };
        _ = tokio::time::timeout(LINGER, flushed).await;
        let core = self.core();
        core.start_closing();
        core.finish_closing(LINGER).await;
        drop(self.interest);
    }
}

/// Tells when another node, or another link, may be the keeper's, or may do something else.
#[derive(Debug)]
pub(super) struct News {
    links: watch::Receiver<usize>,
    nodes: broadcast::Receiver<NodeEvent>,
    trust: watch::Receiver<()>,
}

impl News {
    pub(super) fn new(shared: &Shared, core: &Core) -> Self {
        Self {
            links: core.peers.subscribe(),
            nodes: shared.events.subscribe(),
            trust: shared.trust.changes(),
        }
    }

    /// Waits until something changed.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.links.changed() => {}
            Ok(()) = self.trust.changed() => {}
            // That some were missed is news, too.
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) = self.nodes.recv() => {}
            else => std::future::pending().await,
        }
    }
}

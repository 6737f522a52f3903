//! Whether anybody wants what a publisher publishes.

use std::sync::Arc;

use tokio::sync::watch;
use withy_proto::pattern::publish::ScopeKey;

use super::{BusPublisher, Publishes};
use crate::error::Closed;

/// How many subscribers want something of what a publisher is for, as it changes: with it a program
/// measures, or asks its own source, only while somebody listens.
///
/// It is made by [`BusPublisher::matching`]. Counted is each subscriber of this node and of others whose
/// filter may choose a topic of the publisher and who may subscribe to it, once. Who leaves is missed at
/// once; who dies, when its connection breaks, or when it was silent for as long as a
/// [heartbeat](crate::options::Heartbeat) may be. As a clone of the publisher would, this keeps it offered.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let home = withy::Home::at(folder.path().join("home"));
/// # let open = || withy::Node::builder().home(&home).runtime_directory(folder.path().join("run"));
/// # let (node, other) = (open().build().await?, open().build().await?);
/// let publisher = node.publisher("home/hall/temp")?;
/// let mut matching = publisher.matching();
/// assert!(!matching.is_matching());
///
/// let subscriber = other.subscriber("home/#")?; // on any node
/// assert_eq!(matching.changed().await?, 1);
/// drop(subscriber);
/// assert_eq!(matching.changed().await?, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Matching {
    publishes: Arc<Publishes>,
    scope: ScopeKey,
    /// Tells that there are other subscriptions.
    changes: watch::Receiver<usize>,
    /// What was said last.
    said: usize,
}

impl Matching {
    pub(super) fn new(publisher: &BusPublisher) -> Self {
        let publishes = Arc::clone(&publisher.0);
        let core = publishes.socket.core();
        let changes = core.subscriptions.subscribe();
        let scope = core.begin_scope(publishes.scope.clone());
        Self {
            said: core.scope_subscribers(scope),
            changes,
            scope,
            publishes,
        }
    }

    /// How many subscribers there are now.
    pub fn subscribers(&mut self) -> usize {
        self.said = self.publishes.socket.core().scope_subscribers(self.scope);
        self.said
    }

    /// Whether there is a subscriber now.
    pub fn is_matching(&mut self) -> bool {
        self.subscribers() > 0
    }

    /// Waits until there are more or fewer subscribers than this said last, and says how many: than
    /// [`subscribers`](Self::subscribers), [`is_matching`](Self::is_matching) or a call of this said, or than
    /// there were when this was made. One who comes and goes in between need not be told of, nor one who
    /// takes another's place.
    ///
    /// # Errors
    /// The node was closed.
    ///
    /// # Cancel safety
    /// Cancel-safe: a change that a cancelled call did not tell is told by the next one.
    pub async fn changed(&mut self) -> Result<usize, Closed> {
        let stop = self.publishes._node.shared().stop.clone();
        loop {
            if stop.is_cancelled() {
                return Err(Closed);
            }
            let before = self.said;
            if self.subscribers() != before {
                return Ok(self.said);
            }
            tokio::select! {
                changed = self.changes.changed() => changed.map_err(|_| Closed)?,
                () = stop.cancelled() => return Err(Closed),
            }
        }
    }
}

impl Drop for Matching {
    fn drop(&mut self) {
        self.publishes.socket.core().end_scope(self.scope);
    }
}

//! PUB: publishes (RFC 29).

use withy_proto::SocketType;

use super::{Owner, sends, socket};

/// Sends each message to the peers that subscribed to a prefix of its first frame. A peer that has
/// no room misses it, and that is counted; see
/// [`overflow`](crate::Builder::overflow).
#[derive(Debug, Clone)]
pub struct Publisher {
    owner: Owner,
}

socket!(Publisher, SocketType::Pub);
sends!(Publisher);

impl Publisher {
    pub(crate) fn over(owner: Owner) -> Self {
        Self { owner }
    }
}

impl Publisher {
    /// Waits until the peers have at least `subscriptions` subscriptions together.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn wait_subscribed(&self, subscriptions: usize) {
        self.owner.wait_subscribed(subscriptions).await;
    }
}

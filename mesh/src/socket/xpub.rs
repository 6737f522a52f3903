//! XPUB: publishes, and sees the subscriptions (RFC 29).

use withy_proto::SocketType;

use super::{Owner, receives, sends, socket};

/// A publisher whose application receives the subscriptions of its peers: one octet, 1 or 0, and
/// the topic.
#[derive(Debug, Clone)]
pub struct XPub {
    owner: Owner,
}

socket!(XPub, SocketType::XPub);
sends!(XPub);
receives!(XPub);

impl XPub {
    pub(crate) fn over(owner: Owner) -> Self {
        Self { owner }
    }
}

impl XPub {
    /// Waits until the peers have at least `subscriptions` subscriptions together.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn wait_subscribed(&self, subscriptions: usize) {
        self.owner.wait_subscribed(subscriptions).await;
    }
}

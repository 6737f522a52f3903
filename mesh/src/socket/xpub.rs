//! XPUB: publishes, and sees the subscriptions (RFC 29).

use withy_proto::{Message, SocketType};

use crate::driver::core::Core;
use crate::error::{Closed, SendError};

use super::{Owner, PeerKey, receives, sends, socket};

/// A publisher whose application receives the subscriptions of its peers: one octet, 1 or 0, and
/// the topic (RFC 29).
///
/// By default it hears of the first subscription to a topic and of the end of the last one; see
/// [`verbose`](crate::Builder::verbose) and [`manual`](crate::Builder::manual). At most 100,000
/// reports wait for it; more are dropped and counted.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let xpub = withy::XPub::bind("tcp://127.0.0.1:*").await?;
/// let subscriber = withy::Subscriber::connect(&xpub.endpoints()[0])?;
/// subscriber.subscribe("news");
/// assert_eq!(xpub.recv().await?.first(), b"\x01news");
/// xpub.send("news: it works").await?;
/// assert_eq!(subscriber.recv().await?.first(), "news: it works");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct XPub {
    owner: Owner,
}

socket!(XPub, SocketType::XPub);
sends!(XPub);
receives!(XPub);

/// A subscription that was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not granted: {0}")]
pub struct OverLimit(String);

impl XPub {
    pub(crate) fn over(owner: Owner) -> Self {
        Self { owner }
    }
}

impl XPub {
    /// Sends a message to one peer once there is room for it, whatever it subscribed to: the last
    /// value to a newcomer, say (libzmq: XPUB_MANUAL_LAST_VALUE). It waits, whichever
    /// [`overflow`](crate::Builder::overflow) is set.
    ///
    /// # Errors
    /// The peer is gone, or the socket is closed; the message comes back.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call did not send the message.
    pub async fn send_to(
        &self,
        peer: PeerKey,
        message: impl Into<Message>,
    ) -> Result<(), SendError> {
        let mut message = message.into();
        let send = |core: &Core, message: &mut Message| core.try_send_to(peer.0, message);
        let core = self.owner.core();
        core.pay_debt().await;
        let sent = core.send_when_room(&mut message, send).await;
        sent.map_err(|rejected| rejected.with(message))
    }

    /// Subscribes a peer to `topic`, or takes that back, in manual mode (libzmq: XPUB_MANUAL with
    /// SUBSCRIBE and UNSUBSCRIBE). The topic may be another than the one that it asked for.
    ///
    /// # Errors
    /// The peer would be over a limit; it stays as it was. A peer that is gone is no error.
    pub fn grant(
        &self,
        peer: PeerKey,
        topic: impl AsRef<[u8]>,
        subscribed: bool,
    ) -> Result<(), OverLimit> {
        let core = self.owner.core();
        core.apply_subscription(peer.0, topic.as_ref(), subscribed)
            .map(|_| ())
            .map_err(OverLimit)
    }

    /// Waits until the peers have at least `subscriptions` subscriptions together.
    ///
    /// Waits for ever if they never have; put a timeout around it.
    ///
    /// # Errors
    /// The socket was closed meanwhile.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn wait_subscribed(&self, subscriptions: usize) -> Result<(), Closed> {
        self.owner.wait_subscribed(subscriptions).await
    }
}

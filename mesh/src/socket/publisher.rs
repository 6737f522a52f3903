//! PUB: publishes (RFC 29).

use withy_proto::SocketType;

use crate::error::Closed;

use super::{Owner, sends, socket};

/// Sends each message to the peers that subscribed to a prefix of its first frame (RFC 29). A peer
/// that has no room misses it, and that is counted; see [`overflow`](crate::Builder::overflow).
///
/// A message that nobody subscribed to is gone: `send` succeeds, and neither `sent` nor `dropped`
/// counts it. [`wait_subscribed`](Self::wait_subscribed) tells when somebody is there.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let publisher = withy::Publisher::bind("tcp://127.0.0.1:*").await?;
/// let subscriber = withy::Subscriber::connect(&publisher.endpoints()[0])?;
/// subscriber.subscribe("oslo ");
/// publisher.wait_subscribed(1).await?;
/// publisher.send("paris 11").await?;
/// publisher.send("oslo -3").await?;
/// assert_eq!(subscriber.recv().await?.first(), "oslo -3");
/// # Ok(())
/// # }
/// ```
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
    /// Waits until the peers have at least `subscriptions` subscriptions together; a peer with two
    /// topics counts twice.
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

//! SUB: subscribes (RFC 29).

use withy_proto::SocketType;

use super::{Owner, receives, socket};

/// Receives the messages whose first frame starts with a prefix that it subscribed to (RFC 29).
/// Without a subscription it receives nothing.
///
/// Subscriptions are sent again on every new connection, before its
/// [`Connected`](crate::EventKind::Connected) event.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let subscriber = withy::Subscriber::connect("inproc://weather")?;
/// subscriber.subscribe("oslo ");
/// subscriber.subscribe("paris ");
/// subscriber.unsubscribe("oslo ");
/// // Nobody publishes there, yet nothing fails: the connection is made once somebody does.
/// let none = subscriber.recv_timeout(std::time::Duration::from_millis(10)).await;
/// assert_eq!(none, Err(withy::ReceiveError::Timeout));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Subscriber {
    owner: Owner,
}

socket!(Subscriber, SocketType::Sub);
receives!(Subscriber);

impl Subscriber {
    pub(crate) fn over(owner: Owner) -> Self {
        Self { owner }
    }
}

impl Subscriber {
    /// Asks for messages that start with `topic`; the empty topic asks for all. Counted: the same
    /// topic twice is to be taken back twice.
    pub fn subscribe(&self, topic: impl AsRef<[u8]>) {
        self.owner.core().subscribe(topic.as_ref(), true);
    }

    /// Takes a subscription back.
    pub fn unsubscribe(&self, topic: impl AsRef<[u8]>) {
        self.owner.core().subscribe(topic.as_ref(), false);
    }
}

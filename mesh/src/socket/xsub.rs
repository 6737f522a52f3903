//! XSUB: subscribes by sending messages (RFC 29).

use withy_proto::SocketType;

use super::{Owner, receives, sends, socket};

/// A subscriber that subscribes by sending 1 and a topic, takes it back with 0 and the topic, and
/// receives without a filter of its own (RFC 29). Other messages that it sends go to all
/// publishers, whom it can have many of.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let publisher = withy::Publisher::bind("tcp://127.0.0.1:*").await?;
/// let xsub = withy::XSub::connect(&publisher.endpoints()[0])?;
/// xsub.send(b"\x01news").await?;
/// publisher.wait_subscribed(1).await?;
/// publisher.send("news: it works").await?;
/// assert_eq!(xsub.recv().await?.first(), "news: it works");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct XSub {
    owner: Owner,
}

socket!(XSub, SocketType::XSub);
sends!(XSub);
receives!(XSub);

impl XSub {
    pub(crate) fn over(owner: Owner) -> Self {
        Self { owner }
    }
}

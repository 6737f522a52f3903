//! PUSH: hands out work (RFC 30).

use withy_proto::SocketType;

use super::{Owner, sends, socket};

/// Hands messages to its peers in turn, one peer each (RFC 30). Waits when no peer has room; never
/// drops.
///
/// A socket that connects accepts messages before the connection is made, up to the high-water
/// mark; see [`immediate`](crate::Builder::immediate). One that is bound waits for its first peer.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pull = withy::Pull::bind("tcp://127.0.0.1:*").await?;
/// let push = withy::Push::connect(&pull.endpoints()[0])?;
/// push.send("work").await?;
/// assert_eq!(pull.recv().await?.first(), "work");
/// assert_eq!(push.close().await, 0, "messages left behind");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Push {
    owner: Owner,
}

socket!(Push, SocketType::Push);
sends!(Push);

impl Push {
    pub(crate) fn over(owner: Owner) -> Self {
        Self { owner }
    }
}

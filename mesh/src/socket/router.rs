//! ROUTER: answers by routing id (RFC 28).

use withy_proto::SocketType;

use super::{Owner, receives, sends, socket};

/// Puts the routing id of the peer in front of what it receives, and sends to the peer that the
/// first frame names (RFC 28). A message for an unknown peer comes back as
/// [`SendError::Unroutable`](crate::SendError::Unroutable).
///
/// A peer that announces no routing id gets one of five octets, the first of them zero, for as
/// long as it is connected. Two peers cannot have the same: the second is refused and tries again,
/// unless it proved the same key or the first missed heartbeats; see
/// [`handover`](crate::Builder::handover).
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use withy::{Dealer, Message, Router};
///
/// let router = Router::bind("tcp://127.0.0.1:*").await?;
/// let dealer = Dealer::builder().routing_id("ada").build()?;
/// dealer.connect_to(&router.endpoints()[0])?;
/// dealer.send("here").await?;
/// assert_eq!(router.recv().await?, Message::from_iter(["ada", "here"]));
/// router.send(Message::from_iter(["ada", "welcome"])).await?;
/// assert_eq!(dealer.recv().await?.first(), "welcome");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Router {
    owner: Owner,
}

socket!(Router, SocketType::Router);
sends!(Router);
receives!(Router);

impl Router {
    pub(crate) fn over(owner: Owner) -> Self {
        Self { owner }
    }
}

//! ROUTER: answers by routing id (RFC 28).

use withy_proto::endpoint::EndpointError;
use withy_proto::zmtp::connection::MAX_IDENTITY;
use withy_proto::{Endpoint, SocketType};

use crate::error::ConnectError;

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

    /// Connects to one more endpoint, whose peer this socket knows as `routing_id`, whatever the
    /// peer announces (libzmq: CONNECT_ROUTING_ID). Returns at once.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), or `routing_id` has not 1 to 255 octets, the first of them
    /// not zero.
    pub fn connect_as<E>(
        &self,
        endpoint: E,
        routing_id: impl Into<Vec<u8>>,
    ) -> Result<(), ConnectError>
    where
        E: TryInto<Endpoint>,
        E::Error: Into<EndpointError>,
    {
        let routing_id = routing_id.into();
        if !is_routing_id(&routing_id) {
            return Err(ConnectError::RoutingId);
        }
        let endpoint = endpoint.try_into().map_err(Into::into);
        self.owner.connect_as(endpoint, Some(routing_id))
    }
}

/// Whether a ROUTER takes it for a name: those that it makes up itself start with a zero octet.
fn is_routing_id(id: &[u8]) -> bool {
    id.len() <= MAX_IDENTITY && id.first().is_some_and(|first| *first != 0)
}

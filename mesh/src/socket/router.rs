//! ROUTER: answers by routing id (RFC 28).

use withy_proto::SocketType;

use super::{Owner, receives, sends, socket};

/// Puts the routing id of the peer in front of what it receives, and sends to the peer that the
/// first frame names. A message for an unknown peer comes back as
/// [`SendError::Unroutable`](crate::SendError::Unroutable).
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

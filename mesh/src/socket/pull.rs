//! PULL: takes work (RFC 30).

use withy_proto::SocketType;

use super::{Owner, receives, socket};

/// Takes messages of its peers in turn.
#[derive(Debug, Clone)]
pub struct Pull {
    owner: Owner,
}

socket!(Pull, SocketType::Pull);
receives!(Pull);

impl Pull {
    pub(crate) fn over(owner: Owner) -> Self {
        Self { owner }
    }
}

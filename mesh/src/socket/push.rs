//! PUSH: hands out work (RFC 30).

use withy_proto::SocketType;

use super::{Owner, sends, socket};

/// Hands messages to its peers in turn, one peer each. Waits when no peer has room; never drops.
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

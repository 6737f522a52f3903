//! PAIR: talks to exactly one peer (RFC 31).

use withy_proto::SocketType;

use super::{Owner, receives, sends, socket};

/// Talks to exactly one peer; a second one is refused.
#[derive(Debug, Clone)]
pub struct Pair {
    owner: Owner,
}

socket!(Pair, SocketType::Pair);
sends!(Pair);
receives!(Pair);

impl Pair {
    pub(crate) fn over(owner: Owner) -> Self {
        Self { owner }
    }
}

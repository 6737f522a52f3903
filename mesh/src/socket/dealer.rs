//! DEALER: asks many at once (RFC 28).

use withy_proto::SocketType;

use super::{Owner, receives, sends, socket};

/// Sends to its peers in turn and takes what they send, without envelopes of its own. Towards a
/// REP, start a request with an empty frame.
#[derive(Debug, Clone)]
pub struct Dealer {
    owner: Owner,
}

socket!(Dealer, SocketType::Dealer);
sends!(Dealer);
receives!(Dealer);

impl Dealer {
    pub(crate) fn over(owner: Owner) -> Self {
        Self { owner }
    }
}

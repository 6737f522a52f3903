//! XSUB: subscribes by sending messages (RFC 29).

use withy_proto::SocketType;

use super::{Owner, receives, sends, socket};

/// A subscriber that subscribes by sending 1 and a topic, takes it back with 0 and the topic, and
/// receives without a filter of its own.
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

//! Who may connect: one seam, with ready-made parts.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

pub use withy_proto::mechanism::zap::{AuthRequest, Credentials, Decision};

/// Decides who may connect.
///
/// It is asked once for each connection, after the peer proved what it can prove and before any
/// message passes. A decision that takes longer than the handshake's deadline refuses the peer.
pub trait Authenticator: Send + Sync + fmt::Debug {
    /// Decides on one peer.
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> Pin<Box<dyn Future<Output = Decision> + Send + 'a>>;
}

//! Who may connect: one seam, with ready-made parts.
//!
//! | part | asks |
//! |---|---|
//! | [`PlainFile`] | a file of user names and passwords |
//! | [`CurveAllowList`] | a set of public keys, from code or from a file that is read again when it changes |
//! | [`Zap`] | a ZAP handler at `inproc://zeromq.zap.01` (RFC 27) |
//!
//! Which mechanism proves what, and when there is none, is told in the manual:
//! [security](crate::manual::security).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

mod certificate;
mod curve_allow_list;
mod file;
mod plain_file;
mod zap;

pub use certificate::{read_key_pair, read_public_key};
pub use curve_allow_list::CurveAllowList;
pub use file::FileError;
pub(crate) use file::field;
pub use plain_file::PlainFile;
pub use withy_proto::mechanism::zap::{AuthRequest, Credentials, Decision, User};
pub use withy_proto::zmtp::metadata::Metadata;
pub use zap::{ZAP_ENDPOINT, Zap};

/// A decision that may take a while.
pub type Deciding<'a> = Pin<Box<dyn Future<Output = Decision> + Send + 'a>>;

/// Decides who may connect.
///
/// It is asked once for each connection, after the peer proved what it can prove and before any
/// message passes. A decision that takes longer than the handshake's deadline refuses the peer.
///
/// ```
/// use withy::auth::{AuthRequest, Authenticator, Credentials, Deciding, Decision};
///
/// #[derive(Debug)]
/// struct OnlyAda;
///
/// impl Authenticator for OnlyAda {
///     fn authenticate<'a>(&'a self, request: &'a AuthRequest) -> Deciding<'a> {
///         Box::pin(async move {
///             match &request.credentials {
///                 Credentials::Plain { username, .. } if username == b"ada" => Decision::accept("ada"),
///                 _ => Decision::deny("not ada"),
///             }
///         })
///     }
/// }
/// ```
pub trait Authenticator: Send + Sync + fmt::Debug {
    /// Decides on one peer.
    ///
    /// # Cancel safety
    /// The decision is dropped when the handshake's deadline passes, when newer handshakes need
    /// its room, or when the socket ends; it must not leave anything half done. A peer that leaves
    /// meanwhile is noticed only afterwards.
    fn authenticate<'a>(&'a self, request: &'a AuthRequest) -> Deciding<'a>;
}

/// A shared authenticator, for several sockets or to be changed while it is in use.
impl<A: Authenticator + ?Sized> Authenticator for Arc<A> {
    fn authenticate<'a>(&'a self, request: &'a AuthRequest) -> Deciding<'a> {
        (**self).authenticate(request)
    }
}

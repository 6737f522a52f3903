//! Who may connect: one seam, with ready-made parts.
//!
//! | part | asks |
//! |---|---|
//! | [`PlainFile`] | a file of user names and passwords |
//! | [`CurveAllowList`] | a set of public keys, from code or from a file that is read again when it changes |
//! | [`Zap`] | a ZAP handler at `inproc://zeromq.zap.01` (RFC 27) |

use std::fmt;
use std::pin::Pin;

mod curve_allow_list;
mod file;
mod plain_file;
mod zap;

pub use curve_allow_list::CurveAllowList;
pub use file::FileError;
pub use plain_file::PlainFile;
pub use withy_proto::mechanism::zap::{AuthRequest, Credentials, Decision};
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
///                 Credentials::Plain { username, .. } if username == "ada" => Decision::accept("ada"),
///                 _ => Decision::deny("not ada"),
///             }
///         })
///     }
/// }
/// ```
pub trait Authenticator: Send + Sync + fmt::Debug {
    /// Decides on one peer.
    fn authenticate<'a>(&'a self, request: &'a AuthRequest) -> Deciding<'a>;
}

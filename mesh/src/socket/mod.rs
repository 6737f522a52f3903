//! The socket types: one file each, a thin face over the shared driver.

use withy_proto::SocketType;
use withy_proto::pattern::PipeKey;

mod any;
mod dealer;
mod macros;
mod owner;
mod pair;
mod publisher;
mod pull;
mod push;
pub(crate) mod rep;
pub(crate) mod req;
mod router;
mod stream;
mod subscriber;
mod xpub;
mod xsub;

pub use any::AnySocket;
pub use dealer::Dealer;
pub use owner::Owner;
pub use pair::Pair;
pub use publisher::Publisher;
pub use pull::Pull;
pub use push::Push;
pub use rep::{Rep, Request};
pub use req::Req;
pub use router::Router;
pub use stream::{Messages, Outlet};
pub use subscriber::Subscriber;
pub use xpub::{OverLimit, XPub};
pub use xsub::XSub;

pub(crate) use macros::{handle, receives, sends, socket};

/// What all socket types have in common.
pub trait Socket: sealed::Sealed + Sized {
    /// The type.
    const KIND: Option<SocketType>;

    #[doc(hidden)]
    fn from_owner(owner: Owner) -> Self;

    #[doc(hidden)]
    fn owner(&self) -> &Owner;
}

/// A socket type that sends.
pub trait Sends: Socket {}

/// A socket type that receives.
pub trait Receives: Socket {}

/// A socket type that sends any message by itself.
pub trait SendsAny: Sends {}

/// A socket type that receives plain messages.
pub trait ReceivesAny: Receives {}

mod sealed {
    /// Only the types of this crate are sockets.
    pub trait Sealed {}
}

/// A peer of one socket, as long as it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerKey(pub(crate) PipeKey);

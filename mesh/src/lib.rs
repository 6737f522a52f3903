//! A brokerless peer-to-peer messaging mesh: ZeroMQ-style sockets in native Rust.
//!
//! Services link directly, over ZMTP 3.1 as libzmq speaks it. One type per pattern: a [`Push`] has
//! no `recv`. Handles are `Clone + Send + Sync`, every async method is cancel-safe, and nothing is
//! dropped without being counted.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pull = withy::Pull::bind("tcp://127.0.0.1:0").await?;
//! let push = withy::Push::connect(pull.endpoints()[0].clone())?;
//! push.send("hello").await?;
//! assert_eq!(pull.recv().await?, withy::Message::from("hello"));
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod auth;
pub mod blocking;
pub mod builder;
mod driver;
pub mod error;
pub mod event;
pub mod options;
pub mod proxy;
mod security;
mod select;
pub mod socket;
pub mod stats;
pub mod typed;

pub use auth::{Authenticator, Credentials};
pub use builder::Builder;
pub use error::{
    BindError, BuildError, ConnectError, ReceiveError, RequestError, SendError, UnknownEndpoint,
};
pub use event::{Event, EventKind, Monitor, PeerInfo, Reason};
pub use proxy::{Proxy, ProxyControl};
pub use security::generate_key_pair;
pub use select::Select;
pub use socket::{
    AnySocket, Dealer, Pair, Publisher, Pull, Push, Rep, Req, Request, Router, Subscriber, XPub,
    XSub,
};
pub use stats::Stats;
pub use typed::Typed;
pub use withy_proto::crypto::keys::{KeyPair, PublicKey, SecretKey};
pub use withy_proto::endpoint::EndpointError;
pub use withy_proto::{Endpoint, Frame, Message, SocketType};

//! Sockets that speak ZeroMQ's patterns over ZMTP 3.1, in Rust, without a broker and without a C
//! library.
//!
//! Services link directly: one binds, the other connects, and either may come first. A peer is
//! another program with this crate, or any program with libzmq.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use withy::{Rep, Req};
//!
//! let rep = Rep::bind("tcp://127.0.0.1:*").await?;
//! let endpoint = rep.endpoints()[0].clone(); // with the port that was chosen
//! tokio::spawn(async move {
//!     while let Ok(request) = rep.recv().await {
//!         let name = request.message().first().as_str().unwrap_or("stranger");
//!         let reply = format!("hello, {name}");
//!         let _ = request.reply(reply).await; // the client may have left
//!     }
//! });
//!
//! let req = Req::connect(endpoint)?;
//! assert_eq!(req.request("ada").await?.first(), "hello, ada");
//! # Ok(())
//! # }
//! ```
//!
//! # The types
//!
//! | ask and answer | publish and subscribe | hand out work | exactly two |
//! |---|---|---|---|
//! | [`Req`], [`Rep`] | [`Publisher`], [`Subscriber`] | [`Push`], [`Pull`] | [`Pair`] |
//! | [`Dealer`], [`Router`] | [`XPub`], [`XSub`] | | |
//!
//! There is one type for each pattern, and it has the methods that make sense for it: a [`Push`]
//! has no `recv`. All of them
//!
//! - are made by `connect(endpoint)`, `bind(endpoint)`, or `builder()` for [options](Builder), and
//!   may bind and connect to more endpoints later;
//! - take `&self`, and are `Clone + Send + Sync`: a clone is another handle of the same socket,
//!   which closes when the last handle is dropped;
//! - connect in the background, and again after a connection is lost;
//! - have async methods that can be cancelled: no message is lost or sent twice by that;
//! - give a message back that they could not send, with the [reason](SendError);
//! - count what they drop, in [`stats()`](Stats), and tell what happens to their connections, in a
//!   [`Monitor`].
//!
//! For programs without an async runtime there is [`blocking`], for messages that are Rust values
//! [`Typed`], for several sockets at a time [`Select`], for forwarding [`Proxy`].
//!
//! # The mesh
//!
//! A [`Node`] publishes, serves and takes work by name: other nodes of the host and of the local network
//! are found, and found again, by themselves. See the manual: [the mesh](manual::mesh).
//!
//! # Endpoints
//!
//! `tcp://HOST:PORT`, `quic://HOST:PORT`, `ipc://PATH`, `inproc://NAME` and `mesh://NAME`; also wildcards, interface
//! names, source addresses, abstract names and sockets inherited from systemd: see [`Endpoint`].
//! Between Withy peers QUIC is always encrypted and proves identities; on it nothing waits for a lost
//! packet or a large message of another socket: see the manual, [QUIC](manual::security#quic).
//!
//! # Security
//!
//! Without keys, a socket talks to its own host only: loopback, ipc and inproc. For another host
//! it is given an [`Identity`] and whom to [`Trust`], or CURVE keys, or told `insecure()`; else
//! `bind` and `connect` fail at once. See the manual: [security](manual::security).
//!
//! # The manual
//!
//! [Choosing a pattern](manual::patterns) · [the mesh](manual::mesh) · [security](manual::security) ·
//! [limits and back-pressure](manual::limits) · [monitoring](manual::monitoring) ·
//! [libzmq: interoperability and deviations](manual::libzmq) ·
//! [coming from libzmq](manual::migrating)
//!
//! # Features
//!
//! `bincode`, `cbor`, `json`, `msgpack`: further codecs of [`Typed`] messages. Off by default.

#![forbid(unsafe_code)]

pub mod auth;
pub mod blocking;
pub mod builder;
mod driver;
pub mod error;
pub mod event;
pub mod home;
pub mod identity;
#[cfg(test)]
mod logged;
pub mod manual;
pub mod node;
pub mod options;
pub mod proxy;
mod security;
mod select;
pub mod socket;
pub mod stats;
pub mod store;
pub mod trust;
pub mod typed;

pub use auth::{Authenticator, Credentials};
pub use builder::Builder;
pub use error::{
    BindError, BuildError, Closed, ConnectError, ReceiveError, RequestError, SendError, Unfit,
    UnknownEndpoint,
};
pub use event::{Event, EventKind, Monitor, PeerInfo, Reason};
pub use home::{Home, HomeError};
pub use identity::{Identity, IdentityError};
pub use node::{Node, NodeBuilder, NodeError};
pub use proxy::{Proxy, ProxyControl};
pub use security::generate_key_pair;
pub use select::Select;
pub use socket::{
    AnySocket, Dealer, Pair, PeerKey, Publisher, Pull, Push, Rep, Req, Request, Router, Subscriber,
    XPub, XSub,
};
pub use stats::Stats;
pub use trust::Trust;
pub use typed::Typed;
pub use withy_proto::crypto::keys::{KeyPair, PublicKey, SecretKey};
pub use withy_proto::endpoint::EndpointError;
pub use withy_proto::{Endpoint, Frame, Message, SocketType};
pub use withy_transports::lingered;

/// The README's code is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

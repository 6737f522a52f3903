//! The sans-IO core of Withy: ZMTP 3.1, its security mechanisms and the ZeroMQ socket patterns.
//!
//! Nothing in this crate opens a socket, reads a clock, draws a random number or spawns a task.
//! Bytes, time and randomness are arguments; bytes and events are results. The same engines
//! therefore run under tokio, in the seeded simulator and in the fuzzers.
//!
//! Where a byte goes:
//!
//! ```text
//!  link -> zmtp::Decoder -> pattern::Incoming -> application
//!  link <- zmtp::Outbox  <- pattern::Outgoing <- application
//! ```

// One module is excepted, with its reason: `crypto::salsa20::x86`.
#![deny(unsafe_code)]

pub mod bus;
pub mod crypto;
pub mod endpoint;
pub mod fields;
pub mod mechanism;
pub mod message;
pub mod pattern;
pub mod peer;
mod pool;
pub mod queue;
pub mod quic;
pub mod rate;
pub mod relay;
pub mod routing;
pub mod service;
mod tagged;
pub mod trust;
pub mod z85;
pub mod zmtp;

pub use endpoint::{Endpoint, EndpointError};
pub use message::{Frame, Message};
pub use pattern::SocketType;

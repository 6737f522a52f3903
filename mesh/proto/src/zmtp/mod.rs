//! ZMTP 3.1 (RFC 37), with 3.0 peers (RFC 23): greeting, handshake, frames and commands.
//!
//! ```text
//!  link bytes -> Connection (greeting, mechanism) -> Established { Decoder, Outbox, Sealer, Peer }
//!  afterwards:  bytes -> Decoder -> Item          Message, Command -> Outbox -> Batch -> bytes
//! ```
//!
//! Deviations from the RFC, each because libzmq 4.3.5 does it and its links must live:
//! the as-server octet of the greeting is ignored (libzmq always sends 0); unknown commands are
//! ignored; a PING context over 16 octets is cut to 16 in the PONG; subscriptions are accepted as
//! commands and as messages from every peer; CURVE MESSAGE frames carry no COMMAND flag and are
//! accepted with and without it. Stricter than libzmq, which never sends these: reserved flag bits,
//! MORE on a command and a version octet below 3 close the connection. These and those of the
//! mechanisms and patterns are listed with their reasons in the manual of the crate `withy`, page
//! `libzmq`.

pub mod command;
pub mod common;
pub mod connection;
pub mod decoder;
pub mod frame;
pub mod greeting;
pub mod metadata;
pub mod outbox;
pub mod record;

pub use command::Command;
pub use common::{Common, Tail};
pub use connection::{Connection, ConnectionError, Established, Peer};
pub use decoder::{DecodeError, Decoded, Decoder, Item, Limits};
pub use outbox::{Batch, Framing, Outbox, Run};

//! ZMTP 3.1 (RFC 37), with 3.0 peers (RFC 23): greeting, handshake, frames and commands.

pub mod metadata;

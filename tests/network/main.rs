//! Sockets over QUIC on bad networks: nothing is lost or doubled, nothing small waits for what is large,
//! and no command for messages.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod beside;
mod closing;
mod commands;
mod losses;
mod lost;
mod namespace;
mod shares;
mod support;
mod unordered;

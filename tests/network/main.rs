//! Sockets over QUIC on bad networks: nothing is lost or doubled, and nothing small waits for what is
//! large.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod beside;
mod closing;
mod losses;
mod namespace;
mod support;

//! Peers that break every rule: one file for each family of bad input.
//!
//! Each attack runs while good peers, one connected before and one that connects meanwhile,
//! exchange messages with the socket under attack and must not notice.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod first_octets;
mod flood;
mod frames;
mod handshake;
mod log;
mod memory;
mod subscriptions;
mod victim;

//! The socket patterns over real links: one file for each concern.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod by_reference;
mod cancel;
mod connections;
mod correlate;
mod downgrade;
mod handover;
mod heartbeats;
mod inverted;
mod life;
mod membership;
mod null_authenticator;
mod off_host;
mod pair;
mod proxy;
mod pub_sub;
mod push_pull;
mod records;
mod req_rep;
mod router;
mod security;
mod select;
mod streams;
mod support;
mod unordered;

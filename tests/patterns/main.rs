//! The socket patterns over real links: one file for each concern.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod cancel;
mod connections;
mod heartbeats;
mod life;
mod pair;
mod pub_sub;
mod push_pull;
mod records;
mod req_rep;
mod router;
mod security;
mod support;

//! Multicast DNS in network namespaces: nodes, their neighbours of other makes, and who means harm.
//!
//! Each test runs itself in a namespace of its own, where port 5353 is nobody else's.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod avahi;
mod flood;
mod interfaces;
mod namespace;
mod node;
mod zeroconf;

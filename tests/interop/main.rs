//! Sockets against a stock libzmq, by way of pyzmq, and against other crates; one file per
//! scenario.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod crates;
mod credentials;
mod heartbeats;
mod identity;
mod inverted;
mod matrix;
mod peers;
mod reconnects;
mod subscriptions;

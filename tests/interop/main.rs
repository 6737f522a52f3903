//! Sockets against a stock libzmq, by way of pyzmq; one file per scenario.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod matrix;
mod support;

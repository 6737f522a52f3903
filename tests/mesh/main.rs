//! Nodes in processes of their own, which are killed and stopped: what callers on other nodes see.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod instance;
mod matching;
mod services;

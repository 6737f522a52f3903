//! What a `quic` listener does with strangers, stalled peers and noise: nothing, and not for long.

#![allow(clippy::unwrap_used, reason = "a failure to set up is a failed test")]

mod crowd;
mod peers;
mod reflection;
mod silence;
#[path = "../support/mod.rs"]
mod support;

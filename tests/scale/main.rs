//! Many peers at once, and many one after the other.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod churn;
mod idle;
mod process;
mod thousand;

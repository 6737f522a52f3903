//! The ZMTP door of a node, with a stock libzmq in front of it and the mesh behind; one file per
//! scenario.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod garbage;
mod house;
mod matrix;
mod partner;
mod permissions;
mod queues;
mod requests;
mod topics;
mod versions;
mod workers;

//! Many nodes, each a process, on hosts of their own that a bridge connects: they find each other, notice
//! who dies, and go on after the network was cut.
//!
//! Each test runs itself in a namespace of its own, makes others for the hosts, and runs itself in them
//! once more as nodes.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod addresses;
mod appearing;
mod capture;
mod idle;
mod lan;
mod meshing;
mod node;
mod partitions;
mod paths;
mod relays;
mod revocation;
mod serving;
mod siege;
mod sites;
mod strangers;
mod swarm;

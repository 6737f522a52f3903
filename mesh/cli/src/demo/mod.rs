//! `demo`: the mesh at work, in one command.
//!
//! ```text
//!  the screen ── orders, on stdin ──> ada      bob      cyd      a process each
//!      ^                               │ \____ / │ \____ / │
//!      └───────── reports ─────────────┴─ whatever is needed, found by name
//! ```
//!
//! The three are nodes of one identity that was made on the spot and lets nobody else in; its seed
//! reaches them on their stdin. They are told no addresses: they find each other in a runtime directory
//! that is theirs alone, with `--lan` by multicast DNS, and otherwise nothing of them is on the
//! network. The screen tells them who plays which part of which [scene](scenes::SCENES); who plays it
//! also checks it. They report over a PUSH socket, since the mesh is what is shown.
//!
//! Invariant: the directory is the only thing on disk, and goes with whoever of the four ends last.

mod brief;
mod parts;
mod scenes;
mod screen;
mod show;

pub(crate) use brief::Brief;
pub(crate) use parts::play;
pub(crate) use show::run;

//! The engine room: the two halves of a socket, the links below them and who pumps what.
//!
//! Each half has one short lock. Whoever calls does the work: a sender writes its batch when
//! enough waits or the link was idle, a receiver reads the link and decodes in place. One task per
//! connection ([`task`]) owns what is left over: the tail of a batch, timers and control traffic; one
//! per socket ([`watch`]) reads while the application is away. Where tasks are kept from running, a thread
//! ([`tail`]) writes what was left to them.
//!
//! Invariants: no lock is held across a write; the receiving lock is taken before the sending lock
//! and never after it; a batch has one writer at a time, named by the token in [`core::SendLink`].

pub(crate) mod asked;
mod away;
pub(crate) mod buffer;
pub(crate) mod core;
pub(crate) mod deadline;
pub(crate) mod dial;
pub(crate) mod dialling;
pub(crate) mod direct;
pub(crate) mod flush;
pub(crate) mod handshake;
pub(crate) mod link;
pub(crate) mod listen;
#[cfg(all(test, withy_loom))]
mod loom_tests;
mod ping;
mod read;
pub(crate) mod ready;
pub(crate) mod receive;
pub(crate) mod resources;
pub(crate) mod send;
pub(crate) mod subscribe;
mod sync;
mod tail;
pub(crate) mod task;
pub(crate) mod watch;
pub(crate) mod watched;
mod wish;

/// How much slower a program runs than on a processor: under valgrind, where instructions are counted,
/// what is timed is to be of as many messages as elsewhere.
const SLOWER: u32 = if cfg!(withy_counted) { 50 } else { 1 };

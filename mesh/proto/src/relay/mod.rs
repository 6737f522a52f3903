//! Reach beyond one hop: what is said of circuits, and who gets one.
//!
//! A circuit carries the octets of one connection between two nodes that do not reach each other. It has
//! one leg or more, each an ordinary connection to a door that every node has, and relays join them:
//!
//! ```text
//!  origin ──Open──> relay ──Open──> target      or   relay <──Line── target, once and for all
//!         <─Opened─       <─Opened─                  relay ──Invite──> target
//!         <═══════ octets ═══════>                   relay <──Fetch── target, and then Open as well
//! ```
//!
//! What the octets are is the ends' own: they shake hands over the circuit as over any link, so a relay
//! sees who talks to whom and how much, and who is let in at the target is for the target to say.
//!
//! What is not here: connections, clocks, and who is trusted.
//!
//! Invariant: a relay is at most once on a circuit's way, and a way has at most [`MAX_HOPS`] of them.

mod admission;
mod message;
#[cfg(test)]
mod tests;

pub use admission::{Admission, Counters, Course, Door, Limits};
pub use message::{
    Ask, CHUNK, MAX_HOPS, MAX_MESSAGE, MAX_VISITED, MessageError, Open, Party, Reply, Why,
};

//! How Withy's nodes find each other, and know who is there.
//!
//! ```text
//!  host --record-------------------------> engine::Discovery <--gossip--> neighbours
//!  mdns, fixed, file --hint--------------->    hints        whom to dial
//!                                              table        what is known
//!                                              membership   who is there
//!                                              gossip       how news spreads
//! ```
//!
//! All but the sources, `host`, `mdns`, `fixed` and `file`, is sans-IO, like the core: octets and time are
//! arguments, messages, actions and events are results, so that the same engines run under tokio, in
//! the simulator and in the fuzzers.
//!
//! What a record says is a hint. Who a peer is, the handshake proves; whether it is trusted, the
//! policy of `withy_proto::trust` decides.

pub mod announcement;
pub mod dials;
pub mod engine;
pub mod file;
pub mod fixed;
pub mod gossip;
pub mod groups;
pub mod hints;
pub mod host;
pub mod mdns;
pub mod membership;
pub mod peer;
pub mod record;
pub mod revocation;
pub mod table;
#[cfg(test)]
mod testing;

pub use engine::{Action, Config, Discovery, Event, Time};
pub use hints::{Expected, Heard, Hint, Hinted, Try};
pub use peer::PeerTag;
pub use record::{Address, Content, Kind, NetworkTag, Place, Record, RecordError, Service};
pub use revocation::{Revocation, Target};
pub use table::{Learnt, Origin, Refusal, Table};

//! What Withy's behaviour tests share: foreign peers to talk to, hostile peers to survive, and
//! the size of a run.
//!
//! Nothing here uses Withy's codecs or sockets, so that their faults cannot hide in their tests.

pub mod by_hand;
pub mod deadline;
pub mod load;
pub mod multicast;
pub mod namespace;
pub mod path;
pub mod python;
pub mod raw;
pub mod scale;

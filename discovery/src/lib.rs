//! How Withy's nodes find each other.

pub mod peer;
pub mod record;
#[cfg(test)]
mod testing;
mod wire;

pub use peer::PeerTag;
pub use record::{Address, Content, Kind, Place, Record, RecordError, Service};

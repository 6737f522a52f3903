//! The topic bus: what a message is about, who wants it, and what late joiners still get.
//!
//! A message on the bus is a [`Publication`] of three frames: its [`Topic`], its [`Header`] and its
//! body. It travels between a PUB and a SUB whose subscriptions are [`Filter`]s instead of prefixes:
//! a publisher finds in a [`FilterTree`] who wants a topic, and a subscriber filters what arrives
//! once more.
//!
//! ```text
//!  publish -> Keeper (numbers, Replay, Retained) -> Outgoing (FilterTree) ~~> Incoming -> Joiner -> subscriber
//!               └─ snapshot for a late joiner ~~~~~~~~ another channel ~~~~~~~~~~~~~~~~~~~~┘
//! ```
//!
//! What the bus does not do: it knows no peers, no permissions and no acknowledgements. A message
//! that a slow subscriber has no room for is dropped and counted, as with any publisher.

pub mod boxed;
pub mod header;
pub mod joiner;
pub mod keeper;
pub mod publication;
pub mod replay;
pub mod retained;
pub mod snapshot;
pub mod topic;
pub mod tree;
pub mod window;

pub use boxed::BoxedHeader;
pub use header::{Header, HeaderError, Priority};
pub use joiner::{Joiner, Step};
pub use keeper::Keeper;
pub use publication::{Opened, Publication, PublicationError};
pub use replay::Replay;
pub use retained::Retained;
pub use topic::{Filter, Topic, TopicError};
pub use tree::FilterTree;

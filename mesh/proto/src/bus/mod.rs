//! The topic bus: what a message is about, and who wants it.

pub mod topic;
pub mod tree;

pub use topic::{Filter, Topic, TopicError};
pub use tree::FilterTree;

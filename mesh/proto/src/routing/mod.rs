//! How messages find pipes: matching by prefixes and by filters, for publishers and subscribers.

pub mod filters;
mod levels;
mod tree;
pub mod trie;

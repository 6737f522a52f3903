//! How messages find pipes: prefix matching for publishers and subscribers.

pub mod filters;
mod tree;
pub mod trie;

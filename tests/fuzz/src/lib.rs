//! What the fuzzers run: one module per target, each a plain function of octets that panics on a
//! fault.
//!
//! The same functions serve libFuzzer (`targets/`), and on stable the replay of the committed
//! corpora and of seeded random input (`tests/fuzz_replay.rs`). A new target is a module here, a
//! row in [`TARGETS`], a file in `targets/` with its `[[bin]]`, and a corpus.

pub mod input;
pub mod metadata;
pub mod trie;

/// The name of a target's binary and of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[("metadata", metadata::run), ("trie", trie::run)];

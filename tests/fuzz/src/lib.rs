//! What the fuzzers run: one module per target, each a plain function of octets that panics on a
//! fault.
//!
//! The same functions serve libFuzzer (`targets/`), and on stable the replay of the committed
//! corpora and of seeded random input (`tests/fuzz_replay.rs`). A new target is a module here, a
//! row in [`TARGETS`], a file in `targets/` with its `[[bin]]`, and a corpus.

// What targets share.
pub mod base32;
pub mod input;
pub mod model;
pub mod session;
pub mod sha256;
pub mod wire;

// The targets.
pub mod announcement;
pub mod bus_filters;
pub mod bus_header;
pub mod bus_snapshot;
pub mod certificate;
pub mod command;
pub mod curve_handshake;
pub mod endpoint;
pub mod frames;
pub mod gossip;
pub mod greeting;
pub mod id;
pub mod metadata;
pub mod noise_handshake;
pub mod peer_record;
pub mod queue_command;
pub mod queue_log;
pub mod quic_streams;
pub mod records;
pub mod relay_message;
pub mod service_header;
pub mod session_null;
pub mod ticket;
pub mod trie;
pub mod z85;

/// The name of a target's binary and of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("announcement", announcement::run),
    ("bus_filters", bus_filters::run),
    ("bus_header", bus_header::run),
    ("bus_snapshot", bus_snapshot::run),
    ("certificate", certificate::run),
    ("command", command::run),
    ("curve_handshake", curve_handshake::run),
    ("endpoint", endpoint::run),
    ("frames", frames::run),
    ("gossip", gossip::run),
    ("greeting", greeting::run),
    ("id", id::run),
    ("metadata", metadata::run),
    ("noise_handshake", noise_handshake::run),
    ("peer_record", peer_record::run),
    ("queue_command", queue_command::run),
    ("queue_log", queue_log::run),
    ("quic_streams", quic_streams::run),
    ("records", records::run),
    ("relay_message", relay_message::run),
    ("service_header", service_header::run),
    ("session_null", session_null::run),
    ("ticket", ticket::run),
    ("trie", trie::run),
    ("z85", z85::run),
];

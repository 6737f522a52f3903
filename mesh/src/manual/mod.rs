//! The manual: what to know beyond the documentation of the single types.
//!
//! There is no code here but that of the examples, all of which are compiled and run as tests.

#[doc = include_str!("patterns.md")]
pub mod patterns {}

#[doc = include_str!("mesh.md")]
pub mod mesh {}

#[doc = include_str!("security.md")]
pub mod security {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("monitoring.md")]
pub mod monitoring {}

#[doc = include_str!("libzmq.md")]
pub mod libzmq {}

#[doc = include_str!("migrating.md")]
pub mod migrating {}

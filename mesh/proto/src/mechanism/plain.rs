//! PLAIN.
/// The name in the greeting.
pub const NAME: &str = "PLAIN";

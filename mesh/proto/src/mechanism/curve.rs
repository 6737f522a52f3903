//! CURVE.
/// The name in the greeting.
pub const NAME: &str = "CURVE";
/// Seals.
#[derive(Debug)]
pub struct Sealer;
/// Opens.
#[derive(Debug)]
pub struct Opener;

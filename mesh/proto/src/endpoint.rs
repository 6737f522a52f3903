//! TODO
/// Endpoint
#[derive(Debug)]
pub struct Endpoint;

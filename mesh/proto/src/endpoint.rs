//! stand-in
/// Endpoint
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(#[expect(missing_docs)] pub String);
/// Error
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad endpoint")]
pub struct EndpointError;
impl TryFrom<&str> for Endpoint {
    type Error = EndpointError;
    fn try_from(s: &str) -> Result<Self, EndpointError> {
        Ok(Self(s.to_owned()))
    }
}
impl From<std::convert::Infallible> for EndpointError {
    fn from(_: std::convert::Infallible) -> Self {
        Self
    }
}
impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
#[expect(missing_docs)]
impl Endpoint {
    pub fn is_local(&self) -> bool {
        self.0.contains("127.0.0.1")
    }
}

//! Z85.
/// Key.
pub fn encode_key(key: &[u8; 32]) -> String {
    format!("{key:?}")
}

//! Headers of the bus: what decodes is encoded in no more octets, decodes again to the same, and
//! keeps its limits.

use std::time::Duration;

use withy_proto::bus::header::{Header, MAX_HEADER, MAX_TEXT, MAX_USER, MAX_USER_OCTETS};

/// Decodes the input.
pub fn run(input: &[u8]) {
    let Ok(header) = Header::decode(input) else {
        return;
    };
    assert!(input.len() <= MAX_HEADER);
    let encoded = header.encode();
    assert!(encoded.len() <= input.len());
    assert_eq!(Header::decode(&encoded).as_ref(), Ok(&header));
    assert!(header.priority.level() <= 9);
    assert!(header.user().len() <= MAX_USER);
    let octets: usize = header
        .user()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    assert!(octets <= MAX_USER_OCTETS);
    assert!(
        header
            .user()
            .all(|(name, _)| (1..=MAX_TEXT).contains(&name.len()))
    );
    assert!(
        header
            .content_type()
            .is_none_or(|text| (1..=MAX_TEXT).contains(&text.len()))
    );
    ages(&header);
}

/// It lives as long as it says.
fn ages(header: &Header) {
    let Some(left) = header.expiry else {
        assert_eq!(header.clone().aged(Duration::MAX).as_ref(), Some(header));
        return;
    };
    assert_eq!(header.clone().aged(left), None);
    if let Some(almost) = left.checked_sub(Duration::from_millis(1)) {
        let aged = header.clone().aged(almost);
        let expiry = aged.and_then(|header| header.expiry);
        assert_eq!(expiry, Some(Duration::from_millis(1)));
    }
}

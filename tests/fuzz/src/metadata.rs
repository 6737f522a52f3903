//! READY metadata: what decodes is encoded again octet for octet, and keeps its limits.

use withy_proto::zmtp::metadata::{MAX_NAME, MAX_PROPERTIES, MAX_SIZE, Metadata};

/// Decodes the input.
pub fn run(input: &[u8]) {
    let Ok(metadata) = Metadata::decode(input) else {
        return;
    };
    assert_eq!(metadata.encode(), input);
    assert!(input.len() <= MAX_SIZE);
    assert!(metadata.iter().count() <= MAX_PROPERTIES);
    let mut again = Metadata::default();
    for (name, value) in metadata.iter() {
        assert!((1..=MAX_NAME).contains(&name.len()));
        assert_eq!(metadata.value(&name.to_ascii_uppercase()), Some(value));
        again.set(name, value).expect("a name that decoded");
    }
    assert_eq!(again, metadata);
}

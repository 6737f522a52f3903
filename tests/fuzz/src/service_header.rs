//! Headers of requests to services and of their replies: what decodes is encoded in no more octets,
//! decodes again to the same, and keeps its limits.

use withy_proto::service::{MAX_HEADER, MAX_REASON, ReplyHeader, RequestHeader, Status};

/// Decodes the input, as either.
pub fn run(input: &[u8]) {
    if let Ok(header) = RequestHeader::decode(input) {
        let encoded = header.encode();
        fits(input, &encoded);
        assert_eq!(RequestHeader::decode(&encoded).as_ref(), Ok(&header));
        assert!(header.attempt > 0);
    }
    if let Ok(header) = ReplyHeader::decode(input) {
        let encoded = header.encode();
        fits(input, &encoded);
        assert_eq!(ReplyHeader::decode(&encoded).as_ref(), Ok(&header));
        if let Status::Failed(reason) = &header.status {
            assert!(reason.len() <= MAX_REASON);
            assert!(!reason.contains(char::is_control));
            assert_eq!(Status::failed(reason), header.status);
        }
    }
}

fn fits(input: &[u8], encoded: &[u8]) {
    assert!(input.len() <= MAX_HEADER);
    assert!(encoded.len() <= input.len());
}

//! SHA-256 and HMAC, by ring; under Miri, which cannot call it, in Rust.

#[cfg_attr(miri, path = "hash/pure.rs")]
#[cfg_attr(not(miri), path = "hash/ring.rs")]
mod implementation;

pub(crate) use implementation::Sha256;

/// The octets of a hash.
pub const HASH: usize = 32;

/// HMAC-SHA-256 (RFC 2104) of the parts, one after the other.
pub fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; HASH] {
    implementation::hmac(key, parts)
}

/// SHA-256 of the parts, one after the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; HASH] {
    let mut hash = Sha256::default();
    parts.iter().for_each(|part| hash.update(part));
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins(hash: [u8; HASH], octets: [u8; 4]) -> bool {
        hash[..4] == octets
    }

    /// FIPS 180-4: "abc", and the longer of NIST's examples. HMAC was computed by another
    /// implementation.
    #[test]
    fn the_vectors_hold() {
        assert!(begins(
            sha256(&[b"a", b"", b"bc"]),
            [0xba, 0x78, 0x16, 0xbf]
        ));
        let long = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert!(begins(sha256(&[long]), [0x24, 0x8d, 0x6a, 0x61]));
        let mac = hmac(&[0x0b; 32], &[b"Hi ", b"There"]);
        assert!(begins(mac, [0x19, 0x8a, 0x60, 0x7e]), "{mac:02x?}");
    }
}

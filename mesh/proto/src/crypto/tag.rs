//! The tag of a first packet: 20 octets that only members of a network can make, so that others get
//! no answer at all.
//!
//! ```text
//!  tag = nonce (8) || HMAC-SHA-256(secret, "withy quic tag 1" || epoch (u64, big endian) || nonce)[..12]
//! ```
//!
//! The epoch is the number of whole hours since 1970. To those who do not know the secret a tag looks
//! like the random connection id that QUIC wants there. A tag names no sender and proves nothing
//! about the rest of its packet; whoever saw it can send it again, so that listeners must remember
//! nonces for [`LIFETIME`] hours. Time is an argument.

use subtle::{Choice, ConstantTimeEq as _};

use super::hash;

/// The octets of a tag.
pub const TAG: usize = 20;

/// The octets of the nonce that it starts with.
pub const NONCE: usize = 8;

/// How many hours a tag is accepted for at most: its own, and one before and after for clocks that
/// are wrong.
pub const LIFETIME: u64 = 3;

/// The secret of those who belong to no network, known to everyone.
pub const PUBLIC: [u8; 32] = *b"withy: no network, no secret (1)";

const DOMAIN: &[u8] = b"withy quic tag 1";

/// Makes the tag of a nonce in an hour.
pub fn make(secret: &[u8; 32], hour: u64, nonce: [u8; NONCE]) -> [u8; TAG] {
    let mac = hash::hmac(secret, &[DOMAIN, &hour.to_be_bytes(), &nonce]);
    let mut tag = [0; TAG];
    tag[..NONCE].copy_from_slice(&nonce);
    tag[NONCE..].copy_from_slice(&mac[..TAG - NONCE]);
    tag
}

/// Whether a tag was made with any of the secrets, within an hour of this one.
///
/// The time that it takes depends on the number of secrets, and on nothing else.
#[must_use]
pub fn check(secrets: &[[u8; 32]], hour: u64, tag: &[u8; TAG]) -> bool {
    let mut nonce = [0; NONCE];
    nonce.copy_from_slice(&tag[..NONCE]);
    let mut good = Choice::from(0);
    for secret in secrets {
        for hour in [hour.wrapping_sub(1), hour, hour.wrapping_add(1)] {
            good |= make(secret, hour, nonce).ct_eq(tag);
        }
    }
    good.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 495_000;

    #[test]
    fn a_tag_is_of_one_secret_and_three_hours() {
        let (ours, theirs) = ([1; 32], [2; 32]);
        let tag = make(&ours, HOUR, [7; NONCE]);
        assert!(check(&[theirs, ours], HOUR, &tag));
        assert!(!check(&[theirs], HOUR, &tag) && !check(&[], HOUR, &tag));
        for (hour, good) in [(2, false), (1, true), (0, true)] {
            assert_eq!(check(&[ours], HOUR + hour, &tag), good);
            assert_eq!(check(&[ours], HOUR - hour, &tag), good);
        }
    }

    #[test]
    fn a_changed_tag_is_none() {
        let tag = make(&PUBLIC, HOUR, [7; NONCE]);
        for bit in 0..8 * TAG {
            let mut wrong = tag;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!check(&[PUBLIC], HOUR, &wrong));
        }
    }

    #[test]
    fn the_layout_stays() {
        // Python: hmac.digest(bytes(range(32)), b"withy quic tag 1" + (495000).to_bytes(8, "big")
        //         + bytes(range(8)), "sha256")[:12]
        let secret = std::array::from_fn(|at| at as u8);
        let tag = make(&secret, HOUR, std::array::from_fn(|at| at as u8));
        let expected = [
            0xf7, 0x43, 0xe1, 0x07, 0x61, 0x18, 0x16, 0xc8, 0x27, 0xdc, 0x4d, 0xdb,
        ];
        assert_eq!(tag[..NONCE], [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(tag[NONCE..], expected);
    }

    #[test]
    fn the_ends_of_time_do_no_harm() {
        for hour in [0, u64::MAX] {
            assert!(check(&[PUBLIC], hour, &make(&PUBLIC, hour, [0; NONCE])));
        }
    }
}

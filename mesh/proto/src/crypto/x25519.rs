//! X25519 (RFC 7748): graviola's, which is the fastest, on the processors that it is made for, and
//! curve25519-dalek's on all others.

use curve25519_dalek::MontgomeryPoint;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The public key that belongs to a secret one.
pub(crate) fn public(secret: &[u8; 32]) -> [u8; 32] {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if fast::is_there() {
        return fast::public(secret);
    }
    MontgomeryPoint::mul_base_clamped(*secret).to_bytes()
}

/// The secret shared with the holder of `other`; `None` when `other` is one of the few points of low
/// order, with which everybody shares the same.
pub(crate) fn agree(secret: &[u8; 32], other: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if fast::is_there() {
        return fast::agree(secret, other);
    }
    let shared = Zeroizing::new(MontgomeryPoint(*other).mul_clamped(*secret));
    let shared = Zeroizing::new(shared.to_bytes());
    (!bool::from(shared.ct_eq(&[0; 32]))).then_some(shared)
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod fast {
    use std::is_x86_feature_detected as has;

    use graviola::key_agreement::x25519::{PublicKey, StaticPrivateKey};
    use zeroize::Zeroizing;

    /// Whether the processor has what graviola insists on.
    pub(super) fn is_there() -> bool {
        has!("adx")
            && has!("aes")
            && has!("avx")
            && has!("avx2")
            && has!("bmi1")
            && has!("bmi2")
            && has!("pclmulqdq")
    }

    pub(super) fn public(secret: &[u8; 32]) -> [u8; 32] {
        StaticPrivateKey::from_array(secret).public_key().as_bytes()
    }

    pub(super) fn agree(secret: &[u8; 32], other: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let secret = StaticPrivateKey::from_array(secret);
        // It fails where the result is zero.
        let shared = secret.diffie_hellman(&PublicKey::from_array(other)).ok()?;
        Some(Zeroizing::new(shared.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Randomness as _, Seeded};

    /// RFC 7748 §5.2 and §6.1.
    #[test]
    fn the_examples_of_the_rfc_come_out() {
        let octets = |text: &str| -> [u8; 32] {
            let mut octets = [0; 32];
            let decoded = data_encoding::HEXLOWER.decode_mut(text.as_bytes(), &mut octets);
            decoded.unwrap();
            octets
        };
        let scalar = octets("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
        let point = octets("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
        let shared = octets("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
        assert_eq!(*agree(&scalar, &point).unwrap(), shared);
        // The highest bit of the point does not count.
        let scalar = octets("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d");
        let point = octets("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493");
        let shared = octets("95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957");
        assert_eq!(*agree(&scalar, &point).unwrap(), shared);
        let bob = octets("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let bobs = octets("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
        assert_eq!(public(&bob), bobs);
    }

    /// Whatever the processor has: both implementations yield the same.
    #[test]
    fn the_fast_one_and_the_other_agree() {
        let mut random = Seeded::new(25_519);
        for _ in 0..200 {
            let (mut secret, mut point) = ([0; 32], [0; 32]);
            random.fill(&mut secret);
            random.fill(&mut point);
            let base = MontgomeryPoint::mul_base_clamped(secret).to_bytes();
            assert_eq!(public(&secret), base);
            let shared = MontgomeryPoint(point).mul_clamped(secret).to_bytes();
            assert_eq!(*agree(&secret, &point).unwrap(), shared);
        }
    }

    #[test]
    fn points_of_low_order_are_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        // p - 1, p and p + 1 reduce to such, and so do they with the highest bit set.
        let p = |last: u8| {
            let mut point = [0xff; 32];
            (point[0], point[31]) = (last, 0x7f);
            point
        };
        let low = [[0; 32], one, p(0xec), p(0xed), p(0xee)];
        for point in low {
            let mut high = point;
            high[31] |= 0x80;
            for point in [point, high] {
                assert!(agree(&[7; 32], &point).is_none(), "{point:?}");
            }
        }
    }
}

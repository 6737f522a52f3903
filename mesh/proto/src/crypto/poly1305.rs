//! Poly1305 (RFC 8439 §2.5): the authenticator of one text under a key that is never used again.
//!
//! Numbers modulo 2^130 - 5 are held in two words of 64 bits and a small third. That takes the
//! fewest instructions for a block, which counts where keystream is made at the same time; see
//! [`salsa20`](super::salsa20). No step depends on a secret.

/// The octets of a tag.
pub(super) const TAG: usize = 16;

/// An authenticator's result.
pub(super) type Tag = [u8; TAG];

/// The running state.
#[derive(Clone)]
pub(super) struct Poly1305 {
    /// The sum, as words of 2^0, 2^64 and 2^128; the last is at most 4.
    pub(super) sum: [u64; 3],
    pub(super) r: [u64; 2],
    /// The upper word of r times 5/4: what it adds at 2^0 for a word at 2^64, as 2^130 is 5. It
    /// divides by four because r is clamped.
    wrapped: u64,
    pad: u128,
}

impl Poly1305 {
    #[inline(always)]
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let (halves, _) = key.as_chunks::<16>();
        // RFC 8439 §2.5: r is clamped.
        let r = u128::from_le_bytes(halves[0]) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
        let r = [r as u64, (r >> 64) as u64];
        Self {
            sum: [0; 3],
            r,
            wrapped: r[1] + (r[1] >> 2),
            pad: u128::from_le_bytes(halves[1]),
        }
    }

    /// Takes a whole block.
    #[inline(always)]
    pub(super) fn absorb_block(&mut self, block: &[u8; 16]) {
        self.step(u128::from_le_bytes(*block), 1);
    }

    /// Takes text of whole blocks; what is left over is not taken.
    #[inline(always)]
    pub(super) fn absorb(&mut self, text: &[u8]) {
        for block in text.as_chunks::<16>().0 {
            self.absorb_block(block);
        }
    }

    /// Takes the rest of the text and gives the tag.
    #[inline(always)]
    pub(super) fn finish(mut self, text: &[u8]) -> Tag {
        self.absorb(text);
        let (_, partial) = text.as_chunks::<16>();
        if !partial.is_empty() {
            let bits = 8 * partial.len() as u32;
            let octets = match text.last_chunk::<16>() {
                Some(last) => u128::from_le_bytes(*last) >> (128 - bits),
                None => partial
                    .iter()
                    .rev()
                    .fold(0, |number, &octet| number << 8 | u128::from(octet)),
            };
            self.step(octets | 1 << bits, 0);
        }

        // The sum less the modulus, which is the sum and 5 less 2^130; taken when not below zero.
        let [low, high, top] = self.sum;
        let (low_less, carry) = low.overflowing_add(5);
        let (high_less, carry) = high.overflowing_add(u64::from(carry));
        let less = ((top + u64::from(carry)) >> 2).wrapping_neg();
        let pick = |as_is: u64, reduced: u64| u128::from((as_is & !less) | (reduced & less));
        (pick(low, low_less) | pick(high, high_less) << 64)
            .wrapping_add(self.pad)
            .to_le_bytes()
    }

    /// `sum = (sum + block + top * 2^128) * r`, with the top word reduced to what is below 2^130.
    #[inline(always)]
    pub(super) fn step(&mut self, block: u128, top: u64) {
        let times = |a: u64, b: u64| u128::from(a) * u128::from(b);
        let [h0, h1, h2] = self.sum;
        let (h0, carry) = h0.carrying_add(block as u64, false);
        let (h1, carry) = h1.carrying_add((block >> 64) as u64, carry);
        let h2 = h2 + top + u64::from(carry);

        let [r0, r1] = self.r;
        let d0 = times(h0, r0) + times(h1, self.wrapped);
        let d1 = times(h0, r1) + times(h1, r0) + u128::from(h2 * self.wrapped) + (d0 >> 64);
        let d2 = h2 * r0 + (d1 >> 64) as u64;

        // What is at 2^130 and above comes back five times at 2^0: once as four, once as one.
        let (h0, carry) = (d0 as u64).carrying_add((d2 >> 2) + (d2 & !3), false);
        let (h1, carry) = (d1 as u64).carrying_add(0, carry);
        self.sum = [h0, h1, (d2 & 3) + u64::from(carry)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8439 §2.5.2.
    #[test]
    fn the_example_of_rfc_8439_holds() {
        let key = [
            0x85, 0xd6, 0xbe, 0x78, 0x57, 0x55, 0x6d, 0x33, 0x7f, 0x44, 0x52, 0xfe, 0x42, 0xd5,
            0x06, 0xa8, 0x01, 0x03, 0x80, 0x8a, 0xfb, 0x0d, 0xb2, 0xfd, 0x4a, 0xbf, 0xf6, 0xaf,
            0x41, 0x49, 0xf5, 0x1b,
        ];
        let tag = [
            0xa8, 0x06, 0x1d, 0xc1, 0x30, 0x51, 0x36, 0xc6, 0xc2, 0x2b, 0x8b, 0xaf, 0x0c, 0x01,
            0x27, 0xa9,
        ];
        let text = b"Cryptographic Forum Research Group";
        assert_eq!(Poly1305::new(&key).finish(text), tag);
    }

    /// RFC 8439 appendix A.3, vectors 7 to 11: the carries at the ends of the range.
    #[test]
    fn sums_at_the_edge_of_the_modulus_are_reduced() {
        let number = |low: u8, fill: u8| {
            let mut octets = [fill; 16];
            octets[0] = low;
            octets
        };
        let tag = |r: [u8; 16], pad: [u8; 16], text: &[[u8; 16]]| {
            let key: [u8; 32] = [r, pad].concat().try_into().unwrap();
            Poly1305::new(&key).finish(text.as_flattened())
        };
        let (none, full) = ([0; 16], [0xff; 16]);
        // 7: the sum wraps past 2^130 - 5.
        assert_eq!(tag(number(2, 0), none, &[full]), number(3, 0));
        // 8: adding the pad overflows 128 bits.
        assert_eq!(tag(number(2, 0), full, &[number(2, 0)]), number(3, 0));
        // 9 and 10.
        let text = [full, number(0xf0, 0xff), number(0x11, 0)];
        assert_eq!(tag(number(1, 0), none, &text), number(5, 0));
        let text = [full, number(0xfb, 0xfe), [1; 16]];
        assert_eq!(tag(number(1, 0), none, &text), none);
        // 11: one less than the modulus.
        assert_eq!(
            tag(number(2, 0), none, &[number(0xfd, 0xff)]),
            number(0xfa, 0xff)
        );
    }
}

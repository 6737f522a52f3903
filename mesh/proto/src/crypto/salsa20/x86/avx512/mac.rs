//! Poly1305 over eight blocks at a time.
//!
//! ```text
//!  lane k of h:  every eighth block, times r^8 from one to the next
//!  tag:          the lanes, times r^8 ... r^1, all added up
//! ```
//!
//! Numbers modulo 2^130 - 5 are held in limbs of 44, 44 and 42 bits, whose products fit into what one
//! instruction multiplies and adds. What begins a text, and what is left of it, goes through
//! the authenticator of single blocks.

use std::arch::x86_64::*;

use super::{load, store_wide};
use crate::crypto::poly1305::{Poly1305, Tag};
use crate::crypto::salsa20::MAC_KEY;

/// Eight blocks.
pub(super) type Group = [u8; 128];

/// Groups from which on it pays to make the powers of r.
const FEWEST: usize = 4;

const MASK_44: u64 = (1 << 44) - 1;
const MASK_42: u64 = (1 << 42) - 1;
const MASK_52: u64 = (1 << 52) - 1;

/// A number in limbs.
type Limbs = [u64; 3];

/// Of a number in two words and a small third.
fn limbs([low, high, top]: [u64; 3]) -> Limbs {
    [
        low & MASK_44,
        (low >> 44 | high << 20) & MASK_44,
        high >> 24 | top << 40,
    ]
}

/// Back to words; the limbs may be some bits longer than they should be.
fn words(sums: [u128; 3]) -> [u64; 3] {
    let [a, b, c] = carried(carried(sums).map(u128::from));
    [a | b << 44, b >> 20 | c << 24, c >> 40]
}

/// Carries what is above the limbs, of which the middle one may keep a bit.
fn carried([a, b, c]: [u128; 3]) -> Limbs {
    let b = b + (a >> 44);
    let c = c + (b >> 44);
    // 2^130 is 5.
    let a = (a & u128::from(MASK_44)) + (c >> 42) * 5;
    let b = (b & u128::from(MASK_44)) + (a >> 44);
    [a as u64 & MASK_44, b as u64, c as u64 & MASK_42]
}

/// r^8 ... r^1.
fn powers(single: &Poly1305) -> [Limbs; 8] {
    let mut power = single.clone();
    let [low, high] = power.r;
    power.sum = [low, high, 0];
    let mut powers = [limbs(power.sum); 8];
    for at in (0..7).rev() {
        // Of no block: times r.
        power.step(0, 0);
        powers[at] = limbs(power.sum);
    }
    powers
}

/// The authenticator of a text.
pub(super) struct Mac {
    /// What is not in the lanes.
    single: Poly1305,
    lanes: Option<Lanes>,
    /// r^8 ... r^1, made with the lanes.
    powers: Option<[Limbs; 8]>,
}

/// Eight sums side by side.
#[derive(Clone)]
pub(super) struct Lanes {
    sums: [__m512i; 3],
    /// The factor, and its limbs that come back 20 times.
    by: [__m512i; 3],
    wrapped: [__m512i; 2],
}

impl Mac {
    pub(super) fn new(key: &[u8; MAC_KEY]) -> Self {
        Self {
            single: Poly1305::new(key),
            lanes: None,
            powers: None,
        }
    }

    /// Takes the rest of the text and gives the tag.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
    pub(super) fn finish(mut self, text: &[u8]) -> Tag {
        let (blocks, partial) = text.split_at(text.len() / 16 * 16);
        self.absorb(blocks);
        self.gather();
        self.single.finish(partial)
    }

    /// Takes text of whole blocks.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
    pub(super) fn absorb(&mut self, text: &[u8]) {
        let (lanes, groups) = self.start(text);
        if let Some(lanes) = lanes {
            for group in groups {
                lanes.absorb(group);
            }
        }
    }

    /// Takes the front of a text of whole blocks; the rest is for the lanes, if there are any.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
    pub(super) fn start<'a>(&mut self, text: &'a [u8]) -> (&mut Option<Lanes>, &'a [Group]) {
        let (odd, whole) = text.split_at(text.len() % size_of::<Group>());
        let (mut groups, _) = whole.as_chunks();
        if !odd.is_empty() {
            self.gather();
            self.single.absorb(odd);
        }
        if self.lanes.is_none() {
            match groups.split_first() {
                Some((first, rest)) if groups.len() >= FEWEST => {
                    let powers = self.powers.get_or_insert_with(|| powers(&self.single));
                    let sum = std::mem::take(&mut self.single.sum);
                    self.lanes = Some(Lanes::new(powers[0], limbs(sum), first));
                    groups = rest;
                }
                _ => {
                    self.single.absorb(whole);
                    groups = &[];
                }
            }
        }
        (&mut self.lanes, groups)
    }

    /// Takes the sums out of the lanes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
    fn gather(&mut self) {
        if let (Some(lanes), Some(powers)) = (self.lanes.take(), &self.powers) {
            self.single.sum = words(lanes.total(powers));
        }
    }
}

impl Lanes {
    /// The lanes of what `sum` stands for and the first group.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
    fn new(by: Limbs, sum: Limbs, first: &Group) -> Self {
        let blocks = blocks(first);
        let [a, b, c] = sum.map(|limb| _mm512_setr_epi64(limb.cast_signed(), 0, 0, 0, 0, 0, 0, 0));
        let [by, by20] = factors(by.map(|limb| [limb; 8]));
        Self {
            sums: [
                _mm512_add_epi64(blocks[0], a),
                _mm512_add_epi64(blocks[1], b),
                _mm512_add_epi64(blocks[2], c),
            ],
            by,
            wrapped: [by20[1], by20[2]],
        }
    }

    /// Takes the next group.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
    pub(super) fn absorb(&mut self, group: &Group) {
        self.multiply();
        for (sum, block) in self.sums.iter_mut().zip(blocks(group)) {
            *sum = _mm512_add_epi64(*sum, block);
        }
    }

    /// `sums = sums * by`, with limbs of which the middle one is a bit longer at most.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
    fn multiply(&mut self) {
        let [a, b, c] = self.sums;
        let [r, s, t] = self.by;
        let [s20, t20] = self.wrapped;
        let none = _mm512_setzero_si512();
        // Products in two halves: what is below 2^52, and what is above.
        let low = |sum, left, right| match cfg!(miri) {
            true => emulated(sum, left, right, |product| product as u64 & MASK_52),
            false => _mm512_madd52lo_epu64(sum, left, right),
        };
        let high = |sum, left, right| match cfg!(miri) {
            true => emulated(sum, left, right, |product| (product >> 52) as u64),
            false => _mm512_madd52hi_epu64(sum, left, right),
        };
        let low0 = low(low(low(none, b, t20), c, s20), a, r);
        let low1 = low(low(low(none, b, r), c, t20), a, s);
        let low2 = low(low(low(none, b, s), c, r), a, t);
        let high0 = high(high(high(none, b, t20), c, s20), a, r);
        let high1 = high(high(high(none, b, r), c, t20), a, s);
        let high2 = high(high(high(none, b, s), c, r), a, t);

        let add = |left, right| _mm512_add_epi64(left, right);
        let mask_44 = _mm512_set1_epi64(MASK_44.cast_signed());
        let mask_42 = _mm512_set1_epi64(MASK_42.cast_signed());
        let carry = _mm512_srli_epi64::<44>(low0);
        let low1 = add(low1, add(_mm512_slli_epi64::<8>(high0), carry));
        let carry = _mm512_srli_epi64::<44>(low1);
        let low2 = add(low2, add(_mm512_slli_epi64::<8>(high1), carry));
        let carry = _mm512_srli_epi64::<42>(low2);
        let carry = add(_mm512_slli_epi64::<10>(high2), carry);
        // 2^130 is 5.
        let carry = add(carry, _mm512_slli_epi64::<2>(carry));
        let low0 = add(_mm512_and_si512(low0, mask_44), carry);
        let carry = _mm512_srli_epi64::<44>(low0);
        self.sums = [
            _mm512_and_si512(low0, mask_44),
            add(_mm512_and_si512(low1, mask_44), carry),
            _mm512_and_si512(low2, mask_42),
        ];
    }

    /// The sum of all lanes, each times its power of r.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
    fn total(mut self, powers: &[Limbs; 8]) -> [u128; 3] {
        // Which block of a group a lane has.
        let order = [0, 4, 1, 5, 2, 6, 3, 7];
        let limb = |at: usize| order.map(|block: usize| powers[block][at]);
        let [by, by20] = factors([limb(0), limb(1), limb(2)]);
        self.by = by;
        self.wrapped = [by20[1], by20[2]];
        self.multiply();
        self.sums
            .map(|sums| u128::from(_mm512_reduce_add_epi64(sums).cast_unsigned()))
    }
}

/// What the instructions do that multiply and add, for Miri, which does not know them.
#[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
fn emulated(sum: __m512i, left: __m512i, right: __m512i, half: impl Fn(u128) -> u64) -> __m512i {
    let [mut sum, left, right] = [sum, left, right].map(|vector| {
        let mut octets = [0; 64];
        store_wide(vector, &mut octets);
        octets
    });
    let lanes = left.as_chunks().0.iter().zip(right.as_chunks().0);
    for (sum, (left, right)) in sum.as_chunks_mut().0.iter_mut().zip(lanes) {
        let factor = |octets: &[u8; 8]| u128::from(u64::from_le_bytes(*octets) & MASK_52);
        let more = half(factor(left) * factor(right));
        *sum = u64::from_le_bytes(*sum).wrapping_add(more).to_le_bytes();
    }
    load(&sum)
}

/// The limbs of a factor for each lane, and 20 times them.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
fn factors(limbs: [[u64; 8]; 3]) -> [[__m512i; 3]; 2] {
    [1, 20].map(|times| {
        limbs.map(|limbs| {
            let [a, b, c, d, e, f, g, h] = limbs.map(|limb| (times * limb).cast_signed());
            _mm512_setr_epi64(a, b, c, d, e, f, g, h)
        })
    })
}

/// The blocks of a group as limbs; the bit above each block is set.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
fn blocks(group: &Group) -> [__m512i; 3] {
    let (halves, _) = group.as_chunks();
    let (first, second) = (load(&halves[0]), load(&halves[1]));
    let low = _mm512_unpacklo_epi64(first, second);
    let high = _mm512_unpackhi_epi64(first, second);
    let mask_44 = _mm512_set1_epi64(MASK_44.cast_signed());
    let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
    [
        _mm512_and_si512(low, mask_44),
        _mm512_and_si512(middle, mask_44),
        _mm512_or_si512(_mm512_srli_epi64::<24>(high), _mm512_set1_epi64(1 << 40)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::salsa20::x86::Proof;

    /// Keys and texts at the ends of the range, where carries run through all limbs.
    #[test]
    fn the_edges_agree_with_single_blocks() {
        if Proof::avx512().is_none() {
            return;
        }
        for key in [0x00, 0x01, 0x7f, 0xfb, 0xff] {
            for text in [0x00, 0x01, 0xfb, 0xfe, 0xff] {
                for length in [0, 16, 127, 512, 513, 640, 1_024, 1_039, 4_096, 4_100] {
                    let (key, text) = ([key; MAC_KEY], vec![text; length]);
                    let (front, rest) = text.split_at(length / 32 * 16);
                    let mut mac = Mac::new(&key);
                    // SAFETY: the CPU has the instructions.
                    let tag = unsafe {
                        mac.absorb(front);
                        mac.finish(rest)
                    };
                    assert_eq!(tag, Poly1305::new(&key).finish(&text));
                }
            }
        }
    }
}

//! Salsa20 blocks on x86-64 with AVX2: the one module of this crate that may use `unsafe`.
//!
//! There are two uses: the calls into functions that are compiled for instructions which not every
//! CPU has, and the store of a vector into an array. The first is sound because a [`Proof`] exists
//! only where [`Proof::detect`] found the instructions; the second because source and destination
//! have the same size and the store takes any alignment.
//!
//! The algorithm is that of the portable path, and tests hold the two against each other. Vectors
//! carry the diagonals of the 4×4 matrix, so that one quarter-round works on a whole matrix and the
//! step between columns and rows is a turn of three vectors. A 256-bit vector carries two blocks;
//! up to four such pairs run side by side to hide the latency of a single one.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{Keystream, Matrix, open_with, seal_with};
use crate::crypto::poly1305::{Poly1305, Tag};

/// The proof that this CPU has the instructions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof(());

impl Proof {
    /// Asks the CPU.
    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2");
        has.then_some(Self(()))
    }

    /// See [`super::Key::seal`].
    #[inline]
    pub(super) fn seal(self, matrix: &Matrix, text: &mut [u8]) -> Tag {
        // SAFETY: a `Proof` is made by `detect` only, which found the instructions.
        unsafe { seal(matrix, text) }
    }

    /// See [`super::Key::open`].
    #[inline]
    pub(super) fn open(self, matrix: &Matrix, tag: &Tag, text: &mut [u8]) -> bool {
        // SAFETY: a `Proof` is made by `detect` only, which found the instructions.
        unsafe { open(matrix, tag, text) }
    }

    /// A chunk of keystream.
    #[cfg(test)]
    pub(super) fn keystream(self, matrix: &Matrix, counter: u64, out: &mut Keystream) {
        // SAFETY: a `Proof` is made by `detect` only, which found the instructions.
        unsafe { keystream(matrix, counter, 8, out) }
    }
}

#[target_feature(enable = "avx2,bmi2")]
fn seal(matrix: &Matrix, text: &mut [u8]) -> Tag {
    seal_with(
        matrix,
        text,
        |matrix, counter, blocks, out| keystream(matrix, counter, blocks, out),
        |matrix, counter, out, mac, text| keystream_and_mac(matrix, counter, out, mac, text),
    )
}

#[target_feature(enable = "avx2,bmi2")]
fn open(matrix: &Matrix, tag: &Tag, text: &mut [u8]) -> bool {
    open_with(
        matrix,
        tag,
        text,
        |matrix, counter, blocks, out| keystream(matrix, counter, blocks, out),
        |matrix, counter, out, mac, text| keystream_and_mac(matrix, counter, out, mac, text),
    )
}

/// At least `blocks` blocks, from block `counter` on, at the front of `out`.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn keystream(matrix: &Matrix, counter: u64, blocks: usize, out: &mut Keystream) {
    match blocks {
        0..=2 => pairs::<1>(matrix, counter, out, |_| ()),
        3..=4 => pairs::<2>(matrix, counter, out, |_| ()),
        _ => pairs::<4>(matrix, counter, out, |_| ()),
    }
}

/// A chunk of keystream, and up to a chunk of `text` into the authenticator on the way: the one
/// waits for the vector units, the other for the multiplier, so that together they take little
/// more time than the first alone.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn keystream_and_mac(
    matrix: &Matrix,
    counter: u64,
    out: &mut Keystream,
    mac: &mut Poly1305,
    text: &[u8],
) {
    // A copy of its own can stay in registers.
    let mut running = mac.clone();
    let (twins, rest) = text.as_chunks::<32>();
    pairs::<4>(matrix, counter, out, |round| {
        if let Some(twin) = twins.get(round) {
            running.absorb(twin);
        }
    });
    running.absorb(rest);
    *mac = running;
}

/// `PAIRS` pairs of blocks, from block `counter` on; `meanwhile` runs after each of the 20 rounds.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn pairs<const PAIRS: usize>(
    matrix: &Matrix,
    counter: u64,
    out: &mut Keystream,
    mut meanwhile: impl FnMut(usize),
) {
    let m = matrix.map(u32::cast_signed);
    let both = |[i, j, k, l]: [usize; 4]| {
        _mm256_setr_epi32(m[i], m[j], m[k], m[l], m[i], m[j], m[k], m[l])
    };
    let mut start = [[
        both([0, 5, 10, 15]),
        both([4, 9, 14, 3]),
        both([8, 13, 2, 7]),
        both([12, 1, 6, 11]),
    ]; PAIRS];
    for (pair, first) in start.iter_mut().zip((counter..).step_by(2)) {
        let (low, high) = (first, first.wrapping_add(1));
        let upper = |counter: u64| (counter >> 32) as i32;
        pair[1] = _mm256_setr_epi32(
            m[4],
            upper(low),
            m[14],
            m[3],
            m[4],
            upper(high),
            m[14],
            m[3],
        );
        pair[2] = _mm256_setr_epi32(
            low as i32,
            m[13],
            m[2],
            m[7],
            high as i32,
            m[13],
            m[2],
            m[7],
        );
    }

    let mut now = start;
    for double in 0..10 {
        for half in 0..2 {
            for [a, b, _, d] in &mut now {
                *b = step::<7, 25>(*b, *a, *d);
            }
            for [a, b, c, _] in &mut now {
                *c = step::<9, 23>(*c, *b, *a);
            }
            for [_, b, c, d] in &mut now {
                *d = step::<13, 19>(*d, *c, *b);
            }
            for [a, _, c, d] in &mut now {
                *a = step::<18, 14>(*a, *d, *c);
            }
            for [_, b, c, d] in &mut now {
                let turned = _mm256_shuffle_epi32::<0b00_11_10_01>(*d);
                *d = _mm256_shuffle_epi32::<0b10_01_00_11>(*b);
                *c = _mm256_shuffle_epi32::<0b01_00_11_10>(*c);
                *b = turned;
            }
            meanwhile(2 * double + half);
        }
    }

    let (targets, _) = out.as_chunks_mut::<128>();
    for ((now, start), target) in now.into_iter().zip(start).zip(targets) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| _mm256_add_epi32(now[i], start[i]));
        // From diagonals back to rows: first alternate lanes, then alternate halves.
        let ad = _mm256_blend_epi32::<0b1010_1010>(a, d);
        let ba = _mm256_blend_epi32::<0b1010_1010>(b, a);
        let cb = _mm256_blend_epi32::<0b1010_1010>(c, b);
        let dc = _mm256_blend_epi32::<0b1010_1010>(d, c);
        let rows = [
            _mm256_blend_epi32::<0b1100_1100>(ad, cb),
            _mm256_blend_epi32::<0b1100_1100>(ba, dc),
            _mm256_blend_epi32::<0b1100_1100>(cb, ad),
            _mm256_blend_epi32::<0b1100_1100>(dc, ba),
        ];
        let quarters = [
            _mm256_permute2x128_si256::<0x20>(rows[0], rows[1]),
            _mm256_permute2x128_si256::<0x20>(rows[2], rows[3]),
            _mm256_permute2x128_si256::<0x31>(rows[0], rows[1]),
            _mm256_permute2x128_si256::<0x31>(rows[2], rows[3]),
        ];
        let (targets, _) = target.as_chunks_mut::<32>();
        for (quarter, target) in quarters.into_iter().zip(targets) {
            store(quarter, target);
        }
    }
}

/// `target ^ ((left + right) <<< UP)`, where `DOWN` is `32 - UP`.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn step<const UP: i32, const DOWN: i32>(target: __m256i, left: __m256i, right: __m256i) -> __m256i {
    let sum = _mm256_add_epi32(left, right);
    let turned = _mm256_or_si256(_mm256_slli_epi32::<UP>(sum), _mm256_srli_epi32::<DOWN>(sum));
    _mm256_xor_si256(target, turned)
}

#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn store(vector: __m256i, target: &mut [u8; 32]) {
    // SAFETY: 32 octets are written to 32 octets; the instruction takes any alignment.
    unsafe { _mm256_storeu_si256(target.as_mut_ptr().cast(), vector) }
}

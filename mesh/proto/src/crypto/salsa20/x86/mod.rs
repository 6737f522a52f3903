//! Salsa20 blocks on x86-64 with AVX2 or AVX-512: the one module of this crate that may use `unsafe`.
//!
//! There are three uses: the calls into functions that are compiled for instructions which not every
//! CPU has, and loads and stores of vectors from and to arrays. The first is sound because a [`Proof`]
//! exists only where [`Proof::detect`] found the instructions; the others because source and
//! destination have the same size and the instructions take any alignment.
//!
//! The algorithm is that of the portable path, and tests hold all paths against each other.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::Matrix;
use crate::crypto::poly1305::Tag;

/// The functions of a way to make keystream as closures, made where its instructions may be used.
macro_rules! closures {
    () => {
        Path {
            begin: |key: &[u8; MAC_KEY]| Mac::new(key),
            keystream: |matrix: &Matrix, counter, blocks, out: &mut Keystream| {
                keystream(matrix, counter, blocks, out)
            },
            keystream_and_mac: |matrix: &Matrix,
                                counter,
                                blocks,
                                out: &mut Keystream,
                                mac: &mut Mac,
                                text: &[u8]| {
                keystream_and_mac(matrix, counter, blocks, out, mac, text)
            },
            finish: |mac: Mac, text: &[u8]| mac.finish(text),
        }
    };
}

/// Makes what ways to make keystream have in common, of the `step`, `keystream`, `keystream_and_mac` and
/// `Mac` of each: `seal`, `open` and `pairs`.
///
/// Vectors carry the diagonals of the 4×4 matrix, so that one quarter-round works on a whole matrix and
/// the step between columns and rows is a turn of three vectors. A 256-bit vector carries two blocks;
/// up to four such pairs run side by side to hide the latency of a single one.
macro_rules! path {
    ($features:literal) => {
        #[target_feature(enable = $features)]
        pub(super) fn seal(matrix: &Matrix, text: &mut [u8]) -> Tag {
            seal_with(matrix, text, closures!())
        }

        #[target_feature(enable = $features)]
        pub(super) fn open(matrix: &Matrix, tag: &Tag, text: &mut [u8]) -> bool {
            open_with(matrix, tag, text, closures!())
        }

        /// `PAIRS` pairs of blocks, from block `counter` on; `meanwhile` runs after each of the 20 rounds.
        #[inline]
        #[target_feature(enable = $features)]
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
    };
}

mod avx2;
mod avx512;

/// The proof that this CPU has the instructions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof(Level);

#[derive(Debug, Clone, Copy)]
enum Level {
    Avx2,
    Avx512,
}

impl Proof {
    /// Asks the CPU for the most that it has.
    pub(super) fn detect() -> Option<Self> {
        Self::avx512().or_else(Self::avx2)
    }

    fn avx2() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2");
        has.then_some(Self(Level::Avx2))
    }

    fn avx512() -> Option<Self> {
        let has = Self::avx2().is_some()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512ifma");
        has.then_some(Self(Level::Avx512))
    }

    /// All that this CPU has.
    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Self> {
        [Self::avx2(), Self::avx512()].into_iter().flatten()
    }

    /// See [`super::Key::seal`].
    #[inline]
    pub(super) fn seal(self, matrix: &Matrix, text: &mut [u8]) -> Tag {
        // SAFETY: a `Proof` is made of what the CPU has only.
        match self.0 {
            Level::Avx2 => unsafe { avx2::seal(matrix, text) },
            Level::Avx512 => unsafe { avx512::seal(matrix, text) },
        }
    }

    /// See [`super::Key::open`].
    #[inline]
    pub(super) fn open(self, matrix: &Matrix, tag: &Tag, text: &mut [u8]) -> bool {
        // SAFETY: a `Proof` is made of what the CPU has only.
        match self.0 {
            Level::Avx2 => unsafe { avx2::open(matrix, tag, text) },
            Level::Avx512 => unsafe { avx512::open(matrix, tag, text) },
        }
    }

    /// Eight blocks of keystream, of as many as are made at a time.
    #[cfg(test)]
    pub(super) fn keystream(self, matrix: &Matrix, counter: u64, out: &mut super::Keystream) {
        let mut long = [0; avx512::CHUNK];
        // SAFETY: a `Proof` is made of what the CPU has only.
        match self.0 {
            Level::Avx2 => unsafe { avx2::keystream(matrix, counter, 8, out) },
            Level::Avx512 => unsafe {
                avx512::keystream(matrix, counter, 16, &mut long);
                out.copy_from_slice(&long[..super::CHUNK]);
            },
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(vector: __m256i, target: &mut [u8; 32]) {
    // SAFETY: 32 octets are written to 32 octets; the instruction takes any alignment.
    unsafe { _mm256_storeu_si256(target.as_mut_ptr().cast(), vector) }
}

//! With 256-bit vectors.

use std::arch::x86_64::*;

use super::store;
use crate::crypto::poly1305::{Poly1305 as Mac, Tag};
use crate::crypto::salsa20::{Keystream, MAC_KEY, Matrix, Path, open_with, seal_with};

path!("avx2,bmi2");

/// At least `blocks` blocks, from block `counter` on, at the front of `out`.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn keystream(matrix: &Matrix, counter: u64, blocks: usize, out: &mut Keystream) {
    match blocks {
        0..=2 => pairs::<1>(matrix, counter, out, |_| ()),
        3..=4 => pairs::<2>(matrix, counter, out, |_| ()),
        _ => pairs::<4>(matrix, counter, out, |_| ()),
    }
}

/// At least `blocks` blocks of keystream, and up to a chunk of `text` into the authenticator on the
/// way: the one waits for the vector units, the other for the multiplier, so that together they take
/// little more time than the first alone.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn keystream_and_mac(
    matrix: &Matrix,
    counter: u64,
    blocks: usize,
    out: &mut Keystream,
    mac: &mut Mac,
    text: &[u8],
) {
    if blocks <= 4 {
        keystream(matrix, counter, blocks, out);
        return mac.absorb(text);
    }
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

/// `target ^ ((left + right) <<< UP)`, where `DOWN` is `32 - UP`.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn step<const UP: i32, const DOWN: i32>(target: __m256i, left: __m256i, right: __m256i) -> __m256i {
    let sum = _mm256_add_epi32(left, right);
    let turned = _mm256_or_si256(_mm256_slli_epi32::<UP>(sum), _mm256_srli_epi32::<DOWN>(sum));
    _mm256_xor_si256(target, turned)
}

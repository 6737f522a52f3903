//! With AVX-512: vectors of a word of sixteen blocks each, for what is long, and 256-bit vectors that
//! turn in one instruction for what is short.

use std::arch::x86_64::*;

use super::store;
use crate::crypto::poly1305::Tag;
use crate::crypto::salsa20::{BLOCK, MAC_KEY, Matrix, Path, open_with, seal_with};

mod mac;

use mac::Mac;

/// Blocks that are made at a time.
const BLOCKS: usize = 16;
/// Their octets.
pub(super) const CHUNK: usize = BLOCKS * BLOCK;

type Keystream = [u8; CHUNK];

path!("avx512f,avx512vl,avx512ifma,avx2,bmi2");

/// At least `blocks` blocks, from block `counter` on, at the front of `out`.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
pub(super) fn keystream(matrix: &Matrix, counter: u64, blocks: usize, out: &mut Keystream) {
    match blocks {
        0..=2 => pairs::<1>(matrix, counter, out, |_| ()),
        3..=4 => pairs::<2>(matrix, counter, out, |_| ()),
        5..=8 => pairs::<4>(matrix, counter, out, |_| ()),
        _ => sixteen(matrix, counter, out, |_| ()),
    }
}

/// At least `blocks` blocks of keystream, and `text` into the authenticator on the way: alone, each of
/// its steps would wait for the one before.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
fn keystream_and_mac(
    matrix: &Matrix,
    counter: u64,
    blocks: usize,
    out: &mut Keystream,
    mac: &mut Mac,
    text: &[u8],
) {
    if blocks <= 8 {
        keystream(matrix, counter, blocks, out);
        return mac.absorb(text);
    }
    let (lanes, groups) = mac.start(text);
    debug_assert!(groups.len() <= 10, "a group is taken in every other round");
    // A copy of its own can stay in registers.
    let Some(mut running) = lanes.clone() else {
        return sixteen(matrix, counter, out, |_| ());
    };
    sixteen(matrix, counter, out, |round| {
        if round % 2 == 0
            && let Some(group) = groups.get(round / 2)
        {
            running.absorb(group);
        }
    });
    *lanes = Some(running);
}

/// Sixteen blocks, from block `counter` on; `meanwhile` runs after each of the 20 rounds.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
fn sixteen(matrix: &Matrix, counter: u64, out: &mut Keystream, mut meanwhile: impl FnMut(usize)) {
    let mut start = matrix.map(|word| _mm512_set1_epi32(word.cast_signed()));
    let counters: [u64; BLOCKS] = std::array::from_fn(|block| counter.wrapping_add(block as u64));
    start[8] = words(counters.map(|counter| counter as u32));
    start[9] = words(counters.map(|counter| (counter >> 32) as u32));

    let mut now = start;
    macro_rules! quarter_rounds {
        ($([$a:literal $b:literal $c:literal $d:literal])*) => {
            $(now[$b] = wide_step::<7>(now[$b], now[$a], now[$d]);)*
            $(now[$c] = wide_step::<9>(now[$c], now[$b], now[$a]);)*
            $(now[$d] = wide_step::<13>(now[$d], now[$c], now[$b]);)*
            $(now[$a] = wide_step::<18>(now[$a], now[$d], now[$c]);)*
        };
    }
    for double in 0..10 {
        quarter_rounds!([0 4 8 12] [5 9 13 1] [10 14 2 6] [15 3 7 11]);
        meanwhile(2 * double);
        quarter_rounds!([0 1 2 3] [5 6 7 4] [10 11 8 9] [15 12 13 14]);
        meanwhile(2 * double + 1);
    }

    // Four words of four blocks at a time change places within the quarters of their vectors; then lane
    // `l` of `rows[r][b]` is row `r` of block `4 * l + b`.
    let rows: [[__m512i; 4]; 4] = std::array::from_fn(|row| {
        let [a, b, c, d] =
            std::array::from_fn(|at| _mm512_add_epi32(now[4 * row + at], start[4 * row + at]));
        let (low_ab, high_ab) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (low_cd, high_cd) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        [
            _mm512_unpacklo_epi64(low_ab, low_cd),
            _mm512_unpackhi_epi64(low_ab, low_cd),
            _mm512_unpacklo_epi64(high_ab, high_cd),
            _mm512_unpackhi_epi64(high_ab, high_cd),
        ]
    });
    let (targets, _) = out.as_chunks_mut::<BLOCK>();
    for block in 0..4 {
        let [a, b, c, d] = rows.map(|row| row[block]);
        let (low_ab, high_ab) = (
            _mm512_shuffle_i32x4::<0b01_00_01_00>(a, b),
            _mm512_shuffle_i32x4::<0b11_10_11_10>(a, b),
        );
        let (low_cd, high_cd) = (
            _mm512_shuffle_i32x4::<0b01_00_01_00>(c, d),
            _mm512_shuffle_i32x4::<0b11_10_11_10>(c, d),
        );
        let blocks = [
            _mm512_shuffle_i32x4::<0b10_00_10_00>(low_ab, low_cd),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(low_ab, low_cd),
            _mm512_shuffle_i32x4::<0b10_00_10_00>(high_ab, high_cd),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(high_ab, high_cd),
        ];
        for (lane, vector) in blocks.into_iter().enumerate() {
            store_wide(vector, &mut targets[4 * lane + block]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
fn words(words: [u32; BLOCKS]) -> __m512i {
    let mut octets = [0; 64];
    for (octets, word) in octets.as_chunks_mut().0.iter_mut().zip(words) {
        *octets = word.to_le_bytes();
    }
    load(&octets)
}

/// `target ^ ((left + right) <<< UP)`.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
fn wide_step<const UP: i32>(target: __m512i, left: __m512i, right: __m512i) -> __m512i {
    let turned = _mm512_rol_epi32::<UP>(_mm512_add_epi32(left, right));
    _mm512_xor_si512(target, turned)
}

/// The same for two blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
fn step<const UP: i32, const DOWN: i32>(target: __m256i, left: __m256i, right: __m256i) -> __m256i {
    let turned = _mm256_rol_epi32::<UP>(_mm256_add_epi32(left, right));
    _mm256_xor_si256(target, turned)
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
fn load(source: &[u8; 64]) -> __m512i {
    // SAFETY: 64 octets are read of 64 octets; the instruction takes any alignment.
    unsafe { _mm512_loadu_si512(source.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512ifma,avx2,bmi2")]
fn store_wide(vector: __m512i, target: &mut [u8; 64]) {
    // SAFETY: 64 octets are written to 64 octets; the instruction takes any alignment.
    unsafe { _mm512_storeu_si512(target.as_mut_ptr().cast(), vector) }
}

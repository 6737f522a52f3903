//! Salsa20, HSalsa20, and the one thing that is done with them: XSalsa20-Poly1305.
//!
//! The nonce of XSalsa20 has 24 octets. The first 16 go with the key through [`hsalsa20`] into a
//! second key. In CURVE they are the same for all messages of a direction, so that this is done
//! once, and a [`Key`] is what remains: plain Salsa20 with a nonce of 8 octets. The first 32 octets
//! of its keystream key Poly1305; the octets after them are added to the text.
//!
//! Keystream comes in chunks of up to eight blocks, or sixteen; a short text takes no more blocks than it
//! needs. On the stack it is not wiped: it is worth what the text is worth, and that lies beside
//! it. Keys are.

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::poly1305::{Poly1305, Tag};

#[cfg(target_arch = "x86_64")]
mod x86;

/// A 4×4 matrix of words, row by row.
type Matrix = [u32; 16];

/// The octets of a block.
const BLOCK: usize = 64;
/// The octets of keystream that are made at a time, where a path does not say otherwise.
const CHUNK: usize = 8 * BLOCK;
/// The octets of keystream that key the authenticator.
const MAC_KEY: usize = 32;

type Keystream = [u8; CHUNK];

/// "expand 32-byte k", the diagonal of the matrix.
const SIGMA: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// The key that goes with the nonces that start with `prefix`. With a prefix of zeros, this also
/// makes a key of the secret that X25519 yields.
pub(super) fn hsalsa20(key: &[u8; 32], prefix: &[u8; 16]) -> [u8; 32] {
    let mut matrix = with_key(key);
    for (word, octets) in matrix[6..10].iter_mut().zip(prefix.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*octets);
    }
    let mut lanes = matrix.map(|word| [word]);
    rounds(&mut lanes);
    let mut derived = [0; 32];
    let (octets, _) = derived.as_chunks_mut::<4>();
    for (octets, at) in octets.iter_mut().zip([0, 5, 10, 15, 6, 7, 8, 9]) {
        *octets = lanes[at][0].to_le_bytes();
    }
    matrix.zeroize();
    lanes.zeroize();
    derived
}

/// A key that seals and opens texts, each under a nonce of its own.
pub(super) struct Key {
    /// With neither nonce nor counter.
    matrix: Matrix,
    #[cfg(target_arch = "x86_64")]
    vectors: Option<x86::Proof>,
}

impl Key {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self {
            matrix: with_key(key),
            #[cfg(target_arch = "x86_64")]
            vectors: x86::Proof::detect(),
        }
    }

    /// Encrypts `text` in place and returns the tag. A nonce must not be used twice.
    #[inline]
    pub(super) fn seal(&self, nonce: [u8; 8], text: &mut [u8]) -> Tag {
        let matrix = self.with_nonce(nonce);
        #[cfg(target_arch = "x86_64")]
        if let Some(vectors) = self.vectors {
            return vectors.seal(&matrix, text);
        }
        seal_with(&matrix, text, PORTABLE)
    }

    /// Checks the tag and decrypts `text` in place. When the tag is wrong, what is left of `text`
    /// is useless: a short text is as it was, a long one is wiped.
    #[inline]
    #[must_use]
    pub(super) fn open(&self, nonce: [u8; 8], tag: &Tag, text: &mut [u8]) -> bool {
        let matrix = self.with_nonce(nonce);
        #[cfg(target_arch = "x86_64")]
        if let Some(vectors) = self.vectors {
            return vectors.open(&matrix, tag, text);
        }
        open_with(&matrix, tag, text, PORTABLE)
    }

    #[inline]
    fn with_nonce(&self, nonce: [u8; 8]) -> Matrix {
        let mut matrix = self.matrix;
        let nonce = u64::from_le_bytes(nonce);
        matrix[6] = nonce as u32;
        matrix[7] = (nonce >> 32) as u32;
        matrix
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.matrix.zeroize();
    }
}

fn with_key(key: &[u8; 32]) -> Matrix {
    let (words, _) = key.as_chunks::<4>();
    let k = |at: usize| u32::from_le_bytes(words[at]);
    [
        [SIGMA[0], k(0), k(1), k(2)],
        [k(3), SIGMA[1], 0, 0],
        [0, 0, SIGMA[2], k(4)],
        [k(5), k(6), k(7), SIGMA[3]],
    ]
    .as_flattened()
    .try_into()
    .expect("four rows of four words are sixteen words")
}

/// A way to make keystream, and to authenticate. The parts are closures, for which the compiler may use
/// what it may use where they are made.
struct Path<Begin, Stream, Both, Finish> {
    /// Begins to authenticate, by the key at the front of the keystream.
    begin: Begin,
    /// At least so many blocks of keystream, from a block on.
    keystream: Stream,
    /// The same, while the text of the chunk before is authenticated.
    keystream_and_mac: Both,
    /// Authenticates the rest of the text, and gives the tag.
    finish: Finish,
}

/// The one sealing routine, over a way to make keystream, and a way to make a chunk of it while
/// authenticating the text of the chunk before.
#[inline(always)]
fn seal_with<const CHUNK: usize, M>(
    matrix: &Matrix,
    text: &mut [u8],
    path: Path<
        impl Fn(&[u8; MAC_KEY]) -> M,
        impl Fn(&Matrix, u64, usize, &mut [u8; CHUNK]),
        impl Fn(&Matrix, u64, usize, &mut [u8; CHUNK], &mut M, &[u8]),
        impl Fn(M, &[u8]) -> Tag,
    >,
) -> Tag {
    let mut out = [0; CHUNK];
    (path.keystream)(matrix, 0, (MAC_KEY + text.len()).div_ceil(BLOCK), &mut out);
    let (key, first) = split_key(&out);
    let mut mac = (path.begin)(key);
    let (head, rest) = text.split_at_mut(text.len().min(first.len()));
    add(head, first);
    let mut due: &[u8] = head;
    for (counter, blocks, chunk) in in_chunks::<CHUNK>(rest) {
        (path.keystream_and_mac)(matrix, counter, blocks, &mut out, &mut mac, due);
        add(chunk, &out);
        due = chunk;
    }
    (path.finish)(mac, due)
}

/// The one opening routine; see [`seal_with`]. A long text is decrypted before its tag is known,
/// and wiped when that is wrong.
#[inline(always)]
fn open_with<const CHUNK: usize, M>(
    matrix: &Matrix,
    tag: &Tag,
    text: &mut [u8],
    path: Path<
        impl Fn(&[u8; MAC_KEY]) -> M,
        impl Fn(&Matrix, u64, usize, &mut [u8; CHUNK]),
        impl Fn(&Matrix, u64, usize, &mut [u8; CHUNK], &mut M, &[u8]),
        impl Fn(M, &[u8]) -> Tag,
    >,
) -> bool {
    let mut out = [0; CHUNK];
    (path.keystream)(matrix, 0, (MAC_KEY + text.len()).div_ceil(BLOCK), &mut out);
    let (key, first) = split_key(&out);
    let mut mac = (path.begin)(key);
    if text.len() <= first.len() {
        let authentic = bool::from((path.finish)(mac, text).ct_eq(tag));
        if authentic {
            add(text, first);
        }
        return authentic;
    }

    let (mut now, mut next) = (&mut out, &mut [0; CHUNK]);
    let mut used = MAC_KEY;
    let (mut due, rest) = text.split_at_mut(CHUNK - MAC_KEY);
    for (counter, blocks, chunk) in in_chunks::<CHUNK>(rest) {
        (path.keystream_and_mac)(matrix, counter, blocks, next, &mut mac, due);
        add(due, &now[used..]);
        std::mem::swap(&mut now, &mut next);
        used = 0;
        due = chunk;
    }
    let authentic = bool::from((path.finish)(mac, due).ct_eq(tag));
    if authentic {
        add(due, &now[used..]);
    } else {
        text.fill(0);
    }
    authentic
}

/// The chunks behind the first, each with the number of its first block, and how many it has.
#[inline(always)]
fn in_chunks<const CHUNK: usize>(rest: &mut [u8]) -> impl Iterator<Item = (u64, usize, &mut [u8])> {
    let step = CHUNK / BLOCK;
    let counters = (step as u64..).step_by(step);
    let chunks = counters.zip(rest.chunks_mut(CHUNK));
    chunks.map(|(counter, chunk)| (counter, chunk.len().div_ceil(BLOCK), chunk))
}

#[inline(always)]
fn split_key<const CHUNK: usize>(out: &[u8; CHUNK]) -> (&[u8; MAC_KEY], &[u8]) {
    out.split_first_chunk()
        .expect("a chunk is longer than the authenticator's key")
}

/// Adds keystream to text.
#[inline(always)]
fn add(text: &mut [u8], keystream: &[u8]) {
    for (text, key) in text.iter_mut().zip(keystream) {
        *text ^= key;
    }
}

/// At least `blocks` blocks, from block `counter` on, at the front of `out`: the portable way.
fn keystream(matrix: &Matrix, counter: u64, blocks: usize, out: &mut Keystream) {
    let (quads, _) = out.as_chunks_mut::<{ 4 * BLOCK }>();
    for (quad, at) in quads.iter_mut().zip([0, 4]) {
        match blocks.saturating_sub(at) {
            0 => break,
            1 => columns::<1>(matrix, counter + at as u64, quad),
            // Four at a time fill the vectors that every CPU of the family has.
            _ => columns::<4>(matrix, counter + at as u64, quad),
        }
    }
}

/// The way that needs nothing.
const PORTABLE: Portable = Path {
    begin: Poly1305::new,
    keystream,
    keystream_and_mac: keystream_then_mac,
    finish: Poly1305::finish,
};

type Portable = Path<
    fn(&[u8; MAC_KEY]) -> Poly1305,
    fn(&Matrix, u64, usize, &mut Keystream),
    fn(&Matrix, u64, usize, &mut Keystream, &mut Poly1305, &[u8]),
    fn(Poly1305, &[u8]) -> Tag,
>;

fn keystream_then_mac(
    matrix: &Matrix,
    counter: u64,
    blocks: usize,
    out: &mut Keystream,
    mac: &mut Poly1305,
    text: &[u8],
) {
    keystream(matrix, counter, blocks, out);
    mac.absorb(text);
}

/// `LANES` blocks side by side.
fn columns<const LANES: usize>(matrix: &Matrix, counter: u64, out: &mut [u8; 4 * BLOCK]) {
    let mut start = matrix.map(|word| [word; LANES]);
    for (lane, counter) in (0..LANES).zip(counter..) {
        start[8][lane] = counter as u32;
        start[9][lane] = (counter >> 32) as u32;
    }
    let mut now = start;
    rounds(&mut now);
    let (words, _) = out.as_chunks_mut::<4>();
    for (at, (now, start)) in now.iter().zip(&start).enumerate() {
        for lane in 0..LANES {
            words[16 * lane + at] = now[lane].wrapping_add(start[lane]).to_le_bytes();
        }
    }
}

/// The 20 rounds.
#[inline(always)]
fn rounds<const LANES: usize>(matrix: &mut [[u32; LANES]; 16]) {
    for _ in 0..10 {
        for [a, b, c, d] in [[0, 4, 8, 12], [5, 9, 13, 1], [10, 14, 2, 6], [15, 3, 7, 11]] {
            quarter_round(matrix, a, b, c, d);
        }
        for [a, b, c, d] in [[0, 1, 2, 3], [5, 6, 7, 4], [10, 11, 8, 9], [15, 12, 13, 14]] {
            quarter_round(matrix, a, b, c, d);
        }
    }
}

#[inline(always)]
fn quarter_round<const LANES: usize>(
    m: &mut [[u32; LANES]; 16],
    a: usize,
    b: usize,
    c: usize,
    d: usize,
) {
    let step = |target: [u32; LANES], left: [u32; LANES], right: [u32; LANES], turn| {
        let mut target = target;
        for lane in 0..LANES {
            target[lane] ^= left[lane].wrapping_add(right[lane]).rotate_left(turn);
        }
        target
    };
    m[b] = step(m[b], m[a], m[d], 7);
    m[c] = step(m[c], m[b], m[a], 9);
    m[d] = step(m[d], m[c], m[b], 13);
    m[a] = step(m[a], m[d], m[c], 18);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Randomness, Seeded};

    /// Lengths and places from one tried to the next: Miri is ten thousand times slower.
    const STEP: usize = if cfg!(miri) { 61 } else { 1 };

    /// NaCl's `core1`: the first key of its `crypto_box` example.
    #[test]
    fn hsalsa20_makes_nacls_first_key() {
        let shared = [
            0x4a, 0x5d, 0x9d, 0x5b, 0xa4, 0xce, 0x2d, 0xe1, 0x72, 0x8e, 0x3b, 0xf4, 0x80, 0x35,
            0x0f, 0x25, 0xe0, 0x7e, 0x21, 0xc9, 0x47, 0xd1, 0x9e, 0x33, 0x76, 0xf0, 0x9b, 0x3c,
            0x1e, 0x16, 0x17, 0x42,
        ];
        let first = [
            0x1b, 0x27, 0x55, 0x64, 0x73, 0xe9, 0x85, 0xd4, 0x62, 0xcd, 0x51, 0x19, 0x7a, 0x9a,
            0x46, 0xc7, 0x60, 0x09, 0x54, 0x9e, 0xac, 0x64, 0x74, 0xf2, 0x06, 0xc4, 0xee, 0x08,
            0x44, 0xf6, 0x83, 0x89,
        ];
        assert_eq!(hsalsa20(&shared, &[0; 16]), first);
    }

    /// Every length that takes another path, sealed and opened by every path of this CPU.
    #[test]
    fn all_paths_agree() {
        let mut randomness = Seeded::new(1);
        let mut octets = [0; 32];
        randomness.fill(&mut octets);
        let odd = [1_503, 1_504, 1_505, 4_095, 4_096, 70_001 / STEP];
        for length in (0..2_300).step_by(STEP).chain(odd) {
            let mut text = vec![0; length];
            randomness.fill(&mut text);
            let nonce = randomness.next_u64().to_le_bytes();
            let key = Key::new(&octets);
            let matrix = key.with_nonce(nonce);

            let mut sealed = text.clone();
            let tag = seal_with(&matrix, &mut sealed, PORTABLE);
            let mut opened = sealed.clone();
            assert!(open_with(&matrix, &tag, &mut opened, PORTABLE));
            assert_eq!(opened, text);

            #[cfg(target_arch = "x86_64")]
            for vectors in x86::Proof::all() {
                let mut other = text.clone();
                assert_eq!(vectors.seal(&matrix, &mut other), tag, "{length}");
                assert_eq!(other, sealed, "{length}");
                assert!(vectors.open(&matrix, &tag, &mut other), "{length}");
                assert_eq!(other, text, "{length}");
            }
            randomness.fill(&mut octets);
        }
    }

    #[test]
    fn the_block_counter_carries_into_its_upper_word() {
        let matrix = with_key(&[7; 32]);
        let around = u64::from(u32::MAX) - 3;
        let mut wanted = [0; CHUNK];
        let mut one = [0; 4 * BLOCK];
        for (block, counter) in wanted.as_chunks_mut::<BLOCK>().0.iter_mut().zip(around..) {
            columns::<1>(&matrix, counter, &mut one);
            block.copy_from_slice(&one[..BLOCK]);
        }
        let mut out = [0; CHUNK];
        keystream(&matrix, around, 8, &mut out);
        assert_eq!(out, wanted);
        #[cfg(target_arch = "x86_64")]
        for vectors in x86::Proof::all() {
            vectors.keystream(&matrix, around, &mut out);
            assert_eq!(out, wanted);
        }
    }

    #[test]
    fn a_wrong_tag_or_text_opens_nothing() {
        let key = Key::new(&[1; 32]);
        for length in [0, 1, 65, 480, 481, 2_000] {
            let mut sealed = vec![5; length];
            let tag = key.seal([2; 8], &mut sealed);
            for at in 0..16 {
                let mut wrong = tag;
                wrong[at] ^= 0x80;
                assert!(!key.open([2; 8], &wrong, &mut sealed.clone()));
            }
            for at in (0..length).step_by(STEP) {
                let mut wrong = sealed.clone();
                wrong[at] ^= 1;
                assert!(!key.open([2; 8], &tag, &mut wrong));
                assert!(wrong[..length.min(480)].iter().filter(|&&o| o == 5).count() < 32);
            }
            assert!(!key.open([3; 8], &tag, &mut sealed.clone()));
        }
    }
}

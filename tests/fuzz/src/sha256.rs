//! SHA-256 (FIPS 180-4) for models: slow, short and nobody else's. Its constants are computed.

use std::sync::LazyLock;

/// The first 64 primes.
fn primes() -> impl Iterator<Item = u32> {
    let is_prime = |number: &u32| !(2..*number).any(|divisor| number.is_multiple_of(divisor));
    (2..).filter(is_prime).take(64)
}

/// The first 32 bits of the fraction of a root of a prime: FIPS 180-4 §4.2.2 and §5.3.3.
fn fraction(prime: u32, root: u32) -> u32 {
    // The largest number whose power is not above the prime times 2^(32 * root).
    let (mut low, mut high) = (0_u128, 1 << 37);
    while high - low > 1 {
        let middle = (low + high) / 2;
        // 2^37 to the third is within 128 bits.
        match middle.pow(root) <= u128::from(prime) << (32 * root) {
            true => low = middle,
            false => high = middle,
        }
    }
    low as u32
}

/// The hash of some octets.
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    static K: LazyLock<Vec<u32>> = LazyLock::new(|| primes().map(|it| fraction(it, 3)).collect());
    static H: LazyLock<Vec<u32>> =
        LazyLock::new(|| primes().take(8).map(|it| fraction(it, 2)).collect());

    let mut padded = octets.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(8 * octets.len() as u64).to_be_bytes());
    let mut hash = H.clone();
    for block in padded.chunks(64) {
        let word = |at: usize| {
            let octets = &block[4 * at..4 * at + 4];
            octets.iter().fold(0, |word, it| word << 8 | u32::from(*it))
        };
        let mut w: Vec<u32> = (0..16).map(word).collect();
        for t in 16..64 {
            let (a, b) = (w[t - 15], w[t - 2]);
            let s0 = a.rotate_right(7) ^ a.rotate_right(18) ^ a >> 3;
            let s1 = b.rotate_right(17) ^ b.rotate_right(19) ^ b >> 10;
            let sum = w[t - 16].wrapping_add(s0).wrapping_add(w[t - 7]);
            w.push(sum.wrapping_add(s1));
        }
        let mut v = hash.clone();
        for t in 0..64 {
            let (a, e) = (v[0], v[4]);
            let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let choice = e & v[5] ^ !e & v[6];
            let one = [s1, choice, K[t], w[t]];
            let one = one.iter().fold(v[7], |sum, it| sum.wrapping_add(*it));
            let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let majority = a & v[1] ^ a & v[2] ^ v[1] & v[2];
            v.rotate_right(1);
            v[0] = one.wrapping_add(s0).wrapping_add(majority);
            v[4] = v[4].wrapping_add(one);
        }
        for (sum, it) in hash.iter_mut().zip(v) {
            *sum = sum.wrapping_add(it);
        }
    }
    let mut octets = [0; 32];
    for (at, octet) in octets.iter_mut().enumerate() {
        *octet = (hash[at / 4] >> (24 - 8 * (at % 4))) as u8;
    }
    octets
}

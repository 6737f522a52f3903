//! Fields of a binary form, read and written one after the other: certificates, records of peers and
//! of queues have this shape. Numbers are big-endian.
//!
//! Invariant: a read that does not find all of its octets takes none.

/// What is left to read.
#[derive(Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// All of them.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// The octets that were not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Whether all octets were read.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// So many octets.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// So many octets, as many as a peer says perhaps.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// One octet.
    pub fn octet(&mut self) -> Option<u8> {
        self.array().map(|[octet]| octet)
    }

    /// A number of 16 bits.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A number of 32 bits.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A number of 64 bits.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// An octet that says how many follow, and those.
    pub fn short(&mut self) -> Option<&'a [u8]> {
        let mut ahead = Self(self.0);
        let count = ahead.octet()?;
        let taken = ahead.take(usize::from(count))?;
        *self = ahead;
        Some(taken)
    }
}

/// Writes an octet that says how many follow, and those.
///
/// # Panics
/// There are more than 255, which callers check before.
pub fn put_short(out: &mut Vec<u8>, octets: &[u8]) {
    out.push(u8::try_from(octets.len()).expect("checked to be short"));
    out.extend_from_slice(octets);
}

/// Puts parts whose sizes add up to `N` next to each other.
pub fn join<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut whole = [0; N];
    let mut rest = &mut whole[..];
    for part in parts {
        let (place, after) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = after;
    }
    debug_assert!(rest.is_empty(), "the sizes of the parts add up");
    whole
}

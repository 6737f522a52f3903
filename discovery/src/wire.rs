//! Fields of a binary form, read and written one after the other. Numbers are big-endian.
//!
//! Invariant: a read that does not find all of its octets takes none.

/// What is left to read.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn octet(&mut self) -> Option<u8> {
        self.array().map(|[octet]| octet)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// An octet that says how many follow, and those.
    pub(crate) fn short(&mut self) -> Option<&'a [u8]> {
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
pub(crate) fn put_short(out: &mut Vec<u8>, octets: &[u8]) {
    out.push(u8::try_from(octets.len()).expect("checked to be short"));
    out.extend_from_slice(octets);
}

//! Records: a run of frames under one seal.
//!
//! CURVE seals each frame. A record seals up to 64 KiB of whatever frames are on their way, whole
//! or in part, so that small messages share the cost. The layer sits below the frames: encoding,
//! batching and decoding are the same with and without it.
//!
//! ```text
//!  record = length (2 octets, big-endian, of what follows)  ciphertext  tag (16 octets)
//! ```
//!
//! No mechanism uses it yet but a NULL without a cipher, which shows what the layer itself costs.

use std::io::IoSlice;

/// Octets of the length in front of a record.
const LENGTH: usize = 2;

/// Octets of the tag behind it.
const TAG: usize = 16;

/// The most that one record carries.
pub const MAX_PLAINTEXT: usize = u16::MAX as usize - TAG;

/// What seals a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// Nothing: it hides nothing and proves nothing.
    Null,
}

/// A record does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAuthentic;

impl Cipher {
    fn seal(self, _plaintext: &mut [u8]) -> [u8; TAG] {
        match self {
            Self::Null => [0; TAG],
        }
    }

    fn open(self, _ciphertext: &mut [u8], tag: [u8; TAG]) -> Result<(), NotAuthentic> {
        match self {
            Self::Null if tag == [0; TAG] => Ok(()),
            Self::Null => Err(NotAuthentic),
        }
    }
}

/// Seals what we send.
#[derive(Debug)]
pub struct Sealer {
    cipher: Cipher,
    /// The memory of the last batch but one, for the next.
    spare: Vec<u8>,
}

impl Sealer {
    /// A sealer for one connection.
    pub fn new(cipher: Cipher) -> Self {
        Self {
            cipher,
            spare: Vec::new(),
        }
    }

    /// Seals `plaintext`, the runs of a batch of `size` octets, and returns the records.
    pub(crate) fn seal<'a>(
        &mut self,
        plaintext: impl Iterator<Item = IoSlice<'a>>,
        size: usize,
    ) -> Vec<u8> {
        let mut records = std::mem::take(&mut self.spare);
        records.clear();
        records.reserve(size + size.div_ceil(MAX_PLAINTEXT) * (LENGTH + TAG));
        if size == 0 {
            return records;
        }
        let mut left = size;
        let mut start = self.begin(&mut records, left);
        for run in plaintext {
            let mut run = &run[..];
            while !run.is_empty() {
                let room = MAX_PLAINTEXT.min(left) - (records.len() - start);
                let (now, later) = run.split_at(run.len().min(room));
                records.extend_from_slice(now);
                run = later;
                if now.len() == room {
                    left -= records.len() - start;
                    self.end(&mut records, start);
                    if left > 0 {
                        start = self.begin(&mut records, left);
                    }
                }
            }
        }
        records
    }

    /// Takes memory that the next batch may use.
    pub(crate) fn keep(&mut self, spare: Vec<u8>) {
        self.spare = spare;
    }

    fn begin(&self, records: &mut Vec<u8>, left: usize) -> usize {
        let length = (left.min(MAX_PLAINTEXT) + TAG) as u16;
        records.extend_from_slice(&length.to_be_bytes());
        records.len()
    }

    fn end(&self, records: &mut Vec<u8>, start: usize) {
        let tag = self.cipher.seal(&mut records[start..]);
        records.extend_from_slice(&tag);
    }
}

/// Opens what the peer sends.
#[derive(Debug)]
pub struct Opener {
    cipher: Cipher,
    /// The start of a record that is not whole yet.
    part: Vec<u8>,
}

impl Opener {
    /// An opener for one connection.
    pub fn new(cipher: Cipher) -> Self {
        Self {
            cipher,
            part: Vec::new(),
        }
    }

    /// The start of a record, which belongs in front of the next octets.
    pub(crate) fn part(&self) -> &[u8] {
        &self.part
    }

    /// Opens the records in `octets`, which start with [`Opener::part`], and moves what they carry
    /// to the front. Returns how much that is.
    pub(crate) fn open(&mut self, octets: &mut [u8]) -> Result<usize, NotAuthentic> {
        let (mut from, mut to) = (0, 0);
        while let Some((length, rest)) = octets[from..].split_first_chunk::<LENGTH>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if rest.len() < length {
                break;
            }
            let plaintext = length.checked_sub(TAG).ok_or(NotAuthentic)?;
            let start = from + LENGTH;
            let (ciphertext, tag) = octets[start..start + length].split_at_mut(plaintext);
            let tag = <[u8; TAG]>::try_from(&*tag).map_err(|_| NotAuthentic)?;
            self.cipher.open(ciphertext, tag)?;
            octets.copy_within(start..start + plaintext, to);
            to += plaintext;
            from = start + length;
        }
        self.part.clear();
        self.part.extend_from_slice(&octets[from..]);
        Ok(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(runs: &[&[u8]]) -> Vec<u8> {
        let size = runs.iter().map(|run| run.len()).sum();
        let runs = runs.iter().map(|run| IoSlice::new(run));
        Sealer::new(Cipher::Null).seal(runs, size)
    }

    #[test]
    fn what_is_sealed_opens_in_pieces_of_any_size() {
        let long: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let runs = [
            b"one".as_slice(),
            &long,
            b"",
            &long[..MAX_PLAINTEXT],
            b"end",
        ];
        let records = sealed(&runs);
        let plain = runs.concat();
        assert_eq!(
            records.len(),
            plain.len() + plain.len().div_ceil(MAX_PLAINTEXT) * (LENGTH + TAG)
        );
        for step in [1, 17, 65_537, 100_000, records.len()] {
            let mut opener = Opener::new(Cipher::Null);
            let mut opened = Vec::new();
            for piece in records.chunks(step) {
                let mut octets = [opener.part(), piece].concat();
                let size = opener.open(&mut octets).unwrap();
                opened.extend_from_slice(&octets[..size]);
            }
            assert!(opened == plain, "in pieces of {step}");
            assert!(opener.part().is_empty());
        }
    }

    #[test]
    fn a_changed_or_short_record_does_not_open() {
        let mut records = sealed(&[b"octets"]);
        *records.last_mut().unwrap() ^= 1;
        let mut opener = Opener::new(Cipher::Null);
        assert_eq!(opener.open(&mut records), Err(NotAuthentic));
        let mut opener = Opener::new(Cipher::Null);
        assert_eq!(opener.open(&mut [0, 15, 0]), Ok(0));
        let mut short = [[0, 15].as_slice(), &[0; 15]].concat();
        assert_eq!(opener.open(&mut short), Err(NotAuthentic));
    }
}

//! Streams whose octets travel in sealed records: a length, then up to 16 KiB and a tag.
//!
//! Both directions use one fixed key, which protects nothing. A write is cut into records that are
//! sealed beside each other and written at once; a read opens all records that came, in place.

use std::io::{self, Read, Write};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::CHUNK;

/// Octets in a record, without length and tag.
const RECORD: usize = 16 * 1024;
/// Octets of a record's length.
const LENGTH: usize = 2;
/// Octets of a record's tag.
const TAG: usize = 16;

fn key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[0x53; 32]).expect("32 octets are a key"))
}

fn nonce(count: &mut u64) -> Nonce {
    let mut octets = [0; 12];
    octets[4..].copy_from_slice(&count.to_be_bytes());
    *count += 1;
    Nonce::assume_unique_for_key(octets)
}

fn broken(_: ring::error::Unspecified) -> io::Error {
    io::Error::other("a record does not open")
}

/// One record without a length, which goes to and fro.
pub(super) struct Record {
    key: LessSafeKey,
    sealed: u64,
    opened: u64,
    /// The body, and its tag.
    octets: Vec<u8>,
}

impl Record {
    pub(super) fn new(size: usize) -> Self {
        Self {
            key: key(),
            sealed: 0,
            opened: 0,
            octets: vec![0; size + TAG],
        }
    }

    /// Returns the memory to receive into.
    pub(super) fn octets(&mut self) -> &mut [u8] {
        &mut self.octets
    }

    /// Seals the body, and returns what to send.
    pub(super) fn seal(&mut self) -> io::Result<&[u8]> {
        let nonce = nonce(&mut self.sealed);
        let size = self.octets.len() - TAG;
        let (body, tag) = self.octets.split_at_mut(size);
        let made = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), body);
        tag.copy_from_slice(made.map_err(broken)?.as_ref());
        Ok(&self.octets)
    }

    /// Opens what was received.
    pub(super) fn open(&mut self) -> io::Result<()> {
        let nonce = nonce(&mut self.opened);
        let opened = self
            .key
            .open_in_place(nonce, Aad::empty(), &mut self.octets);
        opened.map(drop).map_err(broken)
    }
}

/// Seals what is written.
pub(super) struct Writer<W> {
    stream: W,
    key: LessSafeKey,
    count: u64,
    sealed: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(stream: W) -> Self {
        Self {
            stream,
            key: key(),
            count: 0,
            sealed: Vec::new(),
        }
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let taken = &octets[..octets.len().min(CHUNK)];
        self.sealed.clear();
        for plain in taken.chunks(RECORD) {
            self.sealed
                .extend(((plain.len() + TAG) as u16).to_be_bytes());
            let at = self.sealed.len();
            self.sealed.extend_from_slice(plain);
            let nonce = nonce(&mut self.count);
            let tag =
                self.key
                    .seal_in_place_separate_tag(nonce, Aad::empty(), &mut self.sealed[at..]);
            self.sealed.extend_from_slice(tag.map_err(broken)?.as_ref());
        }
        self.stream.write_all(&self.sealed)?;
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Opens what is read.
pub(super) struct Reader<R> {
    stream: R,
    key: LessSafeKey,
    count: u64,
    chunk: Vec<u8>,
    /// Octets in the chunk.
    filled: usize,
    /// Where the next record begins.
    at: usize,
    /// The opened octets that were not given out.
    open: std::ops::Range<usize>,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(stream: R) -> Self {
        Self {
            stream,
            key: key(),
            count: 0,
            chunk: vec![0; CHUNK],
            filled: 0,
            at: 0,
            open: 0..0,
        }
    }

    /// Opens the next record; `false` if it is not all there.
    fn open(&mut self) -> io::Result<bool> {
        let Some(length) = self.chunk[self.at..self.filled].first_chunk::<LENGTH>() else {
            return Ok(false);
        };
        let begin = self.at + LENGTH;
        let end = begin + usize::from(u16::from_be_bytes(*length));
        if end > self.filled {
            return Ok(false);
        }
        let nonce = nonce(&mut self.count);
        let record = &mut self.chunk[begin..end];
        let opened = self.key.open_in_place(nonce, Aad::empty(), record);
        self.open = begin..begin + opened.map_err(broken)?.len();
        self.at = end;
        Ok(true)
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut given = 0;
        while given < into.len() {
            if !self.open.is_empty() {
                let taken = self.open.len().min(into.len() - given);
                let from = self.open.start;
                into[given..given + taken].copy_from_slice(&self.chunk[from..from + taken]);
                self.open.start += taken;
                given += taken;
            } else if !self.open()? {
                if given > 0 {
                    break;
                }
                self.chunk.copy_within(self.at..self.filled, 0);
                self.filled -= self.at;
                self.at = 0;
                match self.stream.read(&mut self.chunk[self.filled..])? {
                    0 => return Ok(0),
                    read => self.filled += read,
                }
            }
        }
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Failure;

    #[test]
    fn what_was_sealed_comes_out() -> Result<(), Failure> {
        let octets: Vec<u8> = (0..3 * CHUNK).map(|at| (at % 251) as u8).collect();
        let mut sealed = Vec::new();
        Writer::new(&mut sealed).write_all(&octets)?;
        let mut opened = Vec::new();
        Reader::new(&sealed[..]).read_to_end(&mut opened)?;
        assert!(opened == octets);
        Ok(())
    }

    #[test]
    fn a_record_goes_to_and_fro() -> Result<(), Failure> {
        let [mut one, mut other] = [Record::new(64), Record::new(64)];
        for _ in 0..2 {
            other.octets().copy_from_slice(one.seal()?);
            other.open()?;
            one.octets().copy_from_slice(other.seal()?);
            one.open()?;
        }
        Ok(())
    }
}

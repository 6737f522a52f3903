//! The records of a log, read piece by piece.
//!
//! Invariant: no more of the file is held than [`PIECE`], or twice what the longest record takes, or
//! what is not a record at the end.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use withy_proto::queue::{LogError, LogReader, Record};

/// Octets that are read at a time.
const PIECE: usize = 1024 * 1024;

/// The records of a log, up to its end or to what is wrong.
#[derive(Debug)]
pub(super) struct Records<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins, and what of it was given out.
    offset: u64,
    used: usize,
    is_end: bool,
    wrong: Option<Wrong>,
}

/// Why not all of a log was read.
#[derive(Debug)]
pub(super) enum Wrong {
    Io(std::io::Error),
    /// Where the record begins.
    Damaged(u64, LogError),
}

impl<'a> Records<'a> {
    pub(super) fn new(file: &'a File) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            offset: 0,
            used: 0,
            is_end: false,
            wrong: None,
        }
    }

    /// Where the whole records end that were given out.
    ///
    /// # Errors
    /// What stopped it before the end.
    pub(super) fn finish(self) -> Result<u64, Wrong> {
        match self.wrong {
            Some(wrong) => Err(wrong),
            None => Ok(self.offset + self.used as u64),
        }
    }

    /// Reads on, as much again as there is.
    fn fill(&mut self) -> std::io::Result<()> {
        self.buffer.drain(..self.used);
        self.offset += self.used as u64;
        self.used = 0;
        let had = self.buffer.len();
        self.buffer.resize(had + had.max(PIECE), 0);
        let mut filled = had;
        while filled < self.buffer.len() {
            let at = self.offset + filled as u64;
            match self.file.read_at(&mut self.buffer[filled..], at) {
                Ok(0) => {
                    self.is_end = true;
                    break;
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.buffer.truncate(filled);
        Ok(())
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.wrong.is_some() {
            return None;
        }
        loop {
            let mut reader = LogReader::new(&self.buffer[self.used..]);
            match reader.next() {
                Some(Ok(record)) => {
                    self.used += reader.end();
                    return Some(record);
                }
                Some(Err(error)) => {
                    let at = self.offset + self.used as u64;
                    self.wrong = Some(Wrong::Damaged(at, error));
                    return None;
                }
                // What looks torn may go on in the file.
                None if self.is_end => return None,
                None => {
                    if let Err(error) = self.fill() {
                        self.wrong = Some(Wrong::Io(error));
                        return None;
                    }
                }
            }
        }
    }
}

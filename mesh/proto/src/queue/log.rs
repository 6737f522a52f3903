//! A log of records, read again.
//!
//! A store that dies while it writes leaves a torn tail: a record that is cut short, or whose rest is
//! zeros or was not written, and nothing but zeros behind it. It is cut off: nobody was told that it
//! is stored. Anything else that is wrong is damage, and an error: to go on would lose what was
//! accepted. The last record alone, damaged later, cannot be told from a torn one.
//!
//! Where a log has several files, only the last one may have a tail: of the others,
//! [`end`](LogReader::end) is their length.

use super::record::{HEADER, Record, RecordError, split_header};

/// Reads the records of a log, one after the other.
#[derive(Debug)]
pub struct LogReader<'a> {
    octets: &'a [u8],
    end: usize,
    is_over: bool,
}

/// A log is damaged. Nothing behind that place is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log is damaged at octet {at}: {error}")]
pub struct LogError {
    /// Where the record begins.
    pub at: usize,
    /// What is wrong with it.
    #[source]
    pub error: RecordError,
}

impl<'a> LogReader<'a> {
    /// A reader of a whole log.
    pub fn new(octets: &'a [u8]) -> Self {
        Self {
            octets,
            end: 0,
            is_over: false,
        }
    }

    /// The octets of all whole records that were read. What is written next belongs there.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Whether the octets begin with a record that was not written whole, and have nothing else.
    fn is_torn(octets: &[u8], error: RecordError) -> bool {
        let length = match (error, split_header(octets)) {
            (RecordError::CutShort, _) => return true,
            (RecordError::Header, _) => HEADER,
            (RecordError::Body, Ok((length, _))) => HEADER.saturating_add(length),
            _ => return false,
        };
        let behind = octets.get(length..).unwrap_or_default();
        behind.iter().all(|octet| *octet == 0)
    }
}

impl Iterator for LogReader<'_> {
    type Item = Result<Record, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.octets[self.end..];
        if self.is_over || rest.is_empty() {
            return None;
        }
        match Record::decode(rest) {
            Ok((record, size)) => {
                self.end += size;
                Some(Ok(record))
            }
            Err(error) => {
                self.is_over = true;
                let at = self.end;
                (!Self::is_torn(rest, error)).then_some(Err(LogError { at, error }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::any;
    use super::*;
    use crate::crypto::{Randomness as _, Seeded};

    /// A log, and where its records end.
    fn log(random: &mut Seeded) -> (Vec<u8>, Vec<Record>, Vec<usize>) {
        let records: Vec<_> = (0..5).map(|_| any(random)).collect();
        let mut octets = Vec::new();
        let mut write = |record: &Record| {
            record.encode(&mut octets);
            octets.len()
        };
        let ends = records.iter().map(&mut write).collect();
        (octets, records, ends)
    }

    #[test]
    fn a_torn_tail_is_cut_off() {
        let mut random = Seeded::new(2);
        for _ in 0..20 {
            let (octets, records, ends) = log(&mut random);
            for end in 0..=octets.len() {
                let whole = ends.iter().filter(|whole| **whole <= end).count();
                for zeros in [0, 1, 11, 12, 500] {
                    let torn = [&octets[..end], &vec![0; zeros]].concat();
                    let mut reader = LogReader::new(&torn);
                    let read: Vec<_> = reader.by_ref().collect();
                    // What was cut may have been zeros.
                    assert!(read.len() >= whole && read.len() <= whole + 1);
                    let expected = records[..read.len()].iter().cloned().map(Ok);
                    assert!(read.into_iter().eq(expected));
                    assert!(reader.end() == 0 || ends.contains(&reader.end()));
                }
            }
        }
    }

    #[test]
    fn what_is_damaged_before_the_last_record_is_an_error() {
        let mut random = Seeded::new(3);
        for _ in 0..20 {
            let (mut octets, _, ends) = log(&mut random);
            for at in 0..ends[3] {
                let bit = 1 << (random.next_u64() % 8);
                octets[at] ^= bit;
                let start = ends.iter().rev().find(|end| **end <= at);
                let start = start.copied().unwrap_or(0);
                let found = LogReader::new(&octets).find_map(Result::err);
                assert_eq!(found.map(|error| error.at), Some(start), "octet {at}");
                octets[at] ^= bit;
            }
        }
    }
}

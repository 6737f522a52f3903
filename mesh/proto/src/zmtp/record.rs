//! Records: a run of frames under one seal.
//!
//! CURVE seals each frame. A record seals up to 16 KiB of whatever frames are on their way, whole
//! or in part, so that small messages share the cost. The layer sits below the frames: encoding,
//! batching and decoding are the same with and without it.
//!
//! ```text
//!  record = length (2 octets, big-endian, of what follows)  ciphertext  tag (16 octets)
//! ```
//!
//! What follows the length is a transport message of Noise (§5, §7.3): its nonce is a counter that
//! does not travel, its associated data is empty. A record without a plaintext says that the sender
//! goes over to the next key (§4.2, §11.3); the counter goes on. Something follows it: two of them in a
//! row are refused, or a peer could make us change keys for nothing, and never come to its messages.
//!
//! Invariant: records open in the order in which they were sealed, each once; whatever was changed,
//! repeated, left out or moved does not open.

use std::io::IoSlice;
use std::time::Duration;

use crate::crypto::aead::{Key, TAG};

/// Octets of the length in front of a record.
const LENGTH: usize = 2;

/// The most that one of our records carries: what is copied in, sealed and copied out stays in the
/// nearest cache meanwhile. A peer's may be as long as the length can say.
pub const MAX_PLAINTEXT: usize = 16 * 1024;

/// A key seals no more than this many octets, and a batch.
pub const REKEY_AFTER: u64 = 1 << 30;

/// A key is used no longer than this, and until the next batch.
pub const REKEY_EVERY: Duration = Duration::from_secs(3_600);

/// Why a record is refused. The peer misbehaved, or somebody is in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// It does not open.
    NotAuthentic,
    /// It carries nothing, and neither did the one before.
    Empty,
}

/// A connection sealed 2^64 - 1 records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NonceExhausted;

/// Seals what we send.
#[derive(Debug)]
pub struct Sealer {
    key: Key,
    counter: u64,
    /// Octets sealed with this key.
    sealed: u64,
    /// When this key was first used.
    since: Option<Duration>,
    /// The memory of the last batch but one, for the next.
    spare: Vec<u8>,
}

impl Sealer {
    /// A sealer for one connection, `counter` records of which were sealed.
    pub fn new(key: Key, counter: u64) -> Self {
        Self {
            key,
            counter,
            sealed: 0,
            since: None,
            spare: Vec::new(),
        }
    }

    /// Seals `plaintext`, the runs of a batch of `size` octets, and returns the records. `now` is
    /// the time since a moment that stays the same.
    ///
    /// # Errors
    /// There are no more nonces: the connection must end.
    pub fn seal<'a>(
        &mut self,
        plaintext: impl Iterator<Item = IoSlice<'a>>,
        size: usize,
        now: Duration,
    ) -> Result<Vec<u8>, NonceExhausted> {
        let mut records = std::mem::take(&mut self.spare);
        records.clear();
        records.reserve(size + (size.div_ceil(MAX_PLAINTEXT) + 1) * (LENGTH + TAG));
        if size == 0 {
            return Ok(records);
        }
        self.rekey_if_due(&mut records, now)?;
        let mut left = size;
        let mut start = begin(&mut records, left);
        for run in plaintext {
            let mut run = &run[..];
            while !run.is_empty() {
                let room = MAX_PLAINTEXT.min(left) - (records.len() - start);
                let (now, later) = run.split_at(run.len().min(room));
                records.extend_from_slice(now);
                run = later;
                if now.len() == room {
                    left -= records.len() - start;
                    self.end(&mut records, start)?;
                    if left > 0 {
                        start = begin(&mut records, left);
                    }
                }
            }
        }
        Ok(records)
    }

    /// Takes memory that the next batch may use.
    pub(crate) fn keep(&mut self, spare: Vec<u8>) {
        self.spare = spare;
    }

    fn rekey_if_due(&mut self, records: &mut Vec<u8>, now: Duration) -> Result<(), NonceExhausted> {
        let since = *self.since.get_or_insert(now);
        if self.sealed < REKEY_AFTER && now.saturating_sub(since) < REKEY_EVERY {
            return Ok(());
        }
        let start = begin(records, 0);
        self.end(records, start)?;
        self.key = self.key.next();
        (self.sealed, self.since) = (0, Some(now));
        Ok(())
    }

    #[inline]
    fn end(&mut self, records: &mut Vec<u8>, start: usize) -> Result<(), NonceExhausted> {
        let counter = self.counter;
        // The last value is the one that makes the next key (Noise §5.1).
        self.counter = counter.checked_add(1).ok_or(NonceExhausted)?;
        let text = &mut records[start..];
        self.sealed += text.len() as u64;
        let tag = self.key.seal(counter, &[], text);
        records.extend_from_slice(&tag);
        Ok(())
    }
}

/// Starts a record that carries what is `left`, or a part.
fn begin(records: &mut Vec<u8>, left: usize) -> usize {
    let length = (left.min(MAX_PLAINTEXT) + TAG) as u16;
    records.extend_from_slice(&length.to_be_bytes());
    records.len()
}

/// Opens what the peer sends.
#[derive(Debug)]
pub struct Opener {
    key: Key,
    counter: u64,
    /// Whether the last record carried nothing.
    was_empty: bool,
    /// The start of a record that is not whole yet.
    part: Vec<u8>,
}

impl Opener {
    /// An opener for one connection, `counter` records of which were opened.
    pub fn new(key: Key, counter: u64) -> Self {
        Self {
            key,
            counter,
            was_empty: false,
            part: Vec::new(),
        }
    }

    /// The start of a record, which belongs in front of the next octets.
    pub(crate) fn part(&self) -> &[u8] {
        &self.part
    }

    /// Opens the records in `octets`, which start with [`Opener::part`], and moves what they carry
    /// to the front. Returns how much that is.
    pub(crate) fn open(&mut self, octets: &mut [u8]) -> Result<usize, OpenError> {
        let (mut from, mut to) = (0, 0);
        while let Some((length, rest)) = octets[from..].split_first_chunk::<LENGTH>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if rest.len() < length {
                break;
            }
            let start = from + LENGTH;
            from = start + length;
            let counter = self.counter;
            self.counter = counter.checked_add(1).ok_or(OpenError::NotAuthentic)?;
            let record = &mut octets[to..from];
            let opened = self.key.open(counter, &[], record, start - to);
            let size = opened.ok_or(OpenError::NotAuthentic)?;
            if size == 0 {
                if self.was_empty {
                    return Err(OpenError::Empty);
                }
                self.key = self.key.next();
            }
            self.was_empty = size == 0;
            to += size;
        }
        self.part.clear();
        self.part.extend_from_slice(&octets[from..]);
        Ok(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Provider;
    use crate::crypto::aead::Suite;

    fn key() -> Key {
        Key::new(Provider::Real, Suite::AesGcm, &[7; 32])
    }

    fn halves() -> (Sealer, Opener) {
        (Sealer::new(key(), 1), Opener::new(key(), 1))
    }

    fn seal(sealer: &mut Sealer, runs: &[&[u8]], now: Duration) -> Vec<u8> {
        let size = runs.iter().map(|run| run.len()).sum();
        let runs = runs.iter().map(|run| IoSlice::new(run));
        sealer.seal(runs, size, now).unwrap()
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
        let plain = runs.concat();
        for key in [key, Key::none] {
            let records = seal(&mut Sealer::new(key(), 1), &runs, Duration::ZERO);
            assert_eq!(
                records.len(),
                plain.len() + plain.len().div_ceil(MAX_PLAINTEXT) * (LENGTH + TAG)
            );
            for step in [1, 17, 65_537, 100_000, records.len()] {
                let mut opener = Opener::new(key(), 1);
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
    }

    #[test]
    fn nothing_opens_that_was_changed_cut_repeated_left_out_or_moved() {
        let (mut sealer, mut opener) = halves();
        let first = seal(&mut sealer, &[b"first"], Duration::ZERO);
        let second = seal(&mut sealer, &[b"second"], Duration::ZERO);
        for at in LENGTH..first.len() {
            let (_, mut opener) = halves();
            let mut wrong = first.clone();
            wrong[at] ^= 1;
            assert_eq!(opener.open(&mut wrong), Err(OpenError::NotAuthentic));
        }
        let (_, mut fresh) = halves();
        assert_eq!(
            fresh.open(&mut second.clone()),
            Err(OpenError::NotAuthentic)
        );
        assert_eq!(opener.open(&mut first.clone()), Ok(5));
        assert_eq!(
            opener.open(&mut first.clone()),
            Err(OpenError::NotAuthentic)
        );
        let (_, mut opener) = halves();
        assert_eq!(opener.open(&mut [0, 15, 0]), Ok(0));
        let mut short = [[0, 15].as_slice(), &[0; 15]].concat();
        assert_eq!(opener.open(&mut short), Err(OpenError::NotAuthentic));
    }

    #[test]
    fn keys_change_by_octets_and_by_time_and_both_sides_follow() {
        let (mut sealer, mut opener) = halves();
        let mut send = |sealer: &mut Sealer, now| {
            let mut records = seal(sealer, &[b"octets"], now);
            let size = records.len();
            assert_eq!(opener.open(&mut records), Ok(6));
            size
        };
        let plain = LENGTH + 6 + TAG;
        let start = Duration::from_secs(50);
        assert_eq!(send(&mut sealer, start), plain);
        sealer.sealed = REKEY_AFTER - 6;
        assert_eq!(send(&mut sealer, start), plain);
        assert_eq!(send(&mut sealer, start), plain + LENGTH + TAG);
        assert_eq!(send(&mut sealer, start), plain);
        assert_eq!(send(&mut sealer, start + REKEY_EVERY), plain + LENGTH + TAG);
        assert_eq!(send(&mut sealer, start + REKEY_EVERY), plain);
    }

    #[test]
    fn keys_change_once_before_something_follows() {
        for pieces in [1, 2] {
            let (mut sealer, mut opener) = halves();
            let mut octets = Vec::new();
            for _ in 0..2 {
                sealer.sealed = REKEY_AFTER;
                let now = Duration::ZERO;
                sealer.rekey_if_due(&mut octets, now).unwrap();
            }
            octets.extend(seal(&mut sealer, &[b"octets"], Duration::ZERO));
            let (mut first, mut rest) = match pieces {
                1 => (octets, Vec::new()),
                _ => {
                    let rest = octets.split_off(LENGTH + TAG);
                    (octets, rest)
                }
            };
            let opened = opener.open(&mut first).and_then(|size| {
                assert_eq!(size, 0);
                opener.open(&mut rest)
            });
            assert_eq!(opened, Err(OpenError::Empty), "in pieces: {pieces}");
        }
    }

    #[test]
    fn the_last_nonce_is_never_used() {
        let (mut sealer, _) = halves();
        sealer.counter = u64::MAX;
        let runs = [IoSlice::new(b"octets")].into_iter();
        assert_eq!(sealer.seal(runs, 6, Duration::ZERO), Err(NonceExhausted));
    }
}

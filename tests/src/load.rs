//! Generated messages that both ends know, so that long transfers need not carry them twice.

use std::fmt::Write as _;

use serde_json::{Value, json};
use withy_proto::crypto::{Randomness, Seeded};

/// The length of the block that bodies repeat; a prime, so that a body whose pages or buffers
/// were swapped differs.
const BLOCK: usize = 4093;

/// A run of messages that differ from each other and depend on a seed.
///
/// Frame `n` counts from the first frame of the run. Its first eight octets are `n`, little end
/// first; the others repeat a block that follows from the seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Messages.
    pub count: u64,
    /// The messages have 1, 2, ... and so many frames in turn.
    pub parts: u64,
    /// Octets of the frames, in turn.
    pub sizes: Vec<usize>,
    /// Tells runs from each other.
    pub seed: u64,
    /// As long as the longest frame.
    body: Vec<u8>,
}

impl Load {
    /// Messages of one frame of `size` octets.
    pub fn new(count: u64, size: usize, seed: u64) -> Self {
        Self::mixed(count, 1, vec![size], seed)
    }

    /// Messages of one to `parts` frames in turn, whose sizes come in turn, too.
    ///
    /// # Panics
    /// There is no size, or there are no frames.
    pub fn mixed(count: u64, parts: u64, sizes: Vec<usize>, seed: u64) -> Self {
        assert!(parts > 0 && !sizes.is_empty());
        let mut block = vec![0; BLOCK];
        Seeded::new(seed).fill(&mut block);
        let longest = sizes.iter().copied().max().unwrap_or(0);
        Self {
            count,
            parts,
            sizes,
            seed,
            body: block.into_iter().cycle().take(longest).collect(),
        }
    }

    /// The frames of message `index`.
    pub fn message(&self, index: u64) -> Vec<Vec<u8>> {
        (self.first(index)..self.first(index + 1))
            .map(|n| self.frame(n))
            .collect()
    }

    /// The number of the first frame of message `index`.
    fn first(&self, index: u64) -> u64 {
        let up_to = |parts: u64| parts * (parts + 1) / 2;
        index / self.parts * up_to(self.parts) + up_to(index % self.parts)
    }

    fn frame(&self, n: u64) -> Vec<u8> {
        let size = self.sizes[(n % self.sizes.len() as u64) as usize];
        let mut frame = self.body[..size].to_vec();
        let header = &n.to_le_bytes()[..size.min(8)];
        frame[..header.len()].copy_from_slice(header);
        frame
    }

    /// The octets of all frames.
    pub fn octets(&self) -> u64 {
        (0..self.first(self.count))
            .map(|n| self.sizes[(n % self.sizes.len() as u64) as usize] as u64)
            .sum()
    }

    /// Panics, with what differs, unless `frames` is message `index`.
    ///
    /// # Panics
    /// The message differs.
    pub fn check(&self, index: u64, frames: &[impl AsRef<[u8]>]) {
        let expected = self.message(index);
        let same = frames.len() == expected.len()
            && frames.iter().zip(&expected).all(|(a, b)| a.as_ref() == b);
        if !same {
            let mut seen = String::new();
            for frame in frames {
                let frame = frame.as_ref();
                let start = &frame[..frame.len().min(8)];
                let _ = write!(seen, " {}:{start:02x?}", frame.len());
            }
            panic!("message {index} of seed {} arrived as{seen}", self.seed);
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({"count": self.count, "parts": self.parts, "sizes": self.sizes, "seed": self.seed})
    }
}

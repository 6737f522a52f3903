//! What happened, as one number: FNV-1a over all that was noted, in order.

/// The trace of a run.
#[derive(Debug)]
pub(crate) struct Trace(u64);

impl Trace {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Notes something.
    pub(crate) fn note(&mut self, what: &[u64]) {
        for number in what {
            for octet in number.to_le_bytes() {
                self.0 = (self.0 ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3);
            }
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.0
    }
}

//! What a queue did.

use super::super::death::Cause;

/// Numbers since the queue was made or restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Messages that were queued.
    pub queued: u64,
    /// Puts that were accepted before, and not queued again.
    pub duplicates: u64,
    /// Puts that were refused.
    pub refused: u64,
    /// Puts that were not stored when the keeper stepped down or its store failed, and are gone; their
    /// producers hear so.
    pub withdrawn: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Deliveries among these that may have been made before.
    pub redelivered: u64,
    /// Messages that were acked.
    pub acked: u64,
    /// Deliveries that were not acked, and whose messages went back in line.
    pub returned: u64,
    /// Deliveries that were out for too long.
    pub timed_out: u64,
    /// Answers to deliveries that were not open.
    pub stale: u64,
    /// Messages that died, by the cause.
    died: [u64; Cause::ALL.len()],
    /// Dead letters that were taken.
    pub dead_taken: u64,
    /// Dead letters that were dropped, since there were too many.
    pub dead_dropped: u64,
    /// Producers whose numbers were forgotten, since there were too many.
    pub forgotten_producers: u64,
}

impl Counts {
    /// Messages that became dead letters for a cause.
    pub fn died(&self, cause: Cause) -> u64 {
        self.died[usize::from(cause.number())]
    }

    pub(super) fn note_death(&mut self, cause: Cause) {
        self.died[usize::from(cause.number())] += 1;
    }
}

//! What became of hints, and how often.

use crate::announcement::AnnouncementError;

/// What became of a hint that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hinted {
    /// It waits for a dial, or is dialled already.
    New,
    /// It replaced an older one about the same node.
    Newer,
    /// Its node is known, or the same is waiting.
    Known,
}

/// Why a hint is refused. Nothing is dialled because of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HintRefusal {
    /// It is not an announcement, or does not hold. Its sender misbehaved, or a clock is wrong.
    #[error(transparent)]
    Announcement(#[from] AnnouncementError),
    /// It is about this node.
    #[error("the announcement is about this node")]
    Ourselves,
    /// It is for the members of a network that this node does not belong to.
    #[error("the announcement is for members of another network")]
    Foreign,
    /// It has no address that is both announced and in reach.
    #[error("the announcement has no address in reach")]
    Elsewhere,
    /// Its node said that it leaves.
    #[error("the announced node has left")]
    Gone,
    /// Too many announcements came at once.
    #[error("too many announcements at once")]
    Busy,
    /// Too many of its sender are waiting.
    #[error("{count} announcements of its sender are waiting already")]
    Sender {
        /// How many.
        count: usize,
    },
    /// Too many are waiting.
    #[error("too many hints are waiting")]
    Full,
}

/// How often what happened to hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HintCounters {
    /// Those that were kept for a dial.
    pub kept: u64,
    /// Those that said nothing new.
    pub known: u64,
    /// Dials that they caused.
    pub tried: u64,
    /// Dials that met who was expected.
    pub met: u64,
    /// Dials that did not.
    pub failed: u64,
    /// Those that expired while they waited.
    pub expired: u64,
    /// Those that made room for others after they had failed.
    pub evicted: u64,
    /// Refused: not an announcement, or out of date.
    pub invalid: u64,
    /// Refused: not by whom it said.
    pub forged: u64,
    /// Refused: about this node.
    pub ourselves: u64,
    /// Refused: of another network.
    pub foreign: u64,
    /// Refused: without an address in reach.
    pub elsewhere: u64,
    /// Refused: of a node that has left.
    pub gone: u64,
    /// Refused: too many at once, or waiting.
    pub crowded: u64,
}

impl HintCounters {
    pub(super) const fn count(&mut self, outcome: &Result<Hinted, HintRefusal>) {
        let counter = match outcome {
            Ok(Hinted::New | Hinted::Newer) => &mut self.kept,
            Ok(Hinted::Known) => &mut self.known,
            Err(HintRefusal::Announcement(AnnouncementError::Forged)) => &mut self.forged,
            Err(HintRefusal::Announcement(_)) => &mut self.invalid,
            Err(HintRefusal::Ourselves) => &mut self.ourselves,
            Err(HintRefusal::Foreign) => &mut self.foreign,
            Err(HintRefusal::Elsewhere) => &mut self.elsewhere,
            Err(HintRefusal::Gone) => &mut self.gone,
            Err(HintRefusal::Busy | HintRefusal::Sender { .. } | HintRefusal::Full) => {
                &mut self.crowded
            }
        };
        *counter += 1;
    }
}

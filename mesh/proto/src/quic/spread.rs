//! Which stream a message is sent on.

use super::LANES;

/// Chooses the streams of what is sent.
#[derive(Debug)]
pub struct Spread {
    ordered: bool,
    larges: u64,
    /// Whose turn it is among lanes for which as much waits.
    turn: usize,
}

impl Spread {
    /// For a link that keeps the order of messages, or gives it up.
    pub fn new(ordered: bool) -> Self {
        Self {
            ordered,
            larges: 0,
            turn: 0,
        }
    }

    /// Whether order is kept.
    pub fn is_ordered(&self) -> bool {
        self.ordered
    }

    /// The most lanes that there may be.
    pub fn max_lanes(&self) -> usize {
        if self.ordered { 1 } else { LANES }
    }

    /// Large messages that were given streams.
    pub fn larges(&self) -> u64 {
        self.larges
    }

    /// The number of the next large message, which has one from now on.
    pub fn number_large(&mut self) -> u64 {
        let number = self.larges;
        self.larges += 1;
        number
    }

    /// The lane of the next small message: that for which the least waits, in turn among equals.
    /// There are `lanes`, at least one.
    #[inline]
    pub fn lane(&self, lanes: usize, waiting: impl Fn(usize) -> usize) -> usize {
        if lanes == 1 {
            return 0;
        }
        let in_turn = (self.turn..self.turn + lanes).map(|lane| lane % lanes);
        in_turn.min_by_key(|&lane| waiting(lane)).unwrap_or(0)
    }

    /// Notes that a small message went to `lane`.
    #[inline]
    pub fn took(&mut self, lane: usize) {
        self.turn = lane + 1;
    }
}

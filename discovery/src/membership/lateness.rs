//! How late this node itself is, and what that gives others: as Lifeguard's local health.
//!
//! Who looks late at what it heard cannot tell a member that is silent from a message that waits on this
//! side. So the time by which a deadline was missed is taken from everybody's silence, and for some
//! heartbeats after that nobody is judged as soon as usual.
//!
//! Invariant: nobody gets more than [`MOST`] heartbeats.

use std::time::Duration;

/// Up to this part of a heartbeat a node is on time.
const ON_TIME: u32 = 8;

/// What is given for each moment by which this node was late: a message has several queues to pass, on
/// both sides, of which one was measured.
const SHARES: u32 = 4;

/// How many heartbeats at most are given.
const MOST: u32 = 8;

/// For how many heartbeats a lateness counts.
const KEPT: u32 = 4;

/// The worst lateness of late.
#[derive(Debug)]
pub(super) struct Lateness {
    worst: Duration,
    at: Duration,
}

impl Lateness {
    /// On time so far.
    pub(super) const NONE: Self = Self {
        worst: Duration::ZERO,
        at: Duration::ZERO,
    };

    /// Notes that what was due then is done now; says by how much silence is shorter than it seems.
    pub(super) fn note(&mut self, due: Duration, now: Duration, heartbeat: Duration) -> Duration {
        let late = now.saturating_sub(due);
        let over = now > self.at + heartbeat * KEPT;
        if over || late >= self.worst {
            (self.worst, self.at) = (late, now);
        }
        match late > heartbeat / ON_TIME {
            true => late.min(heartbeat * MOST),
            false => Duration::ZERO,
        }
    }

    /// How much longer than usual others have.
    pub(super) fn given(&self, now: Duration, heartbeat: Duration) -> Duration {
        let counts = now <= self.at + heartbeat * KEPT && self.worst > heartbeat / ON_TIME;
        match counts {
            true => (self.worst * SHARES).min(heartbeat * MOST),
            false => Duration::ZERO,
        }
    }
}

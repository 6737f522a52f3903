//! The counters that a workload drives and the runner reads while it runs.
//!
//! A workload only counts. What is read, and when, is decided outside it, so the window is the
//! same for every peer and no hot path looks at a clock that it does not need.

use std::{
    io::Write,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    histogram::Histogram,
    snapshot::{self, Snapshot},
};

/// A point at which a workload waits for the runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Nothing stands yet.
    Idle,
    /// What binds is bound; nothing is connected.
    Ready,
    /// Connect.
    Connect,
    /// Send as fast as the peer takes it.
    Flood,
}

/// A counter with one writer, alone on its cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Lane(AtomicU64);

impl Lane {
    fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed) + more, Relaxed);
    }
}

/// The counters of one process.
#[derive(Debug)]
pub(crate) struct Probe {
    started: Instant,
    lanes: Box<[Lane]>,
    lost: AtomicU64,
    round_trips: Histogram,
    stage: Mutex<Stage>,
    moved: Condvar,
}

impl Probe {
    pub(crate) fn new(lanes: usize) -> Self {
        Self {
            started: Instant::now(),
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            lost: AtomicU64::new(0),
            round_trips: Histogram::new(),
            stage: Mutex::new(Stage::Idle),
            moved: Condvar::new(),
        }
    }

    /// Tells the runner that the workload stands, and where it is bound, if it is.
    pub(crate) fn ready(&self, endpoint: &str) {
        self.reach(Stage::Ready);
        say(&format!("ready {endpoint}"));
    }

    /// Counts a message that a PULL socket received, for its sender if there are several.
    pub(crate) fn pulled(&self, body: &[u8]) {
        if let [lane] = &*self.lanes {
            return lane.add(1);
        }
        let sender = number_in(body).and_then(|number| usize::try_from(number).ok());
        if let Some(lane) = sender.and_then(|sender| self.lanes.get(sender)) {
            lane.add(1);
        }
    }

    /// Counts a round trip that began at `start`.
    pub(crate) fn round_trip(&self, start: Instant) {
        self.round_trips.record(start.elapsed());
        self.lanes[0].add(1);
    }

    /// Counts a message that says when its sender began.
    pub(crate) fn appeared(&self, body: &[u8]) {
        let begun = UNIX_EPOCH + Duration::from_nanos(number_in(body).unwrap_or_default());
        // A clock that was set meanwhile is no measurement.
        if let Ok(took) = begun.elapsed() {
            self.round_trips.record(took);
            self.lanes[0].add(1);
        }
    }

    /// Blocks until the runner has reached `stage`.
    pub(crate) fn wait_for(&self, stage: Stage) {
        let mut now = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        while *now < stage {
            now = self.moved.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets the workload go on; it never goes back.
    pub(crate) fn reach(&self, stage: Stage) {
        let mut now = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        *now = stage.max(*now);
        self.moved.notify_all();
    }

    /// Reads every counter, and what the process has used.
    pub(crate) fn read(&self) -> Snapshot {
        Snapshot {
            at: self.started.elapsed(),
            cpu: snapshot::cpu(),
            resident_kib: snapshot::resident_kib(),
            lost: self.lost.load(Relaxed),
            counts: self.lanes.iter().map(|lane| lane.0.load(Relaxed)).collect(),
            round_trips: self.round_trips.read(),
        }
    }
}

/// Counts the deliveries to one subscriber, and what is missing between them.
#[derive(Debug)]
pub(crate) struct Subscription {
    probe: &'static Probe,
    lane: usize,
    expected: Option<u64>,
}

impl Subscription {
    pub(crate) fn new(probe: &'static Probe, lane: usize) -> Self {
        Self {
            probe,
            lane,
            expected: None,
        }
    }

    /// Counts one delivery.
    pub(crate) fn delivered(&mut self, body: &[u8]) {
        let number = number_in(body).unwrap_or_default();
        let lost = number.saturating_sub(self.expected.unwrap_or(number));
        if lost > 0 {
            self.probe.lost.fetch_add(lost, Relaxed);
        }
        self.expected = Some(number + 1);
        self.probe.lanes[self.lane].add(1);
    }
}

/// The bytes of the messages that a workload sends; each message is a fresh copy.
#[derive(Clone, Debug)]
pub(crate) struct Body(Vec<u8>);

impl Body {
    pub(crate) fn new(size: usize) -> Self {
        Self((0..size).map(|at| at as u8).collect())
    }

    /// Returns the bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes with `number` in the first eight.
    pub(crate) fn numbered(&mut self, number: u64) -> &[u8] {
        if let Some(head) = self.0.first_chunk_mut() {
            *head = number.to_le_bytes();
        }
        &self.0
    }
}

/// Returns the time in nanoseconds, as [`Probe::appeared`] reads it in another process.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

fn number_in(body: &[u8]) -> Option<u64> {
    body.first_chunk().map(|head| u64::from_le_bytes(*head))
}

/// Prints one line for the runner.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A runner that is gone reads nothing: its end ends this process soon.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_losses_and_the_first_message_is_none() {
        let probe: &Probe = Box::leak(Box::new(Probe::new(1)));
        let mut subscription = Subscription::new(probe, 0);
        let mut body = Body::new(16);
        for number in [7, 8, 11] {
            subscription.delivered(body.numbered(number));
        }
        let read = probe.read();
        assert_eq!((read.counts, read.lost), (vec![3], 2));
    }

    #[test]
    fn many_senders_are_counted_apart() {
        let probe = Probe::new(3);
        let mut body = Body::new(64);
        for sender in [0, 2, 2, 9] {
            probe.pulled(body.numbered(sender));
        }
        assert_eq!(probe.read().counts, [1, 0, 2]);
    }
}

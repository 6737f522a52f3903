//! The connections of a listener, and which of them have a link that was admitted.
//!
//! Whoever proves a node's key may be anybody, so that a connection by itself is worth nothing: when
//! places are short, the oldest one without an admitted link is given up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quinn::Connection;
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::NOT_ADMITTED;

/// How long it is not looked again for somebody to give up when there was nobody.
const AGAIN: Duration = Duration::from_millis(50);

/// How many links of a connection are admitted, and since when.
#[derive(Debug, Clone)]
pub(super) struct Admissions(Arc<watch::Sender<(usize, Instant)>>);

impl Admissions {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new((0, Instant::now()))))
    }

    /// One more, as long as what is returned lives.
    pub(super) fn one(&self) -> Admission {
        self.0.send_modify(|(count, _)| *count += 1);
        Admission(self.clone())
    }

    pub(super) fn watch(&self) -> watch::Receiver<(usize, Instant)> {
        self.0.subscribe()
    }

    /// Since when there is none; `None` if there is one.
    pub(super) fn none_since(&self) -> Option<Instant> {
        let (count, since) = *self.0.borrow();
        (count == 0).then_some(since)
    }
}

/// An admitted link.
#[derive(Debug)]
pub(super) struct Admission(Admissions);

impl Drop for Admission {
    fn drop(&mut self) {
        let Admissions(admissions) = &self.0;
        admissions.send_modify(|(count, since)| (*count, *since) = (*count - 1, Instant::now()));
    }
}

/// The connections of a listener, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Guests(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    guests: BTreeMap<u64, (Connection, Admissions)>,
    next: u64,
    /// When there was nobody to give up.
    nobody: Option<Instant>,
}

impl Guests {
    pub(super) fn count(&self) -> usize {
        self.0.lock().guests.len()
    }

    /// A connection that has a place as long as what is returned lives.
    pub(super) fn enter(self: &Arc<Self>, connection: Connection, admissions: Admissions) -> Stay {
        let mut known = self.0.lock();
        let number = known.next;
        known.next += 1;
        known.guests.insert(number, (connection, admissions));
        Stay {
            guests: Arc::clone(self),
            number,
        }
    }

    /// Ends the oldest connection that has had no admitted link for so long. Its place is free at once.
    pub(super) fn give_up(&self, patience: Duration) -> bool {
        let mut known = self.0.lock();
        if known.nobody.is_some_and(|at| at.elapsed() < AGAIN) {
            return false;
        }
        let useless = |(_, (_, admissions)): &(&u64, &(_, Admissions))| {
            let since = admissions.none_since();
            since.is_some_and(|since| since.elapsed() >= patience)
        };
        let Some(number) = known.guests.iter().find(useless).map(|(number, _)| *number) else {
            known.nobody = Some(Instant::now());
            return false;
        };
        let guest = known.guests.remove(&number);
        drop(known);
        if let Some((connection, _)) = guest {
            connection.close(NOT_ADMITTED, b"");
        }
        true
    }
}

/// The place of a connection.
#[derive(Debug)]
pub(super) struct Stay {
    guests: Arc<Guests>,
    number: u64,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.guests.0.lock().guests.remove(&self.number);
    }
}

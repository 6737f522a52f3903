//! What a subscriber has read ahead: the most urgent first, and what has expired not at all.
//!
//! A message waits here from when it came, so that the time that the application lets it wait counts.
//! It does not know where messages come from.
//!
//! Invariant: of one priority, messages leave in the order in which they came.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use withy_proto::bus::{Priority, Publication};

use crate::error::ReceiveError;

/// Messages that wait for the application, at most; beyond, nothing is read.
pub(super) const MAX_MESSAGES: usize = 1_000;

/// Their octets, at most, as [`Publication::footprint`] counts them; one message may be larger.
pub(super) const MAX_OCTETS: usize = 16 * 1024 * 1024;

const LEVELS: usize = Priority::MAX.level() as usize + 1;

/// The messages that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    held: Mutex<Held>,
    /// There is a message.
    arrived: Notify,
    /// There may be room for one.
    taken: Notify,
    /// Nobody takes any more.
    pub(super) left: CancellationToken,
}

#[derive(Debug, Default)]
struct Held {
    levels: [VecDeque<(Publication, Instant)>; LEVELS],
    messages: usize,
    octets: usize,
    /// Messages that expired here.
    expired: u64,
    /// Nothing comes any more.
    is_closed: bool,
}

impl Waiting {
    /// Adds a message as soon as there is room.
    ///
    /// # Cancel safety
    /// A cancelled call did not add it.
    pub(super) async fn put(&self, publication: Publication) {
        let mut taken = std::pin::pin!(self.taken.notified());
        loop {
            taken.as_mut().enable();
            if self.has_room() {
                break;
            }
            taken.as_mut().await;
            taken.set(self.taken.notified());
        }
        self.put_at_once(publication);
    }

    /// Adds a message whether there is room or not: one that was taken from elsewhere already.
    pub(super) fn put_at_once(&self, publication: Publication) {
        let mut held = self.held.lock();
        held.messages += 1;
        held.octets += publication.footprint();
        let level = usize::from(publication.header.priority.level());
        held.levels[level].push_back((publication, Instant::now()));
        drop(held);
        self.arrived.notify_one();
    }

    fn has_room(&self) -> bool {
        let held = self.held.lock();
        held.messages < MAX_MESSAGES && held.octets < MAX_OCTETS
    }

    /// Nothing comes any more; what is here can be taken.
    pub(super) fn close(&self) {
        self.held.lock().is_closed = true;
        self.arrived.notify_waiters();
    }

    /// Takes the next message.
    ///
    /// # Cancel safety
    /// A cancelled call took none.
    pub(super) async fn take(&self) -> Result<Publication, ReceiveError> {
        loop {
            let mut arrived = std::pin::pin!(self.arrived.notified());
            arrived.as_mut().enable();
            match self.try_take() {
                Err(ReceiveError::Empty) => arrived.await,
                taken => return taken,
            }
        }
    }

    /// Takes the next message if one is there.
    pub(super) fn try_take(&self) -> Result<Publication, ReceiveError> {
        let mut held = self.held.lock();
        let taken = held.next();
        if held.messages > 0 {
            // Others may wait, too.
            self.arrived.notify_one();
        }
        let none = match held.is_closed {
            true => ReceiveError::Closed,
            false => ReceiveError::Empty,
        };
        drop(held);
        self.taken.notify_one();
        taken.ok_or(none)
    }

    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.held.lock().messages
    }

    /// How many messages expired here.
    pub(super) fn expired(&self) -> u64 {
        self.held.lock().expired
    }
}

impl Held {
    fn next(&mut self) -> Option<Publication> {
        loop {
            let mut levels = self.levels.iter_mut().rev();
            let (publication, since) = levels.find_map(VecDeque::pop_front)?;
            self.messages -= 1;
            self.octets -= publication.footprint();
            if publication.header.expiry.is_none() {
                return Some(publication);
            }
            match publication.aged(since.elapsed()) {
                Some(publication) => return Some(publication),
                None => self.expired += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message(body: &str, level: u8, expiry: Option<Duration>) -> Publication {
        let mut publication = Publication::new("a".parse().unwrap(), body.to_owned());
        publication.header.priority = Priority::new(level).unwrap();
        publication.header.expiry = expiry;
        publication
    }

    #[tokio::test]
    async fn the_urgent_go_first_and_others_in_the_order_in_which_they_came() {
        let waiting = Waiting::default();
        for (body, level) in [("a", 4), ("b", 0), ("c", 9), ("d", 4), ("e", 9)] {
            waiting.put(message(body, level, None)).await;
        }
        let mut taken = Vec::new();
        while let Ok(publication) = waiting.try_take() {
            taken.push(publication.body);
        }
        assert_eq!(taken, ["c", "e", "a", "d", "b"]);
        waiting.close();
        assert!(matches!(waiting.take().await, Err(ReceiveError::Closed)));
    }

    #[tokio::test]
    async fn what_waited_for_too_long_is_counted_and_not_handed_out() {
        let waiting = Waiting::default();
        let short = Some(Duration::from_nanos(1));
        let long = Some(Duration::from_secs(3_600));
        for (body, expiry) in [("old", short), ("new", long), ("ever", None)] {
            waiting.put(message(body, 4, expiry)).await;
        }
        let new = waiting.take().await.unwrap();
        assert_eq!(new.body, "new");
        assert!(new.header.expiry < long);
        assert_eq!(waiting.take().await.unwrap().body, "ever");
        assert_eq!(waiting.expired(), 1);
    }

    #[tokio::test]
    async fn it_is_full_at_its_limit_and_has_room_again() {
        let waiting = Waiting::default();
        for _ in 0..MAX_MESSAGES {
            waiting.put(message("", 4, None)).await;
        }
        {
            let mut more = std::pin::pin!(waiting.put(message("more", 4, None)));
            tokio::select! {
                biased;
                () = &mut more => panic!("there is no room"),
                () = std::future::ready(()) => {}
            }
            waiting.try_take().unwrap();
            more.await;
        }
        let large = "x".repeat(MAX_OCTETS);
        while waiting.try_take().is_ok() {}
        waiting.put(message(&large, 4, None)).await;
        assert!(!waiting.has_room());
        waiting.try_take().unwrap();
        assert!(waiting.has_room());
    }
}

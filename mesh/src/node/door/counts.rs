//! What a door counts.

use std::sync::atomic::AtomicU64;

use crate::socket::Owner;

/// The counters of a door, at the moment of the call. They count from when it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DoorStats {
    /// SUBs and XSUBs that are connected.
    pub subscribers: u64,
    /// PUBs and XPUBs that are connected.
    pub publishers: u64,
    /// REQs and DEALERs that are connected at the shared endpoints.
    pub callers: u64,
    /// PUSHes that are connected.
    pub pushers: u64,
    /// REPs and DEALERs that are connected at endpoints of services.
    pub workers: u64,
    /// PULLs that are connected at endpoints of queues.
    pub takers: u64,
    /// Prefixes that subscribers want; one that several peers want counts for each.
    pub subscriptions: u64,
    /// Filters on the bus that these come down to.
    pub filters: usize,
    /// Messages that were sent to subscribers, once for each.
    pub sent: u64,
    /// Messages that a subscriber had no room for.
    pub dropped: u64,
    /// Messages of PUBs that were published on the bus.
    pub published: u64,
    /// Requests of REQs and DEALERs.
    pub requests: u64,
    /// Of these, those that were answered with an error.
    pub failed: u64,
    /// Messages of PUSHes that reached a queue.
    pub pushed: u64,
    /// Requests that workers replied to.
    pub served: u64,
    /// Messages of queues that were handed to PULLs.
    pub taken: u64,
    /// Messages of PUSHes that wait for who takes them.
    pub waiting: usize,
    /// Messages, requests and subscriptions without the frames that they need, or with a topic or name
    /// that is none.
    pub malformed: u64,
    /// Messages, requests and subscriptions that permissions did not allow.
    pub denied: u64,
    /// Messages of PUSHes and requests that found no room.
    pub overflowed: u64,
    /// Messages that were taken in and reached nobody: a queue refused them, or the door was closed.
    pub undelivered: u64,
    /// Handshakes that failed.
    pub handshakes_failed: u64,
    /// Connections that found no place.
    pub refused: u64,
    /// Connections that were closed because the peer broke the protocol or a limit.
    pub protocol_errors: u64,
}

impl DoorStats {
    /// Adds what sockets count, and says how many peers they have.
    pub(super) fn add<'a>(&mut self, sockets: impl IntoIterator<Item = &'a Owner>) -> u64 {
        let mut peers = 0;
        for stats in sockets.into_iter().map(Owner::stats) {
            self.handshakes_failed += stats.handshakes_failed;
            self.refused += stats.refused;
            self.protocol_errors += stats.protocol_errors;
            peers += stats.peers;
        }
        peers
    }
}

/// What no socket counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) published: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) pushed: AtomicU64,
    pub(super) served: AtomicU64,
    pub(super) taken: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) denied: AtomicU64,
    pub(super) overflowed: AtomicU64,
    pub(super) undelivered: AtomicU64,
}

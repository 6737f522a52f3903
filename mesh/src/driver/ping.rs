//! PINGs, and how long their answers take (RFC 37 §3.8).
//!
//! Answers come in the order of the PINGs: while one is due that is timed, no other is.

use std::time::{Duration, Instant};

use withy_proto::Frame;
use withy_proto::pattern::PipeKey;
use withy_proto::zmtp::Command;

use super::core::Core;
use super::link::Link;

/// How long answers take.
#[derive(Debug, Default)]
pub(super) struct Trips {
    /// When the PING was sent whose answer is due first.
    asked: Option<Instant>,
    /// What the last one took that was timed.
    last: Option<Duration>,
}

impl Link {
    /// Notes that an answer came, and says how long it took, if its PING was timed.
    pub(super) fn answered(&self) -> Option<Duration> {
        let mut trips = self.trips.lock();
        let took = trips.asked.take()?.elapsed();
        trips.last = Some(took);
        Some(took)
    }
}

impl Core {
    /// Asks for an answer over one connection. The peer may give this side up if it then hears nothing
    /// for as long as the TTL; zero is for ever.
    pub(crate) fn ping(&self, key: PipeKey, ttl: Duration) {
        let mut sending = self.sending.lock();
        let Some(Some(send_link)) = sending.links.get(key.index()) else {
            return;
        };
        if send_link.link.key() == key {
            let mut trips = send_link.link.trips.lock();
            trips.asked.get_or_insert_with(Instant::now);
            drop(trips);
            let context = Frame::new();
            sending
                .out
                .send_command(key, Command::Ping { ttl, context });
            self.after_send(sending);
        }
    }

    /// How long the last answer over one connection took; `None` before the first.
    pub(crate) fn round_trip(&self, key: PipeKey) -> Option<Duration> {
        let sending = self.sending.lock();
        let send_link = sending.links.get(key.index())?.as_ref()?;
        let link = (send_link.link.key() == key).then_some(&send_link.link)?;
        link.trips.lock().last
    }
}

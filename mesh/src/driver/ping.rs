//! PINGs, and how long their answers take (RFC 37 §3.8).
//!
//! Answers come in the order of the PINGs: while one is due that is timed, no other is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use withy_proto::Frame;
use withy_proto::pattern::PipeKey;
use withy_proto::zmtp::Command;

use super::core::Core;
use super::link::{DOUBT, Link};
use crate::event::Reason;

/// How long answers take.
#[derive(Debug, Default)]
pub(super) struct Trips {
    /// When the PING was sent whose answer is due first.
    asked: Option<Instant>,
    /// What the last one took that was timed.
    last: Option<Duration>,
    /// How many were timed.
    answers: u64,
}

impl Link {
    /// Notes that an answer came, and says how long it took, if its PING was timed.
    pub(super) fn answered(&self) -> Option<Duration> {
        let mut trips = self.trips.lock();
        let took = trips.asked.take()?.elapsed();
        trips.last = Some(took);
        trips.answers += 1;
        Some(took)
    }
}

impl Core {
    /// Asks for an answer over one connection. The peer may give this side up if it then hears nothing
    /// for as long as the TTL; zero is for ever.
    pub(crate) fn ping(&self, key: PipeKey, ttl: Duration) {
        let Some(link) = self.open_link(key) else {
            return;
        };
        link.trips.lock().asked.get_or_insert_with(Instant::now);
        let mut sending = self.sending.lock();
        let (context, out) = (Frame::new(), &mut sending.out);
        out.send_command(key, Command::Ping { ttl, context });
        self.after_send(sending);
    }

    /// Asks a peer that others take for dead for an answer, and closes the connection if it shows no life
    /// in time.
    pub(crate) async fn doubt(&self, key: PipeKey, patience: Duration) {
        let Some(link) = self.open_link(key) else {
            return;
        };
        link.take_heard(DOUBT);
        self.ping(key, self.options.heartbeat.ttl());
        tokio::time::sleep(patience).await;
        if !link.take_heard(DOUBT) && !link.is_behind() {
            link.close(Reason::Silent);
        }
    }

    fn open_link(&self, key: PipeKey) -> Option<Arc<Link>> {
        let sending = self.sending.lock();
        let send_link = sending.links.get(key.index())?.as_ref()?;
        (send_link.link.key() == key).then(|| Arc::clone(&send_link.link))
    }

    /// How long the last answer over one connection took; `None` before the first.
    pub(crate) fn round_trip(&self, key: PipeKey) -> Option<Duration> {
        self.open_link(key)?.trips.lock().last
    }

    /// How many answers came over one connection that were timed; `None` once it is gone.
    pub(crate) fn answers(&self, key: PipeKey) -> Option<u64> {
        Some(self.open_link(key)?.trips.lock().answers)
    }
}

//! Where an instance takes requests in: looks at them, refuses what is not to be done, and keeps what
//! nobody came for yet.
//!
//! Who receives takes requests off the socket himself. Beside that, one task for each service looks
//! every [`LOOK`] whether anybody does; if not, it takes in what waits, up to the capacity, so that
//! who asks too much hears that the instance is busy rather than nothing, and so that the time of
//! requests passes here as well.
//!
//! Invariant: a request that was taken in is answered once: with what became of it, or why it was not
//! taken up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use withy_proto::Message;
use withy_proto::pattern::PipeKey;
use withy_proto::pattern::reply::{Envelope, join, split};
use withy_proto::service::{
    Audience, HeaderError, MessageError, ReplyHeader, RequestHeader, Status,
};
use withy_proto::trust::NodeId;

use super::serving::{Service, ServiceCounts};
use crate::driver::core::Core;
use crate::driver::receive::Nothing;
use crate::driver::send::Rejected;
use crate::event::{PeerInfo, Reason};
use crate::node::Node;
use crate::node::offer::Offer;
use crate::socket::Owner;

/// How often it is looked whether anybody receives.
const LOOK: Duration = Duration::from_millis(100);

/// How many requests are taken in at one look for who does not receive; the next look takes more.
const TURN: usize = 1_024;

/// What a service and its requests share.
#[derive(Debug)]
pub(super) struct Desk {
    own: NodeId,
    waiting: Mutex<VecDeque<Held>>,
    /// Requests that were given out and not answered yet.
    open: AtomicUsize,
    capacity: AtomicUsize,
    /// How often somebody came for a request.
    came: AtomicU64,
    /// Nobody comes any more.
    leaving: AtomicBool,
    counts: Counts,
    socket: Owner,
    _offer: Offer,
    /// Last: the node lives for as long as what it offers.
    _node: Node,
}

#[derive(Debug, Default)]
struct Counts {
    given: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    busy: AtomicU64,
    late: AtomicU64,
    abandoned: AtomicU64,
}

/// A request that was taken in.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) from: PipeKey,
    pub(super) envelope: Envelope,
    pub(super) header: RequestHeader,
    pub(super) message: Message,
    pub(super) peer: Arc<PeerInfo>,
    /// When nobody waits for its reply any more.
    pub(super) until: Option<Instant>,
}

impl Desk {
    pub(super) fn new(node: &Node, socket: Owner, offer: Offer) -> Self {
        Self {
            own: node.id(),
            waiting: Mutex::default(),
            open: AtomicUsize::new(0),
            capacity: AtomicUsize::new(Service::CAPACITY),
            came: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            counts: Counts::default(),
            socket,
            _offer: offer,
            _node: node.clone(),
        }
    }

    pub(super) fn socket(&self) -> &Owner {
        &self.socket
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        self.socket.core()
    }

    pub(super) fn set_capacity(&self, capacity: usize) {
        self.capacity.store(capacity.max(1), Ordering::Relaxed);
    }

    /// The next request that was taken in and is not given out yet.
    pub(super) fn next_waiting(&self) -> Option<Held> {
        self.came.fetch_add(1, Ordering::Relaxed);
        loop {
            let held = self.waiting.lock().pop_front()?;
            let over = held.until.is_some_and(|until| until <= Instant::now());
            if !over {
                return Some(held);
            }
            self.refuse(held, Status::TooLate);
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.lock().is_empty()
    }

    /// Looks at what came; `None` if it is not to be done, which whoever asked hears.
    pub(super) fn take_in(&self, from: PipeKey, message: Message) -> Option<Held> {
        let Some((envelope, message)) = split(message) else {
            self.offended(from, "a request has an envelope and a body".to_owned());
            return None;
        };
        let (header, message) = match RequestHeader::unwrap(message) {
            Ok(unwrapped) => unwrapped,
            Err(MessageError::Header(HeaderError::Version { .. })) => {
                let _ = self.answer(from, envelope, Status::Unknown, None);
                return None;
            }
            Err(error) => {
                self.offended(from, error.to_string());
                return None;
            }
        };
        let Some(peer) = self.core().peer(from) else {
            // Nobody can be told.
            self.counts.abandoned.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        // Further away than can be said is no limit.
        let until = header.left.map(|left| Instant::now().checked_add(left));
        let held = Held {
            from,
            envelope,
            message,
            peer,
            until: until.flatten(),
            header,
        };
        let why = match (held.header.left, held.header.audience) {
            (Some(Duration::ZERO), _) => Status::TooLate,
            (_, Audience::Node(node)) if node != self.own => Status::Unknown,
            _ if self.leaving.load(Ordering::Relaxed) || self.is_full() => Status::Busy,
            _ => return Some(held),
        };
        self.refuse(held, why);
        None
    }

    fn is_full(&self) -> bool {
        self.depth() >= self.capacity.load(Ordering::Relaxed)
    }

    /// The requests that it has.
    fn depth(&self) -> usize {
        self.open.load(Ordering::Relaxed) + self.waiting.lock().len()
    }

    /// Whoever sends what is no request is let go.
    fn offended(&self, from: PipeKey, error: String) {
        let core = self.core();
        core.counters.malformed.fetch_add(1, Ordering::Relaxed);
        core.close_link(from, Reason::Application(error));
    }

    fn refuse(&self, held: Held, why: Status) {
        match why {
            Status::Busy => self.counts.busy.fetch_add(1, Ordering::Relaxed),
            Status::TooLate => self.counts.late.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        // Who is gone need not hear it.
        let _ = self.answer(held.from, held.envelope, why, None);
    }

    /// Notes that a request is given out.
    pub(super) fn give(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.counts.given.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers a request that was given out.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub(super) fn close(
        &self,
        from: PipeKey,
        envelope: Envelope,
        status: Status,
        body: Option<Message>,
    ) -> Result<(), (Rejected, Message)> {
        self.open.fetch_sub(1, Ordering::Relaxed);
        let count = match status {
            Status::Done => &self.counts.done,
            _ => &self.counts.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.answer(from, envelope, status, body)
    }

    /// Says what became of a request.
    ///
    /// # Errors
    /// Who asked is gone, or the socket is closed; the body comes back.
    fn answer(
        &self,
        from: PipeKey,
        envelope: Envelope,
        status: Status,
        body: Option<Message>,
    ) -> Result<(), (Rejected, Message)> {
        let (depth, capacity) = (self.depth(), self.capacity.load(Ordering::Relaxed));
        let load = depth.saturating_mul(255) / capacity.max(1);
        let header = ReplyHeader {
            status,
            load: u8::try_from(load).unwrap_or(u8::MAX),
            depth: u32::try_from(depth).unwrap_or(u32::MAX),
        };
        let frames = body.as_ref().map_or(0, Message::len);
        let mut reply = join(envelope, header.wrap(body));
        self.core().reply_to(from, &mut reply).map_err(|rejected| {
            let mut parts = reply.into_frames();
            let body = parts.split_off(parts.len().saturating_sub(frames));
            (rejected, Message::from_frames(body))
        })
    }

    /// Takes what waits on the socket, for who does not come.
    fn take_all(&self) {
        let mut message = Message::new();
        for _ in 0..TURN {
            match self.core().try_receive(&mut message) {
                Ok(from) => {
                    let held = self.take_in(from, std::mem::take(&mut message));
                    self.waiting.lock().extend(held);
                }
                Err(Nothing::Yield) => {}
                Err(Nothing::Empty | Nothing::Closed) => break,
            }
        }
    }

    /// Answers those that nobody waits for any more.
    fn take_out_late(&self) {
        let now = Instant::now();
        let late: Vec<Held> = {
            let mut waiting = self.waiting.lock();
            let (late, rest) = std::mem::take(&mut *waiting)
                .into_iter()
                .partition(|held| held.until.is_some_and(|until| until <= now));
            *waiting = rest;
            Vec::from(late)
        };
        for held in late {
            self.refuse(held, Status::TooLate);
        }
    }

    /// One look; `came` is how often somebody had come at the last.
    fn look(&self, came: u64) -> u64 {
        if self.has_waiting() {
            self.take_out_late();
        }
        let now = self.came.load(Ordering::Relaxed);
        let core = self.core();
        if now == came && !core.ready.has_receivers() {
            self.take_all();
            if self.has_waiting() {
                // Somebody may have begun to wait meanwhile.
                core.ready.notify_all();
            }
        }
        now
    }

    /// Nobody comes for requests any more: who waits hears so, and can ask another.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for held in waiting {
            self.refuse(held, Status::Busy);
        }
        self.take_all();
    }

    pub(super) fn counts(&self) -> ServiceCounts {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ServiceCounts {
            given: count(&self.counts.given),
            done: count(&self.counts.done),
            failed: count(&self.counts.failed),
            busy: count(&self.counts.busy),
            late: count(&self.counts.late),
            abandoned: count(&self.counts.abandoned),
            open: self.open.load(Ordering::Relaxed),
            waiting: self.waiting.lock().len(),
        }
    }
}

/// Looks for who does not come, until the service is gone or its node is closed.
pub(super) async fn look(desk: Weak<Desk>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut came = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match desk.upgrade() {
            Some(desk) => came = desk.look(came),
            None => return,
        }
    }
}

//! What a node keeps of what it publishes, for those who join late.
//!
//! The engine is the core's [`Keeper`]: one for all publishers of a node. A joiner asks over a socket of
//! its own, and gets what is kept there, while what is published meanwhile comes over the bus.
//!
//! Invariant: a message is numbered and published under one lock, so that the bus has the order of the
//! numbers.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use withy_proto::bus::Publication;
use withy_proto::bus::keeper::{Answer, Keeper};
use withy_proto::bus::replay::{Limits, Replay};
use withy_proto::bus::retained::Retained;
use withy_proto::bus::snapshot::Ask;
use withy_proto::pattern::PipeKey;
use withy_proto::{Message, SocketType};

use super::super::guard::Permitted;
use super::super::shared::Shared;
use crate::driver::core::Core;
use crate::driver::resources::Guard;
use crate::event::Reason;
use crate::socket::Owner;

/// The resource of the socket over which joiners ask.
pub(in crate::node) const RESOURCE: &str = "history";

/// The property of a publisher's service that says that there is one.
pub(in crate::node) const PROPERTY: &str = "history";

/// How often what has expired is let go.
const SWEEP: Duration = Duration::from_secs(1);

/// What a node keeps of what it publishes. Default: the last value of each topic that is published to be
/// retained, of 10,000 topics and 16 MiB at most, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// The last messages of each topic.
    pub replay: Limits,
    /// The last values of topics that are published to be retained.
    pub retained: Limits,
}

impl Default for History {
    fn default() -> Self {
        Self {
            replay: Limits::NOTHING,
            retained: Limits::default(),
        }
    }
}

impl History {
    /// The last `messages` of each topic, and the retained values.
    pub fn last(messages: usize) -> Self {
        Self {
            replay: Limits {
                per_topic: messages,
                ..Limits::default()
            },
            ..Self::default()
        }
    }
}

/// A history that is kept, and the socket of those who ask.
#[derive(Debug)]
pub(in crate::node) struct Kept {
    keeper: Mutex<Keeper>,
    started: Instant,
    socket: Owner,
}

impl Kept {
    /// Begins to keep what a node publishes on a socket.
    pub(in crate::node) fn start(shared: &Shared, history: History, bus: &Owner) -> Arc<Self> {
        let us = shared.identity.id();
        let guard = Permitted::to_use(us, &shared.trust, super::Kind::Publisher, RESOURCE);
        let guard: Arc<dyn Guard> = Arc::new(guard);
        let mut options = shared.options();
        options.remember_departed = true;
        let socket = shared.socket(SocketType::Dealer, options);
        let named = shared
            .resources
            .insert(RESOURCE, socket.core(), Arc::clone(&guard));
        debug_assert!(named.is_ok(), "nobody else uses this name");
        let kept = Arc::new(Self {
            keeper: Mutex::new(Keeper::new(
                shared.identity.node(),
                Replay::new(history.replay),
                Retained::new(history.retained),
            )),
            started: Instant::now(),
            socket,
        });
        let serving = serve(
            Arc::downgrade(&kept),
            bus.clone(),
            guard,
            shared.stop.clone(),
        );
        shared.spawn(serving);
        kept
    }

    /// Numbers a message, keeps it, and publishes it.
    pub(super) fn publish(&self, mut publication: Publication, bus: &Core) -> bool {
        let mut keeper = self.keeper.lock();
        keeper.publish(&mut publication, self.started.elapsed());
        bus.try_send(&mut Message::from(publication)).is_ok()
    }

    /// Answers a question: the mark over the bus now, the snapshot piece by piece.
    fn answer(self: &Arc<Self>, ask: &Ask, key: PipeKey, bus: &Core) -> Option<Message> {
        let mut keeper = self.keeper.lock();
        match keeper.handle_ask(key.generation(), ask) {
            Answer::Busy(reply) => Some(reply.into()),
            Answer::Mark(mark) => {
                // A joiner that does not get it asks again.
                let _ = bus.try_send(&mut Message::from(*mark));
                None
            }
        }
    }

    /// Sends a joiner its snapshot, at its pace.
    async fn give(self: Arc<Self>, key: PipeKey) {
        let core = self.socket.core();
        loop {
            let now = self.started.elapsed();
            let reply = self.keeper.lock().poll_reply(key.generation(), now);
            let Some(reply) = reply else {
                return;
            };
            let mut message = Message::from(reply);
            let send = |core: &Core, message: &mut Message| core.try_send_to(key, message);
            if core.send_when_room(&mut message, send).await.is_err() {
                return self.keeper.lock().forget(key.generation());
            }
        }
    }
}

/// Answers joiners for as long as the history is kept.
async fn serve(
    kept: Weak<Kept>,
    bus: Owner,
    guard: Arc<dyn Guard>,
    stop: tokio_util::sync::CancellationToken,
) {
    let Some(socket) = kept.upgrade().map(|kept| kept.socket.clone()) else {
        return;
    };
    let core = socket.core();
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            _ = sweep.tick() => None,
            asked = socket.recv_from() => match asked {
                Ok(asked) => Some(asked),
                Err(_) => return,
            },
        };
        let Some(kept) = kept.upgrade() else {
            return;
        };
        let Some((message, key)) = asked else {
            kept.keeper.lock().handle_timeout(kept.started.elapsed());
            continue;
        };
        let key = key.0;
        let ask = match Ask::try_from(message) {
            Ok(ask) => ask,
            Err(error) => {
                core.close_link(key, Reason::Application(error.to_string()));
                continue;
            }
        };
        let sender = core.sender(key);
        let proven = sender.as_ref().and_then(|peer| peer.proven.as_ref());
        if !guard.may_subscribe(proven.map(|it| &it.shown), ask.filter.as_octets()) {
            core.close_link(key, Reason::NotPermitted);
            continue;
        }
        match kept.answer(&ask, key, bus.core()) {
            Some(mut busy) => drop(core.try_send_to(key, &mut busy)),
            None => drop(tokio::spawn(Arc::clone(&kept).give(key))),
        }
    }
}

//! The task that keeps a queue: it moves what peers, the store, the clock and the records of other nodes
//! say into the [engine](withy_proto::queue::Keeper), and what the engine says to peers and disk.
//!
//! ```text
//!            nobody keeps it, or it was asked to        nobody objected, and it is stored
//!  Aside ────────────────────────────────────> Claiming ────────────────────────> Holding
//!    ^  hands on what it has                       │                                │
//!    └─────────────────────────────────────────────┴────────────────────────────────┘
//!                          another node's record has a higher epoch
//! ```
//!
//! Invariant: the record of this node says that it keeps the queue exactly while it claims or holds it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use withy_discovery::Kind;
use withy_proto::Message;
use withy_proto::pattern::PipeKey;
use withy_proto::pattern::outgoing::NotSent;
use withy_proto::queue::{Command, Keeper as Engine, MAX_CREDIT, PeerId, WINDOW};

use super::client::{LINGER, News, socket};
use super::error::KeepError;
use super::heir::Heir;
use super::keeper::{Kept, STORE_LINGER};
use super::offers::{Said, highest_epoch};
use super::peer::Peer;
use super::tenure::is_aside;
use super::writer::{Writer, Written};
use super::{TURN, deadline, now};
use crate::driver::send::Rejected;
use crate::event::Reason;
use crate::node::guard::Permitted;
use crate::node::offer::Offer;
use crate::node::shared::Shared;
use crate::socket::Owner;

/// Commands that wait for one peer beyond what its link takes, at most; one that leaves more unread is
/// disconnected. As many as it may have asked for.
pub const MAX_UNREAD: usize = MAX_CREDIT as usize + WINDOW as usize;

/// Commands that are sent before anything else is done.
const SENDS: usize = 4_096;

/// The task of a keeper.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) shared: Arc<Shared>,
    pub(super) kept: Arc<Kept>,
    pub(super) socket: Owner,
    /// Whether it keeps the queue when it is empty, too.
    pub(super) is_asked: bool,
    pub(super) offer: Option<(Said, Offer)>,
    pub(super) offer_after: Duration,
    peers: BTreeMap<PeerId, Peer>,
    permitted: Permitted,
    /// What the links of some peers have no room for.
    waiting: BTreeMap<PeerId, VecDeque<Message>>,
    pub(super) writer: Option<Writer>,
    pub(super) heir: Option<Heir>,
    news: News,
    is_news: bool,
    /// Who else says to keep the queue, in the highest epoch.
    pub(super) other: Option<Said>,
    /// Since when nobody does.
    pub(super) absent_since: Option<Duration>,
    pub(super) rumour_after: Duration,
}

/// What woke the task.
enum Woken {
    Stop,
    News,
    Heard(Message, PipeKey),
    Written(Option<Written>),
    Inherited(Option<Command>),
    HeirNews,
    Other,
}

impl Keeping {
    /// Claims the queue.
    pub(super) fn new(
        shared: &Arc<Shared>,
        kept: &Arc<Kept>,
        writer: Option<Writer>,
        is_asked: bool,
    ) -> Result<Self, KeepError> {
        let socket = socket(shared);
        let mut keeping = Self {
            news: News::new(shared, socket.core()),
            shared: Arc::clone(shared),
            kept: Arc::clone(kept),
            socket,
            is_asked,
            offer: None,
            offer_after: Duration::ZERO,
            peers: BTreeMap::new(),
            permitted: Permitted::to_use(
                shared.identity.id(),
                &shared.trust,
                Kind::Queue,
                kept.queue.as_str(),
            ),
            waiting: BTreeMap::new(),
            writer,
            heir: None,
            is_news: true,
            other: shared.keepers(&kept.queue, false).pop(),
            absent_since: None,
            rumour_after: Duration::ZERO,
        };
        let time = now();
        let mut engine = kept.engine.lock();
        if let Some(other) = keeping.other {
            engine.observe(other.epoch, time);
        }
        keeping.claim(&mut engine, time)?;
        keeping.say(&engine)?;
        drop(engine);
        Ok(keeping)
    }

    pub(super) async fn run(mut self) {
        loop {
            let core = Arc::clone(self.socket.core());
            let mut room = std::pin::pin!(core.room.notified());
            room.as_mut().enable();
            let due = self.settle();
            if self.is_over() {
                break;
            }
            let woken = {
                let Self {
                    kept,
                    socket,
                    writer,
                    heir,
                    news,
                    ..
                } = &mut self;
                tokio::select! {
                    () = kept.stop.cancelled() => Woken::Stop,
                    () = kept.work.notified() => Woken::Other,
                    () = news.changed() => Woken::News,
                    Ok((message, key)) = socket.recv_from() => Woken::Heard(message, key.0),
                    written = written(writer) => Woken::Written(written),
                    woken = inherited(heir) => woken,
                    () = room => Woken::Other,
                    () = deadline(due) => Woken::Other,
                }
            };
            match woken {
                Woken::Stop => break,
                Woken::News => self.is_news = true,
                Woken::Heard(message, key) => self.hear(message, key),
                Woken::Written(written) => self.finish_write(written),
                Woken::Inherited(Some(command)) => {
                    self.heir
                        .iter_mut()
                        .for_each(|it| it.heard(command.clone()));
                }
                Woken::HeirNews => self.heir.iter_mut().for_each(|it| it.is_news = true),
                Woken::Inherited(None) | Woken::Other => {}
            }
        }
        self.end().await;
    }

    /// Whether nobody needs it any more: another node keeps the queue, and has all of it but the dead
    /// letters, which stay where they died until they are taken.
    fn is_over(&self) -> bool {
        let engine = self.kept.engine.lock();
        let queue = engine.queue();
        !self.is_asked && is_aside(&engine) && queue.is_empty() && queue.dead() == 0
    }

    /// Does everything that is to be done now, and says when there is more.
    fn settle(&mut self) -> Option<Duration> {
        // What links brought before they ended counts: so they are looked at before all is read.
        let links = std::mem::take(&mut self.is_news).then(|| self.socket.core().links());
        let all = self.take();
        let time = now();
        if let Some(links) = links {
            self.other = self.shared.keepers(&self.kept.queue, false).pop();
            self.heir.iter_mut().for_each(|it| it.is_news = true);
            self.look_at_permissions(time);
            if all {
                self.forget_lost(&links, time);
            } else {
                self.is_news = true;
            }
        }
        let kept = Arc::clone(&self.kept);
        let mut engine = kept.engine.lock();
        engine.handle_timeout(time);
        let ruled = self.rule(&mut engine, time);
        if let Some(writer) = &mut self.writer {
            writer.start(&mut engine, time);
        }
        let mut handed = None;
        if is_aside(&engine) && !engine.queue().is_empty() && self.other.is_some() {
            let Self {
                shared,
                kept,
                heir,
                other,
                ..
            } = self;
            let heir = heir.get_or_insert_with(|| Heir::new(shared, &kept.queue));
            handed = heir.settle(engine.queue_mut(), *other, time);
        }
        let sent = self.send(&mut engine, time);
        if engine.queue().dead() > 0 {
            self.kept.dead.notify_waiters();
        }
        let held = engine.held().is_some();
        self.kept
            .held
            .send_if_modified(|was| std::mem::replace(was, held) != held);
        let retry = self.writer.as_ref().and_then(Writer::next_timeout);
        let dues = [engine.next_timeout(), retry, handed, ruled];
        let due = dues.into_iter().flatten().min();
        if all && sent { due } else { Some(time) }
    }

    /// Takes in what came over the links; whether that is all.
    fn take(&mut self) -> bool {
        for _ in 0..TURN {
            match self.socket.try_recv_from() {
                Ok((message, key)) => self.hear(message, key.0),
                Err(_) => return true,
            }
        }
        false
    }

    fn hear(&mut self, mut message: Message, key: PipeKey) {
        let (id, time, queue) = (PeerId(key.number()), now(), &self.kept.queue);
        let core = self.socket.core();
        let peer = self.peers.remove(&id);
        let Some(mut peer) = peer.or_else(|| Some(Peer::new(key, core.peer(key)?))) else {
            // Its link came and went before anybody looked: what it put was not accepted.
            return;
        };
        // The routing id that the socket put there.
        message.pop_front();
        let mut engine = self.kept.engine.lock();
        let done = match Command::decode(message) {
            // It would hide what others know.
            Ok(command) if command.epoch().number() > highest_epoch() => {
                Err(told("an epoch that no clock has come to"))
            }
            Ok(command) if !peer.may(&command, &self.permitted, queue) => Err(Reason::NotPermitted),
            Ok(command) => engine.handle(id, command, time).map_err(told),
            Err(error) => Err(told(error)),
        };
        match done {
            Ok(()) => {
                self.peers.insert(id, peer);
            }
            Err(reason) => {
                tracing::warn!(%queue, %reason, "a queue's peer is let go");
                let counter = match reason {
                    Reason::NotPermitted => &self.kept.denied,
                    _ => &self.kept.misused,
                };
                counter.fetch_add(1, Ordering::Relaxed);
                core.close_link(key, reason);
                engine.lost(id, time);
            }
        }
    }

    /// Lets those go who may not do what they do any more.
    fn look_at_permissions(&mut self, time: Duration) {
        let Self {
            kept,
            permitted,
            peers,
            socket,
            ..
        } = self;
        let mut engine = kept.engine.lock();
        peers.retain(|id, peer| {
            let stays = peer.still_may(permitted, &kept.queue);
            if !stays {
                kept.denied.fetch_add(1, Ordering::Relaxed);
                socket.core().close_link(peer.key, Reason::NotPermitted);
                engine.lost(*id, time);
            }
            stays
        });
    }

    /// Forgets peers whose links are gone.
    fn forget_lost(&mut self, links: &[(PipeKey, Arc<crate::event::PeerInfo>)], time: Duration) {
        let there: BTreeSet<PeerId> = links.iter().map(|(key, _)| PeerId(key.number())).collect();
        let mut engine = self.kept.engine.lock();
        let waiting = &mut self.waiting;
        self.peers.retain(|peer, _| {
            let stays = there.contains(peer);
            if !stays {
                engine.lost(*peer, time);
                waiting.remove(peer);
            }
            stays
        });
    }

    /// Sends what there is to be sent; whether that is all.
    fn send(&mut self, engine: &mut Engine, time: Duration) -> bool {
        let core = self.socket.core();
        let Self { peers, waiting, .. } = self;
        waiting.retain(|peer, messages| {
            let Some(peer) = peers.get(peer) else {
                return false;
            };
            while let Some(message) = messages.front_mut() {
                if is_full(core.try_send_to(peer.key, message)) {
                    return true;
                }
                messages.pop_front();
            }
            false
        });
        for _ in 0..SENDS {
            let Some((peer, command)) = engine.poll_transmit(time) else {
                return true;
            };
            let Some(key) = peers.get(&peer).map(|it| it.key) else {
                continue;
            };
            let mut message = command.encode();
            if let Some(messages) = waiting.get_mut(&peer) {
                messages.push_back(message);
                if messages.len() > MAX_UNREAD {
                    self.kept.unread.fetch_add(1, Ordering::Relaxed);
                    core.close_link(key, Reason::Overflow);
                    waiting.remove(&peer);
                    peers.remove(&peer);
                    engine.lost(peer, time);
                }
            } else if is_full(core.try_send_to(key, &mut message)) {
                waiting.insert(peer, VecDeque::from([message]));
            }
        }
        false
    }

    fn finish_write(&mut self, written: Option<Written>) {
        let mut engine = self.kept.engine.lock();
        if let Some(writer) = &mut self.writer {
            writer.finish(written, &mut engine, now());
            let trouble = writer.error().map(ToString::to_string);
            *self.kept.trouble.lock() = trouble;
        }
    }

    /// Keeps the queue no more: what is said and done so far is written down and sent.
    async fn end(mut self) {
        self.offer = None;
        self.settle_last().await;
        if let Some(heir) = self.heir {
            heir.client.finish().await;
        }
        let core = self.socket.core();
        core.start_closing();
        core.finish_closing(LINGER).await;
        // The store is closed before anybody hears so.
        drop(self.writer);
        self.kept.held.send_replace(false);
        self.kept.over.cancel();
    }

    async fn settle_last(&mut self) {
        let last = async {
            loop {
                self.take();
                {
                    let kept = Arc::clone(&self.kept);
                    let mut engine = kept.engine.lock();
                    let time = now();
                    if let Some(writer) = &mut self.writer {
                        writer.start(&mut engine, time);
                    }
                    self.send(&mut engine, time);
                }
                match &mut self.writer {
                    Some(writer) if writer.is_writing() => {
                        let written = writer.written().await;
                        self.finish_write(written);
                    }
                    _ => break,
                }
            }
        };
        _ = tokio::time::timeout(STORE_LINGER, last).await;
    }
}

fn told(error: impl ToString) -> Reason {
    Reason::Application(error.to_string())
}

fn is_full(sent: Result<(), Rejected>) -> bool {
    // A peer that is gone is forgotten as soon as its link is.
    matches!(sent, Err(Rejected::NotSent(NotSent::Full)))
}

async fn written(writer: &mut Option<Writer>) -> Option<Written> {
    match writer {
        Some(writer) => writer.written().await,
        None => std::future::pending().await,
    }
}

async fn inherited(heir: &mut Option<Heir>) -> Woken {
    let Some(heir) = heir else {
        return std::future::pending().await;
    };
    let Heir { client, news, .. } = heir;
    let core = Arc::clone(client.core());
    tokio::select! {
        command = client.recv() => Woken::Inherited(command),
        () = news.changed() => Woken::HeirNews,
        () = core.room.notified() => Woken::Other,
    }
}

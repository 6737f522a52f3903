//! A queue that this node keeps: the handle, and what it shares with the task.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use withy_proto::queue::{Counts, DeadId, DeadLetter, Epoch, Keeper as Engine, Queue, QueueName};

use super::error::KeepError;
use super::keeping::Keeping;
use super::writer::Writer;
use super::{MAX_PUT, QueueOptions};
use crate::error::Closed;
use crate::node::shared::Shared;
use crate::node::{NameError, Node};
use crate::store::{Log, Store};

/// What the handles and the task of a keeper share.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) queue: QueueName,
    pub(super) engine: Mutex<Engine>,
    /// The task has something to do.
    pub(super) work: Notify,
    /// There may be a dead letter.
    pub(super) dead: Notify,
    /// Whether this node is the keeper now.
    pub(super) held: watch::Sender<bool>,
    /// What the store last said, if it takes nothing.
    pub(super) trouble: Mutex<Option<String>>,
    /// Peers that left too much unread.
    pub(super) unread: AtomicU64,
    /// Peers that did what they may not.
    pub(super) denied: AtomicU64,
    /// Peers that broke the rules.
    pub(super) misused: AtomicU64,
    pub(super) stop: CancellationToken,
    /// The task has ended.
    pub(super) over: CancellationToken,
}

impl Kept {
    fn new(shared: &Shared, queue: Queue) -> Arc<Self> {
        Arc::new(Self {
            queue: queue.name().clone(),
            engine: Mutex::new(Engine::new(shared.identity.node(), queue)),
            work: Notify::new(),
            dead: Notify::new(),
            held: watch::Sender::new(false),
            trouble: Mutex::default(),
            unread: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            misused: AtomicU64::new(0),
            stop: shared.stop.child_token(),
            over: CancellationToken::new(),
        })
    }

    /// Keeps a queue in memory since nobody does, for as long as the node lives.
    pub(super) fn born(
        shared: &Arc<Shared>,
        queue: &QueueName,
        options: QueueOptions,
    ) -> Result<Arc<Self>, KeepError> {
        shared.check_name(queue.as_str())?;
        tracing::info!(%queue, "nobody keeps a queue, so this node does, in memory");
        let kept = Self::new(shared, Queue::new(queue.clone(), in_memory(options)));
        let keeping = Keeping::new(shared, &kept, None, false)?;
        shared.spawn(keeping.run());
        Ok(kept)
    }
}

fn in_memory(options: QueueOptions) -> QueueOptions {
    QueueOptions {
        durable: false,
        ..within(options)
    }
}

/// What no link takes is not to be accepted.
fn within(options: QueueOptions) -> QueueOptions {
    QueueOptions {
        max_message: options.max_message.min(MAX_PUT),
        ..options
    }
}

/// A queue that this node keeps. It is made by [`Node::keep_queue`]; a clone is another handle. When the
/// last one goes, the node keeps the queue no more: what is in memory is lost, what is in a store stays
/// there.
#[derive(Debug, Clone)]
pub struct QueueKeeper(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    kept: Arc<Kept>,
    /// Whether the queue is kept for this handle.
    owns: bool,
    _node: Node,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.owns {
            self.kept.stop.cancel();
        }
    }
}

/// What a keeper has and did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Messages that are neither acked nor dead.
    pub messages: usize,
    /// Their octets, as limits count them.
    pub octets: usize,
    /// Jobs that are with workers.
    pub open: usize,
    /// Dead letters that are kept.
    pub dead: usize,
    /// What was done since it is kept here.
    pub counts: Counts,
    /// Commands of peers that went by another epoch, and were not done.
    pub fenced: u64,
    /// Peers that were disconnected since they left too much unread.
    pub unread: u64,
    /// Peers that were disconnected since permissions do not let them put, or take.
    pub denied: u64,
    /// Peers that were disconnected since they broke the rules of the queue's protocol.
    pub misused: u64,
    /// Why the store takes nothing, if so: puts are refused until it does.
    pub trouble: Option<String>,
}

impl QueueKeeper {
    pub(super) async fn open(
        node: &Node,
        name: QueueName,
        options: QueueOptions,
        store: Store,
    ) -> Result<Self, KeepError> {
        let shared = node.shared();
        shared.check_name(name.as_str())?;
        let (queue, log) = match store {
            Store::Memory => (Queue::new(name, in_memory(options)), None),
            Store::Folder(path) => {
                let open = move || Log::open(&path, &name, within(options));
                let opened = shared.runtime.spawn_blocking(open).await;
                let (log, queue) = opened.map_err(|_| NameError::Closed)??;
                (queue, Some(log))
            }
        };
        let writer = log.map(|log| Writer::new(shared.runtime.clone(), log));
        let kept = Kept::new(shared, queue);
        let keeping = Keeping::new(shared, &kept, writer, true)?;
        shared.spawn(keeping.run());
        Ok(Self(Arc::new(Handle {
            kept,
            owns: true,
            _node: node.clone(),
        })))
    }

    /// A handle of what is kept without it.
    pub(super) fn shown(kept: Arc<Kept>, node: Node) -> Self {
        Self(Arc::new(Handle {
            kept,
            owns: false,
            _node: node,
        }))
    }

    /// The queue's name.
    pub fn name(&self) -> &QueueName {
        &self.0.kept.queue
    }

    /// The epoch in which this node keeps the queue, if it does now.
    pub fn held(&self) -> Option<Epoch> {
        self.0.kept.engine.lock().held()
    }

    /// Waits until this node keeps the queue.
    ///
    /// # Errors
    /// It will not, since it was closed.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn wait_held(&self) -> Result<(), Closed> {
        let mut held = self.0.kept.held.subscribe();
        tokio::select! {
            Ok(_) = held.wait_for(|held| *held) => Ok(()),
            () = self.0.kept.over.cancelled() => Err(Closed),
        }
    }

    /// What it has and did.
    pub fn stats(&self) -> QueueStats {
        let kept = &self.0.kept;
        let engine = kept.engine.lock();
        let queue = engine.queue();
        QueueStats {
            messages: queue.len(),
            octets: queue.octets(),
            open: queue.open(),
            dead: queue.dead(),
            counts: queue.counts(),
            fenced: engine.fenced(),
            unread: kept.unread.load(Ordering::Relaxed),
            denied: kept.denied.load(Ordering::Relaxed),
            misused: kept.misused.load(Ordering::Relaxed),
            trouble: kept.trouble.lock().clone(),
        }
    }

    /// The next dead letter, each once. It is kept until it is [taken](Self::take_dead); a queue in a
    /// store shows again what was not, when it is opened again.
    ///
    /// # Errors
    /// The queue is kept no more.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call showed none.
    pub async fn next_dead(&self) -> Result<DeadLetter, Closed> {
        loop {
            let dead = self.0.kept.dead.notified();
            if let Some(letter) = self.try_next_dead() {
                return Ok(letter);
            }
            tokio::select! {
                () = dead => {}
                () = self.0.kept.over.cancelled() => return Err(Closed),
            }
        }
    }

    /// As [`next_dead`](Self::next_dead), if one is there.
    pub fn try_next_dead(&self) -> Option<DeadLetter> {
        self.0.kept.engine.lock().queue_mut().poll_dead()
    }

    /// The dead letters that are kept, in the order in which they were put, from after one on, and so many
    /// at most. They stay, and [`next_dead`](Self::next_dead) shows them all the same.
    pub fn dead_letters(&self, after: Option<DeadId>, most: usize) -> Vec<DeadLetter> {
        let engine = self.0.kept.engine.lock();
        engine.queue().dead_letters(after).take(most).collect()
    }

    /// A dead letter was put where it belongs, or is not wanted. Returns whether it was there.
    pub fn take_dead(&self, letter: DeadId) -> bool {
        let taken = self.0.kept.engine.lock().queue_mut().dead_taken(letter);
        self.0.kept.work.notify_one();
        taken
    }

    /// Keeps the queue no more, and waits until the store, if there is one, has all and is closed.
    ///
    /// # Cancel safety
    /// A cancelled call closes all the same.
    pub async fn close(self) {
        self.0.kept.stop.cancel();
        self.0.kept.over.cancelled().await;
    }
}

/// How long a keeper that ends waits for its store.
pub(super) const STORE_LINGER: Duration = Duration::from_secs(5);

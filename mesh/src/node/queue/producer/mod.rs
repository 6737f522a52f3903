//! The side that puts messages into a queue.
//!
//! A task moves what the [engine](withy_proto::queue::producer) has to say over the link, and tells
//! those who wait what became of their messages. Where nobody keeps the queue, it makes this node the
//! keeper.
//!
//! Invariant: who waits for a message hears once what became of it.

mod task;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use withy_proto::crypto::Randomness as _;
use withy_proto::queue::producer::{DEFAULT_WINDOW, Event, Push};
use withy_proto::queue::{Producer as Engine, ProducerId, QueueName};

use self::task::Task;
use super::client::Client;
use super::error::PutError;
use super::keeper::Kept;
use super::{MAX_PUT, Put, QueueKeeper, QueueOptions, now};
use crate::Message;
use crate::driver::handshake::OsRandomness;
use crate::node::{NameError, Node};

/// How long a producer looks for a keeper before its node becomes one.
pub const KEEPER_WAIT: Duration = Duration::from_secs(1);

/// The options of a [`Producer`].
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// Messages that are under way at one time, up to [`WINDOW`](withy_proto::queue::WINDOW); who puts
    /// more waits. Default 256.
    pub window: usize,
    /// How this node keeps the queue if nobody does for [`KEEPER_WAIT`], in memory. `None`: it never
    /// does, and messages wait. Default: with default options. A producer that has seen the queue kept
    /// in a store waits for that one, whatever this says.
    pub keep: Option<QueueOptions>,
    /// Goes on as a producer that is gone: under its [id](Producer::id), with the number of the first
    /// message that it did not see accepted. Put the same messages in the same order from there on:
    /// those that the keeper has are accepted, and not queued again.
    pub resume: Option<(ProducerId, u64)>,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            window: DEFAULT_WINDOW,
            keep: Some(QueueOptions::default()),
            resume: None,
        }
    }
}

type Outcome = Result<(), PutError>;

/// Puts messages into a queue that acknowledges them. It is made by
/// [`Node::producer`](crate::Node::producer); a clone is another handle of the same producer.
#[derive(Debug, Clone)]
pub struct Producer(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    state: Arc<State>,
    _node: Node,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.state.inner.lock().is_dropped = true;
        self.state.work.notify_one();
    }
}

/// What the handles and the task share.
#[derive(Debug)]
struct State {
    inner: Mutex<Inner>,
    /// The task has something to do.
    work: Notify,
    /// There may be room for another message.
    room: Notify,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    waiting: BTreeMap<u64, oneshot::Sender<Outcome>>,
    /// What this node keeps, since nobody else did.
    kept: Option<Arc<Kept>>,
    is_dropped: bool,
    is_closed: bool,
}

impl Producer {
    pub(super) fn new(
        node: &Node,
        queue: QueueName,
        options: ProducerOptions,
    ) -> Result<Self, NameError> {
        let shared = node.shared();
        shared.check_name(queue.as_str())?;
        let engine = match options.resume {
            Some((id, next)) => Engine::resuming(id, next, options.window),
            None => Engine::new(fresh_id(), options.window),
        };
        let state = Arc::new(State {
            inner: Mutex::new(Inner {
                engine,
                waiting: BTreeMap::new(),
                kept: None,
                is_dropped: false,
                is_closed: false,
            }),
            work: Notify::new(),
            room: Notify::new(),
        });
        let client = Client::new(shared, &queue);
        let task = Task::new(shared, &state, client, queue, options.keep);
        shared.spawn(task.run(Arc::clone(shared)));
        let node = node.clone();
        Ok(Self(Arc::new(Handle { state, _node: node })))
    }

    /// Puts a message, and waits until the keeper has it: in its memory, or on its disk where it has a
    /// [store](crate::store::Store).
    ///
    /// # Errors
    /// It was not accepted; it comes back unless nobody knows what became of it.
    ///
    /// # Cancel safety
    /// A cancelled call took the message and puts it all the same, or did not take it.
    pub async fn put(&self, message: impl Into<Message>) -> Result<(), PutError> {
        let message = message.into();
        self.send(Put {
            message,
            ..Put::default()
        })
        .await
    }

    /// As [`put`](Self::put), with a TTL, a priority, or the flag that it may have come before.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    ///
    /// # Cancel safety
    /// As [`put`](Self::put).
    pub async fn send(&self, put: Put) -> Result<(), PutError> {
        self.start(put).await?.await
    }

    /// Takes a message to be put once there is room for it under way, and does not wait until it is
    /// accepted: the returned future does. Messages are put in the order in which they were taken.
    ///
    /// # Errors
    /// It was not taken.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call took no message.
    pub async fn start(&self, put: Put) -> Result<Putting, PutError> {
        if put.message.size() > MAX_PUT || put.message.len() > withy_proto::queue::MAX_FRAMES {
            return Err(PutError::TooLarge { put: Box::new(put) });
        }
        let state = &self.0.state;
        let mut push = put;
        loop {
            let room = state.room.notified();
            match state.push(push) {
                Ok((number, outcome)) => {
                    state.work.notify_one();
                    return Ok(Putting {
                        number,
                        outcome,
                        _producer: self.clone(),
                    });
                }
                Err(Ok(back)) => push = back,
                Err(Err(error)) => return Err(error),
            }
            room.await;
        }
    }

    /// What this producer is known by to keepers. It is drawn anew for each, and tells them which
    /// messages are the same: keep it to yourself.
    pub fn id(&self) -> ProducerId {
        self.0.state.inner.lock().engine.id()
    }

    /// Messages whose acceptance was not heard of yet.
    pub fn unconfirmed(&self) -> usize {
        self.0.state.inner.lock().engine.unconfirmed()
    }

    /// Messages that were put again, since an answer did not come.
    pub fn resent(&self) -> u64 {
        self.0.state.inner.lock().engine.resent()
    }

    /// The queue as this node keeps it, if it came to that because nobody else did.
    pub fn keeper(&self) -> Option<QueueKeeper> {
        let kept = self.0.state.inner.lock().kept.clone()?;
        Some(QueueKeeper::shown(kept, self.0._node.clone()))
    }
}

/// An id that nobody else has.
pub(super) fn fresh_id() -> ProducerId {
    let mut id = [0; 16];
    OsRandomness.fill(&mut id);
    ProducerId(id)
}

impl State {
    /// Takes a message; or gives it back if there is no room.
    #[allow(clippy::type_complexity, reason = "it has one caller, beside it")]
    fn push(
        &self,
        push: Push,
    ) -> Result<(u64, oneshot::Receiver<Outcome>), Result<Push, PutError>> {
        let mut inner = self.inner.lock();
        if inner.is_closed {
            let put = Box::new(push);
            return Err(Err(PutError::Closed { put }));
        }
        let number = inner.engine.push(push, now()).map_err(Ok)?;
        let (sender, outcome) = oneshot::channel();
        inner.waiting.insert(number, sender);
        if inner.engine.has_room() {
            self.room.notify_one();
        }
        Ok((number, outcome))
    }

    fn tell(&self, inner: &mut Inner) {
        while let Some(event) = inner.engine.poll_event() {
            let (sequence, outcome) = match event {
                Event::Accepted { sequence } => (sequence, Ok(())),
                Event::Refused {
                    sequence,
                    refusal,
                    push,
                } => {
                    let put = Box::new(push);
                    (sequence, Err(PutError::Refused { refusal, put }))
                }
            };
            if let Some(waiting) = inner.waiting.remove(&sequence) {
                // Nobody may wait any more.
                _ = waiting.send(outcome);
            }
            self.room.notify_one();
        }
    }
}

/// A message that is being put. It resolves when the keeper has accepted or refused it; dropped, it
/// is put all the same.
#[derive(Debug)]
#[must_use = "whether the message was accepted is known when this is awaited"]
pub struct Putting {
    number: u64,
    outcome: oneshot::Receiver<Outcome>,
    _producer: Producer,
}

impl Putting {
    /// The message's number among all of the producer's, for [`ProducerOptions::resume`].
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Future for Putting {
    type Output = Result<(), PutError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = Pin::new(&mut self.outcome).poll(context);
        outcome.map(|outcome| outcome.unwrap_or(Err(PutError::Unknown)))
    }
}

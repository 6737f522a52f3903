//! The side that takes messages from a queue and works on them.
//!
//! Invariant: no more jobs are here than the credit says, and each that is not closed comes again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use withy_proto::queue::worker::Work;
use withy_proto::queue::{Command, Nack, QueueName, Worker as Engine};

use super::client::{Change, Client, News};
use super::job::Job;
use super::{TURN, deadline};
use crate::error::ReceiveError;
use crate::node::shared::Shared;
use crate::node::{NameError, Node};

/// Jobs that a worker has at a time, unless it is told otherwise.
pub const DEFAULT_CREDIT: u32 = 32;

/// Takes messages from a queue that acknowledges them. It is made by
/// [`Node::worker`](crate::Node::worker); a clone is another handle of the same worker.
///
/// When the last handle goes, what nobody received goes back to the queue, and jobs that are open can
/// still be acked.
#[derive(Debug, Clone)]
pub struct Worker(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    state: Arc<State>,
    node: Node,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut inner = self.state.inner.lock();
        inner.is_dropped = true;
        inner.give_back();
        drop(inner);
        self.state.work.notify_one();
    }
}

/// What handles, jobs and the task share.
#[derive(Debug)]
pub(super) struct State {
    inner: Mutex<Inner>,
    /// The task has something to do.
    work: Notify,
    /// There is a job.
    arrived: Notify,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    /// Jobs that nobody received yet; at most as many as the credit.
    jobs: VecDeque<Work>,
    /// No job is wanted any more.
    is_dropped: bool,
    is_closed: bool,
}

impl Worker {
    pub(super) fn new(node: &Node, queue: QueueName, credit: u32) -> Result<Self, NameError> {
        let shared = node.shared();
        shared.check_name(queue.as_str())?;
        let state = Arc::new(State {
            inner: Mutex::new(Inner {
                engine: Engine::new(credit),
                jobs: VecDeque::new(),
                is_dropped: false,
                is_closed: false,
            }),
            work: Notify::new(),
            arrived: Notify::new(),
        });
        let client = Client::new(shared, &queue);
        let task = Task {
            news: News::new(shared, client.core()),
            state: Arc::clone(&state),
            client,
            is_news: true,
        };
        shared.spawn(task.run(Arc::clone(shared)));
        let node = node.clone();
        Ok(Self(Arc::new(Handle { state, node })))
    }

    /// Receives the next job. It waits for ever if there never is one; put a timeout around it.
    ///
    /// # Errors
    /// The node is closed.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call took no job.
    pub async fn recv(&self) -> Result<Job, ReceiveError> {
        loop {
            let arrived = self.0.state.arrived.notified();
            match self.try_recv() {
                Err(ReceiveError::Empty) => arrived.await,
                received => return received,
            }
        }
    }

    /// Receives a job if one is here.
    ///
    /// # Errors
    /// None is here, or the node is closed.
    pub fn try_recv(&self) -> Result<Job, ReceiveError> {
        let state = &self.0.state;
        let mut inner = state.inner.lock();
        let work = inner.next().ok_or(match inner.is_closed {
            true => ReceiveError::Closed,
            false => ReceiveError::Empty,
        })?;
        if !inner.jobs.is_empty() {
            // Others may wait, too.
            state.arrived.notify_one();
        }
        drop(inner);
        Ok(Job::new(work, Arc::clone(state), self.0.node.clone()))
    }

    /// Jobs that are here: received and not closed, or not received yet.
    pub fn open(&self) -> usize {
        self.0.state.inner.lock().engine.open()
    }

    /// What came from keepers that are keepers no more, and did not count.
    pub fn stale(&self) -> u64 {
        self.0.state.inner.lock().engine.stale()
    }
}

impl Inner {
    /// The next job that counts. Those of a keeper, or a link, that is gone come again.
    fn next(&mut self) -> Option<Work> {
        while let Some(work) = self.jobs.pop_front() {
            if self.engine.is_open(work.id) {
                return Some(work);
            }
        }
        None
    }

    fn forget_stale(&mut self) {
        let Self { engine, jobs, .. } = self;
        jobs.retain(|work| engine.is_open(work.id));
    }

    /// Gives back what nobody received.
    fn give_back(&mut self) {
        while let Some(work) = self.next() {
            _ = self.engine.nack(work.id, Nack::Requeue, "");
        }
    }
}

impl State {
    /// Does something with the engine, which may have something to say then.
    pub(super) fn tell<T>(&self, tell: impl FnOnce(&mut Engine) -> T) -> T {
        let told = tell(&mut self.inner.lock().engine);
        self.work.notify_one();
        told
    }
}

/// The task of a worker.
struct Task {
    state: Arc<State>,
    client: Client,
    news: News,
    is_news: bool,
}

impl Task {
    async fn run(mut self, shared: Arc<Shared>) {
        loop {
            let core = Arc::clone(self.client.core());
            let mut room = std::pin::pin!(core.room.notified());
            room.as_mut().enable();
            let due = self.settle();
            if self.is_done() {
                break;
            }
            tokio::select! {
                () = shared.stop.cancelled() => break,
                () = self.state.work.notified() => {}
                () = self.news.changed() => self.is_news = true,
                Some(command) = self.client.recv() => self.heard(command),
                () = room => {}
                () = deadline(due) => {}
            }
        }
        self.state.inner.lock().is_closed = true;
        self.settle();
        self.state.arrived.notify_waiters();
        self.client.finish().await;
        self.state.inner.lock().engine.lost();
    }

    /// Whether nobody wants jobs, none is open, and all that was said of them is on its way.
    fn is_done(&mut self) -> bool {
        let is_done = {
            let inner = self.state.inner.lock();
            inner.is_dropped && inner.engine.open() == 0
        };
        is_done && self.client.has_room()
    }

    fn heard(&mut self, command: Command) {
        let mut inner = self.state.inner.lock();
        let known = inner.engine.known();
        match inner.engine.handle(command) {
            Ok(Some(work)) if inner.is_dropped => {
                _ = inner.engine.nack(work.id, Nack::Requeue, "");
            }
            Ok(Some(work)) => {
                inner.jobs.push_back(work);
                self.state.arrived.notify_one();
            }
            Ok(None) => inner.forget_stale(),
            Err(error) => self.client.let_go(&error),
        }
        // Another link may be the keeper's now.
        self.is_news |= inner.engine.known() != known;
    }

    /// Does everything that is to be done now, and says when there is more.
    fn settle(&mut self) -> Option<Duration> {
        let mut all = false;
        for _ in 0..TURN {
            match self.client.try_recv() {
                Ok(Some(command)) => self.heard(command),
                Ok(None) => {}
                Err(_) => {
                    all = true;
                    break;
                }
            }
        }
        let said = self.is_news.then(|| self.client.keeper(true));
        let mut inner = self.state.inner.lock();
        if let Some(said) = said {
            let news = self.client.news(said);
            news.into_iter().for_each(|it| inner.engine.observe(it));
            match self.client.look(inner.engine.known(), said) {
                Some(Change::Connected(node)) => inner.engine.connected(node),
                Some(Change::Lost) => inner.engine.lost(),
                None => {}
            }
            self.is_news = false;
            inner.forget_stale();
        }
        while self.client.has_room()
            && let Some(command) = inner.engine.poll_transmit()
        {
            // Who wants no more jobs grants none.
            let grants = matches!(command, Command::Credit { .. } | Command::Subscribe { .. });
            if !(grants && inner.is_dropped) {
                self.client.send(command);
            }
        }
        if all { None } else { Some(Duration::ZERO) }
    }
}

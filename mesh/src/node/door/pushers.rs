//! PUSHes: what they push goes to the queue that the first frame names.
//!
//! A queue that somebody keeps accepts it; else it goes to one of those who pull. Until then it waits, in
//! a lane for each queue, so that a queue that nobody takes from holds no other one up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_util::task::TaskTracker;
use withy_discovery::Kind;
use withy_proto::{Message, SocketType};

use super::hall::{Hall, Offence};
use super::{MAX_NAMES, MAX_WAITING, MAX_WAITING_OCTETS};
use crate::error::SendError;
use crate::node::queue::{Producer, ProducerOptions, Put};
use crate::socket::{Owner, PeerKey, Push};
use crate::trust::{Principal, Verb};

/// How often it is looked whether somebody keeps a queue by now, while nobody pulls.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Pushers {
    hall: Arc<Hall>,
    socket: Owner,
    lanes: Mutex<BTreeMap<Box<str>, Sender<Waiting>>>,
    waits: Arc<Waits>,
    /// The lanes, and who reads for them.
    tasks: TaskTracker,
}

/// What waits in all lanes.
#[derive(Debug, Default)]
struct Waits {
    messages: AtomicUsize,
    octets: AtomicUsize,
}

/// A message that waits. Dropped before it was delivered, it is counted.
struct Waiting {
    message: Message,
    whom: Option<Principal>,
    size: usize,
    waits: Arc<Waits>,
    hall: Arc<Hall>,
    is_done: bool,
}

impl Waiting {
    fn delivered(mut self) {
        self.hall.counts.pushed.fetch_add(1, Relaxed);
        self.is_done = true;
    }

    fn lost(mut self, why: impl std::fmt::Display) {
        let whom = self.whom.take();
        self.hall.offended(whom, Offence::Undelivered, why);
        self.is_done = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waits.messages.fetch_sub(1, Relaxed);
        self.waits.octets.fetch_sub(self.size, Relaxed);
        if !self.is_done {
            self.hall.counts.undelivered.fetch_add(1, Relaxed);
        }
    }
}

impl Pushers {
    pub(super) fn open(hall: &Arc<Hall>) -> Arc<Self> {
        let shared = hall.node.shared();
        let mut options = shared.options();
        options.remember_departed = true;
        let pushers = Arc::new(Self {
            hall: Arc::clone(hall),
            socket: hall.socket(SocketType::Pull, options),
            lanes: Mutex::default(),
            waits: Arc::default(),
            tasks: TaskTracker::new(),
        });
        let reading = Arc::clone(&pushers).run();
        hall.spawn(pushers.tasks.track_future(reading));
        pushers.tasks.close();
        pushers
    }

    pub(super) fn socket(&self) -> &Owner {
        &self.socket
    }

    /// Messages that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waits.messages.load(Relaxed)
    }

    /// Waits until nothing waits, once the socket is closing.
    pub(super) async fn drained(&self) {
        self.tasks.wait().await;
    }

    async fn run(self: Arc<Self>) {
        while let Ok((message, from)) = self.socket.recv_from().await {
            if let Err((offence, why)) = self.take(message, from) {
                let whom = self.hall.sender(self.socket.core(), from);
                self.hall.offended(whom, offence, why);
            }
        }
        // The lanes end when they are empty.
        self.lanes.lock().clear();
    }

    fn take(&self, mut message: Message, from: PeerKey) -> Result<(), (Offence, String)> {
        let malformed = |why: &str| (Offence::Malformed, why.to_owned());
        let name = message.pop_front().filter(|_| message.len() > 0);
        let name = name.ok_or_else(|| malformed("what is pushed has two frames or more"))?;
        let name = str::from_utf8(&name).map_err(|_| malformed("the name of a queue is text"))?;
        let core = self.socket.core();
        if !self.hall.allows_sender(core, from, Verb::Push, name) {
            return Err((Offence::Denied, format!("no permission to push {name:?}")));
        }
        let lane = self.lane(name)?;
        let full = |mut waiting: Waiting, what| {
            waiting.is_done = true;
            (Offence::Overflowed, format!("too much waits for {what}"))
        };
        let waiting = self.waiting_for(message, self.hall.sender(core, from));
        if self.waits.octets.load(Relaxed) > MAX_WAITING_OCTETS {
            return Err(full(waiting, "all queues together".to_owned()));
        }
        let sent = lane.try_send(waiting);
        sent.map_err(|error| full(error.into_inner(), format!("the queue {name:?}")))
    }

    fn waiting_for(&self, message: Message, whom: Option<Principal>) -> Waiting {
        let size = message.footprint();
        self.waits.messages.fetch_add(1, Relaxed);
        self.waits.octets.fetch_add(size, Relaxed);
        Waiting {
            message,
            whom,
            size,
            waits: Arc::clone(&self.waits),
            hall: Arc::clone(&self.hall),
            is_done: false,
        }
    }

    /// The lane of a queue.
    fn lane(&self, name: &str) -> Result<Sender<Waiting>, (Offence, String)> {
        let mut lanes = self.lanes.lock();
        if let Some(lane) = lanes.get(name) {
            return Ok(lane.clone());
        }
        if lanes.len() >= MAX_NAMES {
            let mut all = lanes.iter();
            let idle = all.find(|(_, lane)| lane.capacity() == lane.max_capacity());
            let Some(idle) = idle.map(|(name, _)| name.clone()) else {
                let why = format!("something waits for {MAX_NAMES} queues");
                return Err((Offence::Overflowed, why));
            };
            lanes.remove(&idle);
        }
        let malformed = |error: crate::node::NameError| (Offence::Malformed, error.to_string());
        let node = &self.hall.node;
        let push = node.push(name).map_err(malformed)?;
        let options = ProducerOptions {
            // Who pushes does not ask for a queue to be kept.
            keep: None,
            ..ProducerOptions::default()
        };
        let producer = node.producer_with(name, options).map_err(malformed)?;
        let (sender, waiting) = mpsc::channel(MAX_WAITING);
        let lane = Lane {
            name: name.into(),
            hall: Arc::clone(&self.hall),
            push,
            producer,
            tasks: self.tasks.clone(),
        };
        let running = self.tasks.track_future(lane.run(waiting));
        self.hall.spawn(running);
        lanes.insert(name.into(), sender.clone());
        Ok(sender)
    }
}

/// The way to one queue.
struct Lane {
    name: Box<str>,
    hall: Arc<Hall>,
    push: Push,
    producer: Producer,
    tasks: TaskTracker,
}

impl Lane {
    async fn run(self, mut waiting: Receiver<Waiting>) {
        while let Some(next) = waiting.recv().await {
            self.deliver(next).await;
        }
        self.push.flush().await;
    }

    async fn deliver(&self, mut waiting: Waiting) {
        let shared = self.hall.node.shared();
        loop {
            if shared.is_offered(Kind::Queue, &self.name) {
                return self.put(waiting).await;
            }
            let message = std::mem::take(&mut waiting.message);
            match self.push.send_timeout(message, LOOK).await {
                Ok(()) => return waiting.delivered(),
                Err(SendError::Timeout(message)) => waiting.message = message,
                Err(error) => return waiting.lost(error),
            }
        }
    }

    /// Puts a message into a queue that somebody keeps, which says later whether it accepts it.
    async fn put(&self, mut waiting: Waiting) {
        let put = Put {
            message: std::mem::take(&mut waiting.message),
            ..Put::default()
        };
        match self.producer.start(put).await {
            Ok(putting) => {
                let settled = async move {
                    match putting.await {
                        Ok(()) => waiting.delivered(),
                        Err(error) => waiting.lost(error),
                    }
                };
                self.hall.spawn(self.tasks.track_future(settled));
            }
            Err(error) => waiting.lost(error),
        }
    }
}

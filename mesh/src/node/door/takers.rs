//! PULLs: the messages of a queue go to them, each to one.
//!
//! The door takes from the queue while one of them is connected, from those who push to it, and from who
//! keeps it. A PULL cannot ack: a job is acked as soon as it is handed to one.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::watch;
use withy_discovery::Kind;
use withy_proto::{Endpoint, Message, SocketType};

use super::entrance::SideDoor;
use super::hall::Hall;
use super::workers::{bound, look_again};
use crate::event::Reason;
use crate::node::NameError;
use crate::node::queue::Worker;
use crate::options::Options;
use crate::socket::Owner;
use crate::trust::Verb;

#[derive(Debug)]
pub(super) struct Takers {
    hall: Arc<Hall>,
    name: Box<str>,
    /// What PULLs connect to.
    socket: Owner,
    /// What takes from those who push.
    pull: Owner,
}

impl Takers {
    pub(super) fn open(
        hall: &Arc<Hall>,
        name: &str,
        mut options: Options,
    ) -> Result<Arc<Self>, NameError> {
        let shared = hall.node.shared();
        shared.check_name(name)?;
        options.hosts = Some(Arc::new(SideDoor {
            hall: Arc::clone(hall),
            ours: SocketType::Push,
            takes: &[SocketType::Pull],
            verb: Verb::Pull,
            name: name.into(),
        }));
        let takers = Arc::new(Self {
            hall: Arc::clone(hall),
            name: name.into(),
            socket: hall.socket(SocketType::Push, options),
            pull: hall.socket(SocketType::Pull, shared.options()),
        });
        hall.spawn(Arc::clone(&takers).pass_on());
        hall.spawn(Arc::clone(&takers).offer());
        hall.spawn(Arc::clone(&takers).work());
        hall.spawn(look_again(
            Arc::clone(hall),
            takers.socket.clone(),
            Verb::Pull,
            name.into(),
        ));
        Ok(takers)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn socket(&self) -> &Owner {
        &self.socket
    }

    /// Messages that came from those who push and were not passed on yet.
    pub(super) fn unread(&self) -> u64 {
        self.pull.stats().unread
    }

    /// Where it listens; the builder has bound it.
    pub(super) fn endpoint(&self) -> Endpoint {
        bound(&self.socket)
    }

    fn peers(&self) -> watch::Receiver<usize> {
        self.socket.core().peers.subscribe()
    }

    /// Passes on what those who push have sent. What has come waits for the next PULL if none is there.
    async fn pass_on(self: Arc<Self>) {
        while let Ok(mut message) = self.pull.recv().await {
            let held = Held(&self.hall);
            if self.socket.send(&mut message).await.is_err() {
                return;
            }
            held.handed_over();
        }
    }

    /// Takes from those who push while a PULL is there.
    async fn offer(self: Arc<Self>) {
        let mut peers = self.peers();
        while peers.wait_for(|peers| *peers > 0).await.is_ok() {
            let shared = self.hall.node.shared();
            let offer = shared.offer_socket(Kind::Pull, &self.name, self.pull.core());
            if let Err(error) = &offer {
                tracing::warn!(name = &*self.name, %error, "PULLs get nothing");
            }
            let _ = peers.wait_for(|peers| *peers == 0).await;
            drop(offer);
            // Whoever pushes has not heard of it yet, and is not to send more.
            let core = self.pull.core();
            for (key, _) in core.links() {
                core.close_link(key, Reason::Closed);
            }
        }
    }

    /// Takes from who keeps the queue while a PULL is there.
    async fn work(self: Arc<Self>) {
        let mut peers = self.peers();
        while peers.wait_for(|peers| *peers > 0).await.is_ok() {
            // It was looked at when the door was opened.
            let Ok(worker) = self.hall.node.worker(&*self.name) else {
                return;
            };
            tokio::select! {
                () = self.hand_over_jobs(&worker) => return,
                // What is open goes back.
                _ = peers.wait_for(|peers| *peers == 0) => {}
            }
        }
    }

    async fn hand_over_jobs(&self, worker: &Worker) {
        while let Ok(mut job) = worker.recv().await {
            let mut message: Message = job.message.clone();
            if self.socket.send(&mut message).await.is_err() {
                return;
            }
            job.message = Message::new();
            self.hall.counts.taken.fetch_add(1, Relaxed);
            // If it is stale it comes again.
            let _ = job.ack();
        }
    }
}

/// A message that was taken and is to be handed over; if it is not, it is lost, and counted.
struct Held<'a>(&'a Hall);

impl Held<'_> {
    fn handed_over(self) {
        self.0.counts.taken.fetch_add(1, Relaxed);
        std::mem::forget(self);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.counts.undelivered.fetch_add(1, Relaxed);
    }
}

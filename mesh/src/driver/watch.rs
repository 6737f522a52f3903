//! Reading while the application is away.
//!
//! ```text
//!  resting --- a pipe became readable ---> watching --- all was taken ---> resting
//!                                             |
//!         nobody received for PATIENCE, or whoever waits to for TOLD times that, or a pipe had no turn
//!         for PATIENT times that
//!                                             v
//!                   read all such that are readable into their pipes' queues
//! ```
//!
//! So PING is answered and a hang-up is seen, whether or not somebody receives, which costs a receiver
//! nothing but a flag. A connection that has its socket to itself watches on the side; once there are
//! more, one task does it for all of them, so that none waits for what it reads of the others.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Phase};
use super::receive::receive_link;
use super::sync::{AtomicBool, AtomicU8, Notify, Ordering};

/// How long a readable pipe waits for its application.
const PATIENCE: Duration = Duration::from_millis(10);
/// How often it waits that long again while the application takes the messages of others.
const PATIENT: u32 = 100;
/// How often all other tasks have a turn after that.
const TURNS: usize = 2;
/// How often it waits for a receiver that was told and did not come: where there are many of them, or
/// the machine is busy, each has its turn late.
const TOLD: u32 = 10;

/// Whether there is something to watch. It is on from the wake-up of a pipe until all that was
/// readable has been read up to the next wake-up.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    on: AtomicBool,
    notify: Arc<Notify>,
}

impl Watch {
    /// A pipe became readable.
    pub(crate) fn start(&self) {
        if !self.on.swap(true, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }

    /// Waits until there is something to watch.
    pub(crate) async fn started(&self) {
        self.notify.notified().await;
    }

    /// Whether it goes on, as `look` says. What comes while that looks starts the watch again.
    pub(crate) fn goes_on(&self, look: impl FnOnce() -> bool) -> bool {
        self.stop();
        let goes_on = look();
        if goes_on {
            self.on.store(true, Ordering::Release);
        }
        goes_on
    }

    fn stop(&self) {
        self.on.swap(false, Ordering::AcqRel);
    }

    /// Leaves to another what this one was woken for.
    fn pass_on(&self) {
        self.notify.notify_one();
    }
}

/// Who watches a socket.
#[derive(Debug, Default)]
pub(super) struct Watcher(AtomicU8);

/// Nobody: it had no connection yet, or has none any more.
const NOBODY: u8 = 0;
/// The only connection.
const CONNECTION: u8 = 1;
/// A task, until the socket is closed.
const TASK: u8 = 2;

impl Watcher {
    /// Changes from one to another, if it is the one; whether it was.
    fn turn(&self, from: u8, to: u8) -> bool {
        let turned = self
            .0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        turned.is_ok()
    }

    fn is(&self, who: u8) -> bool {
        self.0.load(Ordering::Acquire) == who
    }
}

/// A connection that watches, for as long as this lives.
struct OnTheSide<'a>(&'a Core);

impl Drop for OnTheSide<'_> {
    fn drop(&mut self) {
        self.0.watcher.turn(CONNECTION, NOBODY);
        // It may have been in the middle of it: the next looks first.
        self.0.ready.watch.pass_on();
    }
}

impl Core {
    /// Sees to it that a socket with one connection more is watched; what is returned does it if the
    /// connection has to, and never ends.
    pub(crate) fn watch_with(
        self: &Arc<Self>,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> {
        if self.task_reads() || self.options.attended {
            return None;
        }
        if self.watcher.turn(NOBODY, CONNECTION) {
            let on_the_side = OnTheSide(self);
            return Some(Box::pin(async move {
                // The whole of it: of a field alone, the rest would be dropped right here.
                let on_the_side = on_the_side;
                on_the_side.0.keep_watching().await;
                pending().await
            }));
        }
        if self.watcher.turn(CONNECTION, TASK) {
            self.spawn(Arc::clone(self).watch());
        }
        None
    }

    /// Watches the socket's pipes until it is closed.
    async fn watch(self: Arc<Self>) {
        let mut phase = self.phase.subscribe();
        tokio::select! {
            _ = phase.wait_for(|phase| *phase == Phase::Closed) => {}
            () = async {
                loop {
                    self.ready.watch.started().await;
                    self.watch_once().await;
                }
            } => {}
        }
    }

    /// Watches until a task does it.
    async fn keep_watching(&self) {
        loop {
            self.ready.watch.started().await;
            if !self.watcher.is(CONNECTION) {
                self.ready.watch.pass_on();
                return;
            }
            self.watch_once().await;
        }
    }

    /// Watches until all was taken.
    async fn watch_once(&self) {
        let (mut waited, mut told) = (0, 0);
        loop {
            let taken = self.receiving.lock().taken;
            // First: a receiver that is quick is not to start the watch with every message.
            tokio::time::sleep(PATIENCE).await;
            // Where the runtime is busy, the receiver may be about to have its turn, as this task was.
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            if !self.has_untaken() {
                return;
            }
            if self.receiving.lock().taken != taken {
                told = 0;
            } else if self.ready.has_receivers() && told < TOLD {
                told += 1;
            } else {
                // Before reading: what is readable afterwards wakes again.
                self.ready.watch.stop();
                self.pump_all(false);
                return;
            }
            waited += 1;
            if waited == PATIENT {
                waited = 0;
                self.pump_all(true);
            }
        }
    }

    /// Whether anything was readable and is not taken; if not, the watch ends.
    fn has_untaken(&self) -> bool {
        let receiving = self.receiving.lock();
        self.ready.watch.goes_on(|| {
            self.ready.any() || receiving.is_on_a_pipe() || !receiving.rotation.is_empty()
        })
    }

    /// Reads what is readable; with `neglected`, of the pipes that had no turn since the last time.
    fn pump_all(&self, neglected: bool) {
        let keys = {
            let mut receiving = self.receiving.lock();
            let receiving = &mut *receiving;
            self.list_woken(receiving);
            let current = receiving.current.map(|current| current.key);
            let listed = receiving.rotation.iter().copied();
            let on = current.into_iter().chain(receiving.supplied);
            let mut keys = on.chain(listed).collect::<Vec<_>>();
            if neglected {
                keys.retain(|&key| receive_link(receiving, key).is_some_and(|link| !link.had_turn));
                let links = receiving.links.iter_mut().flatten();
                links.for_each(|link| link.had_turn = false);
            }
            keys
        };
        for key in keys {
            let _ = self.pump(key, None);
        }
    }
}

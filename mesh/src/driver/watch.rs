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
//! So PING is answered and a hang-up is seen, whether or not somebody receives. One task per
//! socket, which costs a receiver nothing but a flag.

use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Phase};
use super::receive::receive_link;
use super::sync::{AtomicBool, Notify, Ordering};

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
}

impl Core {
    /// Watches the socket's pipes until it is closed.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut phase = self.phase.subscribe();
        tokio::select! {
            _ = phase.wait_for(|phase| *phase == Phase::Closed) => {}
            () = self.keep_watching() => {}
        }
    }

    async fn keep_watching(&self) {
        loop {
            self.ready.watch.started().await;
            let mut waited = 0;
            let mut told = 0;
            loop {
                let taken = self.receiving.lock().taken;
                // First: a receiver that is quick is not to start the watch with every message.
                tokio::time::sleep(PATIENCE).await;
                // Where the runtime is busy, the receiver may be about to have its turn, as this task was.
                for _ in 0..TURNS {
                    tokio::task::yield_now().await;
                }
                if !self.has_untaken() {
                    break;
                }
                if self.receiving.lock().taken != taken {
                    told = 0;
                } else if self.ready.has_receivers() && told < TOLD {
                    told += 1;
                } else {
                    // Before reading: what is readable afterwards wakes again.
                    self.ready.watch.stop();
                    self.pump_all(false);
                    break;
                }
                waited += 1;
                if waited == PATIENT {
                    waited = 0;
                    self.pump_all(true);
                }
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

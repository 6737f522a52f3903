//! Tails: what senders left to the tasks of connections, where these do not come to it.
//!
//! A task that its sender woke runs once that lets go of its thread: tokio keeps it where no other thread
//! finds it, and a runtime of one thread has no other. So behind a sender that computes, messages that it
//! left would wait for as long as it does. A socket that was found to be late is looked after for
//! [`ATTENTION`] by a thread of the process, which writes what nobody added to between two looks.
//! Programs whose tasks are never late have no such thread, and where nothing is left it sleeps. What a
//! connection that is full does not take waits for the task all the same.
//!
//! Lock order: the list of sockets is never locked while a socket is, except to wake the thread up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_timerslack;
use parking_lot::{Condvar, Mutex};
use withy_proto::SocketType;
use withy_proto::pattern::PipeKey;

use super::SLOWER;
use super::core::{Core, Sending};

/// From one look to the next: what is left is written after two at most.
const LOOK: Duration = Duration::from_micros(40);
/// What a timer of the thread may be late, in nanoseconds.
const SLACK: u64 = 1_000;
/// A task that comes later than this has a sender that computes.
const LATE: Duration = Duration::from_micros(100).saturating_mul(SLOWER);
/// As [`LATE`], for a message to many: their tasks take longer in turn.
const LATE_MANY: Duration = Duration::from_millis(4).saturating_mul(SLOWER);
/// How long a socket is looked after since it was last late.
const ATTENTION: Duration = Duration::from_secs(10);
/// Pipes that a sender writes before it lets others run; the rest is for their tasks.
const AT_ONCE: usize = 16;
/// Sockets that are looked after at most; those beyond it wait for their tasks.
const MAX_SOCKETS: usize = 256;

/// What a socket knows of its tails.
#[derive(Debug, Default)]
pub(super) struct Tails {
    /// The thread looks after them.
    attended: AtomicBool,
}

/// The sockets that are looked after, each until then.
static ATTENDED: Mutex<Vec<(Weak<Core>, Instant)>> = Mutex::new(Vec::new());
/// The thread sleeps until something is left.
static ASLEEP: AtomicBool = AtomicBool::new(false);
/// Ends its sleep.
static LEFT: Condvar = Condvar::new();
/// The thread is there.
static RUNS: AtomicBool = AtomicBool::new(false);

/// What a look at a socket found.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    /// Something waits for the next look.
    waits: bool,
    /// Something was late.
    late: bool,
}

impl Core {
    /// Leaves what waits on a pipe to its task.
    pub(super) fn leave(&self, sending: &mut Sending, key: PipeKey) {
        let Some(Some(send_link)) = sending.links.get_mut(key.index()) else {
            return;
        };
        if send_link.left.is_none() {
            send_link.left = Some(0);
            sending.left.push(key);
        }
        if self.tails.attended.load(Ordering::Relaxed) && ASLEEP.load(Ordering::SeqCst) {
            wake();
        }
    }

    /// Notes that what was left at a time is written only now.
    pub(super) fn note_delay(&self, since: Instant) {
        let late = if self.is_for_many() { LATE_MANY } else { LATE };
        if since.elapsed() > late && !self.tails.attended.swap(true, Ordering::Relaxed) {
            let has_room = attend(self.me.clone());
            self.tails.attended.store(has_room, Ordering::Relaxed);
        }
    }

    /// Writes what was left, for a sender that lets others run now: the task may come after them.
    pub(super) fn write_left(&self) {
        if self.is_for_many() {
            // As many tasks as there are threads write it sooner than one sender.
            return;
        }
        for _ in 0..AT_ONCE {
            let mut sending = self.sending.lock();
            let Some(key) = sending.left.pop() else {
                return;
            };
            if forget(&mut sending, key) && sending.out.is_waiting(key) {
                self.flush_by_caller(sending, key);
            }
        }
    }

    /// Writes what was left and not added to since the last look.
    fn look(&self) -> Found {
        let mut found = Found::default();
        let mut at = 0;
        let mut sending = self.sending.lock();
        while let Some(&key) = sending.left.get(at) {
            let size = match is_stuck(&sending, key) {
                true => 0,
                false => sending.out.waiting_size(key),
            };
            match sending.links.get_mut(key.index()) {
                Some(Some(send_link)) if size > 0 && send_link.left != Some(size) => {
                    send_link.left = Some(size);
                    found.waits = true;
                    at += 1;
                }
                _ => {
                    sending.left.swap_remove(at);
                    if forget(&mut sending, key) && size > 0 {
                        found.late = true;
                        self.flush_by_caller(sending, key);
                        sending = self.sending.lock();
                    }
                }
            }
        }
        found
    }

    fn is_for_many(&self) -> bool {
        matches!(self.kind, SocketType::Pub | SocketType::XPub)
    }
}

/// Whether a pipe takes nothing before its task could write.
fn is_stuck(sending: &Sending, key: PipeKey) -> bool {
    let link = sending.links.get(key.index()).and_then(Option::as_ref);
    link.is_none_or(|link| link.token.as_ref().is_some_and(|it| it.load.is_some()))
}

/// A pipe is not among those that were left any more; whether it is the one that was.
fn forget(sending: &mut Sending, key: PipeKey) -> bool {
    match sending.links.get_mut(key.index()) {
        Some(Some(send_link)) if send_link.link.key() == key => send_link.left.take().is_some(),
        _ => false,
    }
}

/// Looks after a socket from now on, if there is room.
#[cold]
fn attend(core: Weak<Core>) -> bool {
    let mut attended = ATTENDED.lock();
    if attended.len() >= MAX_SOCKETS {
        return false;
    }
    attended.push((core, Instant::now() + ATTENTION));
    ASLEEP.store(false, Ordering::SeqCst);
    LEFT.notify_one();
    drop(attended);
    if !RUNS.swap(true, Ordering::Relaxed) {
        let thread = std::thread::Builder::new().name("withy-tails".to_owned());
        if let Err(error) = thread.spawn(run) {
            RUNS.store(false, Ordering::Relaxed);
            tracing::warn!(%error, "no thread to write for senders that compute");
        }
    }
    true
}

#[cold]
fn wake() {
    let _attended = ATTENDED.lock();
    ASLEEP.store(false, Ordering::SeqCst);
    LEFT.notify_one();
}

fn run() {
    // The default of 50 us is more than a look.
    if let Err(error) = set_timerslack(SLACK) {
        tracing::debug!(%error, "timers of the thread that writes for senders are coarse");
    }
    loop {
        if !look_at_all() {
            // From here on who leaves something wakes this thread up; what was left before is seen.
            ASLEEP.store(true, Ordering::SeqCst);
            if !look_at_all() {
                sleep();
            }
            ASLEEP.store(false, Ordering::SeqCst);
        }
        std::thread::sleep(LOOK);
    }
}

/// Sleeps until something is left, or a socket may be forgotten.
fn sleep() {
    let mut attended = ATTENDED.lock();
    while ASLEEP.load(Ordering::SeqCst) {
        match attended.is_empty() {
            true => LEFT.wait(&mut attended),
            false => {
                if LEFT.wait_for(&mut attended, ATTENTION).timed_out() {
                    return;
                }
            }
        }
    }
}

/// Looks at all sockets, and forgets those that were late for the last time long ago; whether something
/// waits for the next look.
fn look_at_all() -> bool {
    let now = Instant::now();
    let cores: Vec<Arc<Core>> = {
        let mut attended = ATTENDED.lock();
        attended.retain(|(core, until)| {
            let keep = *until > now;
            if !keep && let Some(core) = core.upgrade() {
                core.tails.attended.store(false, Ordering::Relaxed);
            }
            keep && core.strong_count() > 0
        });
        attended
            .iter()
            .filter_map(|(core, _)| core.upgrade())
            .collect()
    };
    let mut waits = false;
    for core in &cores {
        let found = core.look();
        waits |= found.waits;
        if found.late {
            let until = now + ATTENTION;
            let mut attended = ATTENDED.lock();
            let known = attended.iter_mut();
            let mut known = known.filter(|(it, _)| std::ptr::eq(it.as_ptr(), Arc::as_ptr(core)));
            if let Some(known) = known.next() {
                known.1 = until;
            }
        }
    }
    waits
}

#[cfg(all(test, not(withy_loom)))]
mod tests {
    use crate::socket::Socket;
    use crate::{Publisher, Subscriber};

    #[tokio::test]
    async fn who_goes_is_not_left_any_more() {
        let publisher = Publisher::bind("tcp://127.0.0.1:*").await.unwrap();
        let endpoint = publisher.endpoints()[0].clone();
        let core = publisher.owner().core();
        for _ in 0..20 {
            let subscriber = Subscriber::connect(&endpoint).unwrap();
            subscriber.subscribe("");
            publisher.wait_subscribed(1).await.unwrap();
            // The first goes at once, and others are left.
            for _ in 0..100 {
                publisher.send("one").await.unwrap();
            }
            // None, where the thread was here already.
            assert!(core.sending.lock().left.len() <= 1);
            subscriber.close().await;
            let mut peers = core.peers.subscribe();
            peers.wait_for(|peers| *peers == 0).await.unwrap();
        }
        assert!(core.sending.lock().left.is_empty());
    }
}

//! Interleavings of those who bring something, those who take it and those who look after it, with
//! up to [`PREEMPTIONS`]; a lost wake-up shows as a deadlock.
//!
//! `RUSTFLAGS="--cfg withy_loom" cargo test -p withy --lib --release loom`

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use loom::future::block_on;
use loom::thread;

use super::asked::Asked;
use super::ready::Ready;
use super::sync::Mutex;

/// How often a thread may be interrupted: more takes minutes, and found nothing else.
const PREEMPTIONS: usize = 3;

const WRITE: u8 = 1;
const END: u8 = 2;

fn model(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(body);
}

#[test]
fn a_task_does_all_that_it_is_asked() {
    model(|| {
        let asked = Arc::new(Asked::default());
        let askers = [WRITE, END].map(|what| {
            let asked = Arc::clone(&asked);
            thread::spawn(move || asked.ask(what))
        });
        let mut done = 0;
        block_on(poll_fn(|cx| {
            asked.register(cx.waker());
            done |= asked.take(WRITE | END);
            if done == WRITE | END {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
        for asker in askers {
            asker.join().expect("an asker ends");
        }
    });
}

#[test]
fn a_task_that_was_asked_twice_acts_after_the_second_time() {
    model(|| {
        let asked = Arc::new(Asked::default());
        let written = Arc::new(Mutex::new(0));
        let sender = {
            let (asked, written) = (Arc::clone(&asked), Arc::clone(&written));
            thread::spawn(move || {
                for _ in 0..2 {
                    *written.lock() += 1;
                    asked.ask(WRITE);
                }
            })
        };
        block_on(poll_fn(|cx| {
            asked.register(cx.waker());
            if asked.take(WRITE) != 0 && *written.lock() == 2 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
        sender.join().expect("the sender ends");
    });
}

/// A socket with one pipe that is readable once woken: what a receiver does with the real one.
#[derive(Default)]
struct Inbox {
    ready: Arc<Ready<u32>>,
    /// The receiving lock, and what was read already.
    read: Mutex<VecDeque<u32>>,
    /// What a read brings, and the same for all pipes.
    batch: u32,
}

impl Inbox {
    fn new(batch: u32) -> Arc<Self> {
        Arc::new(Self {
            batch,
            ..Self::default()
        })
    }

    async fn receive(&self) -> u32 {
        loop {
            let waiting = {
                let mut read = self.read.lock();
                let mut woken = VecDeque::new();
                self.ready.take(|key| woken.push_back(key));
                for key in woken {
                    read.extend((0..self.batch).map(|n| key + n));
                }
                if let Some(message) = read.pop_front() {
                    if !read.is_empty() && self.ready.has_receivers() {
                        self.ready.notify();
                    }
                    return message;
                }
                self.ready.waiting()
            };
            waiting.await;
        }
    }
}

#[test]
fn two_receivers_get_what_one_wake_up_brought() {
    model(|| {
        let inbox = Inbox::new(2);
        let receivers = [(); 2].map(|()| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || block_on(inbox.receive()))
        });
        inbox.ready.wake(10);
        let mut received = receivers.map(|receiver| receiver.join().expect("a receiver ends"));
        received.sort_unstable();
        assert_eq!(received, [10, 11]);
    });
}

#[test]
fn a_receiver_hears_of_every_pipe() {
    model(|| {
        let inbox = Inbox::new(1);
        let pipes = [10, 20].map(|key| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.ready.wake(key))
        });
        let received = block_on(async { inbox.receive().await + inbox.receive().await });
        assert_eq!(received, 30);
        for pipe in pipes {
            pipe.join().expect("a pipe ends");
        }
    });
}

#[test]
fn the_watch_sees_what_nobody_takes() {
    model(|| {
        let ready: Arc<Ready<u32>> = Arc::default();
        let pipe = {
            let ready = Arc::clone(&ready);
            thread::spawn(move || {
                ready.wake(1);
                ready.wake(2);
            })
        };
        let mut taken = VecDeque::new();
        block_on(async {
            while taken.len() < 2 {
                ready.watch.started().await;
                while ready.watch.goes_on(|| ready.any()) {
                    ready.take(|key| taken.push_back(key));
                }
            }
        });
        pipe.join().expect("the pipe ends");
    });
}

#[test]
fn closing_wakes_every_receiver() {
    model(|| {
        let ready: Arc<Ready<u32>> = Arc::default();
        let closed = Arc::new(Mutex::new(false));
        // The receiving lock, which closing does not take.
        let receiving = Arc::new(Mutex::new(()));
        let receivers = [(); 2].map(|()| {
            let (ready, closed, receiving) = (
                Arc::clone(&ready),
                Arc::clone(&closed),
                Arc::clone(&receiving),
            );
            thread::spawn(move || {
                block_on(async {
                    loop {
                        let waiting = {
                            let _receiving = receiving.lock();
                            if *closed.lock() {
                                return;
                            }
                            ready.waiting()
                        };
                        waiting.await;
                    }
                });
            })
        });
        *closed.lock() = true;
        ready.notify_all();
        for receiver in receivers {
            receiver.join().expect("a receiver ends");
        }
    });
}

//! The task of one connection: what the callers leave over.
//!
//! ```text
//!  asked FLUSH ----> write; blocked? wait until the link is writable
//!  heartbeat ------> silent? PING; still silent? close
//!  TTL of a PING --> silent as long? close
//!  asked CLOSE ----> end, with the reason
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use withy_proto::Frame;
use withy_proto::pattern::PipeKey;
use withy_proto::zmtp::Command;

use super::core::Core;
use super::flush::Flushed;
use super::link::{BEAT, CLOSE, FLUSH, Link, REST, RESUME, TTL};
use crate::event::Reason;

/// Loads written in one turn.
const LOADS: usize = 4;

/// The longest TTL that a PING carries. libzmq computes a TTL above 65.5 s wrongly.
const MAX_TTL: Duration = Duration::from_secs(60);

/// Drives a connection until it ends, and resolves to the reason.
pub(crate) struct Task {
    core: Arc<Core>,
    link: Arc<Link>,
    key: PipeKey,
    blocked: bool,
    heartbeat: Option<Heartbeat>,
    missed: u32,
    timer: Option<Pin<Box<Sleep>>>,
    beat_at: Option<Instant>,
    /// How long the peer lives without traffic, by its last PING, and when we look next.
    ttl: Duration,
    ttl_at: Option<Instant>,
    rest_until: Option<Instant>,
}

/// When a silent peer is asked, and when it is given up.
#[derive(Debug, Clone, Copy)]
struct Heartbeat {
    interval: Duration,
    timeout: Duration,
}

impl Task {
    pub(crate) fn new(core: Arc<Core>, link: Arc<Link>, withy: bool) -> Self {
        let options = &core.options.heartbeat;
        let heartbeat = options.enabled_for(withy).then_some(Heartbeat {
            interval: options.interval,
            timeout: options.timeout,
        });
        let key = link.key();
        let beat_at = heartbeat.map(|heartbeat| Instant::now() + heartbeat.interval);
        Self {
            core,
            link,
            key,
            blocked: false,
            heartbeat,
            missed: 0,
            timer: None,
            beat_at,
            ttl: Duration::ZERO,
            ttl_at: None,
            rest_until: None,
        }
    }

    fn flush(&mut self) -> Option<Reason> {
        for _ in 0..LOADS {
            match self.core.flush(self.key, true) {
                Flushed::More => {}
                Flushed::Idle | Flushed::Busy => {
                    self.blocked = false;
                    return None;
                }
                Flushed::Blocked => {
                    self.blocked = true;
                    return None;
                }
                Flushed::Failed => {
                    return Some(self.link.take_reason().unwrap_or(Reason::PeerClosed));
                }
            }
        }
        self.blocked = false;
        self.link.ask(FLUSH);
        None
    }

    /// One beat: nothing heard since the last?
    fn beat(&mut self) -> Option<Reason> {
        let Heartbeat { interval, timeout } = self.heartbeat?;
        self.beat_at = Some(Instant::now() + interval);
        if self.link.take_heard(BEAT) {
            self.missed = 0;
            self.link.set_silent(false);
            return None;
        }
        if !self.link.paused.load(Ordering::Relaxed) {
            self.missed += 1;
            self.link.set_silent(self.missed > 1);
            if interval * self.missed >= timeout {
                return Some(Reason::Silent);
            }
        }
        let mut sending = self.core.sending.lock();
        sending.out.send_command(
            self.key,
            Command::Ping {
                ttl: timeout.min(MAX_TTL),
                context: Frame::new(),
            },
        );
        self.core.after_send(sending);
        None
    }

    /// The peer's TTL is over: did it show life?
    fn expire(&mut self, now: Instant) -> Option<Reason> {
        self.ttl_at = Some(now + self.ttl);
        let lives = self.link.take_heard(TTL) || self.link.paused.load(Ordering::Relaxed);
        (!lives).then_some(Reason::Silent)
    }

    /// The earliest of the deadlines.
    fn deadline(&self) -> Option<Instant> {
        [self.beat_at, self.ttl_at, self.rest_until]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Future for Task {
    type Output = Reason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reason> {
        let this = &mut *self;
        this.link.register(cx.waker());
        loop {
            let asked = this.link.take_asked(FLUSH | RESUME | REST);
            // Only looked at: CLOSE stays for all to see.
            if this.link.is_asked(CLOSE) {
                return Poll::Ready(this.link.take_reason().unwrap_or(Reason::Closed));
            }
            if asked & FLUSH != 0
                && let Some(reason) = this.flush()
            {
                return Poll::Ready(reason);
            }
            if this.blocked {
                match this.link.poll_writable(cx) {
                    Poll::Ready(Ok(())) => {
                        if let Some(reason) = this.flush() {
                            return Poll::Ready(reason);
                        }
                        continue;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Reason::from_io(&error)),
                    Poll::Pending => {}
                }
            }
            if this.core.task_reads() {
                let _ = this.core.pump(this.key, Some(cx));
            } else if asked & RESUME != 0 {
                let _ = this.core.pump(this.key, None);
            }
            if asked & REST != 0 {
                this.rest_until = Some(Instant::now() + this.link.rest_asked());
            }
            let ttl = this.link.peer_ttl();
            if ttl != this.ttl {
                // The last PING counts; none at all takes the deadline back.
                this.ttl = ttl;
                this.ttl_at = (!ttl.is_zero()).then(|| Instant::now() + ttl);
            }
            let Some(deadline) = this.deadline() else {
                this.timer = None;
                break;
            };
            let timer = this
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                break;
            }
            let now = Instant::now();
            if this.rest_until.is_some_and(|until| until <= now) {
                this.rest_until = None;
                this.core.rested(this.key);
            }
            if this.ttl_at.is_some_and(|at| at <= now)
                && let Some(reason) = this.expire(now)
            {
                return Poll::Ready(reason);
            }
            if this.beat_at.is_some_and(|at| at <= now)
                && let Some(reason) = this.beat()
            {
                return Poll::Ready(reason);
            }
        }
        if this.link.is_asked(FLUSH | CLOSE | RESUME | REST) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

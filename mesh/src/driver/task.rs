//! The task of one connection: what the callers leave over.
//!
//! ```text
//!  asked FLUSH ----> write; blocked? wait until the link is writable
//!  heartbeat ------> PING; silent for too long? close
//!  TTL of a PING --> silent as long? close
//!  asked DROPS ----> say so
//!  asked CLOSE ----> end, with the reason
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use withy_proto::pattern::PipeKey;
use withy_proto::peer::{Beat, Pulse};

use super::core::Core;
use super::deadline::Timer;
use super::flush::Flushed;
use super::link::{BEAT, CLOSE, DROPS, FLUSH, Link, REST, RESUME, TTL};
use crate::event::Reason;

/// Loads written in one turn.
const LOADS: usize = 4;

/// What a task has to say.
#[derive(Debug)]
pub(crate) enum Said {
    /// Messages for the peer are dropped, so many so far. The task goes on.
    Drops(u64),
    /// The connection ends.
    Ended(Reason),
}

impl From<Reason> for Poll<Said> {
    fn from(reason: Reason) -> Self {
        Self::Ready(Said::Ended(reason))
    }
}

/// Drives a connection until it ends. It may be polled on after it said something else.
pub(crate) struct Task {
    core: Arc<Core>,
    link: Arc<Link>,
    key: PipeKey,
    blocked: bool,
    /// The moment that the pulse counts from.
    since: Instant,
    pulse: Pulse,
    timer: Option<Timer>,
    rest_until: Option<Instant>,
}

impl Task {
    pub(crate) fn new(core: Arc<Core>, link: Arc<Link>, withy: bool, timer: Option<Timer>) -> Self {
        let heartbeat = core.options.heartbeat;
        let heartbeat = heartbeat.enabled_for(withy).then_some(heartbeat);
        let key = link.key();
        Self {
            core,
            link,
            key,
            blocked: false,
            since: Instant::now(),
            pulse: Pulse::new(heartbeat, Duration::ZERO),
            timer,
            rest_until: None,
        }
    }

    /// What it shares with others.
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    fn flush(&mut self) -> Option<Reason> {
        for _ in 0..LOADS {
            match self.core.flush(self.core.sending.lock(), self.key, true) {
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
        self.link.asked.ask(FLUSH);
        None
    }

    /// One beat: nothing heard since the last?
    fn beat(&mut self, now: Duration) -> Option<Reason> {
        let heard = self.link.take_heard(BEAT);
        let beat = self.pulse.beat(now, heard, self.link.is_behind());
        self.link.set_silent(self.pulse.is_silent());
        match beat {
            Beat::Quiet => None,
            Beat::GiveUp => Some(Reason::Silent),
            Beat::Ping(ttl) => {
                self.core.ping(self.key, ttl);
                None
            }
        }
    }

    /// The peer's TTL is over: did it show life?
    fn expire(&mut self, now: Duration) -> Option<Reason> {
        let heard = self.link.take_heard(TTL);
        let expired = self.pulse.expire(now, heard, self.link.is_behind());
        expired.then_some(Reason::Silent)
    }

    /// The earliest of the deadlines.
    fn deadline(&self) -> Option<Instant> {
        let pulse = self.pulse.deadline().map(|at| self.since + at);
        pulse.into_iter().chain(self.rest_until).min()
    }
}

impl Future for Task {
    type Output = Said;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Said> {
        let this = &mut *self;
        this.link.asked.register(cx.waker());
        if this.link.asked.is(DROPS) {
            this.link.asked.take(DROPS);
            let dropped = this.core.sending.lock().out.dropped_for(this.key);
            return Poll::Ready(Said::Drops(dropped));
        }
        loop {
            let asked = this.link.asked.take(FLUSH | RESUME | REST);
            // Only looked at: CLOSE stays for all to see.
            if this.link.asked.is(CLOSE) {
                return this.link.take_reason().unwrap_or(Reason::Closed).into();
            }
            if asked & FLUSH != 0
                && let Some(reason) = this.flush()
            {
                return reason.into();
            }
            if this.blocked {
                match this.link.poll_writable(cx) {
                    Poll::Ready(Ok(())) => {
                        if let Some(reason) = this.flush() {
                            return reason.into();
                        }
                        continue;
                    }
                    Poll::Ready(Err(error)) => return Reason::from_io(&error).into(),
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
            if ttl != this.pulse.ttl() {
                this.pulse.set_ttl(ttl, this.since.elapsed());
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
            let now = now - this.since;
            if this.pulse.ttl_is_due(now)
                && let Some(reason) = this.expire(now)
            {
                return reason.into();
            }
            if this.pulse.beat_is_due(now)
                && let Some(reason) = this.beat(now)
            {
                return reason.into();
            }
        }
        if this.link.asked.is(FLUSH | CLOSE | RESUME | REST | DROPS) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

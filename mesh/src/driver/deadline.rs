//! Deadlines by timers that were there before: that of a handshake by the one that its connection has
//! afterwards, that of a request by the one of the request before.
//!
//! The runtime is woken up for each timer that is due before all that it knew of. So this one is set as
//! early as the first beat of a connection is due, and put off if it fires then; the connection's
//! [task](super::task) puts it off once more, which costs next to nothing. So does the next request, which
//! is why a timer that nobody needs any more is left as it is.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};
use tokio::time::{Instant, Sleep, sleep_until};

/// What is left of a deadline that was kept.
pub(crate) type Timer = Pin<Box<Sleep>>;

/// Does something within a time, and returns the timer, too; `None` if it took longer. `beat` is how
/// long it is until the timer is needed again.
///
/// # Cancel safety
/// Cancel-safe, if what is done is.
pub(super) async fn within<T>(
    limit: Duration,
    beat: Duration,
    done: impl Future<Output = T>,
) -> Option<(T, Timer)> {
    let start = Instant::now();
    let next = |now: Instant| {
        let left = limit.saturating_sub(now - start);
        now + left.min(beat)
    };
    let mut timer = Box::pin(sleep_until(next(start)));
    let mut done = pin!(done);
    let done = poll_fn(|cx| {
        if let Poll::Ready(done) = done.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now - start >= limit {
                return Poll::Ready(None);
            }
            timer.as_mut().reset(next(now));
        }
        Poll::Pending
    });
    Some((done.await?, timer))
}

/// A timer, and the runtime that it belongs to.
type Owned = (Id, Timer);

/// The timer that a request left, for the next. Where several are under way, one of them has it. Until it
/// fires it keeps the waker of the task that it was for, and wakes that once for nothing.
#[derive(Debug, Default)]
pub(crate) struct Spare(Mutex<Option<Owned>>);

impl Spare {
    /// A deadline; `None` is never.
    pub(crate) fn until(&self, at: Option<Instant>) -> Until<'_> {
        Until {
            spare: self,
            at,
            timer: None,
        }
    }

    fn take(&self, at: Instant) -> Owned {
        let here = Handle::current().id();
        let spare = self.0.lock().take();
        match spare {
            Some((runtime, mut timer)) if runtime == here => {
                timer.as_mut().reset(at);
                (runtime, timer)
            }
            _ => (here, Box::pin(sleep_until(at))),
        }
    }
}

/// A deadline that has a timer once it is waited for.
#[derive(Debug)]
pub(crate) struct Until<'a> {
    spare: &'a Spare,
    at: Option<Instant>,
    timer: Option<Owned>,
}

impl Until<'_> {
    /// Whether it is over, as the clock says.
    pub(crate) fn is_over(&self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }

    /// Waits until it is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let (_, timer) = self.timer.get_or_insert_with(|| self.spare.take(at));
        timer.as_mut().poll(cx)
    }
}

impl Drop for Until<'_> {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            let _older = self.spare.0.lock().replace(timer);
        }
    }
}

#[cfg(all(test, not(withy_loom)))]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_kept_whatever_the_beat_is() {
        for (limit, beat) in [(10, 5), (10, 3), (5, 10), (10, 10)] {
            let (limit, beat) = (Duration::from_secs(limit), Duration::from_secs(beat));
            let start = Instant::now();
            assert!(within(limit, beat, pending::<()>()).await.is_none());
            assert_eq!(start.elapsed(), limit);
            let soon = tokio::time::sleep(limit / 2);
            assert!(within(limit, beat, soon).await.is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_serves_one_deadline_after_the_other() {
        let spare = Spare::default();
        let start = Instant::now();
        let mut known = None;
        for millis in [20, 30, 10, 10, 50] {
            let at = Instant::now() + Duration::from_millis(millis);
            let mut until = spare.until(Some(at));
            poll_fn(|cx| until.poll(cx)).await;
            assert!(until.is_over());
            let timer = until.timer.as_ref().map(|(_, timer)| &raw const **timer);
            assert!(known.is_none() || known == timer, "it is another one");
            known = timer;
        }
        assert_eq!(start.elapsed(), Duration::from_millis(120));
        let mut never = spare.until(None);
        let soon = tokio::time::timeout(Duration::from_secs(1), poll_fn(|cx| never.poll(cx)));
        assert!(soon.await.is_err() && !never.is_over());
    }

    #[test]
    fn a_timer_stays_with_its_runtime() {
        let spare = Spare::default();
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            runtime.block_on(async {
                let at = Instant::now() + Duration::from_millis(1);
                let mut until = spare.until(Some(at));
                poll_fn(|cx| until.poll(cx)).await;
            });
        }
    }
}

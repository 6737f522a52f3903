//! The deadline of a handshake, by the timer that its connection has afterwards.
//!
//! The runtime is woken up for each timer that is due before all that it knew of. So this one is set as
//! early as the first beat of a connection is due, and put off if it fires then; the connection's
//! [task](super::task) puts it off once more, which costs next to nothing.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

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
}

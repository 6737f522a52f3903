//! How many of a node's dials shake hands at once, and how long each way has before the next.
//!
//! A node that meets a hundred others dials all of them in one moment. Were all handshakes under way
//! together, none would be over in time: each would be taken for a way that leads nowhere, and made once
//! more on the next one. So they take turns, and the more there are, the more time each way has.
//!
//! Invariant: who does not answer keeps the others waiting for [`HOLD`] at most.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Dials of one node that shake hands at once: enough that a round trip is not waited for, and few enough
/// that many nodes of one host do not starve each other.
const AT_ONCE: usize = 2;

/// How long a dial has its turn to itself; then it goes on beside the next.
const HOLD: Duration = Duration::from_millis(500);

/// How long a way to a peer has before the next is tried beside it, where nothing else is dialled.
const HEAD_START: Duration = Duration::from_millis(250);

/// As how many dials at most they count for that: a way never has more than two seconds.
const MOST: u32 = 8;

/// The dials of a node.
#[derive(Debug)]
pub(crate) struct Dialling {
    places: Semaphore,
    /// Those that wait for their turn included.
    under_way: AtomicU32,
}

impl Default for Dialling {
    fn default() -> Self {
        Self {
            places: Semaphore::new(AT_ONCE),
            under_way: AtomicU32::new(0),
        }
    }
}

impl Dialling {
    /// Makes a dial when it is its turn.
    ///
    /// # Cancel safety
    /// Cancel-safe, if the dial is: it counts no longer.
    pub(crate) async fn in_turn<T>(&self, dial: impl Future<Output = T>) -> T {
        let _counted = self.count();
        let place = self.places.acquire().await;
        let mut dial = pin!(dial);
        if let Ok(done) = timeout(HOLD, &mut dial).await {
            return done;
        }
        drop(place);
        dial.await
    }

    /// Counts a dial as under way for as long as this lives.
    pub(crate) fn count(&self) -> Counted<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Counted(&self.under_way)
    }

    /// How long a way has before the next is tried beside it.
    pub(crate) fn head_start(&self) -> Duration {
        HEAD_START * self.under_way.load(Ordering::Relaxed).clamp(1, MOST)
    }
}

/// A dial that is under way.
pub(crate) struct Counted<'a>(&'a AtomicU32);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(withy_loom)))]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use tokio::task::JoinSet;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn few_dials_are_made_at_once_and_nobody_waits_for_ever() {
        let dialling = Arc::new(Dialling::default());
        let mut dials = JoinSet::new();
        // None of them is answered.
        for _ in 0..4 * AT_ONCE {
            let dialling = Arc::clone(&dialling);
            dials.spawn(async move { dialling.in_turn(pending::<()>()).await });
        }
        tokio::task::yield_now().await;
        assert_eq!(dialling.places.available_permits(), 0);
        assert_eq!(dialling.head_start(), HEAD_START * MOST);
        let start = Instant::now();
        dialling.in_turn(async {}).await;
        assert_eq!(start.elapsed(), HOLD * 4);
        dials.shutdown().await;
        assert_eq!(dialling.head_start(), HEAD_START);
        assert_eq!(dialling.places.available_permits(), AT_ONCE);
    }
}

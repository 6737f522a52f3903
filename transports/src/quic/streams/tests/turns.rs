//! How much one poll reads, while others wait for their turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use super::*;

/// Whether somebody was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls that have something to read after them, once a mark and so many messages have come behind it,
/// of which nothing can be given out.
async fn polls(messages: usize, window: u32) -> usize {
    let mut between = Between::new(QuicOptions {
        stream_receive_window: window,
        ..QuicOptions::default()
    });
    let (ours, raw) = between.raw().await;
    let mut lane = raw.begin(Carries::Lane(0)).await;
    let behind = (0..messages).map(|_| Item::Message(message(7, 4_500)));
    let sent = encoded([mark(0)].into_iter().chain(behind));
    soon(lane.write_all(&sent)).await.unwrap();
    Raw::finish(lane).await;
    let (woken, mut read) = (Arc::new(Woken::default()), VecDeque::new());
    let waker = Arc::clone(&woken).into();
    let cx = &mut Context::from_waker(&waker);
    let mut polls = 0;
    loop {
        let polled = ours.poll_recv_batch(cx, &mut read);
        assert!(polled.is_pending() && read.is_empty());
        if !woken.0.swap(false, Ordering::Relaxed) {
            return polls;
        }
        polls += 1;
    }
}

#[tokio::test]
async fn a_link_with_much_that_waits_for_a_large_message_gives_others_a_turn() {
    assert_eq!(
        polls(800, 8 << 20).await,
        1,
        "of two that have something to read"
    );
}

/// Whoever reads what is left of a lost link polls once.
#[tokio::test]
async fn what_the_default_window_holds_is_read_in_one_turn() {
    let window = QuicOptions::default().stream_receive_window;
    assert_eq!(polls(220, window).await, 0);
}

//! All interleavings of two threads on one pipe; a lost wake-up shows as a deadlock.
//!
//! `RUSTFLAGS="--cfg withy_loom" cargo test -p withy-transports --lib --release loom`

use std::future::poll_fn;

use loom::future::block_on;
use loom::thread;

use super::*;

async fn send(end: &End<u32>, item: u32) -> Result<(), Closed> {
    let mut batch = VecDeque::from([item]);
    loop {
        poll_fn(|cx| end.poll_writable(cx)).await?;
        if end.try_send_batch(&mut batch)? == 1 {
            return Ok(());
        }
    }
}

async fn receive_all(end: &End<u32>) -> VecDeque<u32> {
    let mut received = VecDeque::new();
    while poll_fn(|cx| end.poll_recv_batch(cx, &mut received))
        .await
        .is_ok()
    {}
    received
}

#[test]
fn every_item_arrives_and_both_sides_are_woken() {
    loom::model(|| {
        let (a, b) = pair(1, 1);
        let sender = thread::spawn(move || {
            block_on(async {
                send(&a, 1).await.expect("the other end is open");
                send(&a, 2).await.expect("the other end is open");
            });
        });
        assert_eq!(block_on(receive_all(&b)), [1, 2]);
        sender.join().expect("the sender ends");
    });
}

#[test]
fn a_receiver_that_leaves_ends_the_sender() {
    loom::model(|| {
        let (a, b) = pair(1, 1);
        let receiver = thread::spawn(move || {
            let mut received = VecDeque::new();
            let _ = b.try_recv_batch(&mut received);
        });
        block_on(async { while send(&a, 1).await.is_ok() {} });
        assert!(a.is_closed());
        receiver.join().expect("the receiver ends");
    });
}

#[test]
fn closing_races_with_waiting() {
    loom::model(|| {
        let (a, b) = pair::<u32>(1, 1);
        let closer = thread::spawn(move || a.close());
        assert!(block_on(receive_all(&b)).is_empty());
        closer.join().expect("the closer ends");
    });
}

#[test]
fn both_ends_send_and_leave() {
    loom::model(|| {
        let (a, b) = pair(1, 1);
        let other = thread::spawn(move || {
            let mut batch = VecDeque::from([7]);
            let _ = b.try_send_batch(&mut batch);
        });
        let mut batch = VecDeque::from([8]);
        let _ = a.try_send_batch(&mut batch);
        let received = block_on(receive_all(&a));
        assert!(received.len() <= 1);
        other.join().expect("the other end ends");
    });
}

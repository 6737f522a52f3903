use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::*;

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    fn new() -> (Arc<Self>, Waker) {
        let count = Arc::new(Self::default());
        (count.clone(), count.into())
    }

    fn woken(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn batch(items: impl IntoIterator<Item = u32>) -> VecDeque<u32> {
    items.into_iter().collect()
}

#[test]
fn sends_as_many_as_fit_in_order() {
    let (a, b) = pair(3, 1);
    let mut sending = batch(0..5);
    assert_eq!(a.try_send_batch(&mut sending), Ok(3));
    assert_eq!(sending, [3, 4]);
    assert_eq!(a.try_send_batch(&mut sending), Ok(0));

    let mut received = batch([9]);
    assert_eq!(b.try_recv_batch(&mut received), Ok(3));
    assert_eq!(received, [9, 0, 1, 2]);
    assert_eq!(b.try_recv_batch(&mut received), Ok(0));

    assert_eq!(a.try_send_batch(&mut sending), Ok(2));
    assert_eq!(a.try_send_batch(&mut batch([5, 6])), Ok(1));
    received.clear();
    assert_eq!(b.try_recv_batch(&mut received), Ok(3));
    assert_eq!(received, [3, 4, 5]);
}

#[test]
fn the_directions_are_independent() {
    let (a, b) = pair(1, 2);
    assert_eq!(a.try_send_batch(&mut batch(0..9)), Ok(1));
    assert_eq!(b.try_send_batch(&mut batch(0..9)), Ok(2));
    let mut received = VecDeque::new();
    assert_eq!(a.try_recv_batch(&mut received), Ok(2));
    assert_eq!(b.try_recv_batch(&mut received), Ok(1));
}

#[test]
fn a_capacity_of_none_is_one() {
    let (a, _b) = pair(0, 0);
    assert_eq!(a.try_send_batch(&mut batch(0..9)), Ok(1));
}

#[test]
fn the_receiver_is_woken_once_when_the_pipe_fills() {
    let (a, b) = pair(10, 10);
    let (count, waker) = Count::new();
    let cx = &mut Context::from_waker(&waker);
    let mut received = VecDeque::new();
    assert!(b.poll_recv_batch(cx, &mut received).is_pending());
    assert!(b.poll_recv_batch(cx, &mut received).is_pending());
    assert_eq!(count.woken(), 0);
    a.try_send_batch(&mut batch(0..2)).unwrap();
    a.try_send_batch(&mut batch(2..4)).unwrap();
    assert_eq!(count.woken(), 1);
    assert_eq!(b.poll_recv_batch(cx, &mut received), Poll::Ready(Ok(4)));
    assert_eq!(received, [0, 1, 2, 3]);
    a.try_send_batch(&mut batch(4..5)).unwrap();
    assert_eq!(count.woken(), 1);
}

#[test]
fn the_sender_is_woken_once_when_the_pipe_is_taken() {
    let (a, b) = pair(2, 2);
    let (count, waker) = Count::new();
    let cx = &mut Context::from_waker(&waker);
    assert_eq!(a.poll_writable(cx), Poll::Ready(Ok(())));
    a.try_send_batch(&mut batch(0..2)).unwrap();
    assert!(a.poll_writable(cx).is_pending());
    let mut received = VecDeque::new();
    b.try_recv_batch(&mut received).unwrap();
    b.try_recv_batch(&mut received).unwrap();
    assert_eq!(count.woken(), 1);
    assert_eq!(a.poll_writable(cx), Poll::Ready(Ok(())));
}

#[test]
fn the_last_waiter_is_the_one_that_is_woken() {
    let (a, b) = pair(2, 2);
    let ((first, one), (second, two)) = (Count::new(), Count::new());
    let mut received = VecDeque::new();
    let poll = |waker: &Waker, into: &mut VecDeque<u32>| {
        b.poll_recv_batch(&mut Context::from_waker(waker), into)
            .is_pending()
    };
    assert!(poll(&one, &mut received));
    assert!(poll(&two, &mut received));
    a.try_send_batch(&mut batch([1])).unwrap();
    assert_eq!((first.woken(), second.woken()), (0, 1));
}

#[test]
fn what_was_sent_before_closing_arrives() {
    for by_drop in [false, true] {
        let (a, b) = pair(4, 4);
        a.try_send_batch(&mut batch(0..2)).unwrap();
        b.try_send_batch(&mut batch(7..8)).unwrap();
        if by_drop {
            drop(a);
        } else {
            a.close();
            assert_eq!(a.try_send_batch(&mut batch([2])), Err(Closed));
            let mut received = VecDeque::new();
            assert_eq!(a.try_recv_batch(&mut received), Ok(1));
            assert_eq!(a.try_recv_batch(&mut received), Err(Closed));
        }
        assert!(b.is_closed());
        let mut sending = batch([3]);
        assert_eq!(b.try_send_batch(&mut sending), Err(Closed));
        assert_eq!(sending, [3]);
        let cx = &mut Context::from_waker(Waker::noop());
        assert_eq!(b.poll_writable(cx), Poll::Ready(Err(Closed)));
        let mut received = VecDeque::new();
        assert_eq!(b.poll_recv_batch(cx, &mut received), Poll::Ready(Ok(2)));
        assert_eq!(
            b.poll_recv_batch(cx, &mut received),
            Poll::Ready(Err(Closed))
        );
        assert_eq!(b.try_recv_batch(&mut received), Err(Closed));
    }
}

#[test]
fn closing_wakes_whoever_waits() {
    let (a, b) = pair(1, 1);
    a.try_send_batch(&mut batch([0])).unwrap();
    let ((sender, one), (receiver, two)) = (Count::new(), Count::new());
    assert!(a.poll_writable(&mut Context::from_waker(&one)).is_pending());
    let mut received = VecDeque::new();
    let cx = &mut Context::from_waker(&two);
    assert!(a.poll_recv_batch(cx, &mut received).is_pending());
    drop(b);
    assert_eq!((sender.woken(), receiver.woken()), (1, 1));
}

#[test]
fn items_that_nobody_can_take_are_dropped() {
    let item = Arc::new(());
    let (a, b) = pair(4, 4);
    let mut sending = VecDeque::from([item.clone(), item.clone()]);
    a.try_send_batch(&mut sending).unwrap();
    assert_eq!(Arc::strong_count(&item), 3);
    drop(b);
    assert_eq!(Arc::strong_count(&item), 1);
}

#[test]
fn a_heavy_batch_fills_a_direction() {
    let (a, b) = pair(10, 10);
    assert_eq!(
        a.try_send_weighing(&mut batch(0..2), queue::MAX_WEIGHT),
        Ok(2)
    );
    assert_eq!(a.try_send_weighing(&mut batch(2..3), 1), Ok(0));
    let mut received = VecDeque::new();
    assert_eq!(b.try_recv_batch(&mut received), Ok(2));
    assert_eq!(a.try_send_weighing(&mut batch(2..3), 1), Ok(1));
}

//! Pipes between two tasks of one process: the one home of rings and wakers.
//!
//! A pipe has two ends and two directions, each a bounded queue behind one short lock. Items move in
//! batches, and one side is woken only when the other ends its wait: empty to non-empty, full to
//! empty. What the items are, and what a full queue means, is not known here.

mod queue;
mod sync;

use std::collections::VecDeque;
use std::task::{Context, Poll};

use queue::Queue;
use sync::Arc;

/// Makes a pipe and returns its ends.
///
/// At most `first_capacity` items that the first end sent wait for the second end, and at most
/// `second_capacity` the other way round; 0 counts as 1.
pub fn pair<T>(first_capacity: usize, second_capacity: usize) -> (End<T>, End<T>) {
    let forth = Arc::new(Queue::new(first_capacity));
    let back = Arc::new(Queue::new(second_capacity));
    let first = End {
        outgoing: forth.clone(),
        incoming: back.clone(),
    };
    let second = End {
        outgoing: back,
        incoming: forth,
    };
    (first, second)
}

/// One end of a pipe; dropping it closes the pipe.
///
/// All methods take `&self`. In each direction one task waits at a time: of several tasks that poll
/// the same thing, the last one is woken.
#[derive(Debug)]
pub struct End<T> {
    outgoing: Arc<Queue<T>>,
    incoming: Arc<Queue<T>>,
}

/// The pipe is closed: either end closed it, or was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pipe is closed")]
pub struct Closed;

impl<T> End<T> {
    /// Moves items from the front of `batch` into the pipe, as many as fit, and returns how many.
    ///
    /// 0 means that the pipe is full, or `batch` empty.
    ///
    /// # Errors
    ///
    /// [`Closed`]; `batch` is untouched.
    pub fn try_send_batch(&self, batch: &mut VecDeque<T>) -> Result<usize, Closed> {
        self.outgoing.try_send_batch(batch, 0)
    }

    /// As [`try_send_batch`](Self::try_send_batch), for items that weigh something together: a
    /// direction that holds 4 MiB is full. What makes it full is the last that fits.
    ///
    /// # Errors
    ///
    /// [`Closed`]; `batch` is untouched.
    pub fn try_send_weighing(
        &self,
        batch: &mut VecDeque<T>,
        weight: usize,
    ) -> Result<usize, Closed> {
        self.outgoing.try_send_batch(batch, weight)
    }

    /// Waits until there is room to send.
    ///
    /// A task that waits is woken when the other end takes what is queued, or closes.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.outgoing.poll_writable(cx)
    }

    /// Appends everything that is queued to `into`, and returns how many items that was.
    ///
    /// At most the capacity of the direction is appended; into an empty deque nothing is copied.
    ///
    /// # Errors
    ///
    /// [`Closed`], once everything that was sent before has been taken.
    pub fn try_recv_batch(&self, into: &mut VecDeque<T>) -> Result<usize, Closed> {
        self.incoming.try_recv_batch(into)
    }

    /// Appends everything that is queued to `into`, waiting until that is at least one item.
    ///
    /// # Errors
    ///
    /// [`Closed`], once everything that was sent before has been taken.
    pub fn poll_recv_batch(
        &self,
        cx: &mut Context<'_>,
        into: &mut VecDeque<T>,
    ) -> Poll<Result<usize, Closed>> {
        self.incoming.poll_recv_batch(cx, into)
    }

    /// Closes both directions; what is queued in either can still be taken.
    pub fn close(&self) {
        self.outgoing.close();
        self.incoming.close();
    }

    /// Whether either end has closed the pipe.
    pub fn is_closed(&self) -> bool {
        self.outgoing.is_closed()
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        self.outgoing.close();
        self.incoming.abandon();
    }
}

#[cfg(all(test, withy_loom))]
mod loom_tests;
#[cfg(all(test, not(withy_loom)))]
mod tests;

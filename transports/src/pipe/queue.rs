//! One direction of a pipe: a bounded queue with one sending and one receiving side.
//!
//! ```text
//!            send                       receive
//!  empty ----------> some ... full      some, full ----------> empty
//!        wakes the receiver                        wakes the sender
//! ```
//!
//! Invariant: a waker is kept only since its side last found the queue empty (receiver) or full
//! (sender) under the lock, so that taking it at the next change can neither miss nor repeat a wake.
//! Wakers run, and are dropped, outside the lock: either may run code of the task they belong to.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::task::{Context, Poll, Waker};

use super::Closed;
use super::sync::Mutex;

/// A queue that weighs this much is full, however few items that are: memory stays bounded, and what
/// waits fits into a cache.
pub(super) const MAX_WEIGHT: usize = 4 << 20;

pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    capacity: usize,
}

struct State<T> {
    items: VecDeque<T>,
    weight: usize,
    closed: bool,
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let state = State {
            items: VecDeque::new(),
            weight: 0,
            closed: false,
            receiver: None,
            sender: None,
        };
        Self {
            state: Mutex::new(state),
            capacity: capacity.max(1),
        }
    }

    pub(super) fn try_send_batch(
        &self,
        batch: &mut VecDeque<T>,
        weight: usize,
    ) -> Result<usize, Closed> {
        let (sent, waker) = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(Closed);
            }
            let sent = batch.len().min(self.room(&state));
            if sent == 0 {
                return Ok(0);
            }
            state.weight += weight / batch.len() * sent;
            if state.items.is_empty() && sent == batch.len() {
                mem::swap(&mut state.items, batch);
            } else {
                state.items.extend(batch.drain(..sent));
            }
            (sent, state.receiver.take())
        };
        wake(waker);
        Ok(sent)
    }

    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let mut state = self.state.lock();
        if state.closed {
            return Poll::Ready(Err(Closed));
        }
        if self.room(&state) > 0 {
            return Poll::Ready(Ok(()));
        }
        let stale = register(&mut state.sender, cx);
        drop(state);
        drop(stale);
        Poll::Pending
    }

    /// Takes everything, so that what was full is now empty: the sender is woken at once.
    pub(super) fn try_recv_batch(&self, into: &mut VecDeque<T>) -> Result<usize, Closed> {
        let (received, waker) = {
            let mut state = self.state.lock();
            if state.items.is_empty() {
                return if state.closed { Err(Closed) } else { Ok(0) };
            }
            state.take(into)
        };
        wake(waker);
        Ok(received)
    }

    pub(super) fn poll_recv_batch(
        &self,
        cx: &mut Context<'_>,
        into: &mut VecDeque<T>,
    ) -> Poll<Result<usize, Closed>> {
        let mut state = self.state.lock();
        if !state.items.is_empty() {
            let (received, waker) = state.take(into);
            drop(state);
            wake(waker);
            return Poll::Ready(Ok(received));
        }
        if state.closed {
            return Poll::Ready(Err(Closed));
        }
        let stale = register(&mut state.receiver, cx);
        drop(state);
        drop(stale);
        Poll::Pending
    }

    pub(super) fn close(&self) {
        let (receiver, sender) = {
            let mut state = self.state.lock();
            state.closed = true;
            (state.receiver.take(), state.sender.take())
        };
        wake(receiver);
        wake(sender);
    }

    /// Closes for good: what is queued is dropped, since nobody is left to take it.
    pub(super) fn abandon(&self) {
        self.close();
        let items = mem::take(&mut self.state.lock().items);
        drop(items);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// How many items fit.
    fn room(&self, state: &State<T>) -> usize {
        if state.weight < MAX_WEIGHT {
            self.capacity - state.items.len()
        } else {
            0
        }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Queue")
            .field("queued", &state.items.len())
            .field("capacity", &self.capacity)
            .field("closed", &state.closed)
            .finish()
    }
}

impl<T> State<T> {
    /// Moves all items into `into`; allocations change hands instead of items where that is possible.
    fn take(&mut self, into: &mut VecDeque<T>) -> (usize, Option<Waker>) {
        let received = self.items.len();
        self.weight = 0;
        if into.is_empty() {
            mem::swap(&mut self.items, into);
        } else {
            into.append(&mut self.items);
        }
        (received, self.sender.take())
    }
}

/// Keeps the waker of `cx`, and gives back the one that it replaces.
fn register(slot: &mut Option<Waker>, cx: &Context<'_>) -> Option<Waker> {
    if slot
        .as_ref()
        .is_some_and(|known| known.will_wake(cx.waker()))
    {
        return None;
    }
    slot.replace(cx.waker().clone())
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

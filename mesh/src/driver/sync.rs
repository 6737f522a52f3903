//! What the driver's own synchronisation is made of: atomics, locks and wake-ups, or those of loom
//! where the tests explore interleavings.
//!
//! They are switched by `--cfg withy_loom`, as in the pipes of `withy-transports`.

#[cfg(not(all(test, withy_loom)))]
pub(super) use {
    parking_lot::Mutex,
    std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    tokio::sync::Notify,
};

#[cfg(all(test, withy_loom))]
pub(super) use {
    loom::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    loomed::{Mutex, Notify},
};

#[cfg(all(test, withy_loom))]
mod loomed {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    /// Loom's lock with the interface of parking_lot's.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("nobody panics while holding it")
        }
    }

    /// What a model needs of tokio's `Notify`.
    #[derive(Debug, Default)]
    pub(crate) struct Notify(Mutex<State>);

    #[derive(Debug, Default)]
    struct State {
        permit: bool,
        /// Calls of `notify_waiters`.
        broadcasts: usize,
        next: usize,
        waiting: VecDeque<(usize, Waker)>,
        woken: Vec<usize>,
    }

    impl Notify {
        pub(crate) fn notify_one(&self) {
            let mut state = self.0.lock();
            let Some((id, waker)) = state.waiting.pop_front() else {
                state.permit = true;
                return;
            };
            state.woken.push(id);
            drop(state);
            waker.wake();
        }

        pub(crate) fn notify_waiters(&self) {
            let mut state = self.0.lock();
            state.broadcasts += 1;
            let waiting = std::mem::take(&mut state.waiting);
            state.woken.extend(waiting.iter().map(|(id, _)| id));
            drop(state);
            waiting.into_iter().for_each(|(_, waker)| waker.wake());
        }

        pub(crate) fn notified_owned(self: Arc<Self>) -> Notified {
            let broadcasts = self.0.lock().broadcasts;
            Notified {
                notify: self,
                broadcasts,
                id: None,
            }
        }

        pub(crate) async fn notified(self: &Arc<Self>) {
            Arc::clone(self).notified_owned().await;
        }
    }

    #[derive(Debug)]
    pub(crate) struct Notified {
        notify: Arc<Notify>,
        broadcasts: usize,
        id: Option<usize>,
    }

    impl Future for Notified {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let notify = Arc::clone(&self.notify);
            let mut state = notify.0.lock();
            let Some(id) = self.id else {
                if state.broadcasts != self.broadcasts || std::mem::take(&mut state.permit) {
                    return Poll::Ready(());
                }
                self.id = Some(state.next);
                let registered = (state.next, cx.waker().clone());
                state.waiting.push_back(registered);
                state.next += 1;
                return Poll::Pending;
            };
            if state.woken.contains(&id) {
                return Poll::Ready(());
            }
            for (waiting, waker) in &mut state.waiting {
                if *waiting == id {
                    waker.clone_from(cx.waker());
                }
            }
            Poll::Pending
        }
    }
}

//! Which streams of a link have something to be read.
//!
//! quinn wakes a task per stream, and to ask a stream is to lock its whole connection. A link has up to
//! five streams besides its large messages, of which one has something, mostly: so each has a mark, which
//! quinn sets, and only what is marked is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;

/// Who is woken when a stream of a link has something.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<Wakers>>);

#[derive(Debug, Default)]
struct Wakers {
    reader: Option<Waker>,
    /// Who waits until no more streams come.
    settling: Option<Waker>,
}

impl Waiting {
    /// The task of `cx` reads, and nobody else. It says so before it looks at the marks: what is marked
    /// after that wakes it.
    pub(super) fn reads(&self, cx: &Context<'_>) {
        set(&mut self.0.lock().reader, cx);
    }

    /// The task of `cx` waits until no more streams come, beside whoever reads.
    pub(super) fn settles(&self, cx: &Context<'_>) {
        set(&mut self.0.lock().settling, cx);
    }

    /// A mark, set: its stream was never asked.
    pub(super) fn mark(&self) -> Mark {
        let marked = Marked {
            set: AtomicBool::new(true),
            waiting: self.clone(),
        };
        let marked = Arc::new(marked);
        Mark {
            waker: Waker::from(Arc::clone(&marked)),
            marked,
        }
    }
}

/// Whether a stream may have something.
#[derive(Debug)]
pub(super) struct Mark {
    marked: Arc<Marked>,
    waker: Waker,
}

#[derive(Debug)]
struct Marked {
    set: AtomicBool,
    waiting: Waiting,
}

fn set(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
}

impl Mark {
    /// Takes the mark away: the stream is asked next.
    pub(super) fn take(&self) -> bool {
        self.marked.set.swap(false, Ordering::AcqRel)
    }

    /// There may be more; whoever reads knows it.
    pub(super) fn set(&self) {
        self.marked.set.store(true, Ordering::Release);
    }

    /// What the stream is asked with.
    pub(super) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }
}

impl Wake for Marked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.set.store(true, Ordering::Release);
        // Taken: they say again that they wait before they look. A waker may do anything, and does it
        // without the lock.
        let Wakers { reader, settling } = std::mem::take(&mut *self.waiting.0.lock());
        reader.into_iter().chain(settling).for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_mark_wakes_the_reader_once() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let waiting = Waiting::default();
        let (one, other) = (waiting.mark(), waiting.mark());
        assert!(one.take() && other.take());
        one.context().waker().wake_by_ref();
        waiting.reads(&Context::from_waker(&waker));
        assert!(one.take(), "what was marked while nobody read");
        one.context().waker().wake_by_ref();
        other.context().waker().wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(one.take() && other.take());
        assert!(!one.take() && !other.take());
    }

    #[test]
    fn a_mark_wakes_who_settles_beside_who_reads() {
        let counts = [(); 2].map(|()| Arc::new(Count::default()));
        let wakers = counts
            .each_ref()
            .map(|count| Waker::from(Arc::clone(count)));
        let waiting = Waiting::default();
        let mark = waiting.mark();
        waiting.settles(&Context::from_waker(&wakers[0]));
        waiting.reads(&Context::from_waker(&wakers[1]));
        mark.context().waker().wake_by_ref();
        let woken = counts.map(|count| count.0.load(Ordering::Relaxed));
        assert_eq!(woken, [1, 1]);
    }
}

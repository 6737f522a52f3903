//! Which streams of a link have something to be read.
//!
//! quinn wakes a task per stream, and to ask a stream is to lock its whole connection. A link has up to
//! five streams besides its large messages, of which one has something, mostly: so each has a mark, which
//! quinn sets, and only what is marked is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;

/// Who reads a link. It says so before it looks at the marks: what is marked after that wakes it.
#[derive(Debug, Clone, Default)]
pub(super) struct Reader(Arc<Mutex<Option<Waker>>>);

impl Reader {
    /// Wakes the task of `cx`, from now on, and nobody else.
    pub(super) fn is(&self, cx: &Context<'_>) {
        match &mut *self.0.lock() {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// A mark, set: its stream was never asked.
    pub(super) fn mark(&self) -> Mark {
        let marked = Marked {
            set: AtomicBool::new(true),
            reader: self.clone(),
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
    reader: Reader,
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
        // Taken: it says again that it reads before it looks at the marks. A waker may do anything, and
        // does it without the lock.
        let waker = self.reader.0.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
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
        let reader = Reader::default();
        let (one, other) = (reader.mark(), reader.mark());
        assert!(one.take() && other.take());
        one.context().waker().wake_by_ref();
        reader.is(&Context::from_waker(&waker));
        assert!(one.take(), "what was marked while nobody read");
        one.context().waker().wake_by_ref();
        other.context().waker().wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(one.take() && other.take());
        assert!(!one.take() && !other.take());
    }
}

//! The two halves of a link over a bidirectional stream, with the interface of a socket's halves.
//!
//! quinn's streams are written with `&mut` and have no way to wait for room without writing. So a
//! short lock stands before the stream, and waiting for room is a write of no octets, which quinn
//! refuses as blocked, waking the task later, exactly when it would refuse one octet. It is only made
//! after a real write was refused, since on an open stream it may cost an empty frame.
//!
//! quinn remembers one waker per stream and replaces it with each refused write. A write that waits
//! for nothing must not displace the waker of a task that does, so every write is polled with the
//! waker of the last task that waited.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use bytes::{BufMut, Bytes};
use parking_lot::Mutex;
use quinn::{RecvStream, SendStream};
use tokio::io::{AsyncRead, ReadBuf};

use super::guests::Admission;
use super::lease::{Held, Lease};
use super::streams::More;
use super::wire::TAKEN;
use crate::QuicError;

pub(super) fn halves(
    send: SendStream,
    receive: RecvStream,
    lease: Lease,
    more: More,
    unanswered: bool,
) -> (QuicReader, QuicWriter) {
    let ended = Arc::new(Ended::default());
    let reader = QuicReader {
        stream: receive,
        ended: Arc::clone(&ended),
        lease: lease.clone(),
        admission: OnceLock::new(),
        unanswered,
        more: Some(Box::new(more)),
    };
    let sending = Sending {
        stream: Some(send),
        waiting: None,
        blocked: false,
    };
    let writer = QuicWriter {
        sending: Mutex::new(sending),
        ended,
        lease,
        held: Mutex::new(None),
        first: true,
    };
    (reader, writer)
}

/// How the link ended, for a reader that waits.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Our side ended both directions.
    ended: AtomicBool,
    /// The peer refused one of the link's streams.
    refused: AtomicBool,
    /// Our side sends no more.
    closed: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

impl Ended {
    /// Whether our side still sends on the link.
    pub(super) fn lives(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    /// Notes that the peer refused one of the link's streams, and with it what that carried: the link
    /// breaks.
    pub(super) fn refuse(&self) {
        self.set(&self.refused);
    }

    fn set(&self, what: &AtomicBool) {
        let mut reader = self.reader.lock();
        what.store(true, Ordering::Relaxed);
        if let Some(waker) = reader.take() {
            waker.wake();
        }
    }
}

/// The reading half of a QUIC stream.
#[derive(Debug)]
pub struct QuicReader {
    stream: RecvStream,
    ended: Arc<Ended>,
    lease: Lease,
    /// Shows that the link is admitted.
    admission: OnceLock<Admission>,
    /// Whether the peer has not said yet that it takes the link, which it does before all else.
    unanswered: bool,
    /// What turns the link into one of several streams.
    pub(super) more: Option<Box<More>>,
}

impl QuicReader {
    /// Grants the peer all that [`QuicOptions`](crate::QuicOptions) say, for this link and all others
    /// of its connection. Until then it may have sent 64 KiB that are not read, and opened 8 links, so
    /// that peers which nobody has judged cost little. A listener ends connections that have had no
    /// admitted link for [`QuicOptions::admission_timeout`](crate::QuicOptions::admission_timeout).
    pub fn admit(&self) {
        self.admission.get_or_init(|| self.lease.admissions.one());
        if let Some(more) = &self.more {
            more.awaited.admit();
        }
    }

    /// The reader of a stream that goes in one direction.
    pub(super) fn alone(stream: RecvStream, lease: Lease) -> Self {
        Self {
            stream,
            ended: Arc::default(),
            lease,
            admission: OnceLock::new(),
            unanswered: false,
            more: None,
        }
    }

    pub(super) fn poll_read_buf(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        tokio_util::io::poll_read_buf(Pin::new(self), cx, buffer)
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unanswered {
            if !ready!(self.poll_answer(cx))? {
                return Poll::Ready(Ok(()));
            }
            self.unanswered = false;
        }
        let polled = AsyncRead::poll_read(Pin::new(&mut self.stream), cx, buffer);
        if polled.is_pending() {
            return self.poll_end(cx);
        }
        polled
    }

    /// Reads whether the peer takes the link; `false` is the end of the stream.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut answer = [0];
        let mut buffer = ReadBuf::new(&mut answer);
        match self.stream.poll_read_buf(cx, &mut buffer) {
            Poll::Pending => return self.poll_end(cx).map_ok(|()| false),
            Poll::Ready(read) => read.map_err(|error| io::Error::other(QuicError::from(error)))?,
        }
        Poll::Ready(match buffer.filled() {
            [TAKEN] => Ok(true),
            [] => Ok(false),
            _ => Err(io::Error::other(QuicError::NoCommonProtocol)),
        })
    }

    /// Whether our writer ended both directions, or the link broke; if not, the task is woken when it
    /// does.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut reader = self.ended.reader.lock();
        if self.ended.ended.load(Ordering::Relaxed) {
            // The peer hears that nobody reads; it may have ended the stream itself.
            let _ = self.stream.stop(0_u32.into());
            return Poll::Ready(Ok(()));
        }
        if self.ended.refused.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        match &mut *reader {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl AsyncRead for QuicReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_read(cx, buffer)
    }
}

/// The writing half of a QUIC stream.
#[derive(Debug)]
pub struct QuicWriter {
    sending: Mutex<Sending>,
    ended: Arc<Ended>,
    lease: Lease,
    /// What lives until the peer has all that was written.
    held: Mutex<Option<Held>>,
    /// Whether the link began with this stream, and ends with it.
    first: bool,
}

#[derive(Debug)]
struct Sending {
    /// `None` only while it is dropped.
    stream: Option<SendStream>,
    /// The last task that waited for room.
    waiting: Option<Waker>,
    /// Whether the last write found no room.
    blocked: bool,
}

impl QuicWriter {
    /// The writer of one more stream of the link, which goes in one direction.
    pub(super) fn beside(&self, stream: SendStream) -> Self {
        let sending = Sending {
            stream: Some(stream),
            waiting: None,
            blocked: false,
        };
        Self {
            sending: Mutex::new(sending),
            ended: Arc::clone(&self.ended),
            lease: self.lease.clone(),
            held: Mutex::new(None),
            first: false,
        }
    }

    /// Keeps something until the peer has all that was written.
    pub(super) fn hold(&self, held: Held) {
        *self.held.lock() = Some(held);
    }

    /// Gives the stream up: the peer hears that something is missing.
    pub(super) fn reset(&self) {
        if let Some(stream) = &mut self.sending.lock().stream {
            // It was ended before, or the connection is gone.
            let _ = stream.reset(0_u32.into());
        }
    }

    /// Writes what the stream takes at once from the front of `chunk`, which it becomes the owner of, and
    /// returns how many octets.
    pub(super) fn try_write_chunk(&self, chunk: &mut Bytes) -> io::Result<usize> {
        let mut sending = self.sending.lock();
        tried(sending.poll(|stream, cx| {
            let write = std::pin::pin!(stream.write_chunks(std::slice::from_mut(chunk)));
            write.poll(cx).map_ok(|written| written.bytes)
        }))
    }

    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut written = 0;
        for slice in slices {
            match self.try_write(slice) {
                Ok(taken) if taken == slice.len() => written += taken,
                Ok(taken) => return Ok(written + taken),
                // What was taken before is reported first.
                Err(_) if written > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    pub(crate) fn try_write(&self, octets: &[u8]) -> io::Result<usize> {
        match octets {
            [] => Ok(0),
            octets => self.sending.lock().write(octets),
        }
    }

    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sending = self.sending.lock();
        if !sending.blocked {
            return Poll::Ready(Ok(()));
        }
        match &mut sending.waiting {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        // An error shows itself with the next write.
        let _ = ready!(sending.poll(|stream, cx| Pin::new(stream).poll_write(cx, &[])));
        sending.waiting = None;
        Poll::Ready(Ok(()))
    }

    pub(crate) fn shutdown(&self) {
        let mut sending = self.sending.lock();
        if let Some(stream) = &mut sending.stream {
            // It was ended before, or the connection is gone.
            let _ = stream.finish();
        }
        // Writes fail from now on, for which nobody has to wait.
        sending.blocked = false;
        if let Some(waker) = sending.waiting.take() {
            waker.wake();
        }
        drop(sending);
        self.ended.set(&self.ended.ended);
    }
}

impl Drop for QuicWriter {
    /// What was written still arrives.
    fn drop(&mut self) {
        if self.first {
            self.ended.closed.store(true, Ordering::Relaxed);
        }
        if let Some(mut stream) = self.sending.get_mut().stream.take() {
            let _ = stream.finish();
            let link = Arc::clone(&self.ended);
            self.lease.retire(stream, link, self.held.get_mut().take());
        }
    }
}

impl Sending {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let polled = self.poll(|stream, cx| Pin::new(stream).poll_write(cx, octets));
        tried(polled)
    }

    /// Polls a write with the waker of the task that waits, if one does.
    fn poll(
        &mut self,
        write: impl FnOnce(&mut SendStream, &mut Context<'_>) -> Poll<Result<usize, quinn::WriteError>>,
    ) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let waker = self.waiting.as_ref().unwrap_or(Waker::noop());
        let polled = write(stream, &mut Context::from_waker(waker));
        self.blocked = polled.is_pending();
        polled.map_err(io::Error::from)
    }
}

fn tried(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    match polled {
        Poll::Ready(written) => written,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

//! What the parties of one connection share: how to write, and what its task is asked to do.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use parking_lot::Mutex;
use withy_proto::Message;
use withy_proto::pattern::PipeKey;
use withy_proto::zmtp::Item;
use withy_transports::{ByteReader, ByteWriter, Streams, pipe};

use super::asked::Asked;
use super::ping::Trips;
use super::ready::Ready;
use crate::event::Reason;

/// The task is asked to flush.
pub(crate) const FLUSH: u8 = 1;
/// The task is asked to end.
pub(crate) const CLOSE: u8 = 2;
/// There may be room again for what was read while the application was away.
pub(crate) const RESUME: u8 = 4;
/// The peer is over its rate limit: wake its pipe later.
pub(crate) const REST: u8 = 8;

/// Messages for the peer are dropped: tell of it.
pub(crate) const DROPS: u8 = 16;

/// Looking for an answer to our PING.
pub(crate) const BEAT: u8 = 1;
/// Looking for a sign of life within the TTL of the peer's PING.
pub(crate) const TTL: u8 = 2;
/// Looking whether a peer that others take for dead shows life.
pub(crate) const DOUBT: u8 = 4;
const HEARD: u8 = BEAT | TTL | DOUBT;

/// The writing end of a link.
#[derive(Debug)]
pub(crate) enum Writer {
    Bytes(ByteWriter),
    Items(Arc<Items>),
}

/// A link that carries whole items.
#[derive(Debug)]
pub(crate) enum Items {
    /// Within this process.
    Pipe(pipe::End<Item>),
    /// Over several streams of a connection.
    Streams(Box<Streams>),
}

/// The reading end of a link.
#[derive(Debug)]
pub(crate) enum Reader {
    Bytes(ByteReader),
    Items {
        end: Arc<Items>,
        /// What came together with the peer's properties.
        first: VecDeque<Item>,
    },
}

impl Items {
    /// Hands items over that take `size` octets together.
    fn try_send(&self, items: &mut VecDeque<Item>, size: usize) -> Result<usize, pipe::Closed> {
        match self {
            Self::Pipe(end) => end.try_send_weighing(items, size),
            Self::Streams(streams) => streams.try_send_batch(items).map_err(|_| pipe::Closed),
        }
    }

    /// Of a load's messages, of which `items` are not handed over, those that have not left.
    fn unsent(&self, messages: usize, items: &VecDeque<Item>) -> usize {
        let is_message = |item: &&Item| matches!(item, Item::Message(_));
        match self {
            // What was handed over is the other end's.
            Self::Pipe(_) => items.iter().filter(is_message).count(),
            Self::Streams(streams) => {
                let left = usize::try_from(streams.take_left()).unwrap_or(usize::MAX);
                messages.saturating_sub(left)
            }
        }
    }

    fn is_drained(&self) -> bool {
        match self {
            // What was handed over is the other end's.
            Self::Pipe(_) => true,
            Self::Streams(streams) => streams.is_drained(),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let broken = || io::ErrorKind::BrokenPipe.into();
        match self {
            Self::Pipe(end) => end.poll_writable(cx).map_err(|_| broken()),
            Self::Streams(streams) => streams.poll_writable(cx).map_err(|_| broken()),
        }
    }

    /// Appends commands that have come, where these do not wait for messages; the error is why nothing
    /// more does.
    pub(crate) fn poll_commands(
        &self,
        cx: &mut Context<'_>,
        into: &mut VecDeque<Item>,
    ) -> Result<(), Reason> {
        match self {
            Self::Pipe(_) => Ok(()),
            Self::Streams(streams) => streams.poll_commands(cx, into).map_err(Reason::from),
        }
    }

    /// Whether commands do not wait for messages.
    pub(crate) fn is_several(&self) -> bool {
        matches!(self, Self::Streams(_))
    }

    /// Appends what has come; the error is why nothing more does.
    pub(crate) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        into: &mut VecDeque<Item>,
    ) -> Poll<Result<usize, Reason>> {
        match self {
            Self::Pipe(end) => end
                .poll_recv_batch(cx, into)
                .map_err(|_| Reason::PeerClosed),
            Self::Streams(streams) => streams.poll_recv_batch(cx, into).map_err(Reason::from),
        }
    }

    fn close(&self) {
        match self {
            Self::Pipe(end) => end.close(),
            Self::Streams(streams) => streams.close(),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    key: OnceLock<PipeKey>,
    writer: Writer,
    /// Where the pipe is put when it becomes readable.
    ready: Arc<Ready>,
    pub(crate) asked: Asked,
    /// Something arrived since the last look, one bit for each who looks.
    heard: AtomicU8,
    silent: AtomicBool,
    /// Reading stopped at the high-water mark: the peer's silence is our own doing.
    pub(crate) paused: AtomicBool,
    /// The last read did not take all: there may be more, whatever the peer sent last.
    behind: AtomicBool,
    /// The peer asks faster than it reads the replies: its requests wait until it does.
    pub(crate) backed_up: AtomicBool,
    /// Microseconds that reading rests, from when the task is asked.
    rest: AtomicU64,
    /// Milliseconds that the peer lives without traffic, from its last PING; 0 for ever.
    pub(crate) peer_ttl: AtomicU32,
    pub(super) trips: Mutex<Trips>,
    reason: Mutex<Option<Reason>>,
}

impl Link {
    pub(crate) fn new(writer: Writer, ready: Arc<Ready>) -> Self {
        Self {
            key: OnceLock::new(),
            writer,
            ready,
            asked: Asked::default(),
            heard: AtomicU8::new(HEARD),
            silent: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            behind: AtomicBool::new(false),
            backed_up: AtomicBool::new(false),
            rest: AtomicU64::new(0),
            peer_ttl: AtomicU32::new(0),
            trips: Mutex::default(),
            reason: Mutex::new(None),
        }
    }

    /// Set once, when the pipe is attached and before the link is shared.
    pub(crate) fn set_key(&self, key: PipeKey) {
        let _ = self.key.set(key);
    }

    pub(crate) fn key(&self) -> PipeKey {
        *self
            .key
            .get()
            .expect("the key is set before the link is shared")
    }

    /// Asks the task to wake the pipe after a rest.
    pub(crate) fn rest(&self, rest: Duration) {
        let micros = u64::try_from(rest.as_micros()).unwrap_or(u64::MAX);
        self.rest.store(micros, Ordering::Relaxed);
        self.asked.ask(REST);
    }

    /// How long the rest is that was asked for.
    pub(crate) fn rest_asked(&self) -> Duration {
        // Never longer than an hour at a time: a peer may not stop the clock.
        Duration::from_micros(self.rest.load(Ordering::Relaxed)).min(Duration::from_secs(3_600))
    }

    /// Asks the task to end the connection; the first reason stays.
    pub(crate) fn close(&self, reason: Reason) {
        self.reason.lock().get_or_insert(reason);
        self.asked.ask(CLOSE);
    }

    pub(crate) fn take_reason(&self) -> Option<Reason> {
        self.reason.lock().take()
    }

    /// Notes that something arrived, and that there may be more.
    #[inline]
    pub(crate) fn hear(&self) {
        if self.heard.load(Ordering::Relaxed) != HEARD {
            self.heard.store(HEARD, Ordering::Relaxed);
        }
        self.fall_behind();
    }

    /// Notes that something may have arrived that was not read.
    #[inline]
    pub(crate) fn fall_behind(&self) {
        if !self.behind.load(Ordering::Relaxed) {
            self.behind.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that all is about to be read that has arrived.
    #[inline]
    pub(crate) fn catch_up(&self) {
        self.behind.store(false, Ordering::Relaxed);
    }

    /// Whether the peer may have sent what was not read yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed) || self.paused.load(Ordering::Relaxed)
    }

    /// How long the peer lives without traffic; zero for ever.
    pub(crate) fn peer_ttl(&self) -> Duration {
        Duration::from_millis(u64::from(self.peer_ttl.load(Ordering::Relaxed)))
    }

    /// Notes whether the peer missed a heartbeat.
    pub(crate) fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    /// Whether the peer missed a heartbeat.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Whether something arrived since the last call for this purpose.
    pub(crate) fn take_heard(&self, purpose: u8) -> bool {
        self.heard.fetch_and(!purpose, Ordering::Relaxed) & purpose != 0
    }

    pub(crate) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.writer {
            Writer::Bytes(writer) => match slices {
                [one] => writer.try_write(one),
                many => writer.try_write_vectored(many),
            },
            Writer::Items(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Hands items over that take `size` octets together.
    pub(crate) fn try_send(
        &self,
        items: &mut VecDeque<Item>,
        size: usize,
    ) -> Result<usize, pipe::Closed> {
        match &self.writer {
            Writer::Bytes(_) => Err(pipe::Closed),
            Writer::Items(end) => end.try_send(items, size),
        }
    }

    /// Of a load's messages, of which `items` are not handed over, those that have not left.
    pub(crate) fn unsent(&self, messages: usize, items: &VecDeque<Item>) -> usize {
        match &self.writer {
            Writer::Bytes(_) => messages,
            Writer::Items(end) => end.unsent(messages, items),
        }
    }

    /// What streams had taken of a connection that ends, unless they bring it there yet, `lost` or not:
    /// messages that the peer cannot have, and the number of those that it may have or not.
    pub(crate) fn take_back(&self, lost: bool) -> (Vec<Message>, u64) {
        match &self.writer {
            Writer::Items(end) => match &**end {
                Items::Streams(streams) if lost || !streams.is_drained() => streams.take_back(),
                _ => Default::default(),
            },
            Writer::Bytes(_) => Default::default(),
        }
    }

    /// Whether all items that were handed over have left.
    pub(crate) fn is_drained(&self) -> bool {
        match &self.writer {
            Writer::Bytes(_) => true,
            Writer::Items(end) => end.is_drained(),
        }
    }

    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.writer {
            Writer::Bytes(writer) => writer.poll_write_ready(cx),
            Writer::Items(end) => end.poll_writable(cx),
        }
    }

    /// Waits until all that came of a lost connection can be read.
    pub(crate) async fn settled(&self) {
        if let Writer::Items(end) = &self.writer
            && let Items::Streams(streams) = &**end
        {
            poll_fn(|cx| streams.poll_settled(cx)).await;
        }
    }

    /// Ends the link in both directions.
    pub(crate) fn shutdown(&self) {
        match &self.writer {
            Writer::Bytes(writer) => writer.shutdown(),
            Writer::Items(end) => end.close(),
        }
    }
}

/// Wakes the receivers of its pipe.
impl Wake for Link {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.fall_behind();
        self.ready.wake(self.key());
    }
}

//! A link whose items travel over several streams of its connection: [`withy_proto::quic`] says which
//! and how they come in order again.
//!
//! ```text
//!  items -> Spread -> control, data, large streams ~~~> streams -> decoders -> Order -> items
//! ```
//!
//! It has the interface of a [pipe](crate::pipe)'s end: whole items move in batches. The control
//! stream is sent first, then data, then large messages, over all links of a connection; streams of
//! the same kind share what is left.
//!
//! An item that was taken is encoded and held until its stream takes it: no more than one batch of
//! 256 KiB for each of control and data, and [`MAX_LARGE`] large messages by reference.
//!
//! [`MAX_LARGE`]: withy_proto::quic::MAX_LARGE

mod reading;
mod sending;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use quinn::{Connection, RecvStream};
use tokio::sync::mpsc;
use withy_proto::quic::{Order, OrderError, Spread, receipt};
use withy_proto::zmtp::{DecodeError, Decoder, Framing, Item, Limits, Outbox};

use self::reading::{In, Reading, Receiving};
use self::sending::{Out, Sending};
use super::lease::Lease;
use super::link::{QuicReader, QuicWriter};
use super::sort::Awaited;

/// Priorities of streams: what is higher is sent first.
pub(super) const CONTROL: i32 = 2;
const DATA: i32 = 1;
const LARGE: i32 = 0;

/// A stream that the peer opened for a link.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) large: Option<u64>,
    pub(super) stream: RecvStream,
}

/// What a link needs to have more streams than its first.
#[derive(Debug)]
pub(super) struct More {
    pub(super) connection: Connection,
    pub(super) link: u64,
    pub(super) lease: Lease,
    /// What the peer opened.
    pub(super) arrivals: mpsc::Receiver<Arrived>,
    pub(super) _awaited: Awaited,
}

/// A link over several streams.
#[derive(Debug)]
pub struct Streams {
    /// `None` once the link is closed: a task that waits for the connection may have a part in this,
    /// and the connection must not have one in itself.
    sending: Mutex<Option<Sending>>,
    receiving: Mutex<Option<Receiving>>,
}

/// Why nothing more comes.
#[derive(Debug, thiserror::Error)]
pub enum StreamsError {
    /// The peer closed the link, and all that it sent was given out; or this side did.
    #[error("the link is closed")]
    Closed,
    /// The connection is lost.
    #[error(transparent)]
    Lost(io::Error),
    /// The peer broke the rules of ZMTP, or went over a limit.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The peer broke the rules of several streams.
    #[error(transparent)]
    Order(#[from] OrderError),
}
impl Streams {
    /// Takes a link over once its handshake is complete. `decoder` has what was read of the control
    /// stream already; `in_order` says whether messages keep their order.
    ///
    /// # Panics
    /// The reader is not the control stream's, or was taken over before.
    pub fn new(
        mut reader: QuicReader,
        writer: QuicWriter,
        decoder: Decoder,
        limits: Limits,
        in_order: bool,
    ) -> Self {
        let More {
            connection,
            link,
            lease,
            arrivals,
            _awaited,
        } = *reader.more.take().expect("a link is taken over once");
        let mut sending = Sending {
            control: Out::new(writer, Vec::new()),
            data: None,
            text: Outbox::new(Framing::Clear),
            large: Vec::new(),
            spread: Spread::default(),
            connection,
            link,
            lease: lease.clone(),
            opening: None,
            opened: None,
            next: None,
            receipted: 0,
            waiting: None,
            lost: false,
        };
        let receiving = Receiving {
            control: In {
                reader,
                decoder,
                ended: false,
            },
            data: None,
            large: BTreeMap::new(),
            arrivals,
            order: Order::new(in_order),
            taken: 0,
            gone: false,
            failed: None,
            limits,
            lease,
            _awaited,
        };
        // The peer waits for the end of our data stream before it believes that all has come: it is
        // opened even if nothing is ever said.
        sending.flush(&mut Context::from_waker(Waker::noop()));
        Self {
            sending: Mutex::new(Some(sending)),
            receiving: Mutex::new(Some(receiving)),
        }
    }

    /// Moves items from the front of `batch` onto the streams, as many as they take, and returns how
    /// many.
    ///
    /// # Errors
    ///
    /// [`StreamsError::Closed`]; `batch` has what was not taken.
    pub fn try_send_batch(&self, batch: &mut VecDeque<Item>) -> Result<usize, StreamsError> {
        let mut sending = self.sending.lock();
        let sending = sending.as_mut().ok_or(StreamsError::Closed)?;
        let cx = &mut Context::from_waker(Waker::noop());
        let mut taken = 0;
        loop {
            sending.flush(cx);
            if sending.lost {
                return Err(StreamsError::Closed);
            }
            let before = taken;
            while sending.has_room() && !batch.is_empty() {
                if let Some(item) = batch.pop_front() {
                    sending.take(item);
                    taken += 1;
                }
            }
            if taken == before {
                return Ok(taken);
            }
        }
    }

    /// Whether all that was taken is with the system.
    pub fn is_drained(&self) -> bool {
        let sending = self.sending.lock();
        sending.as_ref().is_none_or(Sending::is_drained)
    }

    /// Waits until some stream takes more.
    ///
    /// # Errors
    ///
    /// [`StreamsError::Closed`].
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<(), StreamsError>> {
        match &mut *self.sending.lock() {
            Some(sending) if !sending.lost => sending.poll_ready(cx).map(Ok),
            _ => Poll::Ready(Err(StreamsError::Closed)),
        }
    }

    /// Appends what has come to `into`, waiting until that is at least one item.
    ///
    /// # Errors
    ///
    /// [`StreamsError`], once all that came before was given out.
    pub fn poll_recv_batch(
        &self,
        cx: &mut Context<'_>,
        into: &mut VecDeque<Item>,
    ) -> Poll<Result<usize, StreamsError>> {
        let before = into.len();
        let mut receiving = self.receiving.lock();
        let Some(receiving) = receiving.as_mut() else {
            return Poll::Ready(Err(StreamsError::Closed));
        };
        if let Some(error) = receiving.failed.take() {
            return Poll::Ready(Err(error));
        }
        let taken = receiving.taken;
        let mut receipted = 0;
        let result = loop {
            let result = receiving.read(cx, into, &mut receipted);
            // A large message takes many turns, and whoever polls may have no other.
            if !matches!(result, Ok(Reading::Turn)) || into.len() > before {
                break result;
            }
        };
        self.account(
            receipted,
            (receiving.taken > taken).then_some(receiving.taken),
        );
        let count = into.len() - before;
        match result {
            Err(error) if count > 0 => {
                receiving.failed = Some(error);
                cx.waker().wake_by_ref();
            }
            Err(error) => return Poll::Ready(Err(error)),
            Ok(Reading::Ended) if count == 0 => return Poll::Ready(Err(StreamsError::Closed)),
            Ok(Reading::Turn | Reading::Ended) => cx.waker().wake_by_ref(),
            Ok(Reading::All) if count == 0 => return Poll::Pending,
            Ok(Reading::All) => {}
        }
        Poll::Ready(Ok(count))
    }

    /// Notes what the peer has read whole, and tells it what we have.
    fn account(&self, receipted: u64, taken: Option<u64>) {
        if receipted == 0 && taken.is_none() {
            return;
        }
        let mut sending = self.sending.lock();
        let Some(sending) = sending.as_mut() else {
            return;
        };
        sending.receipted = sending.receipted.max(receipted);
        if let Some(taken) = taken {
            sending.control.outbox.push_command(&receipt(taken));
            sending.flush(&mut Context::from_waker(Waker::noop()));
        }
        if let Some(waker) = sending.waiting.take() {
            waker.wake();
        }
    }

    /// Ends all streams; what they took still arrives. If not all is with the system, the peer hears
    /// that something is missing.
    pub fn close(&self) {
        let sending = self.sending.lock().take();
        let receiving = self.receiving.lock().take();
        let Some(sending) = sending else { return };
        if sending.is_drained() && sending.data.is_some() {
            // To stop reading is to tell the peer so, which would end the link before it has read
            // all of ours.
            let held = Arc::new(receiving);
            let outs = sending.data.iter().chain(&sending.large);
            for out in outs.chain([&sending.control]) {
                out.writer.hold(Box::new(Arc::clone(&held)));
            }
        } else {
            sending.control.writer.reset();
        }
        // Dropping a writer finishes its stream.
    }
}

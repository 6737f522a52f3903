//! A link whose items travel over several streams of its connection: [`withy_proto::quic`] says which
//! and how they come in order again.
//!
//! ```text
//!  items -> Spread -> control, lanes, large streams ~~~> streams -> decoders -> Order -> items
//! ```
//!
//! It has the interface of a [pipe](crate::pipe)'s end: whole items move in batches. Control streams
//! are sent first, over all links of a connection; then the links with the highest [`Priority`], of
//! each its lanes before its large messages. Streams of the same kind share what is left.
//!
//! An item that was taken is encoded and held until its stream takes it: no more than one batch of
//! 256 KiB for control and for all lanes, and [`MAX_LARGE`] large messages by reference.
//!
//! [`MAX_LARGE`]: withy_proto::quic::MAX_LARGE

mod marks;
mod out;
mod reading;
mod sending;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use quinn::{Connection, RecvStream};
use tokio::sync::mpsc;
use withy_proto::Message;
use withy_proto::quic::{Header, OrderError, Priority, Spread};
use withy_proto::zmtp::{DecodeError, Decoder, Item, Limits};

use self::reading::{Reading, Receiving};
use self::sending::{Sending, Taken};
use super::lease::Lease;
use super::link::{QuicReader, QuicWriter};
use super::sort::Awaited;

/// Turns over the streams of a link before somebody else has one: with the windows of the defaults,
/// more than what a link may have received and not read takes.
const TURNS: usize = 64;

/// The priority of control streams: before all others.
pub(super) const CONTROL: i32 = 6;

/// The priorities of a link's lanes and of its large messages: what is higher is sent first.
fn priorities(priority: Priority) -> (i32, i32) {
    match priority {
        Priority::High => (5, 4),
        Priority::Normal => (3, 2),
        Priority::Low => (1, 0),
    }
}

/// A stream that the peer opened for a link.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) header: Header,
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
    pub(super) awaited: Awaited,
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
    /// stream already; `ordered` says whether what is sent keeps its order.
    ///
    /// # Panics
    /// The reader is not the control stream's, or was taken over before.
    pub fn new(
        mut reader: QuicReader,
        writer: QuicWriter,
        decoder: Decoder,
        limits: Limits,
        ordered: bool,
        priority: Priority,
    ) -> Self {
        let More {
            connection,
            link,
            lease,
            arrivals,
            awaited,
            ..
        } = *reader.more.take().expect("a link is taken over once");
        let spread = Spread::new(ordered);
        let mut sending = Sending::new(writer, spread, priority, connection, link);
        // The peer waits for the end of our lane 0 before it believes that all has come: it is opened
        // even if nothing is ever said.
        sending.flush();
        let receiving = Receiving::new(reader, decoder, limits, lease, arrivals, awaited);
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
        sending.expect(batch.front());
        let mut taken = 0;
        loop {
            sending.flush();
            if sending.lost {
                return Err(StreamsError::Closed);
            }
            let before = taken;
            while let Some(item) = batch.front()
                && sending.take(item)
            {
                batch.pop_front();
                taken += 1;
            }
            if taken == before {
                return Ok(taken);
            }
        }
    }

    /// Whether all that was taken is with the system; never again if it was lost.
    pub fn is_drained(&self) -> bool {
        let sending = self.sending.lock();
        sending.as_ref().is_none_or(Sending::is_drained)
    }

    /// How many of the messages that were taken have gone to the system since the last call.
    pub fn take_left(&self) -> u64 {
        let mut sending = self.sending.lock();
        sending.as_mut().map_or(0, Sending::take_left)
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
        let mut receipted = None;
        let mut turns = 0;
        let result = loop {
            let result = receiving.read(cx, into, &mut receipted);
            turns += 1;
            // A large message takes many turns, and whoever polls may have no other.
            let goes_on = matches!(result, Ok(Reading::Turn)) && into.len() == before;
            if !goes_on || turns == TURNS {
                break result;
            }
        };
        self.account(cx, receiving, receipted);
        let count = into.len() - before;
        match result {
            Err(error) if count > 0 => {
                receiving.failed = Some(error);
                cx.waker().wake_by_ref();
            }
            Err(error) => return Poll::Ready(Err(error)),
            Ok(Reading::Ended) if count == 0 => return Poll::Ready(Err(StreamsError::Closed)),
            Ok(Reading::Turn | Reading::Ended) => cx.waker().wake_by_ref(),
            Ok(Reading::All) => {}
        }
        match count {
            0 => Poll::Pending,
            count => Poll::Ready(Ok(count)),
        }
    }

    /// Appends commands that have come to `into`, for somebody who has no room for messages. If there
    /// are no more, the task is woken by the next.
    ///
    /// # Errors
    ///
    /// As [`Streams::poll_recv_batch`], for which messages that came before a loss are still there.
    pub fn poll_commands(
        &self,
        cx: &mut Context<'_>,
        into: &mut VecDeque<Item>,
    ) -> Result<(), StreamsError> {
        let mut receiving = self.receiving.lock();
        let receiving = receiving.as_mut().ok_or(StreamsError::Closed)?;
        if let Some(error) = receiving.failed.take() {
            return Err(error);
        }
        let mut receipted = None;
        let more = receiving.read_commands(cx, into, &mut receipted);
        self.account(cx, receiving, receipted);
        if more? {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Waits until no more streams come from a connection that is lost; at once if it is not.
    pub fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut receiving = self.receiving.lock();
        match receiving.as_mut().is_some_and(|it| it.is_unsettled(cx)) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    /// Notes what the peer has read, and tells it what we have.
    fn account(&self, cx: &mut Context<'_>, receiving: &mut Receiving, receipted: Option<Taken>) {
        let receipt = receiving.receipt();
        if receipted.is_none() && receipt.is_none() && !receiving.owes {
            return;
        }
        let mut sending = self.sending.lock();
        let Some(sending) = sending.as_mut() else {
            return;
        };
        if let Some(receipted) = receipted {
            sending.note(receipted);
        }
        if let Some(receipt) = receipt {
            sending.tell(receipt);
            sending.flush();
        }
        receiving.owes = sending.poll_control(cx);
    }

    /// Ends the sending side of a link whose connection is lost, and gives back the messages that the
    /// peer cannot have, with the number of those of which nobody knows whether it has them.
    pub fn take_back(&self) -> (Vec<Message>, u64) {
        let Some(sending) = self.sending.lock().take() else {
            return (Vec::new(), 0);
        };
        sending.reset();
        sending.recover()
    }

    /// Ends all streams; what they took still arrives. If not all is with the system, the peer hears
    /// that something is missing.
    pub fn close(&self) {
        let sending = self.sending.lock().take();
        let receiving = self.receiving.lock().take();
        let Some(mut sending) = sending else { return };
        if sending.is_whole() {
            if let Some(receiving) = &receiving {
                // At best: nothing waits for it.
                sending.tell(receiving.taken());
                sending.flush();
            }
            // To stop reading is to tell the peer so, which would end the link before it has read
            // all of ours.
            sending.hold(receiving);
        } else {
            sending.reset();
        }
        // Dropping a writer finishes its stream.
    }
}

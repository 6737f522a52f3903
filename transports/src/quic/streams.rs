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
//! [`BATCH`] octets for each of control and data, and [`MAX_LARGE`] large messages by reference.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use quinn::{Connection, RecvStream, SendStream};
use tokio::io::ReadBuf;
use tokio::sync::mpsc;
use withy_proto::mechanism::Opener;
use withy_proto::quic::{self, Header, Lane, MAX_LARGE, Order, OrderError, Spread, mark, receipt};
use withy_proto::zmtp::{Batch, DecodeError, Decoder, Framing, Item, Limits, Outbox};

use super::endpoint::Grant;
use super::lease::Lease;
use super::link::{QuicReader, QuicWriter};
use super::sort::Awaited;

/// Octets of small items that are taken at a time.
const BATCH: usize = 256 * 1024;

/// Octets that one stream is read at a time.
const READ: usize = 128 * 1024;

/// Slices of one vectored write.
const SLICES: usize = 64;

/// Priorities of streams: what is higher is sent first.
pub(super) const CONTROL: i32 = 2;
const DATA: i32 = 1;
const LARGE: i32 = 0;

thread_local! {
    /// What is read into, between polls of nobody's.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

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
    pub(super) grant: Grant,
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

struct Sending {
    control: Out,
    /// `None` until the stream is open.
    data: Option<Out>,
    /// What the data stream will say, until it is open, and then what it says next.
    text: Outbox,
    large: Vec<Out>,
    spread: Spread,
    connection: Connection,
    link: u64,
    lease: Lease,
    opening: Option<Opening>,
    /// A stream that was opened while nobody wrote.
    opened: Option<SendStream>,
    /// A large message whose stream is not open yet, and its number.
    next: Option<(u64, Outbox)>,
    /// Large messages that the peer has read whole.
    receipted: u64,
    /// Who waits for the peer to read one.
    waiting: Option<Waker>,
    lost: bool,
}

type Opening = Pin<Box<dyn Future<Output = Option<SendStream>> + Send>>;

/// A stream, and what it was not able to take yet.
#[derive(Debug)]
struct Out {
    writer: QuicWriter,
    outbox: Outbox,
    /// The octets in front of all frames.
    head: Vec<u8>,
    batch: Option<Batch>,
    spare: Vec<u8>,
}

struct Receiving {
    control: In,
    data: Option<In>,
    large: BTreeMap<u64, In>,
    arrivals: mpsc::Receiver<Arrived>,
    order: Order,
    /// Large messages that were read whole.
    taken: u64,
    /// Nothing comes any more from the connection.
    gone: bool,
    /// What went wrong behind items that were given out.
    failed: Option<StreamsError>,
    limits: Limits,
    lease: Lease,
    _awaited: Awaited,
}

/// A stream that is read.
#[derive(Debug)]
struct In {
    reader: QuicReader,
    decoder: Decoder,
    ended: bool,
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
            ..
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

impl Sending {
    /// Whether the next item can be taken, whatever it is.
    fn has_room(&self) -> bool {
        !self.owes_receipts()
            && self.control.has_room()
            && self.text.size() < BATCH
            && self.data.as_ref().is_none_or(|data| data.batch.is_none())
            && self.next.is_none()
            && self.large.len() < MAX_LARGE
    }

    /// Whether the peer has to read large messages before more are sent.
    fn owes_receipts(&self) -> bool {
        self.spread.larges() >= self.receipted.saturating_add(MAX_LARGE as u64)
    }

    fn take(&mut self, item: Item) {
        let lane = self.spread.lane(&item);
        match (lane, item) {
            (Lane::Large(number), Item::Message(message)) => {
                self.text.push_command(&mark(number));
                let mut outbox = Outbox::new(Framing::Clear);
                outbox.push(&message);
                self.next = Some((number, outbox));
            }
            (_, Item::Message(message)) => self.text.push(&message),
            (_, Item::Command(command)) => self.control.outbox.push_command(&command),
        }
    }

    fn is_drained(&self) -> bool {
        let text = self.text.is_empty();
        let outs = self.data.iter().chain(&self.large).chain([&self.control]);
        self.lost || (text && self.next.is_none() && outs.into_iter().all(Out::is_drained))
    }

    /// Writes what the streams take.
    fn flush(&mut self, cx: &mut Context<'_>) {
        if self.write(cx).is_err() {
            self.lost = true;
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.control.write()?;
        if self.data.is_none()
            && let Some(stream) = self.open(cx)?
        {
            self.data = Some(self.begin(stream, DATA, None, Outbox::new(Framing::Clear)));
        }
        if let Some(data) = &mut self.data {
            if data.batch.is_none() && !self.text.is_empty() {
                std::mem::swap(&mut data.outbox, &mut self.text);
            }
            data.write()?;
            if self.next.is_some()
                && let Some(stream) = self.open(cx)?
                && let Some((number, outbox)) = self.next.take()
            {
                let out = self.begin(stream, LARGE, Some(number), outbox);
                self.large.push(out);
            }
        }
        let mut failed = Ok(());
        self.large.retain_mut(|out| match out.write() {
            // Dropping the writer finishes the stream.
            Ok(()) => !out.is_drained(),
            Err(error) => {
                failed = Err(error);
                true
            }
        });
        failed
    }

    /// A new stream, if there is one to be had.
    fn open(&mut self, cx: &mut Context<'_>) -> io::Result<Option<SendStream>> {
        if let Some(opened) = self.opened.take() {
            return Ok(Some(opened));
        }
        let connection = &self.connection;
        let opening = self.opening.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.open_uni().await.ok() })
        });
        match opening.as_mut().poll(cx) {
            Poll::Ready(stream) => {
                self.opening = None;
                let lost = || io::ErrorKind::NotConnected.into();
                stream.map(Some).ok_or_else(lost)
            }
            Poll::Pending => Ok(None),
        }
    }

    fn begin(&self, stream: SendStream, priority: i32, large: Option<u64>, outbox: Outbox) -> Out {
        // It fails only once the stream is reset.
        let _ = stream.set_priority(priority);
        let link = self.link;
        let head = Header { link, large }.encode().to_vec();
        let writer = QuicWriter::alone(stream, self.lease.clone());
        Out {
            outbox,
            ..Out::new(writer, head)
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let owes = self.owes_receipts();
        if owes {
            self.waiting = Some(cx.waker().clone());
        }
        let mut ready = self.is_drained() && !owes;
        if self.opening.is_some() {
            match self.open(cx) {
                Ok(None) => {}
                Ok(opened) => {
                    self.opened = opened;
                    ready = true;
                }
                // The next write shows it.
                Err(_) => ready = true,
            }
        }
        for out in self.data.iter().chain(&self.large).chain([&self.control]) {
            // Each is asked, so that each wakes us.
            ready |= !out.is_drained() && out.writer.poll_write_ready(cx).is_ready();
        }
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Out {
    fn new(writer: QuicWriter, head: Vec<u8>) -> Self {
        Self {
            writer,
            outbox: Outbox::new(Framing::Clear),
            head,
            batch: None,
            spare: Vec::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.batch.is_none() || self.outbox.size() < BATCH
    }

    fn is_drained(&self) -> bool {
        self.head.is_empty() && self.batch.is_none() && self.outbox.is_empty()
    }

    /// Writes what the stream takes.
    fn write(&mut self) -> io::Result<()> {
        while !self.head.is_empty() {
            match self.writer.try_write(&self.head) {
                Ok(written) => drop(self.head.drain(..written)),
                Err(error) => return blocked(error),
            }
        }
        loop {
            let batch = match &mut self.batch {
                Some(batch) => batch,
                None if self.outbox.is_empty() => return Ok(()),
                none => none.insert(self.outbox.take(std::mem::take(&mut self.spare))),
            };
            while !batch.is_done() {
                let written = match batch.as_slice() {
                    Some(octets) => self.writer.try_write(octets),
                    None => {
                        let mut slices = [IoSlice::new(&[]); SLICES];
                        let filled = batch.slices(&mut slices);
                        self.writer.try_write_vectored(&slices[..filled])
                    }
                };
                match written {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => batch.advance(written),
                    Err(error) => return blocked(error),
                }
            }
            if let Some(batch) = self.batch.take() {
                self.spare = batch.into_spare();
            }
        }
    }
}

fn blocked(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock => Ok(()),
        _ => Err(error),
    }
}

/// How reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// All that is there was read.
    All,
    /// There may be more.
    Turn,
    /// Nothing more will come.
    Ended,
}

impl Receiving {
    /// Reads what is there, for a turn of each stream. The most that the peer has read of ours goes
    /// into `receipted`.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut VecDeque<Item>,
        receipted: &mut u64,
    ) -> Result<Reading, StreamsError> {
        let mut more = self.control.read(cx, |item| {
            match quic::receipted(&item) {
                Some(count) => *receipted = count.max(*receipted),
                None => into.push_back(item),
            }
            Ok(())
        })?;
        self.arrive(cx)?;
        let order = &mut self.order;
        if let Some(data) = &mut self.data
            && !order.is_full()
        {
            more |= data.read(cx, |item| Ok(order.data(item, into)?))?;
        }
        let mut done = Vec::new();
        for (&number, stream) in &mut self.large {
            if !order.admits(number) {
                break;
            }
            let mut whole = false;
            more |= stream.read(cx, |item| match item {
                Item::Message(message) if !whole => {
                    whole = true;
                    Ok(order.large(number, message, into)?)
                }
                _ => Err(OrderError::Number { number }.into()),
            })?;
            if whole {
                done.push(number);
            } else if stream.ended {
                // It ended in the middle of its message.
                return Err(StreamsError::Lost(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        for number in done {
            self.large.remove(&number);
            self.taken += 1;
            // Others may be admitted now.
            more = true;
        }
        let ended = self.control.ended && self.data.as_ref().is_none_or(|data| data.ended);
        if ended && self.data.is_some() && self.order.is_complete() {
            return Ok(Reading::Ended);
        }
        if ended && self.gone && self.large.is_empty() {
            // What is missing will not come.
            return Err(StreamsError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(if more { Reading::Turn } else { Reading::All })
    }

    /// Takes the streams in that the peer opened.
    fn arrive(&mut self, cx: &mut Context<'_>) -> Result<(), StreamsError> {
        while !self.gone {
            let Arrived { large, stream } = match self.arrivals.poll_recv(cx) {
                Poll::Ready(Some(arrived)) => arrived,
                Poll::Ready(None) => {
                    self.gone = true;
                    break;
                }
                Poll::Pending => break,
            };
            let known = match large {
                None => self.data.is_some(),
                Some(number) => self.large.contains_key(&number),
            };
            if known {
                let number = large.unwrap_or_default();
                return Err(OrderError::Number { number }.into());
            }
            let stream = In {
                reader: QuicReader::alone(stream, self.lease.clone()),
                decoder: Decoder::new(self.limits, Opener::Clear),
                ended: false,
            };
            match large {
                None => self.data = Some(stream),
                Some(number) => drop(self.large.insert(number, stream)),
            }
        }
        Ok(())
    }
}

impl In {
    /// Reads until the stream has nothing, or has given its turn; returns whether there may be more.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        mut sink: impl FnMut(Item) -> Result<(), StreamsError>,
    ) -> Result<bool, StreamsError> {
        let mut turn = 0;
        let mut undecoded = self.decoder.has_tail();
        while !self.ended && turn < READ {
            let read = BUFFER.with_borrow_mut(|buffer| {
                self.read_once(cx, buffer, std::mem::take(&mut undecoded), &mut sink)
            })?;
            match read {
                Some(read) => turn += read,
                None => return Ok(false),
            }
        }
        Ok(!self.ended)
    }

    /// Reads once; `None` when nothing is there.
    fn read_once(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        undecoded: bool,
        sink: &mut impl FnMut(Item) -> Result<(), StreamsError>,
    ) -> Result<Option<usize>, StreamsError> {
        let direct = match self.decoder.body() {
            Some(mut body) => Some(self.reader.poll_read_buf(cx, &mut body)),
            None => None,
        };
        if let Some(polled) = direct {
            let Poll::Ready(read) = polled.map_err(StreamsError::Lost)? else {
                return Ok(None);
            };
            self.ended = read == 0;
            self.decode(&mut [], sink)?;
            return Ok(Some(read));
        }
        let tail = self.decoder.unstash();
        buffer.resize(tail.len() + READ, 0);
        buffer[..tail.len()].copy_from_slice(&tail);
        if undecoded {
            let size = tail.len();
            self.decode(&mut buffer[..size], sink)?;
            return Ok(Some(0));
        }
        let mut room = ReadBuf::new(&mut buffer[tail.len()..]);
        match self.reader.poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) => {
                let read = room.filled().len();
                self.ended = read == 0;
                self.decode(&mut buffer[..tail.len() + read], sink)?;
                Ok(Some(read))
            }
            Poll::Ready(Err(error)) => Err(StreamsError::Lost(error)),
            Poll::Pending => {
                self.decoder.stash(&tail);
                Ok(None)
            }
        }
    }

    fn decode(
        &mut self,
        octets: &mut [u8],
        sink: &mut impl FnMut(Item) -> Result<(), StreamsError>,
    ) -> Result<(), StreamsError> {
        let mut at = 0;
        loop {
            let (used, item) = self.decoder.decode(&mut octets[at..])?;
            at += used;
            match item {
                Some(item) => sink(item)?,
                None => break,
            }
        }
        self.decoder.stash(&octets[at..]);
        Ok(())
    }
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending")
            .field("link", &self.link)
            .field("large", &self.large.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Receiving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiving")
            .field("large", &self.large.len())
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

//! What is read of a link's streams.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;
use tokio::sync::mpsc;
use withy_proto::Message;
use withy_proto::mechanism::Opener;
use withy_proto::quic::{Carries, LANES, Order, OrderError, RECEIPT};
use withy_proto::zmtp::{Command, Decoder, Item, Limits};

use super::marks::{Mark, Waiting};
use super::sending::Taken;
use super::{Arrived, StreamsError};
use crate::quic::lease::Lease;
use crate::quic::link::QuicReader;
use crate::quic::sort::Awaited;

/// Octets that one stream is read at a time.
const READ: usize = 32 * 1024;

thread_local! {
    /// What is read into, between polls of nobody's.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct Receiving {
    control: In,
    lanes: [Option<In>; LANES],
    large: BTreeMap<u64, In>,
    arrivals: mpsc::Receiver<Arrived>,
    arrived: Mark,
    order: Order,
    waiting: Waiting,
    /// What the peer was told that we have read.
    told: Taken,
    /// The peer asked whether we are there.
    asked: bool,
    /// The control stream could not take all that we have to say.
    pub(super) owes: bool,
    /// Nothing comes any more from the connection.
    gone: bool,
    /// Why something is missing; what came all the same is read first.
    broken: Option<io::Error>,
    /// What went wrong behind items that were given out.
    pub(super) failed: Option<StreamsError>,
    limits: Limits,
    lease: Lease,
    awaited: Awaited,
}

/// A stream that is read.
#[derive(Debug)]
struct In {
    reader: QuicReader,
    decoder: Decoder,
    ended: bool,
    mark: Mark,
}

/// How reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// All that is there was read.
    All,
    /// There may be more.
    Turn,
    /// Nothing more will come.
    Ended,
}

impl Receiving {
    pub(super) fn new(
        control: QuicReader,
        decoder: Decoder,
        limits: Limits,
        lease: Lease,
        arrivals: mpsc::Receiver<Arrived>,
        awaited: Awaited,
    ) -> Self {
        let waiting = Waiting::default();
        Self {
            control: In {
                reader: control,
                decoder,
                ended: false,
                mark: waiting.mark(),
            },
            lanes: [const { None }; LANES],
            large: BTreeMap::new(),
            arrivals,
            arrived: waiting.mark(),
            order: Order::default(),
            waiting,
            told: Taken::default(),
            asked: false,
            owes: false,
            gone: false,
            broken: None,
            failed: None,
            limits,
            lease,
            awaited,
        }
    }

    /// Reads what is there, for a turn of each stream. What the peer says that it has read of ours goes
    /// into `receipted`.
    pub(super) fn read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut VecDeque<Item>,
        receipted: &mut Option<Taken>,
    ) -> Result<Reading, StreamsError> {
        match self.read_all(cx, into, receipted) {
            // What follows a loss may well look wrong.
            Err(_) if self.broken.is_some() => Err(self.lost()),
            read => read,
        }
    }

    fn read_all(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut VecDeque<Item>,
        receipted: &mut Option<Taken>,
    ) -> Result<Reading, StreamsError> {
        self.waiting.reads(cx);
        let read = self.read_control(into, receipted);
        let mut more = aside(&mut self.broken, read)?;
        if self.arrived.take() {
            self.arrive()?;
        }
        let order = &mut self.order;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            if let Some(lane) = lane
                && !order.is_full()
            {
                let read = lane.read(|item| Ok(order.data(number, item, into)?));
                more |= aside(&mut self.broken, read)?;
                if lane.ended {
                    order.end(number);
                }
            }
        }
        more |= self.read_large(into)?;
        // What was reset looks ended when it is read once more.
        if self.broken.is_none() && self.control.ended && self.order.is_complete() {
            return Ok(Reading::Ended);
        }
        let ended = self.control.ended && self.lanes.iter().flatten().all(|lane| lane.ended);
        if ended && self.gone && self.large.is_empty() {
            // What is missing will not come.
            self.broken.get_or_insert_with(cut);
        }
        if more {
            return Ok(Reading::Turn);
        }
        // Streams that came with the last packets may be on their way to us.
        if self.broken.is_none() || !self.gone && self.awaited.is_lost() {
            return Ok(Reading::All);
        }
        if self.order.held() > 0 {
            // There is room again for what is on the lanes.
            self.order.give_up(into);
            return Ok(Reading::Turn);
        }
        Err(self.lost())
    }

    /// Whether streams of a lost connection may be on their way to us; if so, the task is woken when
    /// they are here.
    pub(super) fn is_unsettled(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.awaited.is_lost() {
            return false;
        }
        self.waiting.settles(cx);
        if let Err(error) = self.arrive() {
            self.failed.get_or_insert(error);
        }
        !self.gone
    }

    fn lost(&mut self) -> StreamsError {
        let error = self.broken.take();
        StreamsError::Lost(error.unwrap_or_else(|| io::ErrorKind::NotConnected.into()))
    }

    /// Reads commands alone, for somebody who has no room for messages.
    pub(super) fn read_commands(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut VecDeque<Item>,
        receipted: &mut Option<Taken>,
    ) -> Result<bool, StreamsError> {
        self.waiting.reads(cx);
        let read = self.read_control(into, receipted);
        if let Err(StreamsError::Lost(error)) = &read {
            // Messages that came are still there to be read.
            self.broken.get_or_insert_with(|| error.kind().into());
        }
        read
    }

    fn read_control(
        &mut self,
        into: &mut VecDeque<Item>,
        receipted: &mut Option<Taken>,
    ) -> Result<bool, StreamsError> {
        let asked = &mut self.asked;
        self.control.read(|item| {
            if let Item::Command(command) = &item {
                match **command {
                    Command::Taken { messages, larges } => {
                        *receipted = Some(Taken { messages, larges });
                        return Ok(());
                    }
                    Command::Ping { .. } => *asked = true,
                    _ => {}
                }
            }
            into.push_back(item);
            Ok(())
        })
    }

    fn read_large(&mut self, into: &mut VecDeque<Item>) -> Result<bool, StreamsError> {
        let mut more = false;
        let mut done = Vec::new();
        let order = &mut self.order;
        for (&number, stream) in &mut self.large {
            if !order.admits(number) {
                break;
            }
            let mut whole = false;
            let read = stream.read(|item| match item {
                Item::Message(message) if !whole => {
                    whole = true;
                    Ok(order.large(number, message, into)?)
                }
                _ => Err(OrderError::Number { number }.into()),
            });
            more |= aside(&mut self.broken, read)?;
            if whole {
                done.push(number);
            } else if stream.ended {
                // It ended in the middle of its message.
                self.broken.get_or_insert_with(cut);
            }
        }
        for number in done {
            self.large.remove(&number);
            // Others may be admitted now.
            more = true;
        }
        Ok(more)
    }

    /// Takes the streams in that the peer opened.
    fn arrive(&mut self) -> Result<(), StreamsError> {
        while !self.gone {
            let polled = self.arrivals.poll_recv(&mut self.arrived.context());
            let Arrived { header, stream } = match polled {
                Poll::Ready(Some(arrived)) => arrived,
                Poll::Ready(None) => {
                    self.gone = true;
                    break;
                }
                Poll::Pending => break,
            };
            self.order.open(header)?;
            let stream = In {
                reader: QuicReader::alone(stream, self.lease.clone()),
                decoder: Decoder::new(self.limits, Opener::Clear),
                ended: false,
                mark: self.waiting.mark(),
            };
            match header.carries {
                Carries::Lane(number) => self.lanes[number] = Some(stream),
                Carries::Large(number) => {
                    if self.large.insert(number, stream).is_some() {
                        return Err(OrderError::Number { number }.into());
                    }
                }
            }
        }
        Ok(())
    }

    /// What the peer is to be told of what we have read: with each large message, some small ones, or
    /// when it asks.
    pub(super) fn receipt(&mut self) -> Option<Taken> {
        let asked = std::mem::take(&mut self.asked);
        let taken = self.taken();
        let small = taken.messages - self.told.messages;
        let due = small >= RECEIPT || taken.larges > self.told.larges || asked && small > 0;
        due.then(|| {
            self.told = taken;
            taken
        })
    }

    /// What we have read.
    pub(super) fn taken(&self) -> Taken {
        Taken {
            messages: self.order.messages(),
            larges: self.order.larges(),
        }
    }
}

/// A stream ended before its time, or what it announced does not come.
fn cut() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

/// Keeps what a stream was lost with until the others are read.
fn aside(
    broken: &mut Option<io::Error>,
    read: Result<bool, StreamsError>,
) -> Result<bool, StreamsError> {
    match read {
        Err(StreamsError::Lost(error)) => {
            broken.get_or_insert(error);
            Ok(false)
        }
        read => read,
    }
}

impl In {
    /// Reads until the stream has nothing, or has given its turn; returns whether there may be more.
    fn read(
        &mut self,
        mut sink: impl FnMut(Item) -> Result<(), StreamsError>,
    ) -> Result<bool, StreamsError> {
        if !self.mark.take() {
            return Ok(false);
        }
        let mut turn = 0;
        let mut undecoded = self.decoder.has_tail();
        while !self.ended && turn < READ {
            let read = BUFFER.with_borrow_mut(|buffer| {
                self.read_once(buffer, std::mem::take(&mut undecoded), &mut sink)
            });
            match read {
                Ok(Some(read)) => turn += read,
                Ok(None) => return Ok(false),
                Err(error) => {
                    // Whoever asks once more hears it once more.
                    self.mark.set();
                    return Err(error);
                }
            }
        }
        if !self.ended {
            self.mark.set();
        }
        Ok(!self.ended)
    }

    /// Reads once; `None` when nothing is there.
    fn read_once(
        &mut self,
        buffer: &mut Vec<u8>,
        undecoded: bool,
        sink: &mut impl FnMut(Item) -> Result<(), StreamsError>,
    ) -> Result<Option<usize>, StreamsError> {
        let direct = match self.decoder.body() {
            Some(mut body) => {
                let cx = &mut self.mark.context();
                Some(self.reader.poll_read_buf(cx, &mut body))
            }
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
        match self.reader.poll_read(&mut self.mark.context(), &mut room) {
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
        let mut message = Message::new();
        let mut at = 0;
        loop {
            let (used, decoded) = self.decoder.decode(&mut octets[at..], &mut message)?;
            at += used;
            match decoded {
                Some(decoded) => sink(decoded.into_item(&mut message))?,
                None => break,
            }
        }
        self.decoder.stash(&octets[at..]);
        Ok(())
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

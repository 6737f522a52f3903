//! What is read of a link's streams.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;
use tokio::sync::mpsc;
use withy_proto::mechanism::Opener;
use withy_proto::quic::{self, Order, OrderError};
use withy_proto::zmtp::{Decoder, Item, Limits};

use super::{Arrived, StreamsError};
use crate::quic::lease::Lease;
use crate::quic::link::QuicReader;
use crate::quic::sort::Awaited;

/// Octets that one stream is read at a time.
const READ: usize = 128 * 1024;

thread_local! {
    /// What is read into, between polls of nobody's.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct Receiving {
    pub(super) control: In,
    pub(super) data: Option<In>,
    pub(super) large: BTreeMap<u64, In>,
    pub(super) arrivals: mpsc::Receiver<Arrived>,
    pub(super) order: Order,
    /// Large messages that were read whole.
    pub(super) taken: u64,
    /// Nothing comes any more from the connection.
    pub(super) gone: bool,
    /// What went wrong behind items that were given out.
    pub(super) failed: Option<StreamsError>,
    pub(super) limits: Limits,
    pub(super) lease: Lease,
    pub(super) _awaited: Awaited,
}

/// A stream that is read.
#[derive(Debug)]
pub(super) struct In {
    pub(super) reader: QuicReader,
    pub(super) decoder: Decoder,
    pub(super) ended: bool,
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
    /// Reads what is there, for a turn of each stream. The most that the peer has read of ours goes
    /// into `receipted`.
    pub(super) fn read(
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
    pub(super) fn arrive(&mut self, cx: &mut Context<'_>) -> Result<(), StreamsError> {
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
    pub(super) fn read(
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
    pub(super) fn read_once(
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

    pub(super) fn decode(
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

impl std::fmt::Debug for Receiving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiving")
            .field("large", &self.large.len())
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

//! One stream that is written.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use withy_proto::Message;
use withy_proto::quic::Carries;
use withy_proto::zmtp::{Batch, Framing, Outbox};

use super::sending::BATCH;
use crate::quic::chunk;
use crate::quic::link::QuicWriter;

/// A stream, and what it was not able to take yet.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) carries: Option<Carries>,
    /// `None` until the stream is open.
    pub(super) writer: Option<QuicWriter>,
    pub(super) outbox: Outbox,
    /// The octets in front of all frames.
    pub(super) head: Vec<u8>,
    batch: Option<Batch>,
    /// What is next of the batch.
    chunk: Bytes,
    spare: Vec<u8>,
}

impl Out {
    /// The control stream, which is open.
    pub(super) fn control(writer: QuicWriter) -> Self {
        Self::new(None, Some(writer))
    }

    /// A stream that is to be opened.
    pub(super) fn carrying(carries: Carries) -> Self {
        Self::new(Some(carries), None)
    }

    fn new(carries: Option<Carries>, writer: Option<QuicWriter>) -> Self {
        Self {
            carries,
            writer,
            outbox: Outbox::new(Framing::Clear),
            head: Vec::new(),
            batch: None,
            chunk: Bytes::new(),
            spare: Vec::new(),
        }
    }

    pub(super) fn awaits_stream(&self) -> bool {
        self.writer.is_none()
    }

    pub(super) fn has_room(&self) -> bool {
        self.batch.is_none() || self.outbox.size() < BATCH
    }

    /// Octets that wait; a stream that takes nothing has more than any other.
    #[inline]
    pub(super) fn waiting(&self) -> usize {
        match self.batch {
            Some(_) => usize::MAX,
            None => self.outbox.size(),
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.head.is_empty() && self.batch.is_none() && self.outbox.is_empty()
    }

    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.writer {
            Some(writer) => writer.poll_write_ready(cx).map(drop),
            None => Poll::Pending,
        }
    }

    /// Writes what the stream takes, and returns how many messages that completed.
    pub(super) fn write(&mut self) -> io::Result<u64> {
        let Some(writer) = &self.writer else {
            return Ok(0);
        };
        while !self.head.is_empty() {
            match writer.try_write(&self.head) {
                Ok(written) => drop(self.head.drain(..written)),
                Err(error) => return blocked(error),
            }
        }
        let mut left = 0;
        loop {
            let batch = match &mut self.batch {
                Some(batch) => batch,
                None if self.outbox.is_empty() => return Ok(left),
                none => none.insert(self.outbox.take(std::mem::take(&mut self.spare))),
            };
            while !batch.is_done() {
                if self.chunk.is_empty() {
                    self.chunk = chunk::next(batch);
                }
                match writer.try_write_chunk(&mut self.chunk) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => batch.advance(written),
                    Err(error) => return blocked(error).map(|none| left + none),
                }
            }
            if let Some(batch) = self.batch.take() {
                left += batch.messages() as u64;
                self.spare = batch.into_spare();
            }
        }
    }

    pub(super) fn recover(&mut self, messages: &mut Vec<Message>) {
        let waiting = self.outbox.take(Vec::new());
        for batch in self.batch.take().into_iter().chain([waiting]) {
            messages.extend(batch.recover().into_iter().flatten());
        }
    }
}

fn blocked(error: io::Error) -> io::Result<u64> {
    match error.kind() {
        io::ErrorKind::WouldBlock => Ok(0),
        _ => Err(error),
    }
}

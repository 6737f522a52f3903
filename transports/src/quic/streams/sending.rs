//! What is sent on a link's streams.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use quinn::{Connection, SendStream};
use withy_proto::quic::{Header, Lane, MAX_LARGE, Spread, mark};
use withy_proto::zmtp::{Batch, Framing, Item, Outbox};

use super::{DATA, LARGE};
use crate::quic::lease::Lease;
use crate::quic::link::QuicWriter;

/// Octets of small items that are taken at a time.
const BATCH: usize = 256 * 1024;

/// Slices of one vectored write.
const SLICES: usize = 64;

pub(super) struct Sending {
    pub(super) control: Out,
    /// `None` until the stream is open.
    pub(super) data: Option<Out>,
    /// What the data stream will say, until it is open, and then what it says next.
    pub(super) text: Outbox,
    pub(super) large: Vec<Out>,
    pub(super) spread: Spread,
    pub(super) connection: Connection,
    pub(super) link: u64,
    pub(super) lease: Lease,
    pub(super) opening: Option<Opening>,
    /// A stream that was opened while nobody wrote.
    pub(super) opened: Option<SendStream>,
    /// A large message whose stream is not open yet, and its number.
    pub(super) next: Option<(u64, Outbox)>,
    /// Large messages that the peer has read whole.
    pub(super) receipted: u64,
    /// Who waits for the peer to read one.
    pub(super) waiting: Option<Waker>,
    pub(super) lost: bool,
}

type Opening = Pin<Box<dyn Future<Output = Option<SendStream>> + Send>>;

/// A stream, and what it was not able to take yet.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) writer: QuicWriter,
    pub(super) outbox: Outbox,
    /// The octets in front of all frames.
    pub(super) head: Vec<u8>,
    pub(super) batch: Option<Batch>,
    pub(super) spare: Vec<u8>,
}

impl Sending {
    /// Whether the next item can be taken, whatever it is.
    pub(super) fn has_room(&self) -> bool {
        !self.owes_receipts()
            && self.control.has_room()
            && self.text.size() < BATCH
            && self.data.as_ref().is_none_or(|data| data.batch.is_none())
            && self.next.is_none()
            && self.large.len() < MAX_LARGE
    }

    /// Whether the peer has to read large messages before more are sent.
    pub(super) fn owes_receipts(&self) -> bool {
        self.spread.larges() >= self.receipted.saturating_add(MAX_LARGE as u64)
    }

    pub(super) fn take(&mut self, item: Item) {
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

    pub(super) fn is_drained(&self) -> bool {
        let text = self.text.is_empty();
        let outs = self.data.iter().chain(&self.large).chain([&self.control]);
        self.lost || (text && self.next.is_none() && outs.into_iter().all(Out::is_drained))
    }

    /// Writes what the streams take.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        if self.write(cx).is_err() {
            self.lost = true;
        }
    }

    pub(super) fn write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
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
    pub(super) fn open(&mut self, cx: &mut Context<'_>) -> io::Result<Option<SendStream>> {
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

    pub(super) fn begin(
        &self,
        stream: SendStream,
        priority: i32,
        large: Option<u64>,
        outbox: Outbox,
    ) -> Out {
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

    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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
    pub(super) fn new(writer: QuicWriter, head: Vec<u8>) -> Self {
        Self {
            writer,
            outbox: Outbox::new(Framing::Clear),
            head,
            batch: None,
            spare: Vec::new(),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.batch.is_none() || self.outbox.size() < BATCH
    }

    pub(super) fn is_drained(&self) -> bool {
        self.head.is_empty() && self.batch.is_none() && self.outbox.is_empty()
    }

    /// Writes what the stream takes.
    pub(super) fn write(&mut self) -> io::Result<()> {
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

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending")
            .field("link", &self.link)
            .field("large", &self.large.len())
            .finish_non_exhaustive()
    }
}

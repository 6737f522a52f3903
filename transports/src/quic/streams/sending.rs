//! What is sent on a link's streams, and on which.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use quinn::{Connection, SendStream};
use withy_proto::Message;
use withy_proto::quic::{Carries, Header, MAX_LARGE, Priority, Spread, is_large};
use withy_proto::zmtp::{Command, Item};

use super::out::Out;
use super::priorities;
use crate::quic::link::QuicWriter;

/// Octets that are taken at a time: of commands, and of small messages for all lanes together.
pub(super) const BATCH: usize = 256 * 1024;

/// How many messages a peer has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) messages: u64,
    pub(super) larges: u64,
}

pub(super) struct Sending {
    control: Out,
    /// Lane 0, and further ones once their streams are open.
    lanes: Vec<Out>,
    large: Vec<Out>,
    spread: Spread,
    priority: Priority,
    connection: Connection,
    link: u64,
    opening: Option<Opening>,
    /// A stream that was opened while nobody wrote.
    opened: Option<SendStream>,
    /// There are messages to send.
    begun: bool,
    /// Messages that were taken.
    taken: u64,
    /// Of these, written whole and not [asked for](Self::take_left) yet.
    left: u64,
    /// What the peer has read.
    receipted: Taken,
    /// What we have read of the peer's, until it is told.
    receipt: Option<Taken>,
    /// Who waits for a stream to take more, or for the peer to read a large message.
    waiting: Option<Waker>,
    pub(super) lost: bool,
}

type Opening = Pin<Box<dyn Future<Output = Option<SendStream>> + Send>>;

impl Sending {
    pub(super) fn new(
        control: QuicWriter,
        spread: Spread,
        priority: Priority,
        connection: Connection,
        link: u64,
    ) -> Self {
        Self {
            control: Out::control(control),
            lanes: vec![Out::carrying(Carries::Lane(0))],
            large: Vec::new(),
            spread,
            priority,
            connection,
            link,
            opening: None,
            opened: None,
            begun: false,
            taken: 0,
            left: 0,
            receipted: Taken::default(),
            receipt: None,
            waiting: None,
            lost: false,
        }
    }

    /// Prepares for an item: once there are messages, more lanes are of use.
    pub(super) fn expect(&mut self, item: Option<&Item>) {
        self.begun |= matches!(item, Some(Item::Message(_)));
    }

    /// Takes an item, unless it has to wait.
    #[inline]
    pub(super) fn take(&mut self, item: &Item) -> bool {
        match item {
            Item::Command(command) => {
                let room = self.control.has_room();
                if room {
                    self.control.outbox.push_command(command);
                }
                room
            }
            Item::Message(message) => {
                let room = match is_large(message) {
                    true => self.take_large(message),
                    false => self.take_small(message),
                };
                self.taken += u64::from(room);
                room
            }
        }
    }

    #[inline]
    fn take_small(&mut self, message: &Message) -> bool {
        let lanes = &mut self.lanes;
        let lane = self.spread.lane(lanes.len(), |lane| lanes[lane].waiting());
        let room = BATCH / lanes.len();
        let out = &mut lanes[lane];
        let room = out.waiting() < room;
        if room {
            self.spread.took(lane);
            out.outbox.push(message);
        }
        room
    }

    fn take_large(&mut self, message: &Message) -> bool {
        let room = !self.owes_reading()
            && self.large.len() < MAX_LARGE
            && self.lanes[0].outbox.size() < BATCH;
        if room {
            let number = self.spread.number_large();
            let mark = Command::Large(number);
            self.lanes[0].outbox.push_command(&mark);
            let mut out = Out::carrying(Carries::Large(number));
            out.outbox.push(message);
            self.large.push(out);
        }
        room
    }

    /// Whether the peer has to read large messages before more are sent.
    fn owes_reading(&self) -> bool {
        self.spread.larges() >= self.receipted.larges.saturating_add(MAX_LARGE as u64)
    }

    /// Messages that were written whole since the last call.
    pub(super) fn take_left(&mut self) -> u64 {
        std::mem::take(&mut self.left)
    }

    /// Notes what the peer has read.
    pub(super) fn note(&mut self, receipted: Taken) {
        let known = &mut self.receipted;
        known.messages = known.messages.max(receipted.messages.min(self.taken));
        known.larges = known.larges.max(receipted.larges);
        self.wake();
    }

    /// Tells the peer what we have read, as soon as the control stream takes it.
    pub(super) fn tell(&mut self, receipt: Taken) {
        self.receipt = Some(receipt);
    }

    /// Whether the control stream could not take all that is for it; if so, the task is woken when it
    /// can.
    pub(super) fn poll_control(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let done = self.receipt.is_none() && self.control.is_drained();
            if done || self.lost || self.control.poll_ready(cx).is_pending() {
                return !done && !self.lost;
            }
            self.flush();
            // It may have been the other task's waker that ours took the place of.
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.outs().all(Out::is_drained)
    }

    fn outs(&self) -> impl Iterator<Item = &Out> {
        let all = self.lanes.iter().chain(&self.large);
        all.chain([&self.control])
    }

    /// Writes what the streams take.
    pub(super) fn flush(&mut self) {
        if self.write().is_err() {
            self.lost = true;
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.control.has_room()
            && let Some(Taken { messages, larges }) = self.receipt.take()
        {
            let receipt = Command::Taken { messages, larges };
            self.control.outbox.push_command(&receipt);
        }
        self.control.write()?;
        while self.wants_stream()
            && let Some(stream) = self.open()?
        {
            self.begin(stream);
        }
        let mut left = 0;
        for lane in &mut self.lanes {
            left += lane.write()?;
        }
        let mut failed = Ok(());
        self.large.retain_mut(|out| match out.write() {
            Ok(written) => {
                left += written;
                // Dropping the writer finishes the stream.
                !out.is_drained()
            }
            Err(error) => {
                failed = Err(error);
                true
            }
        });
        self.left += left;
        failed
    }

    /// Whether there is a use for one more stream: further lanes are opened once there is something
    /// to send.
    fn wants_stream(&self) -> bool {
        let lanes = self.begun && self.lanes.len() < self.spread.max_lanes();
        lanes || self.lanes[0].writer.is_none() || self.large.iter().any(Out::awaits_stream)
    }

    /// A new stream, if there is one to be had; if not, whoever waits is woken when there is.
    fn open(&mut self) -> io::Result<Option<SendStream>> {
        if let Some(opened) = self.opened.take() {
            return Ok(Some(opened));
        }
        let connection = &self.connection;
        let opening = self.opening.get_or_insert_with(|| {
            let connection = connection.clone();
            Box::pin(async move { connection.open_uni().await.ok() })
        });
        // Of the wakers that it is polled with, it knows the last.
        let waker = self.waiting.as_ref().unwrap_or(Waker::noop());
        match opening.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(stream) => {
                self.opening = None;
                let lost = || io::ErrorKind::NotConnected.into();
                stream.map(Some).ok_or_else(lost)
            }
            Poll::Pending => Ok(None),
        }
    }

    /// Gives a stream to whom it is most needed by.
    fn begin(&mut self, stream: SendStream) {
        let awaiting = self.lanes.iter_mut().chain(&mut self.large);
        let mut awaiting = awaiting.filter(|out| out.awaits_stream());
        let out = match awaiting.next() {
            Some(out) => out,
            None => {
                let number = self.lanes.len();
                let announced = Command::Lane(number as u64);
                self.lanes[0].outbox.push_command(&announced);
                self.lanes.push(Out::carrying(Carries::Lane(number)));
                &mut self.lanes[number]
            }
        };
        let Some(carries) = out.carries else { return };
        let (lanes, larges) = priorities(self.priority);
        let priority = match carries {
            Carries::Lane(_) => lanes,
            Carries::Large(_) => larges,
        };
        // It fails only once the stream is reset.
        let _ = stream.set_priority(priority);
        let header = Header {
            link: self.link,
            ordered: self.spread.is_ordered(),
            carries,
        };
        out.head = header.encode().to_vec();
        let control = self.control.writer.as_ref();
        out.writer = control.map(|control| control.beside(stream));
    }

    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.waiting {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        let mut ready = self.is_drained() && !self.owes_reading();
        if self.opening.is_some() {
            match self.open() {
                Ok(None) => {}
                Ok(opened) => {
                    self.opened = opened;
                    ready = true;
                }
                // The next write shows it.
                Err(_) => ready = true,
            }
        }
        for out in self.outs() {
            // Each is asked, so that each wakes us.
            ready |= !out.is_drained() && out.poll_ready(cx).is_ready();
        }
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Whether the peer will have all that was taken, once the streams end.
    pub(super) fn is_whole(&self) -> bool {
        self.is_drained() && self.lanes[0].writer.is_some()
    }

    /// Keeps something until the peer has all that was written.
    pub(super) fn hold<T: std::fmt::Debug + Send + Sync + 'static>(&self, held: T) {
        let held = std::sync::Arc::new(held);
        for writer in self.outs().filter_map(|out| out.writer.as_ref()) {
            writer.hold(Box::new(std::sync::Arc::clone(&held)));
        }
    }

    /// Lets the peer hear that something is missing.
    pub(super) fn reset(&self) {
        if let Some(control) = &self.control.writer {
            control.reset();
        }
    }

    /// The messages that were not written whole, and of how many others nobody knows whether the peer
    /// has them.
    pub(super) fn recover(mut self) -> (Vec<Message>, u64) {
        let mut messages = Vec::new();
        for out in self.lanes.iter_mut().chain(&mut self.large) {
            out.recover(&mut messages);
        }
        let written = self.taken.saturating_sub(messages.len() as u64);
        (messages, written.saturating_sub(self.receipted.messages))
    }
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending")
            .field("link", &self.link)
            .field("lanes", &self.lanes.len())
            .field("large", &self.large.len())
            .finish_non_exhaustive()
    }
}

//! Receiving: the application reads the links itself and decodes in place.
//!
//! One buffer is lent to whichever pipe is readable. A receiver takes messages out of it one by
//! one; when it is used up, the next readable pipe has its turn. The connection's task reads only
//! for sockets that nobody receives from, and for receivers that stay away; then messages wait in
//! the pipe's queue, up to the high-water mark.

use std::io;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;
use withy_proto::pattern::PipeKey;
use withy_proto::pattern::incoming::Event;
use withy_proto::zmtp::DecodeError;
use withy_proto::{Message, SocketType};

use super::buffer;
use super::core::{Core, Current, Phase, Receiving};
use super::link::{self, Reader};
use crate::event::Reason;

/// Receives between two yields, so that a busy receiver does not starve its runtime. Commands and
/// reads count, too: a peer may send what is not for the application without end.
const BUDGET: u32 = 1_024;
/// Octets read that count as one receive.
const COUNTED: usize = 1024;
/// Octets that a connection's task reads in one turn, at about.
const TASK_TURN: usize = 256 * 1024;
/// What a batch of items counts for.
const ITEMS: usize = 4 * 1024;

/// Octets that a round of reads over all readable pipes takes, at about; a pipe gets its share of
/// it in one turn, so that none waits long for the next.
const ROUND: usize = 1024 * 1024;
/// The least that a pipe gets in one turn.
const TURN: usize = 4 * 1024;

/// The most subscriptions that wait for an XPUB's application.
const MAX_NOTICES: usize = 100_000;
/// The memory of these, and of the messages that ended connections left.
const MAX_NOTICE_OCTETS: usize = 256 * 1024 * 1024;

/// Why there is no message for a receiver that waits for one.
#[derive(Debug)]
pub(crate) enum Stalled<W> {
    /// Nothing is there: wait for this.
    Wait(W),
    /// As [`Nothing::Yield`].
    Yield,
    /// As [`Nothing::Closed`].
    Closed,
}

/// Why nothing was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// Nothing is there.
    Empty,
    /// Something may be there; yield first.
    Yield,
    /// The socket is closed.
    Closed,
}

/// What a read of a pipe brought.
enum Read {
    /// Octets.
    Some(usize),
    /// Items that were supplied.
    Items,
    Pending,
    Ended,
}

impl Core {
    /// Takes the next message of any pipe, in turn.
    #[inline]
    pub(crate) fn try_receive(&self) -> Result<(PipeKey, Message), Nothing> {
        let mut receiving = self.receiving.lock();
        self.take_turn(&mut receiving)
    }

    /// As [`Core::try_receive`], for who waits where nothing is.
    #[inline]
    pub(crate) fn receive_or_wait(
        &self,
    ) -> Result<(PipeKey, Message), Stalled<impl Future<Output = ()> + Send + use<>>> {
        let mut receiving = self.receiving.lock();
        self.take_turn(&mut receiving)
            .map_err(|nothing| match nothing {
                // Still under the lock: who takes what comes next sees that somebody waits.
                Nothing::Empty => Stalled::Wait(self.ready.waiting()),
                Nothing::Yield => Stalled::Yield,
                Nothing::Closed => Stalled::Closed,
            })
    }

    #[inline]
    fn take_turn(&self, receiving: &mut Receiving) -> Result<(PipeKey, Message), Nothing> {
        let result = self.next(receiving);
        // Others may wait while there is more than this receiver took.
        let more = result.is_ok()
            && self.ready.has_receivers()
            && (receiving.is_on_a_pipe()
                || !receiving.rotation.is_empty()
                || !receiving.notices.is_empty());
        if more {
            self.ready.notify();
        }
        result
    }

    #[inline]
    fn next(&self, receiving: &mut Receiving) -> Result<(PipeKey, Message), Nothing> {
        Self::spend(receiving)?;
        receiving.taken += 1;
        if let Some(notice) = receiving.notices.pop_front() {
            receiving.notices_size -= notice_size(&notice.1);
            return Ok(notice);
        }
        loop {
            while let Some(current) = receiving.current {
                if self.is_backed_up(receiving, current.key) {
                    let _ = self.pause(receiving, current.key);
                    continue;
                }
                if let Some(message) = self.decode_current(receiving, current) {
                    return Ok((current.key, message));
                }
                Self::spend(receiving)?;
            }
            while let Some(key) = receiving.supplied {
                if self.is_backed_up(receiving, key) {
                    receiving.supplied = None;
                    receiving.rotation.push_back(key);
                    continue;
                }
                match receiving.inc.next_supplied(key) {
                    Some(event) => {
                        if let Some(message) = self.supplied(receiving, key, event) {
                            return Ok((key, message));
                        }
                        Self::spend(receiving)?;
                    }
                    None => {
                        receiving.supplied = None;
                        receiving.rotation.push_back(key);
                    }
                }
            }
            Self::spend(receiving)?;
            match self.next_pipe(receiving) {
                Some((key, Some(message))) => return Ok((key, message)),
                Some((_, None)) => {}
                None => {
                    receiving.budget = 0;
                    buffer::give_back(&mut receiving.buffer);
                    return Err(if self.phase() == Phase::Open {
                        Nothing::Empty
                    } else {
                        Nothing::Closed
                    });
                }
            }
        }
    }

    /// Spends one of what may be done before the next yield.
    #[inline]
    fn spend(receiving: &mut Receiving) -> Result<(), Nothing> {
        if receiving.budget >= BUDGET {
            receiving.budget = 0;
            return Err(Nothing::Yield);
        }
        receiving.budget += 1;
        Ok(())
    }

    /// Decodes from the buffer until there is a message or nothing more.
    #[inline]
    fn decode_current(&self, receiving: &mut Receiving, current: Current) -> Option<Message> {
        let Current { key, start, end } = current;
        match receiving.inc.decode(key, &mut receiving.buffer[start..end]) {
            Ok((used, event)) => {
                let start = start + used;
                receiving.current =
                    (start < end && event.is_some()).then_some(Current { key, start, end });
                match event? {
                    Event::Message(message) => {
                        if self.options.rate.messages.is_some() {
                            self.charge(receiving, key, 1, 0);
                        }
                        Some(message)
                    }
                    event => {
                        self.control(receiving, key, event);
                        None
                    }
                }
            }
            Err(error) => {
                receiving.current = None;
                self.break_off(receiving, key, error);
                None
            }
        }
    }

    /// Gives the next pipe its turn: a message that was queued, or a read. `None` when no pipe
    /// has anything.
    fn next_pipe(&self, receiving: &mut Receiving) -> Option<(PipeKey, Option<Message>)> {
        self.list_woken(receiving);
        let key = receiving.rotation.pop_front()?;
        if self.is_backed_up(receiving, key)
            && let Some(receive_link) = receive_link(receiving, key)
        {
            receive_link.link.paused.store(true, Ordering::Relaxed);
            receive_link.listed = false;
            return Some((key, None));
        }
        if let Some(message) = receiving.inc.dequeue(key) {
            receiving.rotation.push_back(key);
            if let Some(receive_link) = receive_link(receiving, key)
                && receive_link.link.paused.load(Ordering::Relaxed)
                && receiving.inc.has_room(key)
                && let Some(receive_link) = self::receive_link(receiving, key)
            {
                receive_link.link.paused.store(false, Ordering::Relaxed);
                receive_link.link.asked.ask(link::RESUME);
            }
            return Some((key, Some(message)));
        }
        if let Some(event) = receiving.inc.next_supplied(key) {
            receiving.supplied = Some(key);
            return Some((key, self.supplied(receiving, key, event)));
        }
        let Some(receive_link) = receive_link(receiving, key) else {
            return Some((key, None));
        };
        if receive_link.ended || self.task_reads() {
            receive_link.listed = false;
            return Some((key, None));
        }
        let waker = receive_link.waker.clone();
        if self.options.rate.is_set() && self.rests(receiving, key) {
            if let Some(receive_link) = self::receive_link(receiving, key) {
                receive_link.listed = false;
            }
            return Some((key, None));
        }
        match self.read(receiving, key, &mut Context::from_waker(&waker)) {
            Read::Some(_) => receiving.rotation.push_back(key),
            Read::Items => receiving.supplied = Some(key),
            Read::Pending | Read::Ended => {
                if let Some(receive_link) = self::receive_link(receiving, key) {
                    receive_link.listed = false;
                }
            }
        }
        Some((key, None))
    }

    /// Puts the pipes that became readable into the rotation.
    pub(crate) fn list_woken(&self, receiving: &mut Receiving) {
        if self.ready.any() {
            let mut woken = std::mem::take(&mut receiving.rotation);
            let listed = woken.len();
            self.ready.take(&mut woken);
            for key in woken.drain(listed..).collect::<Vec<_>>() {
                if let Some(link) = receive_link(receiving, key)
                    && !std::mem::replace(&mut link.listed, true)
                {
                    woken.push_back(key);
                }
            }
            receiving.rotation = woken;
        }
    }

    /// Takes an event of a link inside the process.
    #[inline]
    fn supplied(&self, receiving: &mut Receiving, key: PipeKey, event: Event) -> Option<Message> {
        match event {
            Event::Message(message) => {
                if self.options.rate.is_set() {
                    self.charge(receiving, key, 1, message.size() as u64);
                }
                Some(message)
            }
            event => {
                self.control(receiving, key, event);
                None
            }
        }
    }

    /// Reads a pipe once, into the buffer (which must be free) or into the frame under way.
    /// Pending means that the waker of `cx` is registered.
    fn read(&self, receiving: &mut Receiving, key: PipeKey, cx: &mut Context<'_>) -> Read {
        let Receiving {
            inc,
            links,
            buffer,
            current,
            rotation,
            ..
        } = receiving;
        let turn = (ROUND / (rotation.len() + 1)).max(TURN);
        let Some(Some(receive_link)) = links.get_mut(key.index()) else {
            return Read::Ended;
        };
        // Before the read: what comes afterwards is noted again.
        receive_link.link.catch_up();
        let by_items = matches!(receive_link.reader, Reader::Items { .. });
        let mut unsound = None;
        let polled = match &mut receive_link.reader {
            Reader::Items { end, first } => match inc.supply(key) {
                Some(items) if !first.is_empty() => {
                    items.append(first);
                    Poll::Ready(Ok(items.len()))
                }
                Some(items) => end
                    .poll_recv_batch(cx, items)
                    .map_err(|_| io::ErrorKind::UnexpectedEof.into()),
                None => return Read::Ended,
            },
            Reader::Bytes(reader) => {
                let Some(decoder) = inc.decoder(key) else {
                    return Read::Ended;
                };
                // The runtime's own budget counts messages, ours counts them too; one is enough.
                let mut read = |cx: &mut Context<'_>| {
                    let unopened = decoder.unopened().len();
                    if let Some(mut body) = decoder.body() {
                        let polled = reader.poll_read_buf(cx, &mut body);
                        if matches!(polled, Poll::Ready(Ok(1..))) {
                            *current = Some(Current {
                                key,
                                start: 0,
                                end: 0,
                            });
                        }
                        return polled;
                    }
                    let tail = decoder.unstash();
                    if std::mem::take(&mut receive_link.undecoded) {
                        // Whole frames may stand here: they come before anything that is read.
                        *current = Some(Current {
                            key,
                            start: 0,
                            end: tail.len(),
                        });
                        buffer.resize(buffer.len().max(tail.len()), 0);
                        buffer[..tail.len()].copy_from_slice(&tail);
                        return Poll::Ready(Ok(tail.len()));
                    }
                    if buffer.is_empty() {
                        *buffer = buffer::lend();
                    }
                    let from = tail.len() + unopened;
                    if unopened > 0 && buffer.len() < buffer::LARGE {
                        // A whole record has to fit behind the tail.
                        buffer.resize(buffer::LARGE, 0);
                    }
                    buffer[..tail.len()].copy_from_slice(&tail);
                    buffer[tail.len()..from].copy_from_slice(decoder.unopened());
                    let end = buffer.len().min(from + turn);
                    let mut room = ReadBuf::new(&mut buffer[from..end]);
                    match reader.poll_read(cx, &mut room) {
                        Poll::Ready(Ok(())) => {
                            let read = room.filled().len();
                            let full = room.remaining() == 0;
                            if read == 0 {
                                decoder.stash(&tail);
                            } else {
                                match decoder.open(&mut buffer[tail.len()..from + read]) {
                                    Ok(opened) => {
                                        *current = Some(Current {
                                            key,
                                            start: 0,
                                            end: tail.len() + opened,
                                        });
                                    }
                                    Err(error) => unsound = Some(error),
                                }
                                if full && end == buffer.len() && buffer.len() < buffer::LARGE {
                                    buffer.resize(buffer::LARGE, 0);
                                }
                            }
                            Poll::Ready(Ok(read))
                        }
                        polled => {
                            decoder.stash(&tail);
                            polled.map_ok(|()| 0)
                        }
                    }
                };
                let polled = pin!(tokio::task::unconstrained(std::future::poll_fn(|_| read(
                    cx
                ))));
                polled.poll(&mut Context::from_waker(std::task::Waker::noop()))
            }
        };
        match polled {
            Poll::Pending => Read::Pending,
            Poll::Ready(Ok(read @ 1..)) => {
                if let Some(error) = unsound {
                    self.break_off(receiving, key, error);
                    return Read::Ended;
                }
                receive_link.link.hear();
                receiving.budget += (read / COUNTED) as u32;
                if by_items {
                    return Read::Items;
                }
                if self.options.rate.octets.is_some() {
                    self.charge(receiving, key, 0, read as u64);
                }
                Read::Some(read)
            }
            Poll::Ready(Ok(0)) => {
                self.end_reading(receiving, key, Reason::PeerClosed);
                Read::Ended
            }
            Poll::Ready(Err(error)) => {
                self.end_reading(receiving, key, Reason::from_io(&error));
                Read::Ended
            }
        }
    }

    /// Whether a REP's peer has to read replies before it may ask more. The task resumes the
    /// pipe when it did.
    #[inline]
    fn is_backed_up(&self, receiving: &mut Receiving, key: PipeKey) -> bool {
        self.kind == SocketType::Rep
            && receive_link(receiving, key)
                .is_some_and(|receive_link| receive_link.link.backed_up.load(Ordering::Relaxed))
    }

    /// Charges a peer for what it sent.
    fn charge(&self, receiving: &mut Receiving, key: PipeKey, messages: u64, octets: u64) {
        let now = self.started.elapsed();
        if let Some(bucket) = receive_link(receiving, key).and_then(|link| link.bucket.as_mut()) {
            bucket.charge(messages, octets, now);
        }
    }

    /// Whether a peer is over its rate limit. Its task then wakes the pipe when the rest is over.
    fn rests(&self, receiving: &mut Receiving, key: PipeKey) -> bool {
        let Some(receive_link) = receive_link(receiving, key) else {
            return false;
        };
        let Some(rest) = receive_link
            .bucket
            .and_then(|bucket| bucket.rest(self.started.elapsed()))
        else {
            return false;
        };
        receive_link.link.paused.store(true, Ordering::Relaxed);
        receive_link.link.rest(rest);
        true
    }

    /// The rest of a peer that was over its rate limit is over.
    pub(crate) fn rested(&self, key: PipeKey) {
        if let Some(receive_link) = receive_link(&mut self.receiving.lock(), key) {
            receive_link.link.paused.store(false, Ordering::Relaxed);
            receive_link.waker.wake_by_ref();
        }
    }

    /// The peer broke the protocol or a limit.
    fn break_off(&self, receiving: &mut Receiving, key: PipeKey, error: DecodeError) {
        self.end_reading(receiving, key, Reason::Protocol(error));
    }

    /// Nothing more comes from a pipe; its connection ends.
    fn end_reading(&self, receiving: &mut Receiving, key: PipeKey, reason: Reason) {
        if let Some(receive_link) = receive_link(receiving, key) {
            receive_link.ended = true;
            receive_link.link.close(reason);
        }
    }

    /// Does what a command asks for.
    fn control(&self, receiving: &mut Receiving, key: PipeKey, event: Event) {
        match event {
            Event::Message(_) | Event::Pong { .. } => {}
            Event::Ping { ttl, context } => {
                if let Some(receive_link) = receive_link(receiving, key) {
                    let millis = u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX);
                    receive_link.link.peer_ttl.store(millis, Ordering::Relaxed);
                }
                let mut sending = self.sending.lock();
                if !sending.out.send_pong(key, context) {
                    self.counters
                        .unanswered_pings
                        .fetch_add(1, Ordering::Relaxed);
                }
                self.after_send_by_tasks(sending);
            }
            Event::Error { reason } => self.end_reading(receiving, key, Reason::PeerError(reason)),
            Event::Subscription { topic, add } => self.peer_subscribed(receiving, key, &topic, add),
        }
    }

    /// Reads a pipe for an application that does not: messages go to its queue while there is
    /// room. Pending means that the waker of `cx` is registered.
    pub(crate) fn pump(&self, key: PipeKey, cx: Option<&mut Context<'_>>) -> Poll<()> {
        let mut receiving = self.receiving.lock();
        let receiving = &mut *receiving;
        let before = receiving.inc.queued();
        let waker = receive_link(receiving, key).map(|receive_link| receive_link.waker.clone());
        let Some(waker) = waker else {
            return Poll::Pending;
        };
        let result = match cx {
            Some(cx) => self.pump_pipe(receiving, key, cx),
            None => self.pump_pipe(receiving, key, &mut Context::from_waker(&waker)),
        };
        if receiving.inc.queued() > before
            || receiving.inc.has_queued(key)
            || !receiving.notices.is_empty()
        {
            if let Some(receive_link) = receive_link(receiving, key)
                && !std::mem::replace(&mut receive_link.listed, true)
            {
                receiving.rotation.push_back(key);
            }
            self.ready.notify();
        }
        result
    }

    fn pump_pipe(&self, receiving: &mut Receiving, key: PipeKey, cx: &mut Context<'_>) -> Poll<()> {
        // Another pipe's octets may be in the lent buffer: put them aside meanwhile.
        let aside = receiving.current.take_if(|current| current.key != key);
        let lent = aside.map(|current| (current, std::mem::take(&mut receiving.buffer)));
        let result = self.pump_with_buffer(receiving, key, cx);
        if let Some((current, buffer)) = lent {
            buffer::give_back(&mut receiving.buffer);
            receiving.buffer = buffer;
            receiving.current = Some(current);
        } else if receiving.current.is_none() {
            buffer::give_back(&mut receiving.buffer);
        }
        result
    }

    fn pump_with_buffer(
        &self,
        receiving: &mut Receiving,
        key: PipeKey,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut read = 0;
        loop {
            while let Some(current) = receiving.current {
                if !receiving.inc.has_room(key) || self.is_backed_up(receiving, key) {
                    return self.pause(receiving, key);
                }
                if let Some(message) = self.decode_current(receiving, current) {
                    receiving.inc.enqueue(key, message);
                }
            }
            while let Some(event) = receiving.inc.next_supplied(key) {
                if let Some(message) = self.supplied(receiving, key, event) {
                    receiving.inc.enqueue(key, message);
                }
            }
            if !receiving.inc.has_room(key) || self.is_backed_up(receiving, key) {
                return self.pause(receiving, key);
            }
            if self.options.rate.is_set() && self.rests(receiving, key) {
                return Poll::Ready(());
            }
            match receive_link(receiving, key) {
                Some(receive_link) if !receive_link.ended => {
                    if read >= TASK_TURN {
                        // Others have their turn first.
                        receive_link.link.asked.ask(link::RESUME);
                        return Poll::Pending;
                    }
                }
                _ => return Poll::Ready(()),
            }
            match self.read(receiving, key, cx) {
                Read::Some(octets) => read += octets,
                Read::Items => read += ITEMS,
                Read::Pending => return Poll::Pending,
                Read::Ended => return Poll::Ready(()),
            }
        }
    }

    /// Stops reading a pipe at its high-water mark. What is in the buffer goes back to the
    /// decoder.
    fn pause(&self, receiving: &mut Receiving, key: PipeKey) -> Poll<()> {
        if let Some(Current { start, end, .. }) = receiving.current.take()
            && let Some(decoder) = receiving.inc.decoder(key)
        {
            decoder.stash(&receiving.buffer[start..end]);
            if let Some(receive_link) = receive_link(receiving, key) {
                receive_link.undecoded = true;
            }
        }
        if let Some(receive_link) = receive_link(receiving, key) {
            receive_link.link.paused.store(true, Ordering::Relaxed);
        }
        Poll::Ready(())
    }

    /// Keeps what an ended connection had received for the application.
    pub(crate) fn drain_ended(&self, key: PipeKey) {
        let mut receiving = self.receiving.lock();
        let receiving = &mut *receiving;
        let mut left = Vec::new();
        while let Some(message) = receiving.inc.dequeue(key) {
            left.push(message);
        }
        while let Some(current) = receiving.current.filter(|current| current.key == key) {
            left.extend(self.decode_current(receiving, current));
        }
        while let Some(event) = receiving.inc.next_supplied(key) {
            left.extend(self.supplied(receiving, key, event));
        }
        if receive_link(receiving, key).is_some_and(|receive_link| receive_link.undecoded) {
            let mut tail = receiving
                .inc
                .decoder(key)
                .map(|decoder| decoder.unstash())
                .unwrap_or_default();
            let mut at = 0;
            while let Ok((used, Some(event))) = receiving.inc.decode(key, &mut tail[at..]) {
                at += used;
                left.extend(self.supplied(receiving, key, event));
            }
        }
        for message in left {
            self.keep_notice(receiving, key, message);
        }
        receiving.inc.detach(key);
        if let Some(slot) = receiving.links.get_mut(key.index())
            && slot
                .as_ref()
                .is_some_and(|receive_link| receive_link.link.key() == key)
        {
            *slot = None;
        }
        if !receiving.notices.is_empty() {
            self.ready.notify();
        }
    }

    /// Leaves a message for the application that no pipe holds.
    pub(crate) fn notice(&self, receiving: &mut Receiving, key: PipeKey, message: Message) {
        if receiving.notices.len() < MAX_NOTICES {
            self.keep_notice(receiving, key, message);
        } else {
            self.counters
                .notices_dropped
                .fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As [`Core::notice`], bounded by memory alone: what an ended connection had left is no
    /// more than its high-water mark, and messages that arrived are not to be lost.
    fn keep_notice(&self, receiving: &mut Receiving, key: PipeKey, message: Message) {
        let size = receiving.notices_size + notice_size(&message);
        if size <= MAX_NOTICE_OCTETS {
            receiving.notices_size = size;
            receiving.notices.push_back((key, message));
        } else {
            self.counters
                .notices_dropped
                .fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for the next message. Cancel-safe: a message is taken in the poll that returns it.
    pub(crate) async fn receive(&self) -> Result<(PipeKey, Message), Nothing> {
        loop {
            match self.receive_or_wait() {
                Ok(received) => return Ok(received),
                Err(Stalled::Wait(waiting)) => waiting.await,
                Err(Stalled::Yield) => tokio::task::yield_now().await,
                Err(Stalled::Closed) => return Err(Nothing::Closed),
            }
        }
    }
}

/// The memory that a message takes among the notices.
fn notice_size(message: &Message) -> usize {
    size_of::<(PipeKey, Message)>() + message.size()
}

fn receive_link(receiving: &mut Receiving, key: PipeKey) -> Option<&mut super::core::ReceiveLink> {
    receiving
        .links
        .get_mut(key.index())?
        .as_mut()
        .filter(|receive_link| receive_link.link.key() == key)
}

//! Receiving: the application reads the links itself and decodes in place.
//!
//! One buffer is lent to whichever pipe is readable. A receiver takes messages out of it one by
//! one; when it is used up, the next readable pipe has its turn. For sockets that nobody receives
//! from, and for receivers that stay away, the [tasks](super::away) read.

use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::Instant;

use withy_proto::Message;
use withy_proto::bus::Publication;
use withy_proto::pattern::PipeKey;
use withy_proto::pattern::incoming::{Control, Event};

use super::buffer;
use super::core::{Core, Current, Phase, ReceiveLink, Receiving};
use super::link;
use super::read::{self, Read};
use crate::event::Reason;

/// Receives between two looks at the clock, which tells a busy receiver to yield before it starves
/// its runtime. Commands and reads count, too: a peer may send what is not for the application
/// without end.
const BUDGET: u32 = 256;

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
#[repr(u64)]
pub(crate) enum Nothing {
    /// Nothing is there.
    Empty,
    /// Something may be there; yield first.
    Yield,
    /// The socket is closed.
    Closed,
}

impl Core {
    /// Takes the next message of any pipe, in turn, into `message`: a message that is made where it is
    /// wanted costs less than one that is moved there.
    #[inline]
    pub(crate) fn try_receive(&self, message: &mut Message) -> Result<PipeKey, Nothing> {
        self.take_turn(&mut self.receiving.lock(), message)
    }

    /// As [`Core::try_receive`], for who waits where nothing is.
    #[inline]
    pub(crate) fn receive_or_wait(
        &self,
        message: &mut Message,
    ) -> Result<PipeKey, Stalled<impl Future<Output = ()> + Send + use<>>> {
        self.take_turn_or_wait(&mut self.receiving.lock(), message)
    }

    /// As [`Core::receive_or_wait`], for who does more under the lock.
    #[inline]
    pub(crate) fn take_turn_or_wait(
        &self,
        receiving: &mut Receiving,
        message: &mut Message,
    ) -> Result<PipeKey, Stalled<impl Future<Output = ()> + Send + use<>>> {
        let taken = self.take_turn(receiving, message);
        taken.map_err(|nothing| match nothing {
            // Still under the lock: who takes what comes next sees that somebody waits.
            Nothing::Empty => Stalled::Wait(self.ready.waiting()),
            Nothing::Yield => {
                // Who yields may be dropped meanwhile, and has used up the wake-up.
                self.pass_on(receiving);
                Stalled::Yield
            }
            Nothing::Closed => Stalled::Closed,
        })
    }

    #[inline]
    fn take_turn(
        &self,
        receiving: &mut Receiving,
        message: &mut Message,
    ) -> Result<PipeKey, Nothing> {
        let result = self.next(receiving, message);
        if self.options.conflate_received
            && let Ok(key) = result
        {
            self.overtake(receiving, key, message);
        }
        if result.is_ok() {
            self.pass_on(receiving);
        }
        result
    }

    /// Wakes another receiver while there is more than this one took.
    #[inline]
    pub(crate) fn pass_on(&self, receiving: &Receiving) {
        let more = self.ready.has_receivers()
            && (self.ready.any()
                || receiving.is_on_a_pipe()
                || !receiving.rotation.is_empty()
                || !receiving.notices.is_empty());
        if more {
            self.ready.notify();
        }
    }

    /// Takes the next message as a publication, into `place`, if it is one and stands whole in the buffer:
    /// then it is taken apart there, and no message is made. Everything else is for
    /// [`Core::receive_or_wait`].
    #[inline]
    pub(crate) fn take_publication(&self, place: &mut Option<Publication>) -> Option<PipeKey> {
        let mut receiving = self.receiving.lock();
        let Current { key, start, end } = receiving.current?;
        let is_limited = self.options.rate.messages.is_some() || self.options.conflate_received;
        if is_limited || receiving.budget >= BUDGET || !receiving.notices.is_empty() {
            return None;
        }
        let Receiving { inc, buffer, .. } = &mut *receiving;
        let used = inc.decode_publication(key, &buffer[start..end], place)?;
        let start = start + used;
        receiving.current = (start < end).then_some(Current { key, start, end });
        receiving.budget += 1;
        receiving.taken += 1;
        self.pass_on(&receiving);
        Some(key)
    }

    #[inline]
    fn next(&self, receiving: &mut Receiving, message: &mut Message) -> Result<PipeKey, Nothing> {
        Self::spend(receiving)?;
        receiving.taken += 1;
        if let Some((key, notice)) = receiving.take_notice() {
            *message = notice;
            return Ok(key);
        }
        loop {
            while let Some(current) = receiving.current {
                if self.is_backed_up(receiving, current.key) {
                    let _ = self.pause(receiving, current.key);
                    continue;
                }
                if self.decode_current(receiving, current, message) {
                    return Ok(current.key);
                }
                Self::spend(receiving)?;
            }
            while let Some(key) = receiving.supplied {
                if self.is_backed_up(receiving, key) {
                    receiving.supplied = None;
                    receiving.rotation.push_back(key);
                    continue;
                }
                match receiving.inc.next_supplied(key, message) {
                    Some(event) => {
                        if self.supplied(receiving, key, event, message) {
                            return Ok(key);
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
            match self.next_pipe(receiving, message) {
                Some((key, true)) => return Ok(key),
                Some((_, false)) => {}
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

    /// Spends one of what may be done before the next look at the clock.
    #[inline]
    fn spend(receiving: &mut Receiving) -> Result<(), Nothing> {
        if receiving.budget >= BUDGET {
            receiving.budget = 0;
            if receiving.turn.is_over(Instant::now()) {
                return Err(Nothing::Yield);
            }
        }
        receiving.budget += 1;
        Ok(())
    }

    /// Decodes from the buffer until there is a message, which goes into `message`, or nothing more;
    /// returns whether there is one.
    #[inline]
    pub(super) fn decode_current(
        &self,
        receiving: &mut Receiving,
        current: Current,
        message: &mut Message,
    ) -> bool {
        let Current { key, start, end } = current;
        let input = &mut receiving.buffer[start..end];
        match receiving.inc.decode(key, input, message) {
            Ok((used, event)) => {
                let start = start + used;
                receiving.current =
                    (start < end && event.is_some()).then_some(Current { key, start, end });
                match event {
                    Some(Event::Message) => {
                        if self.options.rate.messages.is_some() {
                            self.charge(receiving, key, 1, 0);
                        }
                        true
                    }
                    Some(Event::Control(control)) => {
                        self.control(receiving, key, *control);
                        false
                    }
                    None => false,
                }
            }
            Err(error) => {
                receiving.current = None;
                self.break_off(receiving, key, error);
                false
            }
        }
    }

    /// Gives the next pipe its turn: a message that was queued goes into `message`, which is told; or
    /// a read. `None` when no pipe has anything.
    fn next_pipe(
        &self,
        receiving: &mut Receiving,
        message: &mut Message,
    ) -> Option<(PipeKey, bool)> {
        self.list_woken(receiving);
        let key = receiving.rotation.pop_front()?;
        if self.is_backed_up(receiving, key)
            && let Some(receive_link) = receive_link(receiving, key)
        {
            receive_link.link.paused.store(true, Ordering::Relaxed);
            receive_link.listed = false;
            let waker = receive_link.waker.clone();
            self.read_commands(receiving, key, &mut Context::from_waker(&waker));
            return Some((key, false));
        }
        if let Some(queued) = receiving.inc.dequeue(key) {
            *message = queued;
            // As much as a read would have given.
            receiving.dequeued += size_of::<Message>().max(message.size());
            if receiving.dequeued < read::share(receiving.rotation.len()) {
                receiving.rotation.push_front(key);
            } else {
                receiving.dequeued = 0;
                receiving.rotation.push_back(key);
            }
            if let Some(receive_link) = receive_link(receiving, key)
                && receive_link.link.paused.load(Ordering::Relaxed)
                && receiving.inc.has_room(key)
                && let Some(receive_link) = self::receive_link(receiving, key)
            {
                receive_link.link.paused.store(false, Ordering::Relaxed);
                receive_link.link.asked.ask(link::RESUME);
            }
            return Some((key, true));
        }
        receiving.dequeued = 0;
        if let Some(event) = receiving.inc.next_supplied(key, message) {
            receiving.supplied = Some(key);
            return Some((key, self.supplied(receiving, key, event, message)));
        }
        let Some(receive_link) = receive_link(receiving, key) else {
            return Some((key, false));
        };
        if receive_link.ended || self.task_reads() {
            receive_link.listed = false;
            return Some((key, false));
        }
        let waker = receive_link.waker.clone();
        if self.options.rate.is_set() && self.rests(receiving, key) {
            if let Some(receive_link) = self::receive_link(receiving, key) {
                receive_link.listed = false;
            }
            return Some((key, false));
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
        Some((key, false))
    }

    /// Puts the pipes that became readable into the rotation.
    pub(crate) fn list_woken(&self, receiving: &mut Receiving) {
        if self.ready.any() {
            self.ready.take(|key| {
                if let Some(link) = receive_link(receiving, key)
                    && !std::mem::replace(&mut link.listed, true)
                {
                    receiving.rotation.push_back(key);
                }
            });
        }
    }

    /// Does what an event asks for of a link that carries items; returns whether it is a message, which
    /// is `message` then.
    #[inline]
    pub(super) fn supplied(
        &self,
        receiving: &mut Receiving,
        key: PipeKey,
        event: Event,
        message: &Message,
    ) -> bool {
        match event {
            Event::Message => {
                if self.options.rate.is_set() {
                    self.charge(receiving, key, 1, message.size() as u64);
                }
                true
            }
            Event::Control(control) => {
                self.control(receiving, key, *control);
                false
            }
        }
    }

    /// Does what a command asks for.
    fn control(&self, receiving: &mut Receiving, key: PipeKey, control: Control) {
        match control {
            Control::Pong { .. } => {
                let timed = receive_link(receiving, key).and_then(|it| it.link.answered());
                if let Some(timed) = timed {
                    let nanos = u64::try_from(timed.as_nanos()).unwrap_or(u64::MAX);
                    self.counters.round_trip.store(nanos, Ordering::Relaxed);
                    self.counters.heartbeats.fetch_add(1, Ordering::Release);
                }
            }
            Control::Ping { ttl, context } => {
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
            Control::OverLimit(error) => self.break_off(receiving, key, error),
            Control::Error { reason } => {
                self.end_reading(receiving, key, Reason::PeerError(reason))
            }
            Control::Subscription { topic, add } => {
                self.peer_subscribed(receiving, key, &topic, add)
            }
        }
    }

    /// Waits for the next message, which goes into `message`. Cancel-safe: a message is taken in the
    /// poll that returns.
    #[inline]
    pub(crate) async fn receive(&self, message: &mut Message) -> Result<PipeKey, Nothing> {
        loop {
            match self.receive_or_wait(message) {
                Ok(key) => return Ok(key),
                Err(Stalled::Wait(waiting)) => {
                    // What was ignored need not be kept meanwhile.
                    *message = Message::new();
                    waiting.await;
                }
                Err(Stalled::Yield) => tokio::task::yield_now().await,
                Err(Stalled::Closed) => return Err(Nothing::Closed),
            }
        }
    }
}

pub(super) fn receive_link(receiving: &mut Receiving, key: PipeKey) -> Option<&mut ReceiveLink> {
    receiving
        .links
        .get_mut(key.index())?
        .as_mut()
        .filter(|receive_link| receive_link.link.key() == key)
}

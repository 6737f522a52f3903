//! Reading for an application that does not, and what connections that are gone had left.
//!
//! Messages wait in their pipe's queue, up to the high-water mark; then the pipe is paused.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use withy_proto::Message;
use withy_proto::pattern::PipeKey;

use super::buffer;
use super::core::{Core, Current, Receiving};
use super::link;
use super::read::Read;
use super::receive::receive_link;

/// Octets that a connection's task reads in one turn, at about.
const TASK_TURN: usize = 256 * 1024;
/// What a batch of items counts for.
const ITEMS: usize = 4 * 1024;

/// Octets that are read of a link that broke, at about; more than a kernel buffers.
const MAX_REST: usize = 16 * 1024 * 1024;

/// The most subscriptions that wait for an XPUB's application.
const MAX_NOTICES: usize = 100_000;
/// The memory of these, and of the messages that ended connections left.
const MAX_NOTICE_OCTETS: usize = 256 * 1024 * 1024;

/// How far a pipe is read for an application that does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// As far as there is room, in turns.
    Full,
    /// Whatever there is, into the notices, whose memory is limited.
    End,
}

impl Core {
    /// Reads a pipe for an application that does not: messages go to its queue while there is
    /// room. Pending means that the waker of `cx` is registered.
    pub(crate) fn pump(&self, key: PipeKey, cx: Option<&mut Context<'_>>) -> Poll<()> {
        let mut receiving = self.receiving.lock();
        let receiving = &mut *receiving;
        let waker = receive_link(receiving, key).map(|receive_link| receive_link.waker.clone());
        let Some(waker) = waker else {
            return Poll::Pending;
        };
        let result = match cx {
            Some(cx) => self.pump_pipe(receiving, key, cx, Until::Full),
            None => {
                let cx = &mut Context::from_waker(&waker);
                self.pump_pipe(receiving, key, cx, Until::Full)
            }
        };
        if receiving.inc.has_queued(key) || !receiving.notices.is_empty() {
            if let Some(receive_link) = receive_link(receiving, key)
                && !std::mem::replace(&mut receive_link.listed, true)
            {
                receiving.rotation.push_back(key);
            }
            self.ready.notify();
        }
        result
    }

    /// With CONFLATE, replaces a message by the newest that its pipe has. Other pipes keep theirs.
    pub(super) fn overtake(&self, receiving: &mut Receiving, key: PipeKey, message: &mut Message) {
        let waker = receive_link(receiving, key).map(|receive_link| receive_link.waker.clone());
        if let Some(waker) = waker {
            let cx = &mut Context::from_waker(&waker);
            let _ = self.pump_pipe(receiving, key, cx, Until::Full);
        }
        while let Some(newer) = receiving.inc.dequeue(key) {
            *message = newer;
            receiving.inc.overtaken(1);
        }
    }

    /// Reads what had arrived on a link before it broke, however much the application has not
    /// taken yet: the peer may have sent it and left.
    pub(crate) fn read_rest(&self, key: PipeKey) {
        let mut receiving = self.receiving.lock();
        if !self.options.conflate_received {
            self.keep_queued(&mut receiving, key);
        }
        if let Some(receive_link) = receive_link(&mut receiving, key) {
            receive_link.broken = true;
        }
        let cx = &mut Context::from_waker(Waker::noop());
        let _ = self.pump_pipe(&mut receiving, key, cx, Until::End);
    }

    fn pump_pipe(
        &self,
        receiving: &mut Receiving,
        key: PipeKey,
        cx: &mut Context<'_>,
        until: Until,
    ) -> Poll<()> {
        // Another pipe's octets may be in the lent buffer: put them aside meanwhile.
        let aside = receiving.current.take_if(|current| current.key != key);
        let lent = aside.map(|current| (current, std::mem::take(&mut receiving.buffer)));
        let result = self.pump_with_buffer(receiving, key, cx, until);
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
        until: Until,
    ) -> Poll<()> {
        let is_full = |receiving: &mut Receiving| {
            until == Until::Full
                && (!receiving.inc.has_room(key) || self.is_backed_up(receiving, key))
        };
        let keep = |receiving: &mut Receiving, message| match until {
            Until::End => self.keep_ended(receiving, key, message),
            Until::Full => {
                receiving.inc.enqueue(key, message);
            }
        };
        let mut read = 0;
        let mut message = Message::new();
        loop {
            while let Some(current) = receiving.current {
                if is_full(receiving) {
                    return self.pause(receiving, key);
                }
                if self.decode_current(receiving, current, &mut message) {
                    keep(receiving, std::mem::take(&mut message));
                }
            }
            while let Some(event) = receiving.inc.next_supplied(key, &mut message) {
                if self.supplied(receiving, key, event, &message) {
                    keep(receiving, std::mem::take(&mut message));
                }
            }
            if is_full(receiving) {
                self.read_commands(receiving, key, cx);
                return self.pause(receiving, key);
            }
            if until == Until::Full && self.options.rate.is_set() && self.rests(receiving, key) {
                return Poll::Ready(());
            }
            match receive_link(receiving, key) {
                Some(receive_link) if !receive_link.ended => {
                    if until == Until::End && read >= MAX_REST {
                        return Poll::Ready(());
                    }
                    if until == Until::Full && read >= TASK_TURN {
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
    pub(super) fn pause(&self, receiving: &mut Receiving, key: PipeKey) -> Poll<()> {
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
        if !self.options.conflate_received {
            self.keep_queued(receiving, key);
        }
        let mut message = Message::new();
        while let Some(current) = receiving.current.filter(|current| current.key == key) {
            if self.decode_current(receiving, current, &mut message) {
                self.keep_ended(receiving, key, std::mem::take(&mut message));
            }
        }
        while let Some(event) = receiving.inc.next_supplied(key, &mut message) {
            if self.supplied(receiving, key, event, &message) {
                self.keep_ended(receiving, key, std::mem::take(&mut message));
            }
        }
        if receive_link(receiving, key).is_some_and(|receive_link| receive_link.undecoded) {
            let mut tail = receiving
                .inc
                .decoder(key)
                .map(|decoder| decoder.unstash())
                .unwrap_or_default();
            let mut at = 0;
            while let Ok((used, Some(event))) =
                receiving.inc.decode(key, &mut tail[at..], &mut message)
            {
                at += used;
                if self.supplied(receiving, key, event, &message) {
                    self.keep_ended(receiving, key, std::mem::take(&mut message));
                }
            }
        }
        self.keep_queued(receiving, key);
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

    /// Keeps a message of a connection that ended; where only the newest counts, in the pipe's
    /// queue, which has it replaced.
    fn keep_ended(&self, receiving: &mut Receiving, key: PipeKey, message: Message) {
        if self.options.conflate_received {
            receiving.inc.enqueue(key, message);
        } else {
            self.keep_notice(receiving, key, message);
        }
    }

    /// Takes a pipe's queue over, for a connection that ended.
    fn keep_queued(&self, receiving: &mut Receiving, key: PipeKey) {
        while let Some(message) = receiving.inc.dequeue(key) {
            self.keep_notice(receiving, key, message);
        }
    }

    /// As [`Core::notice`], bounded by memory alone: messages that arrived are not to be lost for
    /// their number.
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
}

/// The memory that a message takes among the notices.
pub(super) fn notice_size(message: &Message) -> usize {
    size_of::<PipeKey>() + message.footprint()
}

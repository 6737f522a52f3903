//! Sending: a message goes to its pipes, and whoever is to write them is told, or does it at once.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use withy_proto::pattern::PipeKey;
use withy_proto::pattern::outgoing::{NotSent, Overflown};
use withy_proto::pattern::pipe::Flush;
use withy_proto::{Frame, Message, SocketType};

use super::SLOWER;
use super::core::{Core, Sending};
use super::link;
use crate::error::SendError;
use crate::event::Reason;

/// Messages between two looks at the clock, which tells a busy sender to yield before it starves its
/// runtime. Writing a batch counts as one.
const BUDGET: u32 = 1_024;
/// A caller writes itself when the link was idle for this long.
const IDLE: Duration = Duration::from_micros(20).saturating_mul(SLOWER);
/// A caller writes itself when the task was asked this long ago and did not come.
const OVERDUE: Duration = Duration::from_micros(50).saturating_mul(SLOWER);
/// As [`OVERDUE`], for a message to many: their tasks take longer in turn.
const OVERDUE_MANY: Duration = Duration::from_millis(2).saturating_mul(SLOWER);

/// Why a message stayed with the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejected {
    NotSent(NotSent),
    Closed,
}

impl Rejected {
    /// There may be room later.
    pub(crate) const FULL: Self = Self::NotSent(NotSent::Full);

    /// As an error that gives the message back. Apart, so that nothing of its size is moved where all
    /// goes well.
    #[cold]
    #[inline(never)]
    pub(crate) fn with(self, message: Message) -> SendError {
        match self {
            Self::Closed => SendError::Closed(message),
            Self::NotSent(NotSent::Full) => SendError::Full(message),
            Self::NotSent(NotSent::Unroutable) => SendError::Unroutable(message),
            Self::NotSent(NotSent::PeerGone) => SendError::PeerGone(message),
            Self::NotSent(NotSent::NoIdentity) => SendError::NoIdentity(message),
        }
    }
}

impl From<NotSent> for Rejected {
    fn from(reason: NotSent) -> Self {
        Self::NotSent(reason)
    }
}

impl Core {
    /// Sends a message the way the socket's type does it, and does or arranges its flush. It is read
    /// where it is, and stays there whole if it is rejected.
    #[inline]
    pub(crate) fn try_send(&self, message: &mut Message) -> Result<(), Rejected> {
        let mut sending = self.sending.lock();
        if sending.closed {
            return Err(Rejected::Closed);
        }
        self.count_turn(&mut sending);
        sending.out.send(message)?;
        if !sending.out.is_settled() {
            self.after_send(sending);
        }
        Ok(())
    }

    /// As [`Core::try_send`] of a publisher, for who has frames and no message of them.
    #[inline]
    pub(crate) fn try_publish(&self, frames: &[Frame]) -> Result<(), Rejected> {
        let mut sending = self.sending.lock();
        if sending.closed {
            return Err(Rejected::Closed);
        }
        self.count_turn(&mut sending);
        sending.out.publish(frames)?;
        self.after_send(sending);
        Ok(())
    }

    /// Sends once there is room. Cancel-safe: the message is accepted in the last poll, or not at
    /// all.
    #[inline]
    pub(crate) async fn send(&self, message: &mut Message) -> Result<(), Rejected> {
        self.pay_debt().await;
        match self.try_send(message) {
            Err(Rejected::FULL) => self.send_when_room(message, Self::try_send).await,
            result => result,
        }
    }

    /// Yields when this caller's turn is used up.
    #[inline]
    pub(crate) async fn pay_debt(&self) {
        if self.debt.load(Ordering::Relaxed) {
            self.debt.store(false, Ordering::Relaxed);
            self.write_left();
            tokio::task::yield_now().await;
        }
    }

    /// Looks at the clock after every [`BUDGET`] messages: nobody may be there to send to, or to wait for.
    #[inline]
    fn count_turn(&self, sending: &mut Sending) {
        sending.budget += 1;
        if sending.budget >= BUDGET {
            sending.budget = 0;
            if sending.turn.is_over(Instant::now()) {
                self.debt.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Tries `send` again whenever there may be room.
    pub(crate) async fn send_when_room(
        &self,
        message: &mut Message,
        mut send: impl FnMut(&Self, &mut Message) -> Result<(), Rejected>,
    ) -> Result<(), Rejected> {
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            match send(self, message) {
                Err(Rejected::FULL) => room.await,
                result => return result,
            }
        }
    }

    /// Sends to one pipe, and does or arranges its flush.
    pub(crate) fn try_send_to(&self, key: PipeKey, message: &mut Message) -> Result<(), Rejected> {
        let mut sending = self.sending.lock();
        if sending.closed {
            return Err(Rejected::Closed);
        }
        self.count_turn(&mut sending);
        sending.out.send_to(key, message)?;
        self.after_send(sending);
        Ok(())
    }

    /// Sends a REP's reply. It never waits: a peer that leaves its replies unread is not read
    /// until it has room again.
    pub(crate) fn reply_to(&self, key: PipeKey, message: &mut Message) -> Result<(), Rejected> {
        let mut sending = self.sending.lock();
        if sending.closed {
            return Err(Rejected::Closed);
        }
        if !sending.out.reply_to(key, message)?
            && let Some(Some(send_link)) = sending.links.get(key.index())
        {
            send_link.link.backed_up.store(true, Ordering::Relaxed);
        }
        self.after_send(sending);
        Ok(())
    }

    /// Does what the pipes that were touched need: nothing, a wake-up, or a write here and now.
    pub(crate) fn after_send(&self, mut sending: parking_lot::MutexGuard<'_, Sending>) {
        let Some((key, flush)) = sending.out.touched() else {
            if !sending.out.is_settled() {
                self.after_fan_out(sending, None);
            }
            return;
        };
        if sending.out.is_settled() {
            if self.judge(&mut sending, key, flush) {
                self.flush_by_caller(sending, key);
            }
        } else {
            self.after_fan_out(sending, Some((key, flush)));
        }
    }

    /// As [`Core::after_send`], for a message that went to more than one pipe: the tasks write,
    /// and the caller does it only where a whole batch waits.
    fn after_fan_out(
        &self,
        mut sending: parking_lot::MutexGuard<'_, Sending>,
        first: Option<(PipeKey, Flush)>,
    ) {
        let now = Instant::now();
        let mut full = std::mem::take(&mut sending.full);
        let mut next = first;
        while let Some((key, flush)) = next.take().or_else(|| sending.out.touched()) {
            let Some(Some(send_link)) = sending.links.get_mut(key.index()) else {
                continue;
            };
            let late = match flush {
                Flush::Now => true,
                Flush::Soon => {
                    send_link.asked = now;
                    send_link.link.asked.ask(link::FLUSH);
                    self.leave(&mut sending, key);
                    continue;
                }
                Flush::Later => now.saturating_duration_since(send_link.asked) > OVERDUE_MANY,
            };
            if late && send_link.may_write() {
                full.push(key);
            }
        }
        while let Some((key, overflown)) = sending.out.overflown() {
            if let Some(Some(send_link)) = sending.links.get(key.index()) {
                match overflown {
                    Overflown::Drops => send_link.link.asked.ask(link::DROPS),
                    Overflown::Kicked => send_link.link.close(Reason::Overflow),
                }
            }
        }
        if full.is_empty() {
            sending.full = full;
            return;
        }
        drop(sending);
        for key in full.drain(..) {
            self.flush_by_caller(self.sending.lock(), key);
        }
        self.sending.lock().full = full;
    }

    /// As [`Core::after_send`], but leaves all writing to the connections' tasks: for callers that
    /// hold the receiving lock, or that have just written.
    pub(crate) fn after_send_by_tasks(&self, mut sending: parking_lot::MutexGuard<'_, Sending>) {
        while let Some((key, _)) = sending.out.touched() {
            ask_to_flush(&mut sending, key);
        }
    }

    /// Whether a caller writes itself whenever it may, however busy the link is.
    pub(super) fn writes_at_once(&self) -> bool {
        matches!(self.kind, SocketType::Req | SocketType::Rep) || self.options.batching.at_once
    }

    /// Whether the caller is to write this pipe itself.
    #[inline]
    fn judge(&self, sending: &mut Sending, key: PipeKey, flush: Flush) -> bool {
        let Some(Some(send_link)) = sending.links.get_mut(key.index()) else {
            return false;
        };
        match flush {
            Flush::Now => send_link.may_write(),
            Flush::Soon => {
                let may_write = send_link.may_write();
                if may_write && self.writes_at_once() {
                    return true;
                }
                let now = Instant::now();
                if may_write && now - send_link.wrote > IDLE {
                    return true;
                }
                send_link.asked = now;
                send_link.link.asked.ask(link::FLUSH);
                self.leave(sending, key);
                false
            }
            Flush::Later => {
                let overdue = send_link.may_write() && send_link.asked.elapsed() > OVERDUE;
                if overdue {
                    self.note_delay(send_link.asked);
                }
                overdue
            }
        }
    }
}

/// Asks the task of a pipe to flush.
pub(crate) fn ask_to_flush(sending: &mut Sending, key: PipeKey) {
    if let Some(Some(send_link)) = sending.links.get_mut(key.index()) {
        send_link.asked = Instant::now();
        send_link.link.asked.ask(link::FLUSH);
    }
}

//! REQ: asks (RFC 28).
//!
//! Towards a peer that announces request ids many requests are in flight, and replies find their
//! request by id. Towards any other the envelope is the plain one, and each connection has one
//! request in flight; when that is abandoned, the connection waits for the late reply, which is
//! counted and dropped, and is replaced if it does not come. Nothing ever locks up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use withy_proto::pattern::PipeKey;
use withy_proto::pattern::outgoing::NotSent;
use withy_proto::pattern::request::{Reply, wrap};
use withy_proto::{Message, SocketType};

use super::{Owner, Sends, socket};
use crate::driver::core::{Core, Phase};
use crate::driver::receive::Stalled;
use crate::error::{ReceiveError, RequestError, SendError};

/// Asks its peers in turn (RFC 28).
///
/// [`request`](Self::request) never locks the socket up: a request that times out or is cancelled
/// is forgotten, and its late reply is dropped and counted. Towards a Withy REP many requests are
/// in flight on one connection; towards any other peer one on each, and further requests wait.
/// [`send`](Self::send) and [`recv`](Self::recv) are the lock-step of RFC 28, for programs that
/// were written for it.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let rep = withy::Rep::bind("tcp://127.0.0.1:*").await?;
/// # let endpoint = rep.endpoints()[0].clone();
/// # tokio::spawn(async move {
/// #     while let Ok(request) = rep.recv().await {
/// #         let reply = request.message().clone();
/// #         let _ = request.reply(reply).await;
/// #     }
/// # });
/// use std::time::Duration;
///
/// let req = withy::Req::connect(endpoint)?;
/// assert_eq!(req.request("hello").await?.first(), "hello");
/// // Two at once, over one connection.
/// let second = Duration::from_secs(1);
/// let (one, two) = tokio::try_join!(
///     req.request_timeout("one", second),
///     req.request_timeout("two", second),
/// )?;
/// assert_eq!(one.first(), "one");
/// assert_eq!(two.first(), "two");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Req {
    owner: Owner,
    lock_step: Arc<Mutex<LockStep>>,
}

socket!(Req, SocketType::Req);

impl Sends for Req {}

/// Where a reply goes.
pub(crate) type Asker = oneshot::Sender<Result<Message, RequestError>>;

/// What came of a message from a connection.
struct Matched {
    from: PipeKey,
    reply: Reply<Asker>,
}

/// A reply on its way to who asked.
#[derive(Debug)]
struct Answer {
    id: u32,
    asker: Asker,
    message: Message,
}

impl Answer {
    fn hand_out(self) {
        let _ = self.asker.send(Ok(self.message));
    }
}

/// Whom a request goes to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whom<'a> {
    /// The next peer in turn.
    Next,
    /// The peer with the least burden, but none of these.
    Least(&'a [PipeKey]),
    /// This peer.
    One(PipeKey),
}

/// Why a request goes to nobody, however long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unasked {
    /// The socket is closed.
    Closed,
    /// The peer is gone.
    Gone,
    /// All peers that there are were left out.
    LeftOut,
}

/// A request that was sent. Dropping it abandons the request.
#[derive(Debug)]
pub(crate) struct Pending {
    core: Arc<Core>,
    id: u32,
    pub(crate) to: PipeKey,
    reply: oneshot::Receiver<Result<Message, RequestError>>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        let now = self.core.started.elapsed();
        if self.core.receiving.lock().requests.abandon(self.id, now) {
            // Requests that wait for this connection now know how long.
            self.core.room.notify_waiters();
        }
    }
}

/// Whose turn it is in the lock-step of `send` and `recv`.
#[derive(Debug, Default)]
enum LockStep {
    #[default]
    Send,
    /// A call is under way.
    Busy,
    /// The request has no reply yet.
    Receive(Pending),
}

/// A call of `send` or `recv` under way, and the request that stays outstanding if it is
/// cancelled.
struct Busy<'a>(&'a Mutex<LockStep>, Option<Pending>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut lock_step = self.0.lock();
        // A newer request may be there: this call's own, or with `relaxed` that of another.
        if matches!(*lock_step, LockStep::Busy) {
            *lock_step = self.1.take().map_or(LockStep::Send, LockStep::Receive);
        }
    }
}

impl Req {
    pub(crate) fn over(owner: Owner) -> Self {
        Self {
            owner,
            lock_step: Arc::default(),
        }
    }

    /// Sends a request and waits for its reply, as long as the builder's `request_timeout` says
    /// (default 30 s).
    ///
    /// # Errors
    /// See [`RequestError`].
    ///
    /// # Cancel safety
    /// A cancelled call abandons the request: the peer may act on it, its reply is dropped and
    /// counted. The socket is free for the next request.
    pub async fn request(&self, message: impl Into<Message>) -> Result<Message, RequestError> {
        let timeout = self.owner.core().options.request.timeout;
        self.request_until(
            message.into(),
            timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        )
        .await
    }

    /// Sends a request and waits for its reply, for `timeout` at most.
    ///
    /// # Errors
    /// See [`RequestError`].
    ///
    /// # Cancel safety
    /// As [`Req::request`].
    pub async fn request_timeout(
        &self,
        message: impl Into<Message>,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        self.request_until(message.into(), Instant::now().checked_add(timeout))
            .await
    }

    async fn request_until(
        &self,
        message: Message,
        deadline: Option<Instant>,
    ) -> Result<Message, RequestError> {
        let core = self.owner.core();
        let mut pending = core.start_request(message, deadline).await?;
        let reply = core.await_reply(&mut pending);
        match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, reply)
                .await
                .unwrap_or(Err(RequestError::Timeout)),
            None => reply.await,
        }
    }

    /// Sends a request in lock-step: [`recv`](Req::recv) is due next, as in libzmq.
    ///
    /// # Errors
    /// The last request has no reply yet (unless `relaxed` is set), or the socket is closed. The
    /// message comes back.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call did not send the request.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let core = self.owner.core();
        let message = message.into();
        let abandoned = {
            let mut lock_step = self.lock_step.lock();
            if !matches!(*lock_step, LockStep::Send) && !core.options.request.relaxed {
                return Err(SendError::NotYourTurn(message));
            }
            std::mem::replace(&mut *lock_step, LockStep::Busy)
        };
        drop(abandoned);
        let _busy = Busy(&self.lock_step, None);
        let kept = message.clone();
        match core.start_request(message, None).await {
            Ok(pending) => {
                let sent = LockStep::Receive(pending);
                let older = std::mem::replace(&mut *self.lock_step.lock(), sent);
                drop(older);
                Ok(())
            }
            Err(RequestError::NotSent(message)) => Err(SendError::Full(message)),
            Err(_) => Err(SendError::Closed(kept)),
        }
    }

    /// Receives the reply to the request that [`send`](Req::send) sent.
    ///
    /// # Errors
    /// No request is outstanding, its peer is gone, or the socket is closed.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call leaves the request outstanding.
    pub async fn recv(&self) -> Result<Message, ReceiveError> {
        let mut busy = {
            let mut lock_step = self.lock_step.lock();
            match std::mem::replace(&mut *lock_step, LockStep::Busy) {
                LockStep::Receive(pending) => Busy(&self.lock_step, Some(pending)),
                other => {
                    *lock_step = other;
                    return Err(ReceiveError::NotYourTurn);
                }
            }
        };
        let Some(pending) = &mut busy.1 else {
            return Err(ReceiveError::NotYourTurn);
        };
        let result = self.owner.core().await_reply(pending).await;
        busy.1 = None;
        result.map_err(|error| match error {
            RequestError::PeerGone => ReceiveError::PeerGone,
            _ => ReceiveError::Closed,
        })
    }
}

impl Core {
    /// Sends a request to the next peer that may take one.
    async fn start_request(
        self: &Arc<Self>,
        message: Message,
        deadline: Option<Instant>,
    ) -> Result<Pending, RequestError> {
        let mut message = message;
        let wrapped = |id| wrap(std::mem::take(&mut message), id);
        match self.ask(Whom::Next, deadline, wrapped).await {
            Ok(Some(pending)) => Ok(pending),
            Ok(None) => Err(RequestError::NotSent(message)),
            Err(_) => Err(RequestError::Closed),
        }
    }

    /// Sends a request, which is made once there is a peer that may take it; none before the deadline
    /// is `None`.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        whom: Whom<'_>,
        deadline: Option<Instant>,
        mut wrapped: impl FnMut(Option<u32>) -> Message,
    ) -> Result<Option<Pending>, Unasked> {
        self.pay_debt().await;
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            if let Some(pending) = self.try_ask(whom, &mut wrapped)? {
                return Ok(Some(pending));
            }
            let wake = [deadline, self.first_grace_end()]
                .into_iter()
                .flatten()
                .min();
            let far = Instant::now() + Duration::from_secs(3_600);
            // A connection may be free once its late reply is read, and nobody else reads.
            match self.reply_or_wait() {
                Ok(late) => self.settle(late).into_iter().for_each(Answer::hand_out),
                Err(Stalled::Yield) => tokio::task::yield_now().await,
                Err(Stalled::Closed) => return Err(Unasked::Closed),
                Err(Stalled::Wait(waiting)) => tokio::select! {
                    () = room => {}
                    () = waiting => {}
                    () = tokio::time::sleep_until(wake.unwrap_or(far)) => self.replace_owing(),
                },
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(None);
            }
        }
    }

    /// Sends a request now, if a peer may take one.
    fn try_ask(
        self: &Arc<Self>,
        whom: Whom<'_>,
        wrapped: &mut impl FnMut(Option<u32>) -> Message,
    ) -> Result<Option<Pending>, Unasked> {
        if self.phase() != Phase::Open {
            return Err(Unasked::Closed);
        }
        let mut receiving = self.receiving.lock();
        let mut sending = self.sending.lock();
        let out = &mut sending.out;
        let all = self.options.request.correlate;
        let chosen = match whom {
            Whom::Next => out.next_for_request(all),
            Whom::Least(not) => {
                let burden = |key| receiving.requests.burden(key);
                let best =
                    out.best_for_request(all, |key| (!not.contains(&key)).then(|| burden(key)));
                let is_left_out = |key: PipeKey| not.contains(&key);
                if best.is_none() && out.peers() > 0 && out.keys().all(is_left_out) {
                    return Err(Unasked::LeftOut);
                }
                best
            }
            Whom::One(key) => match out.claim_for_request(key, all) {
                Ok(correlated) => Some((key, correlated)),
                Err(NotSent::Full) => None,
                Err(_) => return Err(Unasked::Gone),
            },
        };
        let Some((to, correlated)) = chosen else {
            return Ok(None);
        };
        let (sender, reply) = oneshot::channel();
        let id = receiving.requests.start(to, correlated, sender);
        drop(receiving);
        // The pipe was chosen because it has room.
        let sent = sending
            .out
            .send_to(to, &mut wrapped(correlated.then_some(id)));
        debug_assert!(sent.is_ok());
        self.after_send(sending);
        Ok(Some(Pending {
            core: Arc::clone(self),
            id,
            to,
            reply,
        }))
    }

    /// When the first connection that owes an abandoned reply is to be replaced.
    fn first_grace_end(&self) -> Option<Instant> {
        let since = self.receiving.lock().requests.owing_since()?;
        (self.started + since).checked_add(self.options.request.grace)
    }

    /// Replaces the connections that owe an abandoned reply for too long.
    fn replace_owing(&self) {
        let elapsed = self.started.elapsed();
        if let Some(then) = elapsed.checked_sub(self.options.request.grace) {
            let overdue = self.receiving.lock().requests.overdue(then);
            overdue.into_iter().for_each(|key| self.abandon(key));
        }
    }

    /// Waits for one reply, and hands the others out that come meanwhile.
    pub(crate) async fn await_reply(&self, pending: &mut Pending) -> Result<Message, RequestError> {
        loop {
            match pending.reply.try_recv() {
                Ok(result) => return result,
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => return Err(RequestError::Closed),
            }
            match self.reply_or_wait() {
                Ok(matched) => {
                    if let Some(answer) = self.settle(matched) {
                        if answer.id == pending.id {
                            // Taken here: this task is not to wake itself.
                            pending.reply.close();
                            return Ok(answer.message);
                        }
                        answer.hand_out();
                    }
                }
                Err(Stalled::Yield) => tokio::task::yield_now().await,
                Err(Stalled::Closed) => return Err(RequestError::Closed),
                Err(Stalled::Wait(waiting)) => tokio::select! {
                    result = &mut pending.reply => return result.unwrap_or(Err(RequestError::Closed)),
                    () = waiting => {}
                },
            }
        }
    }

    /// Takes a message and finds the request that it answers: under one lock, so that who fails
    /// the requests of a lost connection finds each reply either matched or still to be taken.
    fn reply_or_wait(&self) -> Result<Matched, Stalled<impl Future<Output = ()> + Send + use<>>> {
        let mut receiving = self.receiving.lock();
        let mut message = Message::new();
        let from = self.take_turn_or_wait(&mut receiving, &mut message)?;
        let reply = receiving.requests.reply(from, message);
        Ok(Matched { from, reply })
    }

    /// Does what a matched message asks for, but for handing out the reply; where there is none,
    /// it is counted.
    fn settle(&self, Matched { from, reply }: Matched) -> Option<Answer> {
        let (answer, frees) = match reply {
            Reply::Answers {
                id,
                asker,
                message,
                frees,
            } => (Some(Answer { id, asker, message }), frees),
            Reply::Late { frees } => {
                self.counters.late_replies.fetch_add(1, Ordering::Relaxed);
                (None, frees)
            }
            Reply::Malformed => {
                self.counters.malformed.fetch_add(1, Ordering::Relaxed);
                (None, false)
            }
        };
        if frees && self.sending.lock().out.replied(from) {
            self.room.notify_waiters();
        }
        answer
    }

    /// The requests of a connection that is gone have no reply, but for those that came before.
    pub(crate) fn fail_requests(&self, key: PipeKey) {
        let mut receiving = self.receiving.lock();
        let matched: Vec<Matched> = std::iter::from_fn(|| {
            if receiving.requests.is_empty() {
                return None;
            }
            let (from, message) = receiving.take_notice()?;
            let reply = receiving.requests.reply(from, message);
            Some(Matched { from, reply })
        })
        .collect();
        let lost: Vec<Asker> = receiving.requests.lost(key).collect();
        drop(receiving);
        for matched in matched {
            self.settle(matched).into_iter().for_each(Answer::hand_out);
        }
        for asker in lost {
            let _ = asker.send(Err(RequestError::PeerGone));
        }
    }
}

//! REQ: asks (RFC 28).
//!
//! Towards a peer that announces request ids many requests are in flight, and replies find their
//! request by id. Towards any other the envelope is the plain one, and each connection has one
//! request in flight; when that is abandoned, the connection waits for the late reply, which is
//! counted and dropped, and is replaced if it does not come. Nothing ever locks up.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use withy_proto::pattern::PipeKey;
use withy_proto::pattern::outgoing::NotSent;
use withy_proto::pattern::request::{Reply, wrap};
use withy_proto::{Message, SocketType};

use super::{Owner, Sends, socket};
use crate::driver::core::{Core, Phase, Receiving};
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

/// Who waits for a reply: its task, once that sleeps.
pub(crate) type Asker = Option<Waker>;

/// What became of requests that another task than theirs found out, until theirs comes for it.
pub(crate) type Answers = BTreeMap<u32, Result<Message, RequestError>>;

/// What came of a message from a connection.
struct Matched {
    /// The reply, if it answers the caller's own request.
    own: Option<Message>,
    /// Whose it is otherwise.
    asker: Asker,
    /// The connection, if it may take the next request now.
    free: Option<PipeKey>,
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
    /// What became of it was handed to who asked.
    over: bool,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let now = self.core.started.elapsed();
        let mut receiving = self.core.receiving.lock();
        // What wakes a task is not dropped under the lock: it may be all that keeps the task.
        let (owes, _asker) = receiving.requests.abandon(self.id, now);
        let answer = receiving.answers.remove(&self.id);
        drop(receiving);
        if matches!(answer, Some(Ok(_))) {
            // It came, and nobody took it any more.
            self.core
                .counters
                .late_replies
                .fetch_add(1, Ordering::Relaxed);
        }
        if owes {
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
        // Where the call was cancelled, nobody sleeps any more, and the task need not be kept.
        if let Some(pending) = &self.1 {
            pending.core.forget_asker(pending.id);
        }
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
        core.await_reply(&mut pending, deadline).await
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
        let result = self.owner.core().await_reply(pending, None).await;
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
        // Mostly there is one, and nobody has to be told when there is.
        if let Some(pending) = self.try_ask(whom, &mut wrapped)? {
            return Ok(Some(pending));
        }
        loop {
            let mut room = pin!(self.room.notified());
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
            match self.reply_or_wait(None) {
                Ok(_) => {}
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
        let id = receiving.requests.start(to, correlated, None);
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
            over: false,
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

    /// Waits for one reply, until the deadline at most, and hands the others out that come meanwhile.
    pub(crate) async fn await_reply(
        &self,
        pending: &mut Pending,
        deadline: Option<Instant>,
    ) -> Result<Message, RequestError> {
        let mut until = self.spare.until(deadline);
        loop {
            match self.reply_or_wait(Some(pending.id)) {
                Ok(Some(answer)) => {
                    pending.over = true;
                    return answer;
                }
                Ok(None) => {}
                Err(Stalled::Yield) => {
                    if until.is_over() {
                        return Err(RequestError::Timeout);
                    }
                    tokio::task::yield_now().await;
                }
                Err(Stalled::Closed) => return Err(RequestError::Closed),
                Err(Stalled::Wait(waiting)) => {
                    let mut waiting = pin!(waiting);
                    poll_fn(|cx| {
                        // The answer first: a wake-up that it makes needless is for others then.
                        if self.is_answered(pending.id, cx.waker())
                            || waiting.as_mut().poll(cx).is_ready()
                        {
                            return Poll::Ready(Ok(()));
                        }
                        until.poll(cx).map(|()| Err(RequestError::Timeout))
                    })
                    .await?;
                }
            }
        }
    }

    /// Whether it is known what became of a request; if not, `waker` is woken when another task finds
    /// it out.
    fn is_answered(&self, id: u32, waker: &Waker) -> bool {
        let mut waker = Some(waker.clone());
        let mut receiving = self.receiving.lock();
        let Some(asker) = receiving.requests.asker(id) else {
            return true;
        };
        std::mem::swap(asker, &mut waker);
        drop(receiving);
        // That of before, which is not dropped under the lock.
        drop(waker);
        false
    }

    /// Whoever waited for the reply to a request does not sleep any more.
    fn forget_asker(&self, id: u32) {
        let mut receiving = self.receiving.lock();
        let asker = receiving.requests.asker(id).and_then(Option::take);
        drop(receiving);
        drop(asker);
    }

    /// Takes a message and finds the request that it answers: under one lock, so that who fails
    /// the requests of a lost connection finds each reply either matched or still to be taken.
    /// Returns what became of the request `own`, if that is known now.
    fn reply_or_wait(
        &self,
        own: Option<u32>,
    ) -> Result<
        Option<Result<Message, RequestError>>,
        Stalled<impl Future<Output = ()> + Send + use<>>,
    > {
        let mut receiving = self.receiving.lock();
        if let Some(answer) = own.and_then(|id| receiving.answers.remove(&id)) {
            // This task may have been woken for what others wait for.
            self.pass_on(&receiving);
            return Ok(Some(answer));
        }
        let mut message = Message::new();
        let from = self.take_turn_or_wait(&mut receiving, &mut message)?;
        let matched = self.match_reply(&mut receiving, from, message, own);
        drop(receiving);
        Ok(self.settle(matched).map(Ok))
    }

    /// Finds the request that a message answers, and keeps the reply unless it is for `own`; where there
    /// is none, it is counted.
    fn match_reply(
        &self,
        receiving: &mut Receiving,
        from: PipeKey,
        message: Message,
        own: Option<u32>,
    ) -> Matched {
        let (mut own_reply, mut its_asker) = (None, None);
        let frees = match receiving.requests.reply(from, message) {
            Reply::Answers {
                id,
                asker,
                message,
                frees,
            } => {
                if own == Some(id) {
                    own_reply = Some(message);
                } else {
                    receiving.answers.insert(id, Ok(message));
                    its_asker = asker;
                }
                frees
            }
            Reply::Late { frees } => {
                self.counters.late_replies.fetch_add(1, Ordering::Relaxed);
                frees
            }
            Reply::Malformed => {
                self.counters.malformed.fetch_add(1, Ordering::Relaxed);
                false
            }
        };
        Matched {
            own: own_reply,
            asker: its_asker,
            free: frees.then_some(from),
        }
    }

    /// Does what a matched message asks for, without the lock; returns the reply to the caller's own
    /// request.
    fn settle(&self, Matched { own, asker, free }: Matched) -> Option<Message> {
        if let Some(asker) = asker {
            asker.wake();
        }
        if let Some(from) = free
            && self.sending.lock().out.replied(from)
        {
            self.room.notify_waiters();
        }
        own
    }

    /// The requests of a connection that is gone have no reply, but for those that came before.
    pub(crate) fn fail_requests(&self, key: PipeKey) {
        let mut guard = self.receiving.lock();
        let receiving = &mut *guard;
        let mut settled = Vec::new();
        while !receiving.requests.is_empty()
            && let Some((from, message)) = receiving.take_notice()
        {
            settled.push(self.match_reply(receiving, from, message, None));
        }
        for (id, asker) in receiving.requests.lost(key) {
            receiving.answers.insert(id, Err(RequestError::PeerGone));
            settled.push(Matched {
                own: None,
                asker,
                free: None,
            });
        }
        drop(guard);
        for matched in settled {
            self.settle(matched);
        }
    }
}

//! REP: answers (RFC 28).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use withy_proto::pattern::PipeKey;
use withy_proto::pattern::reply::{Envelope, join, split};
use withy_proto::{Message, SocketType};

use super::{Owner, Receives, Sends, socket};
use crate::driver::core::Core;
use crate::driver::receive::Nothing;
use crate::error::{ReceiveError, SendError};
use crate::event::PeerInfo;

/// Receives requests and replies to them, in any order and from any task (RFC 28).
///
/// There is no lock-step: many requests may be open at a time. One without the empty frame that
/// ends its envelope, within 32 frames, is dropped and counted as `malformed`.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let rep = withy::Rep::bind("tcp://127.0.0.1:5555").await?;
/// loop {
///     let request = rep.recv().await?;
///     tokio::spawn(async move {
///         let reply = request.message().clone();
///         // A client that left before its reply came is no reason to stop.
///         if let Err(error) = request.reply(reply).await {
///             eprintln!("{error}");
///         }
///     });
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Rep {
    owner: Owner,
}

socket!(Rep, SocketType::Rep);

impl Sends for Rep {}
impl Receives for Rep {}

/// A request, and the right to reply to it once. Dropping it sends no reply.
#[derive(Debug)]
pub struct Request {
    core: Arc<Core>,
    from: PipeKey,
    envelope: Envelope,
    message: Message,
}

impl Rep {
    pub(crate) fn over(owner: Owner) -> Self {
        Self { owner }
    }

    /// Receives the next request, of the peers in turn.
    ///
    /// # Errors
    /// The socket is closed.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call took no request.
    pub async fn recv(&self) -> Result<Request, ReceiveError> {
        loop {
            let mut message = Message::new();
            let from = self.owner.core().receive(&mut message).await?;
            if let Some(request) = self.request(from, message) {
                return Ok(request);
            }
        }
    }

    /// Receives a request if one is there.
    ///
    /// # Errors
    /// None is there, or the socket is closed.
    pub fn try_recv(&self) -> Result<Request, ReceiveError> {
        let mut yielded = false;
        loop {
            let mut message = Message::new();
            match self.owner.core().try_receive(&mut message) {
                Ok(from) => {
                    if let Some(request) = self.request(from, message) {
                        return Ok(request);
                    }
                }
                // Twice means that peers send only what is no request.
                Err(Nothing::Yield) if !std::mem::replace(&mut yielded, true) => {}
                Err(nothing) => return Err(nothing.into()),
            }
        }
    }

    /// Receives a request if one comes within `timeout`.
    ///
    /// # Errors
    /// None came, or the socket is closed.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call took no request.
    pub async fn recv_timeout(&self, timeout: Duration) -> Result<Request, ReceiveError> {
        tokio::time::timeout(timeout, self.recv())
            .await
            .unwrap_or(Err(ReceiveError::Timeout))
    }

    /// Splits a request from its envelope; one without is dropped and counted.
    fn request(&self, from: PipeKey, message: Message) -> Option<Request> {
        let core = self.owner.core();
        let Some((envelope, message)) = split(message) else {
            core.counters.malformed.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        Some(Request {
            core: Arc::clone(core),
            from,
            envelope,
            message,
        })
    }
}

impl Request {
    /// The request's message.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Who asks, with the user id that the authenticator gave; `None` once it is gone.
    pub fn peer(&self) -> Option<Arc<PeerInfo>> {
        self.core.peer(self.from)
    }

    /// Takes the request's message out, and leaves an empty one.
    pub fn take_message(&mut self) -> Message {
        std::mem::take(&mut self.message)
    }

    /// Sends the reply. It waits for no peer: whoever asks without reading its replies is not
    /// read beyond the high-water mark, and keeps nobody else waiting.
    ///
    /// # Errors
    /// The peer is gone, or the socket is closed; the reply comes back, in its envelope.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call did not send the reply, and the right to reply is gone.
    pub async fn reply(self, message: impl Into<Message>) -> Result<(), SendError> {
        let Self {
            core,
            from,
            envelope,
            ..
        } = self;
        core.pay_debt().await;
        let mut reply = join(envelope, message.into());
        let sent = core.reply_to(from, &mut reply);
        sent.map_err(|rejected| rejected.with(reply))
    }
}

//! A socket as a [`Stream`] of what it receives and a [`Sink`] of what it sends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_sink::Sink;
use withy_proto::Message;

use super::{ReceivesAny, SendsAny};
use crate::driver::core::Core;
use crate::driver::receive::Stalled;
use crate::driver::send::Rejected;
use crate::error::SendError;

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a socket receives, until it is closed. Made by `stream()`; several streams of one socket
/// share its messages.
pub struct Messages<S> {
    socket: S,
    core: Arc<Core>,
    wait: Option<Wait>,
}

impl<S: ReceivesAny> Messages<S> {
    pub(crate) fn new(socket: S) -> Self {
        let core = Arc::clone(socket.owner().core());
        Self {
            socket,
            core,
            wait: None,
        }
    }

    /// The socket.
    pub fn into_inner(self) -> S {
        self.socket
    }
}

impl<S> std::fmt::Debug for Messages<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Messages")
            .field("kind", &self.core.kind)
            .finish_non_exhaustive()
    }
}

impl<S: Unpin> Stream for Messages<S> {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let this = self.get_mut();
        loop {
            if let Some(wait) = &mut this.wait {
                ready!(wait.as_mut().poll(cx));
                this.wait = None;
            }
            let mut message = Message::new();
            match this.core.receive_or_wait(&mut message) {
                Ok(_) => return Poll::Ready(Some(message)),
                Err(Stalled::Closed) => return Poll::Ready(None),
                Err(Stalled::Yield) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Err(Stalled::Wait(waiting)) => this.wait = Some(Box::pin(waiting)),
            }
        }
    }
}

/// Sends whatever it is fed. Made by `sink()`. `poll_flush` waits until all was handed to the
/// operating system; closing the sink flushes it and leaves the socket open.
pub struct Outlet<S> {
    socket: S,
    core: Arc<Core>,
    held: Option<Message>,
    wait: Option<Wait>,
}

impl<S: SendsAny> Outlet<S> {
    pub(crate) fn new(socket: S) -> Self {
        let core = Arc::clone(socket.owner().core());
        Self {
            socket,
            core,
            held: None,
            wait: None,
        }
    }

    /// The socket, and a message that was fed and not sent yet.
    pub fn into_inner(self) -> (S, Option<Message>) {
        (self.socket, self.held)
    }
}

impl<S> std::fmt::Debug for Outlet<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlet")
            .field("kind", &self.core.kind)
            .finish_non_exhaustive()
    }
}

impl<S> Outlet<S> {
    /// Sends the message that is held, once there is room.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        while let Some(mut message) = self.held.take() {
            if let Some(wait) = &mut self.wait
                && wait.as_mut().poll(cx).is_pending()
            {
                self.held = Some(message);
                return Poll::Pending;
            }
            // Registered before the attempt, so that room made meanwhile is not missed.
            let core = Arc::clone(&self.core);
            let mut wait: Wait = Box::pin(async move { core.room.notified().await });
            let registered = wait.as_mut().poll(cx);
            match self.core.try_send(&mut message) {
                Err(Rejected::FULL) => {
                    self.held = Some(message);
                    self.wait = registered.is_pending().then_some(wait);
                    if self.wait.is_some() {
                        return Poll::Pending;
                    }
                }
                sent => {
                    self.wait = None;
                    return Poll::Ready(sent.map_err(|rejected| rejected.with(message)));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Unpin + SendsAny> Sink<Message> for Outlet<S> {
    type Error = SendError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.get_mut().poll_held(cx)
    }

    fn start_send(self: Pin<&mut Self>, mut message: Message) -> Result<(), SendError> {
        let this = self.get_mut();
        match this.core.try_send(&mut message) {
            Err(Rejected::FULL) => {
                this.held = Some(message);
                Ok(())
            }
            sent => sent.map_err(|rejected| rejected.with(message)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let this = self.get_mut();
        ready!(this.poll_held(cx))?;
        let mut wait = match this.wait.take() {
            Some(wait) => wait,
            None => {
                let owner = this.socket.owner().clone();
                Box::pin(async move { owner.flush().await })
            }
        };
        match wait.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => {
                this.wait = Some(wait);
                Poll::Pending
            }
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_flush(cx)
    }
}

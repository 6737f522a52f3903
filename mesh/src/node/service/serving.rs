//! Serving a name: receiving what clients ask.

use std::sync::Arc;

use withy_discovery::Kind;
use withy_proto::{Message, SocketType};

use super::desk::{self, Desk};
use super::request::ServiceRequest;
use crate::driver::receive::Stalled;
use crate::error::ReceiveError;
use crate::node::Node;
use crate::node::error::NameError;
use crate::stats::Stats;

/// An instance of a service. It is made by [`Node::service`]. A clone is another handle of the same
/// instance: both receive in turn.
///
/// When the last handle is dropped, no request is taken up any more: clients hear that the instance is
/// busy, and ask another. Those that were received can still be answered; with the last of them the
/// name goes.
#[derive(Debug, Clone)]
pub struct Service(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<Desk>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// What an instance did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ServiceCounts {
    /// Requests that were received.
    pub given: u64,
    /// Of these, replied to.
    pub done: u64,
    /// Of these, that failed, or were dropped without a reply.
    pub failed: u64,
    /// Requests that were not taken up since there were as many as the capacity.
    pub busy: u64,
    /// Requests that were not taken up since their time was over.
    pub late: u64,
    /// Requests that were not taken up since who asked was gone.
    pub abandoned: u64,
    /// Requests that were received and are not answered yet.
    pub open: usize,
    /// Requests that were taken in and wait to be received.
    pub waiting: usize,
}

impl Service {
    /// How many requests an instance has at a time by default.
    pub const CAPACITY: usize = 1_000;

    pub(in crate::node) fn new(node: &Node, name: &str) -> Result<Self, NameError> {
        let shared = node.shared();
        let socket = shared.socket(SocketType::Rep, shared.service_options());
        let offer = shared.offer_socket(Kind::Service, name, socket.core())?;
        shared.close_with_node(socket.core());
        let desk = Arc::new(Desk::new(node, socket, offer));
        shared.spawn(desk::look(Arc::downgrade(&desk), shared.stop.clone()));
        Ok(Self(Arc::new(Handle(desk))))
    }

    /// Receives the next request. One whose time is over, or whose client is gone, is not received, but
    /// counted.
    ///
    /// # Errors
    /// The node was closed.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call took no request.
    pub async fn recv(&self) -> Result<ServiceRequest, ReceiveError> {
        let desk = &self.0.0;
        let core = desk.core();
        loop {
            core.pay_debt().await;
            if let Some(held) = desk.next_waiting() {
                return Ok(ServiceRequest::new(desk, held));
            }
            let mut message = Message::new();
            match core.receive_or_wait(&mut message) {
                Ok(from) => {
                    if let Some(held) = desk.take_in(from, message) {
                        return Ok(ServiceRequest::new(desk, held));
                    }
                }
                // What was taken in for who did not come wakes those who wait since then only.
                Err(Stalled::Wait(_)) if desk.has_waiting() => {}
                Err(Stalled::Wait(waiting)) => waiting.await,
                Err(Stalled::Yield) => tokio::task::yield_now().await,
                Err(Stalled::Closed) => return Err(ReceiveError::Closed),
            }
        }
    }

    /// How many requests the instance has at a time, those that were received and are not answered yet
    /// included: of more, whoever asks hears that it is busy, at once while somebody receives, and within
    /// 200 ms otherwise. Default [`CAPACITY`](Self::CAPACITY), at least 1.
    pub fn set_capacity(&self, requests: usize) {
        self.0.0.set_capacity(requests);
    }

    /// What it did so far.
    pub fn counts(&self) -> ServiceCounts {
        self.0.0.counts()
    }

    /// The counters of the instance's socket: `malformed` is what was no request, `protocol_errors`
    /// clients that were let go for that.
    pub fn stats(&self) -> Stats {
        self.0.0.socket().stats()
    }
}

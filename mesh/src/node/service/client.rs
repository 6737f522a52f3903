//! Asking a service: which instance, for how long, and which next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use withy_discovery::Kind;
use withy_proto::pattern::PipeKey;
use withy_proto::service::{Audience, ReplyHeader, RequestHeader, Status};
use withy_proto::{Frame, Message, SocketType};

use super::all::{self, Answer, Instance};
use super::error::ServiceError;
use crate::error::{Closed, RequestError};
use crate::event::Reason;
use crate::node::Node;
use crate::node::error::NameError;
use crate::node::interest::{Interest, Wants};
use crate::socket::Owner;
use crate::socket::req::{Pending, Unasked, Whom};
use crate::stats::Stats;

/// A request with options. A message is one with the default options.
#[derive(Debug, Clone)]
#[must_use]
pub struct Request {
    message: Message,
    within: Duration,
    idempotent: bool,
}

impl Request {
    /// How long a reply is waited for by default.
    pub const WITHIN: Duration = Duration::from_secs(30);

    /// A request that is not idempotent, and waits for its reply for [`WITHIN`](Self::WITHIN).
    pub fn new(message: impl Into<Message>) -> Self {
        Self {
            message: message.into(),
            within: Self::WITHIN,
            idempotent: false,
        }
    }

    /// How long its reply is waited for, on whichever instance. The instance hears how much is left.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// It may be done more than once: if its instance is lost, the next is asked, for as long as there
    /// is time, until it has lost [`Client::MAX_LOST`].
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }
}

impl<T: Into<Message>> From<T> for Request {
    fn from(message: T) -> Self {
        Self::new(message)
    }
}

/// Asks whoever serves a name. It is made by [`Node::client`]. A clone is another handle of the same
/// client.
#[derive(Debug, Clone)]
pub struct Client(pub(super) Arc<Asks>);

#[derive(Debug)]
pub(super) struct Asks {
    name: Box<str>,
    pub(super) socket: Owner,
    pub(super) interest: Interest,
    retried: AtomicU64,
    pub(super) node: Node,
}

/// What became of a request on one instance.
pub(super) enum Outcome {
    Replied(Result<Message, ServiceError>),
    /// It was not taken up, for this reason.
    Refused(ServiceError),
    /// The instance is gone, or of no use.
    Lost,
}

impl Client {
    /// The most instances that one idempotent request may lose, so that a request that takes its
    /// instances down does not take all down.
    pub const MAX_LOST: u32 = 8;

    pub(in crate::node) fn new(node: &Node, name: &str) -> Result<Self, NameError> {
        let shared = node.shared();
        shared.check_name(name)?;
        let socket = shared.socket(SocketType::Req, shared.service_options());
        shared.close_with_node(socket.core());
        let wants = Wants::Named(Kind::Service, name.into());
        let interest = shared.want(wants, socket.core());
        Ok(Self(Arc::new(Asks {
            name: name.into(),
            socket,
            interest,
            retried: AtomicU64::new(0),
            node: node.clone(),
        })))
    }

    /// The name of the service.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Sends a request to the instance with the fewest requests of ours that it has not answered, among
    /// equals that which says to be least busy, and waits for the reply. While nobody serves the name,
    /// it waits for who will, until the deadline.
    ///
    /// An instance that is busy, or does not understand the request, did not take it up: the next is
    /// asked. If the instance is lost, the next is asked only if the request is
    /// [idempotent](Request::idempotent).
    ///
    /// # Errors
    /// See [`ServiceError`].
    ///
    /// # Cancel safety
    /// A cancelled call forgets the request: the instance may act on it, its reply is dropped and
    /// counted.
    pub async fn request(&self, request: impl Into<Request>) -> Result<Message, ServiceError> {
        let Request {
            message,
            within,
            idempotent,
        } = request.into();
        let deadline = deadline(within);
        let core = self.0.socket.core();
        let mut header = RequestHeader {
            idempotent,
            ..RequestHeader::default()
        };
        let (mut left_out, mut refused) = (Vec::new(), ServiceError::Busy);
        let mut lost = 0;
        loop {
            let wrapped = |id| envelope(id, &mut header, deadline, &message);
            let asked = core.ask(Whom::Least(&left_out), Some(deadline), wrapped);
            let pending = match asked.await {
                Ok(Some(pending)) => pending,
                Ok(None) => return Err(self.nobody()),
                Err(Unasked::LeftOut) if lost > 0 => return Err(ServiceError::PeerGone),
                Err(Unasked::LeftOut) => return Err(refused),
                Err(_) => return Err(ServiceError::Closed),
            };
            let to = pending.to;
            match self.outcome(pending, deadline).await {
                Outcome::Replied(reply) => return reply,
                Outcome::Refused(why) => {
                    left_out.push(to);
                    refused = why;
                }
                Outcome::Lost => {
                    lost += 1;
                    if !idempotent || lost >= Self::MAX_LOST {
                        return Err(ServiceError::PeerGone);
                    }
                }
            }
            header.attempt = header.attempt.saturating_add(1);
            self.0.retried.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends a request to every instance, and waits for all answers, for `within` at most. Asked are
    /// those that are known now, or the first to be there if there is none yet; who is not connected
    /// yet is asked once he is.
    ///
    /// # Errors
    /// There was no instance until the deadline, or the node was closed. What is wrong with one instance
    /// stands in its answer.
    ///
    /// # Cancel safety
    /// As [`request`](Self::request).
    pub async fn ask_all(
        &self,
        message: impl Into<Message>,
        within: Duration,
    ) -> Result<Vec<Answer>, ServiceError> {
        all::ask_all(self, &message.into(), deadline(within)).await
    }

    /// Waits until at least so many instances are connected.
    ///
    /// Waits for ever if there never are; put a timeout around it.
    ///
    /// # Errors
    /// The node was closed meanwhile.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn wait_instances(&self, instances: usize) -> Result<(), Closed> {
        self.0.socket.wait_peers(instances).await
    }

    /// The instances that are connected.
    pub fn instances(&self) -> Vec<Instance> {
        let links = self.0.socket.core().links();
        let instances = links.iter().filter_map(|(_, info)| Instance::of(info));
        instances.collect()
    }

    /// How many times a request went to a further instance.
    pub fn retried(&self) -> u64 {
        self.0.retried.load(Ordering::Relaxed)
    }

    /// The counters of the client's socket: `late_replies` are those that nobody waited for any more,
    /// `malformed` what was none, `protocol_errors` instances that were let go for that.
    pub fn stats(&self) -> Stats {
        self.0.socket.stats()
    }

    /// What there is to say when the deadline passed and nobody took the request.
    pub(super) fn nobody(&self) -> ServiceError {
        if self.0.socket.core().peers.get() > 0 {
            return ServiceError::Busy;
        }
        ServiceError::NoInstance {
            name: self.0.name.to_string(),
            peers: *self.0.node.shared().known.borrow(),
        }
    }

    /// Waits for what becomes of a request on its instance.
    pub(super) async fn outcome(&self, mut pending: Pending, deadline: Instant) -> Outcome {
        let core = self.0.socket.core();
        let message = match core.await_reply(&mut pending, Some(deadline)).await {
            Ok(message) => message,
            Err(RequestError::PeerGone) => return Outcome::Lost,
            Err(RequestError::Timeout) => return Outcome::Replied(Err(ServiceError::TooLate)),
            Err(_) => return Outcome::Replied(Err(ServiceError::Closed)),
        };
        match ReplyHeader::unwrap(message) {
            Ok((header, body)) => {
                self.note_load(pending.to, header.load);
                match header.status {
                    Status::Done => Outcome::Replied(Ok(body)),
                    Status::Failed(reason) => {
                        let reason = reason.into();
                        Outcome::Replied(Err(ServiceError::Failed { reason }))
                    }
                    Status::TooLate => Outcome::Replied(Err(ServiceError::TooLate)),
                    Status::Busy => Outcome::Refused(ServiceError::Busy),
                    _ => Outcome::Refused(ServiceError::Unknown),
                }
            }
            Err(error) => {
                core.counters.malformed.fetch_add(1, Ordering::Relaxed);
                let reason = Reason::Application(error.to_string());
                core.close_link(pending.to, reason);
                Outcome::Lost
            }
        }
    }

    fn note_load(&self, key: PipeKey, load: u8) {
        let mut receiving = self.0.socket.core().receiving.lock();
        receiving.requests.note_load(key, load);
    }

    /// Sends a request to one instance, and waits for what becomes of it.
    pub(super) async fn ask_one(
        &self,
        key: PipeKey,
        message: &Message,
        deadline: Instant,
    ) -> Result<Message, ServiceError> {
        let mut header = RequestHeader {
            audience: Audience::All,
            ..RequestHeader::default()
        };
        let wrapped = |id| envelope(id, &mut header, deadline, message);
        let core = self.0.socket.core();
        let asked = core.ask(Whom::One(key), Some(deadline), wrapped).await;
        let pending = match asked {
            Ok(Some(pending)) => pending,
            Ok(None) => return Err(ServiceError::Busy),
            Err(Unasked::Closed) => return Err(ServiceError::Closed),
            Err(_) => return Err(ServiceError::NotReached),
        };
        match self.outcome(pending, deadline).await {
            Outcome::Replied(reply) => reply,
            Outcome::Refused(why) => Err(why),
            Outcome::Lost => Err(ServiceError::PeerGone),
        }
    }
}

/// When so much time is over; where that is further away than can be said, in a year.
fn deadline(within: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(365 * 24 * 3_600);
    let now = Instant::now();
    now.checked_add(within).unwrap_or_else(|| now + FAR)
}

/// A request as it goes out now, in its envelope.
fn envelope(
    id: Option<u32>,
    header: &mut RequestHeader,
    deadline: Instant,
    body: &Message,
) -> Message {
    header.left = Some(deadline.saturating_duration_since(Instant::now()));
    let mut frames = Vec::with_capacity(3 + body.len());
    frames.extend(id.map(|id| Frame::from(id.to_be_bytes())));
    frames.push(Frame::new());
    frames.push(header.encode());
    frames.extend_from_slice(body.frames());
    Message::from_frames(frames)
}

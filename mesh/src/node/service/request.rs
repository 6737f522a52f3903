//! A request, on the side of who answers it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use withy_proto::Message;
use withy_proto::service::{Audience, Status};
use withy_proto::trust::{IdentityId, NodeId};

use super::desk::{Desk, Held};
use crate::error::SendError;
use crate::event::PeerInfo;

/// What is said of a request that was dropped.
const DROPPED: &str = "the request was dropped without a reply";

/// A request, and the right to answer it once. Dropping it answers that it failed.
#[derive(Debug)]
pub struct ServiceRequest {
    desk: Arc<Desk>,
    /// Until it is answered.
    held: Option<Held>,
    message: Message,
    peer: Arc<PeerInfo>,
    until: Option<Instant>,
    attempt: u8,
    idempotent: bool,
    to_all: bool,
}

impl ServiceRequest {
    pub(super) fn new(desk: &Arc<Desk>, mut held: Held) -> Self {
        desk.give();
        Self {
            desk: Arc::clone(desk),
            message: std::mem::take(&mut held.message),
            peer: Arc::clone(&held.peer),
            until: held.until,
            attempt: held.header.attempt,
            idempotent: held.header.idempotent,
            to_all: held.header.audience == Audience::All,
            held: Some(held),
        }
    }

    /// What is asked.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Takes what is asked out, and leaves an empty message.
    pub fn take_message(&mut self) -> Message {
        std::mem::take(&mut self.message)
    }

    /// How long the reply is waited for from now on: zero if it is not any more, `None` if for as long
    /// as it takes. The time on the way here is not taken off.
    pub fn time_left(&self) -> Option<Duration> {
        let until = self.until?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Which attempt this is, from 1. After the first another instance may have acted on it already.
    pub fn attempt(&self) -> u8 {
        self.attempt
    }

    /// Whether who asks says that it may be done more than once.
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// Whether every instance is asked.
    pub fn is_to_all(&self) -> bool {
        self.to_all
    }

    /// The connection that it came by.
    pub fn peer(&self) -> &Arc<PeerInfo> {
        &self.peer
    }

    /// Who asks, as the handshake proved it. `None` within the process, where nothing is proven.
    pub fn identity(&self) -> Option<IdentityId> {
        let proven = self.peer.proven.as_ref()?;
        Some(proven.shown.identity)
    }

    /// The node that asks, as the handshake proved it. `None` within the process.
    pub fn node(&self) -> Option<NodeId> {
        let proven = self.peer.proven.as_ref()?;
        Some(proven.shown.node)
    }

    /// Sends the reply. It waits for no peer.
    ///
    /// # Errors
    /// Who asked is gone, or the node was closed; the reply comes back.
    ///
    /// # Cancel safety
    /// A cancelled call sent no reply, and answers that the request failed.
    pub async fn reply(mut self, message: impl Into<Message>) -> Result<(), SendError> {
        self.desk.core().pay_debt().await;
        self.answer(Status::Done, Some(message.into()))
    }

    /// Answers that the request failed, and why: text of at most 256 octets, which is cut off there.
    ///
    /// # Errors
    /// Who asked is gone, or the node was closed.
    ///
    /// # Cancel safety
    /// A cancelled call answers that the request failed, without this reason.
    pub async fn fail(mut self, reason: impl AsRef<str>) -> Result<(), SendError> {
        self.desk.core().pay_debt().await;
        self.answer(Status::failed(reason.as_ref()), None)
    }

    fn answer(&mut self, status: Status, body: Option<Message>) -> Result<(), SendError> {
        let Some(held) = self.held.take() else {
            return Ok(());
        };
        let answered = self.desk.close(held.from, held.envelope, status, body);
        answered.map_err(|(rejected, body)| rejected.with(body))
    }
}

impl Drop for ServiceRequest {
    fn drop(&mut self) {
        // Who is gone need not hear it.
        let _ = self.answer(Status::failed(DROPPED), None);
    }
}

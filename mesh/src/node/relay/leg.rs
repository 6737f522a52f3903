//! One leg of a circuit: an ordinary connection to the door of another node, with a socket of its own, so
//! that a slow one holds up nobody else.
//!
//! Invariant: who is at the other end has proved it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use withy_discovery::PeerTag;
use withy_proto::mechanism::party::Expected;
use withy_proto::relay::{Ask, CHUNK, MessageError, Party, Reply};
use withy_proto::trust::Shown;
use withy_proto::{Endpoint, Frame, Message, SocketType};

use super::DOOR;
use crate::driver::dial::Dialed;
use crate::event::PeerInfo;
use crate::node::shared::Shared;
use crate::options::{HighWaterMark, Options};
use crate::socket::Owner;

/// What waits on a leg in each of its queues: so much of a circuit is under way, and no more.
const WAITING: HighWaterMark = HighWaterMark {
    messages: 64,
    octets: 64 * 1024,
};

/// How long the last octets of a circuit may take to leave.
const LINGER: Duration = Duration::from_secs(2);

/// A leg.
#[derive(Debug)]
pub(super) struct Leg {
    socket: Owner,
    peer: Arc<PeerInfo>,
    listed: Listed,
}

/// A leg in the list of all, for as long as it is there.
#[derive(Debug)]
struct Listed {
    shared: Weak<Shared>,
    number: u64,
    cut: CancellationToken,
}

impl Listed {
    fn new(shared: &Arc<Shared>, to: PeerTag) -> Self {
        let cut = CancellationToken::new();
        let mut open = shared.relaying.open.lock();
        open.next += 1;
        let number = open.next;
        open.legs.insert(number, (to, cut.clone()));
        drop(open);
        Self {
            shared: Arc::downgrade(shared),
            number,
            cut,
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.relaying.open.lock().legs.remove(&self.number);
        }
    }
}

/// Why a leg says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mute {
    /// It is gone, or took too long.
    Gone,
    /// What came is nothing that belongs there.
    Malformed(MessageError),
}

/// A socket for one leg.
pub(super) fn socket(shared: &Shared) -> Owner {
    let mut options: Options = shared.options();
    options.send.high_water_mark = WAITING;
    options.receive_high_water_mark = WAITING;
    options.limits.max_message_size = CHUNK;
    options.limits.max_parts = 1;
    options.linger = LINGER;
    shared.socket(SocketType::Pair, options)
}

impl Leg {
    /// That which somebody makes who came to the door.
    pub(super) async fn accept(
        shared: &Arc<Shared>,
        socket: Owner,
        limit: Duration,
    ) -> Option<Self> {
        let there = tokio::time::timeout(limit, socket.wait_peers(1)).await;
        there.ok()?.ok()?;
        let (_, peer) = socket.core().links().pop()?;
        Self::new(shared, socket, peer)
    }

    fn new(shared: &Arc<Shared>, socket: Owner, peer: Arc<PeerInfo>) -> Option<Self> {
        let shown = &peer.proven.as_ref()?.shown;
        let listed = Listed::new(shared, PeerTag::of(shown.identity, shown.node));
        Some(Self {
            socket,
            peer,
            listed,
        })
    }

    /// Goes to the door of a node by some of these ways.
    pub(super) async fn dial(
        shared: &Arc<Shared>,
        ways: Vec<Endpoint>,
        expected: Option<Expected>,
        limit: Duration,
    ) -> Option<Self> {
        if ways.is_empty() {
            return None;
        }
        let socket = socket(shared);
        let to = Arc::new(Dialed {
            ways: Mutex::new(ways),
            resource: Some(DOOR.into()),
            host: Some(Arc::clone(shared.control())),
            guard: None,
            routing_id: None,
            expected,
            wish: Default::default(),
        });
        let core = Arc::clone(socket.core());
        let connected = core.connect_once(&to, limit).await.ok()?;
        let (_, peer) = core.links().pop()?;
        let driven = Arc::clone(&core);
        core.spawn(async move { connected.run(&driven, true).await });
        Self::new(shared, socket, peer)
    }

    /// What the other end showed.
    pub(super) fn shown(&self) -> &Shown {
        let proven = self.peer.proven.as_ref();
        &proven.expect("a leg is to one who proved it").shown
    }

    /// Who is at the other end.
    pub(super) fn party(&self) -> Party {
        let shown = self.shown();
        Party {
            identity: shown.identity,
            node: shown.node,
        }
    }

    /// What carries it.
    pub(super) fn peer(&self) -> &PeerInfo {
        &self.peer
    }

    /// Says something of a circuit.
    pub(super) async fn say(&self, octets: Vec<u8>) -> bool {
        self.send(octets.into()).await
    }

    /// Waits for the first message of who came.
    pub(super) async fn asked(&self, limit: Duration) -> Result<Ask, Mute> {
        Ask::decode(&self.next_within(limit).await?).map_err(Mute::Malformed)
    }

    /// Asks for something and waits for the answer.
    pub(super) async fn ask(&self, ask: &Ask, limit: Duration) -> Result<Reply, Mute> {
        if !self.say(ask.encode()).await {
            return Err(Mute::Gone);
        }
        Reply::decode(&self.next_within(limit).await?).map_err(Mute::Malformed)
    }

    async fn next_within(&self, limit: Duration) -> Result<Bytes, Mute> {
        let next = tokio::time::timeout(limit, self.next()).await;
        next.ok().flatten().ok_or(Mute::Gone)
    }

    /// Waits for the next message; `None` when the other end is gone, and all that it sent was taken.
    pub(super) async fn next(&self) -> Option<Bytes> {
        let message = tokio::select! {
            biased;
            message = self.socket.recv() => message.ok(),
            () = self.gone() => self.socket.try_recv().ok(),
        };
        message.map(Message::into_bytes)
    }

    /// Sends octets once there is room; whether the other end is still there.
    pub(super) async fn send(&self, octets: Bytes) -> bool {
        let mut message = Message::from(Frame::from(octets));
        tokio::select! {
            biased;
            sent = self.socket.send(&mut message) => sent.is_ok(),
            () = self.gone() => false,
        }
    }

    /// Waits until the other end is gone.
    pub(super) async fn gone(&self) {
        let mut peers = self.socket.core().peers.subscribe();
        tokio::select! {
            // The socket is there for as long as we are.
            _ = peers.wait_for(|peers| *peers == 0) => {}
            () = self.listed.cut.cancelled() => {}
        }
    }

    /// Says that the circuit ends, and closes the leg after all that was sent has left.
    pub(super) async fn end(self) {
        let _ = tokio::time::timeout(LINGER, self.send(Bytes::new())).await;
        self.socket.close().await;
    }
}

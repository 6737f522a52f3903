//! The socket types: one file each, a thin face over the shared driver.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use withy_proto::endpoint::EndpointError;
use withy_proto::pattern::PipeKey;
use withy_proto::pattern::outgoing::NotSent;
use withy_proto::{Endpoint, Message, SocketType};

use crate::driver::core::{Core, Phase, Rejected};
use crate::driver::dial::{self, Dialed};
use crate::driver::receive::Nothing;
use crate::error::{BindError, Closed, ConnectError, ReceiveError, SendError, UnknownEndpoint};
use crate::event::{Monitor, PeerInfo, Reason};
use crate::options::Options;
use crate::stats::Stats;

mod any;
mod dealer;
mod pair;
mod publisher;
mod pull;
mod push;
pub(crate) mod rep;
pub(crate) mod req;
mod router;
mod stream;
mod subscriber;
mod xpub;
mod xsub;

pub use any::AnySocket;
pub use dealer::Dealer;
pub use pair::Pair;
pub use publisher::Publisher;
pub use pull::Pull;
pub use push::Push;
pub use rep::{Rep, Request};
pub use req::Req;
pub use router::Router;
pub use stream::{Messages, Outlet};
pub use subscriber::Subscriber;
pub use xpub::{OverLimit, XPub};
pub use xsub::XSub;

/// What all socket types have in common.
pub trait Socket: sealed::Sealed + Sized {
    /// The type.
    const KIND: Option<SocketType>;

    #[doc(hidden)]
    fn from_owner(owner: Owner) -> Self;

    #[doc(hidden)]
    fn owner(&self) -> &Owner;
}

/// A socket type that sends.
pub trait Sends: Socket {}

/// A socket type that receives.
pub trait Receives: Socket {}

/// A socket type that sends any message by itself.
pub trait SendsAny: Sends {}

/// A socket type that receives plain messages.
pub trait ReceivesAny: Receives {}

mod sealed {
    /// Only the types of this crate are sockets.
    pub trait Sealed {}
}

/// A peer of one socket, as long as it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerKey(pub(crate) PipeKey);

/// Shared by all handles of a socket; the last one to go closes it.
#[derive(Debug, Clone)]
pub struct Owner(Arc<Owned>);

#[derive(Debug)]
struct Owned(Arc<Core>);

impl Drop for Owned {
    /// Without `close`, what waits is sent in the background, for as long as `linger` says.
    fn drop(&mut self) {
        self.0.start_closing();
        if let Some(runtime) = self.0.runtime.get() {
            let core = Arc::clone(&self.0);
            runtime.spawn(async move {
                let linger = core.options.linger;
                core.finish_closing(linger).await;
            });
        }
    }
}

impl Owner {
    pub(crate) fn new(kind: SocketType, options: Options) -> Self {
        Self(Arc::new(Owned(Core::new(kind, options))))
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0.0
    }

    pub(crate) fn connect(
        &self,
        endpoint: Result<Endpoint, EndpointError>,
    ) -> Result<(), ConnectError> {
        self.connect_as(endpoint, None)
    }

    pub(crate) fn connect_as(
        &self,
        endpoint: Result<Endpoint, EndpointError>,
        routing_id: Option<Vec<u8>>,
    ) -> Result<(), ConnectError> {
        let endpoint = endpoint?;
        let core = self.core();
        let security = &core.options.security;
        if !security.permits(core.options.dial.is_local(&endpoint)) {
            return Err(ConnectError::Insecure {
                endpoint,
                mechanism: security.name(),
            });
        }
        if core.phase() != Phase::Open {
            return Err(ConnectError::Closed);
        }
        let runtime = Handle::try_current().map_err(|_| ConnectError::NoRuntime)?;
        core.runtime.get_or_init(|| runtime);
        core.dial(Dialed {
            endpoint,
            routing_id,
        });
        Ok(())
    }

    pub(crate) async fn bind(
        &self,
        endpoint: Result<Endpoint, EndpointError>,
    ) -> Result<Endpoint, BindError> {
        let endpoint = endpoint?;
        let core = self.core();
        let security = &core.options.security;
        if !security.permits(endpoint.is_local()) {
            return Err(BindError::Insecure {
                endpoint,
                mechanism: security.name(),
            });
        }
        if core.phase() != Phase::Open {
            return Err(BindError::Closed);
        }
        let runtime = Handle::try_current().map_err(|_| BindError::NoRuntime)?;
        core.runtime.get_or_init(|| runtime);
        match withy_transports::listen(&endpoint, &core.options.listen).await {
            Ok(listener) => Ok(core.serve(listener)),
            Err(source) => Err(BindError::Transport { endpoint, source }),
        }
    }

    pub(crate) fn disconnect(&self, endpoint: &Endpoint) -> Result<(), UnknownEndpoint> {
        let known = dial::stop(&self.core().endpoints.lock().dialed, endpoint);
        known
            .then_some(())
            .ok_or_else(|| UnknownEndpoint(endpoint.clone()))
    }

    pub(crate) fn unbind(&self, endpoint: &Endpoint) -> Result<(), UnknownEndpoint> {
        let known = dial::stop(&self.core().endpoints.lock().bound, endpoint);
        known
            .then_some(())
            .ok_or_else(|| UnknownEndpoint(endpoint.clone()))
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.core()
            .endpoints
            .lock()
            .bound
            .iter()
            .map(|active| active.endpoint.clone())
            .collect()
    }

    pub(crate) async fn wait_peers(&self, peers: usize) -> Result<(), Closed> {
        self.wait_for(&self.core().peers, peers).await
    }

    pub(crate) async fn wait_subscribed(&self, subscriptions: usize) -> Result<(), Closed> {
        self.wait_for(&self.core().subscriptions, subscriptions)
            .await
    }

    /// Waits until a count is high enough.
    async fn wait_for(&self, count: &watch::Sender<usize>, wanted: usize) -> Result<(), Closed> {
        let (mut count, mut phase) = (count.subscribe(), self.core().phase.subscribe());
        tokio::select! {
            _ = count.wait_for(|count| *count >= wanted) => Ok(()),
            _ = phase.wait_for(|phase| *phase != Phase::Open) => Err(Closed),
        }
    }

    pub(crate) fn monitor(&self) -> Monitor {
        self.core().events.monitor()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.core().stats()
    }

    pub(crate) async fn close(self) -> usize {
        let core = self.core();
        core.start_closing();
        core.finish_closing(core.options.linger).await
    }

    pub(crate) async fn flush(&self) {
        self.core().flushed().await;
    }

    // Sending.

    #[inline]
    pub(crate) async fn send(&self, message: Message) -> Result<(), SendError> {
        self.core().send(message).await.map_err(SendError::from)
    }

    #[inline]
    pub(crate) fn try_send(&self, message: Message) -> Result<(), SendError> {
        self.core().try_send(message).map_err(SendError::from)
    }

    pub(crate) async fn send_timeout(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<(), SendError> {
        let core = self.core();
        let first = core.try_send(message);
        let Err(Rejected::NotSent(NotSent::Full(message))) = first else {
            return first.map_err(SendError::from);
        };
        // The message stays here, so that it can be given back when the time is up.
        let mut waiting = Some(message);
        let sending = async {
            loop {
                let mut room = std::pin::pin!(core.room.notified());
                room.as_mut().enable();
                if let Some(message) = waiting.take() {
                    match core.try_send(message) {
                        Err(Rejected::NotSent(NotSent::Full(message))) => waiting = Some(message),
                        result => return result.map_err(SendError::from),
                    }
                }
                room.await;
            }
        };
        match tokio::time::timeout(timeout, sending).await {
            Ok(result) => result,
            Err(_) => Err(SendError::Timeout(waiting.unwrap_or_default())),
        }
    }

    // Receiving.

    #[inline]
    pub(crate) async fn recv(&self) -> Result<Message, ReceiveError> {
        let core = self.core();
        let (_, message) = core.receive().await.map_err(ReceiveError::from)?;
        Ok(core.newest(message))
    }

    pub(crate) async fn recv_from(&self) -> Result<(Message, PeerKey), ReceiveError> {
        let (key, message) = self.core().receive().await?;
        Ok((message, PeerKey(key)))
    }

    pub(crate) fn peer(&self, key: PeerKey) -> Option<Arc<PeerInfo>> {
        self.core().peer(key.0)
    }

    #[inline]
    pub(crate) fn try_recv(&self) -> Result<Message, ReceiveError> {
        let mut yielded = false;
        loop {
            match self.core().try_receive() {
                Ok((_, message)) => return Ok(self.core().newest(message)),
                // Twice means that peers send only what is not for the application.
                Err(Nothing::Yield) if !std::mem::replace(&mut yielded, true) => {}
                Err(nothing) => return Err(nothing.into()),
            }
        }
    }

    pub(crate) async fn recv_timeout(&self, timeout: Duration) -> Result<Message, ReceiveError> {
        tokio::time::timeout(timeout, self.recv())
            .await
            .unwrap_or(Err(ReceiveError::Timeout))
    }

    pub(crate) async fn recv_many(
        &self,
        messages: &mut Vec<Message>,
        max: usize,
    ) -> Result<usize, ReceiveError> {
        if max == 0 {
            return Ok(0);
        }
        messages.push(self.recv().await?);
        let mut received = 1;
        while received < max {
            let Ok((_, message)) = self.core().try_receive() else {
                break;
            };
            messages.push(message);
            received += 1;
        }
        Ok(received)
    }
}

impl From<Nothing> for ReceiveError {
    fn from(nothing: Nothing) -> Self {
        match nothing {
            Nothing::Empty | Nothing::Yield => Self::Empty,
            Nothing::Closed => Self::Closed,
        }
    }
}

impl Core {
    /// The message itself, or with CONFLATE the newest of what is there.
    #[inline]
    pub(crate) fn newest(&self, message: Message) -> Message {
        if self.options.conflate_received {
            self.overtake(message)
        } else {
            message
        }
    }

    fn overtake(&self, mut message: Message) -> Message {
        // A peer that sends faster than this reads may not keep the caller for ever.
        let mut patience = 64;
        let mut overtaken = 0;
        while patience > 0 {
            match self.try_receive() {
                Ok((_, newer)) => {
                    message = newer;
                    overtaken += 1;
                }
                Err(Nothing::Yield) => patience -= 1,
                Err(_) => break,
            }
        }
        self.receiving.lock().inc.overtaken(overtaken);
        message
    }

    /// Waits until all that was sent so far was handed to the links.
    async fn flushed(&self) {
        loop {
            let mut drained = std::pin::pin!(self.drained.notified());
            drained.as_mut().enable();
            if self.sending.lock().out.is_drained() {
                return;
            }
            self.flushing
                .store(true, std::sync::atomic::Ordering::Relaxed);
            if self.sending.lock().out.is_drained() {
                return;
            }
            drained.await;
        }
    }

    fn stats(&self) -> Stats {
        use std::sync::atomic::Ordering::Relaxed;
        let mut stats = Stats::default();
        {
            let receiving = self.receiving.lock();
            let counts = receiving.inc.counts();
            stats.received = counts.received;
            stats.discarded = counts.discarded;
            stats.ignored_commands = counts.unknown_commands;
            stats.unread = (receiving.inc.queued() + receiving.notices.len()) as u64;
        }
        {
            let mut sending = self.sending.lock();
            let counts = sending.out.counts();
            stats.sent = counts.sent;
            stats.dropped = counts.dropped;
            stats.uncertain = counts.uncertain;
            stats.queued = sending.out.queued() as u64;
            stats.ignored_commands += sending.out.publishing().ignored();
            stats.subscriptions = sending.out.publishing().subscriptions() as u64;
        }
        stats.peers = *self.peers.borrow() as u64;
        let counters = &self.counters;
        stats.connections = counters.connections.load(Relaxed);
        stats.reconnects = counters.reconnects.load(Relaxed);
        stats.handshakes_failed = counters.handshakes_failed.load(Relaxed);
        stats.protocol_errors = counters.protocol_errors.load(Relaxed);
        stats.late_replies = counters.late_replies.load(Relaxed);
        stats.malformed = counters.malformed.load(Relaxed);
        stats.ignored_commands += counters.unanswered_pings.load(Relaxed);
        stats.dropped += counters.notices_dropped.load(Relaxed);
        stats
    }

    /// Asks the connection of a pipe to end, since it owes what nobody waits for.
    pub(crate) fn abandon(&self, key: PipeKey) {
        self.close_link(key, Reason::Abandoned);
    }
}

/// The methods that all types have.
macro_rules! socket {
    ($socket:ident, $kind:expr) => {
        impl $crate::socket::sealed::Sealed for $socket {}

        impl $crate::socket::Socket for $socket {
            const KIND: Option<withy_proto::SocketType> = Some($kind);

            fn from_owner(owner: $crate::socket::Owner) -> Self {
                Self::over(owner)
            }

            fn owner(&self) -> &$crate::socket::Owner {
                &self.owner
            }
        }

        impl $socket {
            /// A socket with default options, not bound or connected yet.
            pub fn new() -> Self {
                Self::over($crate::socket::Owner::new($kind, Default::default()))
            }

            /// A builder for a socket with other options.
            pub fn builder() -> $crate::builder::Builder<Self> {
                $crate::builder::Builder::new($kind)
            }

            /// A socket with default options that connects to `endpoint`. Returns at once; the
            /// connection is made, and made again, in the background.
            ///
            /// # Errors
            /// The endpoint is malformed or would leave this host in clear, or there is no tokio
            /// runtime.
            pub fn connect<E>(endpoint: E) -> Result<Self, $crate::error::ConnectError>
            where
                E: TryInto<withy_proto::Endpoint>,
                E::Error: Into<withy_proto::endpoint::EndpointError>,
            {
                let socket = Self::new();
                socket.connect_to(endpoint)?;
                Ok(socket)
            }

            /// A socket with default options that is bound to `endpoint`.
            ///
            /// # Errors
            /// As [`bind_to`](Self::bind_to).
            ///
            /// # Cancel safety
            /// Cancel-safe: a cancelled call leaves nothing bound.
            pub async fn bind<E>(endpoint: E) -> Result<Self, $crate::error::BindError>
            where
                E: TryInto<withy_proto::Endpoint>,
                E::Error: Into<withy_proto::endpoint::EndpointError>,
            {
                let socket = Self::new();
                socket.bind_to(endpoint).await?;
                Ok(socket)
            }
        }

        $crate::socket::handle!($socket);

        impl From<$socket> for $crate::socket::AnySocket {
            fn from(socket: $socket) -> Self {
                <Self as $crate::socket::Socket>::from_owner(socket.owner.clone())
            }
        }

        impl Default for $socket {
            fn default() -> Self {
                Self::new()
            }
        }
    };
}

/// The methods of every handle, [`AnySocket`] included.
macro_rules! handle {
    ($socket:ident) => {
        impl $socket {
            /// Connects to one more endpoint. Returns at once.
            ///
            /// # Errors
            /// As [`connect`](Self::connect).
            pub fn connect_to<E>(&self, endpoint: E) -> Result<(), $crate::error::ConnectError>
            where
                E: TryInto<withy_proto::Endpoint>,
                E::Error: Into<withy_proto::endpoint::EndpointError>,
            {
                self.owner.connect(endpoint.try_into().map_err(Into::into))
            }

            /// Binds to one more endpoint and returns the real one, with the port that was chosen
            /// for a wildcard.
            ///
            /// # Errors
            /// The endpoint is malformed, would be open to other hosts in clear, or the transport
            /// refuses it.
            ///
            /// # Cancel safety
            /// Cancel-safe: a cancelled call leaves nothing bound.
            pub async fn bind_to<E>(
                &self,
                endpoint: E,
            ) -> Result<withy_proto::Endpoint, $crate::error::BindError>
            where
                E: TryInto<withy_proto::Endpoint>,
                E::Error: Into<withy_proto::endpoint::EndpointError>,
            {
                self.owner
                    .bind(endpoint.try_into().map_err(Into::into))
                    .await
            }

            /// No longer connects to `endpoint`. What waits for its peer goes to another, where
            /// the type sends to any.
            ///
            /// # Errors
            /// The socket does not connect to it.
            pub fn disconnect(
                &self,
                endpoint: &withy_proto::Endpoint,
            ) -> Result<(), $crate::error::UnknownEndpoint> {
                self.owner.disconnect(endpoint)
            }

            /// No longer listens at `endpoint`, and closes the connections that were accepted
            /// there, as libzmq does.
            ///
            /// # Errors
            /// The socket is not bound to it.
            pub fn unbind(
                &self,
                endpoint: &withy_proto::Endpoint,
            ) -> Result<(), $crate::error::UnknownEndpoint> {
                self.owner.unbind(endpoint)
            }

            /// The endpoints that the socket is bound to, with real ports.
            pub fn endpoints(&self) -> Vec<withy_proto::Endpoint> {
                self.owner.endpoints()
            }

            /// Waits until a peer is connected, for ever if none comes.
            ///
            /// # Errors
            /// The socket was closed meanwhile.
            ///
            /// # Cancel safety
            /// Cancel-safe.
            pub async fn ready(&self) -> Result<(), $crate::error::Closed> {
                self.owner.wait_peers(1).await
            }

            /// Waits until `peers` of them are connected at a time, for ever if they never are.
            ///
            /// # Errors
            /// The socket was closed meanwhile.
            ///
            /// # Cancel safety
            /// Cancel-safe.
            pub async fn wait_peers(&self, peers: usize) -> Result<(), $crate::error::Closed> {
                self.owner.wait_peers(peers).await
            }

            /// The socket's events from now on.
            pub fn monitor(&self) -> $crate::event::Monitor {
                self.owner.monitor()
            }

            /// The counters at this moment.
            pub fn stats(&self) -> $crate::stats::Stats {
                self.owner.stats()
            }

            /// Closes the socket for all its handles: waits until what was sent is handed to the
            /// operating system, at most for `linger`, then ends all connections. Returns the
            /// number of messages that were not sent.
            ///
            /// # Cancel safety
            /// Cancel-safe; a cancelled close goes on in the background when the last handle is
            /// dropped.
            pub async fn close(self) -> usize {
                self.owner.close().await
            }
        }
    };
}

/// The methods of types that send any message.
macro_rules! sends {
    ($socket:ident) => {
        impl $crate::socket::Sends for $socket {}
        impl $crate::socket::SendsAny for $socket {}

        impl $socket {
            /// Sends a message once there is room for it.
            ///
            /// # Errors
            /// The message comes back with the reason.
            ///
            /// # Cancel safety
            /// Cancel-safe: a cancelled call did not send the message.
            #[inline]
            pub async fn send(
                &self,
                message: impl Into<withy_proto::Message>,
            ) -> Result<(), $crate::error::SendError> {
                self.owner.send(message.into()).await
            }

            /// Sends a message if there is room for it now.
            ///
            /// # Errors
            /// The message comes back with the reason.
            #[inline]
            pub fn try_send(
                &self,
                message: impl Into<withy_proto::Message>,
            ) -> Result<(), $crate::error::SendError> {
                self.owner.try_send(message.into())
            }

            /// Sends a message if there is room for it within `timeout`.
            ///
            /// # Errors
            /// The message comes back with the reason.
            ///
            /// # Cancel safety
            /// Cancel-safe: a cancelled call did not send the message.
            pub async fn send_timeout(
                &self,
                message: impl Into<withy_proto::Message>,
                timeout: std::time::Duration,
            ) -> Result<(), $crate::error::SendError> {
                self.owner.send_timeout(message.into(), timeout).await
            }

            /// Waits until everything that was sent is handed to the operating system.
            ///
            /// # Cancel safety
            /// Cancel-safe.
            pub async fn flush(&self) {
                self.owner.flush().await;
            }

            /// This socket as a sink.
            pub fn sink(&self) -> $crate::socket::Outlet<Self> {
                $crate::socket::Outlet::new(self.clone())
            }
        }
    };
}

/// The methods of types that receive plain messages.
macro_rules! receives {
    ($socket:ident) => {
        impl $crate::socket::Receives for $socket {}
        impl $crate::socket::ReceivesAny for $socket {}

        impl $socket {
            /// Receives the next message, of the peers in turn.
            ///
            /// # Errors
            /// The socket is closed.
            ///
            /// # Cancel safety
            /// Cancel-safe: a cancelled call took no message.
            #[inline]
            pub async fn recv(&self) -> Result<withy_proto::Message, $crate::error::ReceiveError> {
                self.owner.recv().await
            }

            /// Receives the next message, of the peers in turn, and says which of them sent it;
            /// [`peer`](Self::peer) tells who that is.
            ///
            /// # Errors
            /// The socket is closed.
            ///
            /// # Cancel safety
            /// Cancel-safe: a cancelled call took no message.
            pub async fn recv_from(
                &self,
            ) -> Result<(withy_proto::Message, $crate::socket::PeerKey), $crate::error::ReceiveError>
            {
                self.owner.recv_from().await
            }

            /// Who sent a message, with the user id that the authenticator gave; `None` once that
            /// connection is gone.
            pub fn peer(
                &self,
                key: $crate::socket::PeerKey,
            ) -> Option<std::sync::Arc<$crate::event::PeerInfo>> {
                self.owner.peer(key)
            }

            /// Receives a message if one is there.
            ///
            /// # Errors
            /// None is there, or the socket is closed.
            #[inline]
            pub fn try_recv(&self) -> Result<withy_proto::Message, $crate::error::ReceiveError> {
                self.owner.try_recv()
            }

            /// Receives a message if one comes within `timeout`.
            ///
            /// # Errors
            /// None came, or the socket is closed.
            ///
            /// # Cancel safety
            /// Cancel-safe: a cancelled call took no message.
            pub async fn recv_timeout(
                &self,
                timeout: std::time::Duration,
            ) -> Result<withy_proto::Message, $crate::error::ReceiveError> {
                self.owner.recv_timeout(timeout).await
            }

            /// Waits for a message, then takes up to `max` that are there, and appends them to
            /// `messages`. Returns how many.
            ///
            /// # Errors
            /// The socket is closed.
            ///
            /// # Cancel safety
            /// Cancel-safe: a cancelled call took no message.
            pub async fn recv_many(
                &self,
                messages: &mut Vec<withy_proto::Message>,
                max: usize,
            ) -> Result<usize, $crate::error::ReceiveError> {
                self.owner.recv_many(messages, max).await
            }

            /// What this socket receives, as a stream that ends when the socket is closed.
            pub fn stream(&self) -> $crate::socket::Messages<Self> {
                $crate::socket::Messages::new(self.clone())
            }
        }
    };
}

pub(crate) use {handle, receives, sends, socket};

//! The methods that socket types have in common, written once.

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
                let mut message = message.into();
                match self.owner.send_now(&mut message) {
                    Ok(()) => Ok(()),
                    Err(_) => self.owner.send(&mut message).await,
                }
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

            /// Waits until everything that was sent is handed to the operating system. Nobody needs that for
            /// messages to be on their way: what a sender left is written while it computes, too.
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
                match self.owner.recv_now() {
                    Ok(message) => Ok(message),
                    Err(nothing) => self.owner.recv_after(nothing).await,
                }
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

//! A socket whose type is known at run time only: for tools, proxies and bindings.

use withy_proto::SocketType;

use super::{Owner, handle, receives, sends};
use crate::builder::Builder;
use crate::error::Closed;

/// A socket of any type. Programs that know the type are better served by it: there, what a type
/// cannot do does not compile. Here it fails: what cannot send reports
/// [`Unroutable`](crate::SendError::Unroutable), what cannot receive waits until it is closed. A
/// REQ leaves the envelope to the caller here, and a REP shows it but cannot reply.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use withy::{AnySocket, SocketType};
///
/// let kind: SocketType = SocketType::from_name(b"PULL").ok_or("no such type")?;
/// let socket = AnySocket::builder(kind).build()?;
/// let endpoint = socket.bind_to("tcp://127.0.0.1:*").await?;
/// withy::Push::connect(endpoint)?.send("hello").await?;
/// assert_eq!(socket.recv().await?.first(), "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct AnySocket {
    owner: Owner,
}

impl super::sealed::Sealed for AnySocket {}

impl super::Socket for AnySocket {
    const KIND: Option<SocketType> = None;

    fn from_owner(owner: Owner) -> Self {
        Self { owner }
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }
}

impl AnySocket {
    /// A builder for a socket of type `kind`.
    pub fn builder(kind: SocketType) -> Builder<Self> {
        Builder::new(kind)
    }

    /// The socket's type.
    pub fn kind(&self) -> SocketType {
        self.owner.core().kind
    }

    /// A socket of type `kind` with default options that connects to `endpoint`.
    ///
    /// # Errors
    /// The endpoint is malformed or would leave this host in clear, or there is no tokio runtime.
    pub fn connect<E>(kind: SocketType, endpoint: E) -> Result<Self, crate::ConnectError>
    where
        E: TryInto<withy_proto::Endpoint>,
        E::Error: Into<withy_proto::endpoint::EndpointError>,
    {
        let socket = Self {
            owner: Owner::new(kind, Default::default()),
        };
        socket.connect_to(endpoint)?;
        Ok(socket)
    }

    /// Changes the subscriptions of a SUB or XSUB; others have none.
    pub fn subscribe(&self, topic: impl AsRef<[u8]>, add: bool) {
        self.owner.core().subscribe(topic.as_ref(), add);
    }

    /// Waits until the peers of a publisher have at least `subscriptions` subscriptions together.
    ///
    /// Waits for ever if they never have; put a timeout around it.
    ///
    /// # Errors
    /// The socket was closed meanwhile.
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub async fn wait_subscribed(&self, subscriptions: usize) -> Result<(), Closed> {
        self.owner.wait_subscribed(subscriptions).await
    }
}

handle!(AnySocket);
sends!(AnySocket);
receives!(AnySocket);

//! The sockets and nodes for programs without an async runtime.
//!
//! Each type has a twin of the same name here whose methods block the calling thread. One
//! background thread of the process serves the connections of all of them.
//!
//! ```
//! use withy::blocking::{Pull, Push};
//!
//! let pull = Pull::bind("tcp://127.0.0.1:0")?;
//! let push = Push::connect(&pull.endpoints()[0])?;
//! push.send("hello")?;
//! assert_eq!(pull.recv()?, withy::Message::from("hello"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod node;

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use withy_proto::endpoint::EndpointError;
use withy_proto::{Endpoint, Message};

use crate::error::{
    BindError, Closed, ConnectError, ReceiveError, RequestError, SendError, UnknownEndpoint,
};
use crate::event::{Event, Monitor, PeerInfo};
use crate::socket::{OverLimit, PeerKey, ReceivesAny, SendsAny, Socket};
use crate::stats::Stats;

pub use node::{
    BusPublisher, BusSubscriber, Client, Group, Matching, Node, Producer, Service, ServiceRequest,
    Worker,
};

/// A socket, or a part of the mesh, whose methods block.
#[derive(Debug, Clone)]
pub struct Blocking<S>(S);

/// See [`crate::Req`].
pub type Req = Blocking<crate::Req>;
/// See [`crate::Rep`].
pub type Rep = Blocking<crate::Rep>;
/// See [`crate::Dealer`].
pub type Dealer = Blocking<crate::Dealer>;
/// See [`crate::Router`].
pub type Router = Blocking<crate::Router>;
/// See [`crate::Publisher`].
pub type Publisher = Blocking<crate::Publisher>;
/// See [`crate::Subscriber`].
pub type Subscriber = Blocking<crate::Subscriber>;
/// See [`crate::XPub`].
pub type XPub = Blocking<crate::XPub>;
/// See [`crate::XSub`].
pub type XSub = Blocking<crate::XSub>;
/// See [`crate::Push`].
pub type Push = Blocking<crate::Push>;
/// See [`crate::Pull`].
pub type Pull = Blocking<crate::Pull>;
/// See [`crate::Pair`].
pub type Pair = Blocking<crate::Pair>;

impl<S: Socket + Default> Blocking<S> {
    /// A socket with default options, not bound or connected yet.
    pub fn new() -> Self {
        Self(S::default())
    }

    /// A socket with default options that connects to `endpoint`. Returns at once.
    ///
    /// # Errors
    /// The endpoint is malformed or would leave this host in clear.
    pub fn connect<E>(endpoint: E) -> Result<Self, ConnectError>
    where
        E: TryInto<Endpoint>,
        E::Error: Into<EndpointError>,
    {
        let socket = Self(S::default());
        socket.connect_to(endpoint)?;
        Ok(socket)
    }

    /// A socket with default options that is bound to `endpoint`.
    ///
    /// # Errors
    /// The endpoint is malformed, would be open to other hosts in clear, or the transport refuses
    /// it.
    pub fn bind<E>(endpoint: E) -> Result<Self, BindError>
    where
        E: TryInto<Endpoint>,
        E::Error: Into<EndpointError>,
    {
        let socket = Self(S::default());
        socket.bind_to(endpoint)?;
        Ok(socket)
    }
}

impl<S: Socket + Default> Default for Blocking<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Socket> From<S> for Blocking<S> {
    fn from(socket: S) -> Self {
        Self(socket)
    }
}

impl<S: Socket> Blocking<S> {
    /// The blocking twin of a socket that a builder made.
    ///
    /// ```
    /// use withy::blocking::Blocking;
    ///
    /// let pull = Blocking::over(withy::Pull::builder().max_message_size(1_000_000).build()?);
    /// pull.bind_to("tcp://127.0.0.1:*")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn over(socket: S) -> Self {
        Self(socket)
    }

    /// Connects to one more endpoint. Returns at once.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_to<E>(&self, endpoint: E) -> Result<(), ConnectError>
    where
        E: TryInto<Endpoint>,
        E::Error: Into<EndpointError>,
    {
        let _entered = runtime().map_err(|_| ConnectError::NoRuntime)?.enter();
        self.0
            .owner()
            .connect(endpoint.try_into().map_err(Into::into))
    }

    /// Binds to one more endpoint and returns the real one.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_to<E>(&self, endpoint: E) -> Result<Endpoint, BindError>
    where
        E: TryInto<Endpoint>,
        E::Error: Into<EndpointError>,
    {
        runtime().map_err(|_| BindError::NoRuntime)?;
        block_on(self.0.owner().bind(endpoint.try_into().map_err(Into::into)))
    }

    /// No longer connects to `endpoint`.
    ///
    /// # Errors
    /// The socket does not connect to it.
    pub fn disconnect(&self, endpoint: &Endpoint) -> Result<(), UnknownEndpoint> {
        self.0.owner().disconnect(endpoint)
    }

    /// No longer listens at `endpoint`.
    ///
    /// # Errors
    /// The socket is not bound to it.
    pub fn unbind(&self, endpoint: &Endpoint) -> Result<(), UnknownEndpoint> {
        self.0.owner().unbind(endpoint)
    }

    /// The endpoints that the socket is bound to, with real ports.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.0.owner().endpoints()
    }

    /// Waits until a peer is connected, for `timeout` at most; whether one is.
    pub fn ready_timeout(&self, timeout: Duration) -> bool {
        self.wait_peers_timeout(1, timeout)
    }

    /// Waits until `peers` of them are connected at a time, for `timeout` at most; whether they
    /// are.
    pub fn wait_peers_timeout(&self, peers: usize, timeout: Duration) -> bool {
        in_time(timeout, self.0.owner().wait_peers(peers))
    }

    /// The socket's events from now on.
    pub fn monitor(&self) -> Events {
        Events(self.0.owner().monitor())
    }

    /// The counters at this moment.
    pub fn stats(&self) -> Stats {
        self.0.owner().stats()
    }

    /// Closes the socket for all its handles, after at most `linger`. Returns the number of
    /// messages that were not sent.
    pub fn close(self) -> usize {
        block_on(self.0.owner().clone().close())
    }

    /// The socket itself, for an async program.
    pub fn into_inner(self) -> S {
        self.0
    }
}

impl<S: SendsAny> Blocking<S> {
    /// Sends a message once there is room for it.
    ///
    /// # Errors
    /// The message comes back with the reason.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        match self.0.owner().try_send(message.into()) {
            Err(SendError::Full(mut message)) => block_on(self.0.owner().send(&mut message)),
            result => result,
        }
    }

    /// Sends a message if there is room for it now.
    ///
    /// # Errors
    /// The message comes back with the reason.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.0.owner().try_send(message.into())
    }

    /// Sends a message if there is room for it within `timeout`.
    ///
    /// # Errors
    /// The message comes back with the reason.
    pub fn send_timeout(
        &self,
        message: impl Into<Message>,
        timeout: Duration,
    ) -> Result<(), SendError> {
        block_on(self.0.owner().send_timeout(message.into(), timeout))
    }

    /// Waits until everything that was sent is handed to the operating system.
    pub fn flush(&self) {
        block_on(self.0.owner().flush());
    }
}

impl<S: ReceivesAny> Blocking<S> {
    /// Receives the next message, of the peers in turn.
    ///
    /// # Errors
    /// The socket is closed.
    pub fn recv(&self) -> Result<Message, ReceiveError> {
        match self.0.owner().try_recv() {
            Err(ReceiveError::Empty) => block_on(self.0.owner().recv()),
            result => result,
        }
    }

    /// Receives a message if one is there.
    ///
    /// # Errors
    /// None is there, or the socket is closed.
    pub fn try_recv(&self) -> Result<Message, ReceiveError> {
        self.0.owner().try_recv()
    }

    /// Receives a message if one comes within `timeout`.
    ///
    /// # Errors
    /// None came, or the socket is closed.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Message, ReceiveError> {
        block_on(self.0.owner().recv_timeout(timeout))
    }

    /// Receives the next message, and says which peer sent it; [`peer`](Self::peer) tells who
    /// that is.
    ///
    /// # Errors
    /// The socket is closed.
    pub fn recv_from(&self) -> Result<(Message, PeerKey), ReceiveError> {
        block_on(self.0.owner().recv_from())
    }

    /// Who sent a message; `None` once that connection is gone.
    pub fn peer(&self, key: PeerKey) -> Option<Arc<PeerInfo>> {
        self.0.owner().peer(key)
    }
}

impl Req {
    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn request(&self, message: impl Into<Message>) -> Result<Message, RequestError> {
        block_on(self.0.request(message))
    }

    /// Sends a request and waits for its reply, for `timeout` at most.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn request_timeout(
        &self,
        message: impl Into<Message>,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        block_on(self.0.request_timeout(message, timeout))
    }
}

impl Rep {
    /// Receives the next request, of the peers in turn.
    ///
    /// # Errors
    /// The socket is closed.
    pub fn recv(&self) -> Result<Request, ReceiveError> {
        block_on(self.0.recv()).map(Request)
    }

    /// Receives a request if one comes within `timeout`.
    ///
    /// # Errors
    /// None came, or the socket is closed.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Request, ReceiveError> {
        block_on(self.0.recv_timeout(timeout)).map(Request)
    }
}

/// A request, and the right to reply to it once.
#[derive(Debug)]
pub struct Request(crate::Request);

impl Request {
    /// The request's message.
    pub fn message(&self) -> &Message {
        self.0.message()
    }

    /// Who asks; `None` once it is gone.
    pub fn peer(&self) -> Option<Arc<PeerInfo>> {
        self.0.peer()
    }

    /// Sends the reply.
    ///
    /// # Errors
    /// The peer is gone, or the socket is closed.
    pub fn reply(self, message: impl Into<Message>) -> Result<(), SendError> {
        block_on(self.0.reply(message))
    }
}

impl Subscriber {
    /// Asks for messages that start with `topic`; see [`crate::Subscriber::subscribe`].
    pub fn subscribe(&self, topic: impl AsRef<[u8]>) {
        self.0.subscribe(topic);
    }

    /// Takes a subscription back.
    pub fn unsubscribe(&self, topic: impl AsRef<[u8]>) {
        self.0.unsubscribe(topic);
    }
}

impl Publisher {
    /// Waits until the peers have at least `subscriptions` subscriptions together, for `timeout`
    /// at most; whether they have.
    pub fn wait_subscribed_timeout(&self, subscriptions: usize, timeout: Duration) -> bool {
        in_time(timeout, self.0.wait_subscribed(subscriptions))
    }
}

impl XPub {
    /// Subscribes a peer to `topic`, or takes that back; see [`crate::XPub::grant`].
    ///
    /// # Errors
    /// The peer would be over a limit; it stays as it was.
    pub fn grant(
        &self,
        peer: PeerKey,
        topic: impl AsRef<[u8]>,
        subscribed: bool,
    ) -> Result<(), OverLimit> {
        self.0.grant(peer, topic, subscribed)
    }

    /// Sends a message to one peer; see [`crate::XPub::send_to`].
    ///
    /// # Errors
    /// The peer is gone, or the socket is closed; the message comes back.
    pub fn send_to(&self, peer: PeerKey, message: impl Into<Message>) -> Result<(), SendError> {
        block_on(self.0.send_to(peer, message))
    }

    /// Waits until the peers have at least `subscriptions` subscriptions together, for `timeout`
    /// at most; whether they have.
    pub fn wait_subscribed_timeout(&self, subscriptions: usize, timeout: Duration) -> bool {
        in_time(timeout, self.0.wait_subscribed(subscriptions))
    }
}

impl Router {
    /// Connects to one more endpoint, whose peer this socket knows as `routing_id`; see
    /// [`crate::Router::connect_as`].
    ///
    /// # Errors
    /// As [`connect`](Blocking::connect), or `routing_id` is none.
    pub fn connect_as<E>(
        &self,
        endpoint: E,
        routing_id: impl Into<Vec<u8>>,
    ) -> Result<(), ConnectError>
    where
        E: TryInto<Endpoint>,
        E::Error: Into<EndpointError>,
    {
        let _entered = runtime().map_err(|_| ConnectError::NoRuntime)?.enter();
        self.0.connect_as(endpoint, routing_id)
    }
}

/// The events of a socket, one at a time.
#[derive(Debug)]
pub struct Events(Monitor);

impl Iterator for Events {
    type Item = Event;

    /// Waits for the next event; `None` once the socket is gone.
    fn next(&mut self) -> Option<Event> {
        block_on(self.0.next())
    }
}

/// The runtime of all blocking sockets, made on first use.
fn runtime() -> std::io::Result<&'static Handle> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    // One at a time: a second runtime could not be dropped where the caller is a task.
    static MAKING: Mutex<()> = Mutex::new(());
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime.handle());
    }
    let _making = MAKING.lock();
    if RUNTIME.get().is_none() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("withy")
            .enable_all()
            .build()?;
        let _ = RUNTIME.set(runtime);
    }
    Ok(RUNTIME.get().expect("it was set just now").handle())
}

/// Whether what is waited for comes within `timeout`.
fn in_time(timeout: Duration, awaited: impl Future<Output = Result<(), Closed>>) -> bool {
    block_on(async { matches!(tokio::time::timeout(timeout, awaited).await, Ok(Ok(()))) })
}

/// Runs a future on this thread, wherever that is: unlike a runtime's own it does not refuse to
/// run inside another runtime, it blocks it.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let _entered = runtime().ok().map(Handle::enter);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

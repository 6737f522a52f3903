//! One socket of one verb: built, bound, connected and watched; how long the verb may take, and
//! whether somebody wants it to end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use withy::socket::Socket;
use withy::{
    AnySocket, BindError, Builder, ConnectError, Endpoint, EventKind, Monitor, Node, SocketType,
    Unfit,
};

use crate::args::{Keys, Talk, Traffic};
use crate::duration;
use crate::exit::{Failure, Outcome, complain};
use crate::node;
use crate::place::{Endpoints, Where};

/// How long senders wait for peers without `--timeout`.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// An open socket.
#[derive(Debug)]
pub(crate) struct Session<S> {
    pub(crate) socket: S,
    /// The same socket, for what all types have in common.
    pub(crate) any: AnySocket,
    trouble: Trouble,
    /// The node whose socket it is.
    node: Option<Node>,
}

/// The last thing that went wrong with a connection, for the error when the time is up.
#[derive(Debug, Clone, Default)]
struct Trouble(Arc<Mutex<Option<String>>>);

impl Session<AnySocket> {
    /// A socket of this type, at endpoints or under a name on the mesh.
    pub(crate) async fn open_at(
        kind: SocketType,
        builder: Builder<AnySocket>,
        traffic: &Traffic,
        to: &Where,
    ) -> Outcome<Self> {
        let name = match to {
            Where::At(endpoints) => {
                return Self::open(builder, &traffic.keys, endpoints, traffic.talk).await;
            }
            Where::Named(name) => name,
        };
        let node = node::join(&traffic.keys, &traffic.place.mesh).await?;
        let socket: AnySocket = match kind {
            SocketType::Push => node.push(name).map(Into::into),
            SocketType::Pull => node.pull(name).map(Into::into),
            SocketType::Pair => node.pair(name).map(Into::into),
            _ => return Err(to.clone().endpoints().expect_err("it is a name")),
        }
        .map_err(node::unnamed)?;
        let trouble = Trouble::default();
        tokio::spawn(watch_events(
            socket.monitor(),
            traffic.talk,
            trouble.clone(),
        ));
        Ok(Self {
            any: socket.clone(),
            socket,
            trouble,
            node: Some(node),
        })
    }
}

impl<S: Socket + Clone + Into<AnySocket>> Session<S> {
    /// Builds a socket, binds and connects it, and watches it.
    pub(crate) async fn open(
        builder: Builder<S>,
        keys: &Keys,
        endpoints: &Endpoints,
        talk: Talk,
    ) -> Outcome<Self> {
        // What waits is flushed before the end; what then is left has had its time.
        let builder = keys.apply(builder, endpoints)?.linger(Duration::ZERO);
        let socket = builder.build().map_err(Failure::usage)?;
        let any: AnySocket = socket.clone().into();
        let trouble = Trouble::default();
        tokio::spawn(watch_events(any.monitor(), talk, trouble.clone()));
        for endpoint in &endpoints.bind {
            let bound = any.bind_to(endpoint.clone()).await.map_err(not_bound)?;
            if !talk.quiet {
                complain(format_args!("listening on {bound}"));
            }
        }
        for endpoint in &endpoints.connect {
            connect(&any, endpoint.clone())?;
        }
        Ok(Self {
            socket,
            any,
            trouble,
            node: None,
        })
    }

    /// Closes the socket, and says how many messages were not sent.
    pub(crate) async fn close(self) -> u64 {
        let Self {
            socket, any, node, ..
        } = self;
        drop(socket);
        let unsent = any.close().await as u64;
        if let Some(node) = node {
            node.close(node::LEAVE).await;
        }
        unsent
    }

    /// Adds to an error what went wrong with the connections, if that may be the reason.
    pub(crate) fn explain(&self, text: impl Into<String>) -> String {
        let text = text.into();
        match self.trouble.last() {
            Some(trouble) if self.any.stats().peers == 0 => format!("{text} ({trouble})"),
            _ => text,
        }
    }
}

impl Trouble {
    fn last(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes an event; returns whether it is another one than the last.
    fn note(&self, text: &str) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = last.as_deref() != Some(text);
        *last = Some(text.to_owned());
        news
    }
}

/// Says what happens to the connections: refusals always, the rest when asked.
async fn watch_events(mut monitor: Monitor, talk: Talk, trouble: Trouble) {
    while let Some(event) = monitor.next().await {
        let (text, is_refusal) = match &event.kind {
            EventKind::HandshakeFailed { address, reason } => {
                let text = format!("{}: {address}: {reason}", event.endpoint);
                let news = trouble.note(&text);
                (text, news)
            }
            EventKind::DialFailed { reason, delay } => {
                if trouble.last().is_none() {
                    trouble.note(&reason.to_string());
                }
                let next = match delay {
                    Some(delay) => format!("next attempt in {}", duration::show(*delay)),
                    None => "not tried again".to_owned(),
                };
                (format!("{reason}; {next}"), delay.is_none())
            }
            EventKind::AcceptFailed { reason } => {
                let text = format!("{}: {reason}", event.endpoint);
                (text, true)
            }
            EventKind::Unbound { error: Some(error) } => {
                let text = format!("{}: {error}", event.endpoint);
                (text, true)
            }
            EventKind::Connected(peer) => {
                let text = format!("{}: connected to {peer}", event.endpoint);
                (text, false)
            }
            EventKind::Disconnected { peer, reason } => (
                format!("{}: {} is gone: {reason}", event.endpoint, peer.address),
                false,
            ),
            _ => continue,
        };
        if talk.verbose || (is_refusal && !talk.quiet) {
            complain(text);
        }
    }
}

fn not_bound(error: BindError) -> Failure {
    match error {
        BindError::Unfit {
            endpoint,
            why: Unfit::Insecure(mechanism),
        } => insecure(&endpoint, mechanism),
        BindError::Endpoint(error) => Failure::usage(error),
        error => Failure::failed(error),
    }
}

/// Connects a socket.
pub(crate) fn connect(socket: &AnySocket, to: Endpoint) -> Outcome {
    socket.connect_to(to).map_err(not_connected)
}

fn not_connected(error: ConnectError) -> Failure {
    match error {
        ConnectError::Unfit {
            endpoint,
            why: Unfit::Insecure(mechanism),
        } => insecure(&endpoint, mechanism),
        ConnectError::Endpoint(error) => Failure::usage(error),
        error => Failure::failed(error),
    }
}

fn insecure(endpoint: &Endpoint, mechanism: &str) -> Failure {
    let why = match mechanism {
        "NULL" => "without keys all that passes can be read on the way".to_owned(),
        _ => format!("{mechanism} can be read on the way"),
    };
    Failure::Usage(format!(
        "{endpoint} may leave this host, and {why}. Ways out:\n  \
         encrypt: --identity on both sides, which `withy trust` each other's `withy id`, or --network NAME\n  \
         with libzmq: the server gives --secret-key-file FILE (`withy keygen -o FILE` makes it), its clients --server-key KEY\n  \
         stay on this host: tcp://127.0.0.1:PORT or ipc://PATH\n  \
         or accept it: --insecure"
    ))
}

/// How long something may take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// No limit.
    Never,
    /// Until this moment.
    At(Instant),
    /// So long for each step.
    Each(Duration),
}

impl Limit {
    /// The limit of `--timeout`, from now on.
    pub(crate) fn total(timeout: Option<Duration>) -> Self {
        timeout.map_or(Self::Never, |timeout| Self::At(Instant::now() + timeout))
    }

    /// The limit of `--timeout`, or what senders have without it: given messages [`PATIENCE`]
    /// together, those of stdin as much for each, since nobody knows when the next comes.
    pub(crate) fn of_sender(timeout: Option<Duration>, given: bool) -> Self {
        match (timeout, given) {
            (None, false) => Self::Each(PATIENCE),
            (timeout, _) => Self::total(Some(timeout.unwrap_or(PATIENCE))),
        }
    }

    /// When a step that starts now has to be over.
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Never => None,
            Self::At(moment) => Some(moment),
            Self::Each(step) => Some(Instant::now() + step),
        }
    }

    /// The limit for waiting on somebody who may take their time: stdin, or a peer's messages.
    pub(crate) fn overall(self) -> Self {
        match self {
            Self::Each(_) => Self::Never,
            limit => limit,
        }
    }

    /// Runs a step; `None` when its time is up.
    pub(crate) async fn run<T>(self, step: impl Future<Output = T>) -> Option<T> {
        match self.deadline() {
            Some(deadline) => tokio::time::timeout_at(deadline, step).await.ok(),
            None => Some(step.await),
        }
    }
}

/// SIGINT and SIGTERM. The first asks for an orderly end, the second ends the process.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on.
    pub(crate) fn listen() -> Outcome<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let failed = |error| Failure::Failed(format!("cannot listen to signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                let code = tokio::select! {
                    _ = interrupt.recv() => 130,
                    _ = terminate.recv() => 143,
                };
                if sender.send_replace(true) {
                    std::process::exit(code);
                }
            }
        });
        Ok(Self(receiver))
    }

    /// Whether there was a signal.
    pub(crate) fn is_on(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for a signal, and then for some more time.
    pub(crate) async fn wait_after(&self, time: Duration) {
        self.wait().await;
        tokio::time::sleep(time).await;
    }

    /// Waits for a signal.
    pub(crate) async fn wait(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|asked| *asked).await.is_err() {
            std::future::pending().await
        }
    }
}

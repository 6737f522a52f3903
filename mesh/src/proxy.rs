//! Connects two sockets: what one receives, the other sends.
//!
//! ROUTER and DEALER make a shared queue, XSUB and XPUB a forwarder, PULL and PUSH a streamer. A
//! capture socket sees everything that passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use withy_proto::Message;

use crate::error::{ReceiveError, SendError};
use crate::socket::AnySocket;

/// Messages that one direction moves before it lets others run.
const BATCH: usize = 256;

/// Two sockets, to be connected by [`run`](Proxy::run).
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let clients = withy::Router::bind("tcp://127.0.0.1:5559").await?;
/// let workers = withy::Dealer::bind("tcp://127.0.0.1:5560").await?;
/// let proxy = withy::Proxy::new(clients, workers);
/// let control = proxy.control();
/// tokio::spawn(proxy.run());
/// control.pause();
/// println!("{:?}", control.statistics());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Proxy {
    frontend: AnySocket,
    backend: AnySocket,
    capture: Option<AnySocket>,
    control: ProxyControl,
}

/// Steers a [`Proxy`] while it runs.
#[derive(Debug, Clone)]
pub struct ProxyControl {
    state: Arc<watch::Sender<State>>,
    counts: Arc<[Count; 4]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Paused,
    Terminated,
}

#[derive(Debug, Default)]
struct Count {
    messages: AtomicU64,
    octets: AtomicU64,
}

/// What passed on one side in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Messages.
    pub messages: u64,
    /// Octets of their frames.
    pub octets: u64,
}

/// What a proxy moved, as libzmq counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProxyStatistics {
    /// Received by the frontend.
    pub frontend_received: Passed,
    /// Sent by the frontend.
    pub frontend_sent: Passed,
    /// Received by the backend.
    pub backend_received: Passed,
    /// Sent by the backend.
    pub backend_sent: Passed,
}

/// Why a proxy ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// A socket was closed.
    #[error("a socket of the proxy was closed")]
    Closed,
}

impl Proxy {
    /// A proxy between two sockets. A direction that one of them cannot go is left out.
    pub fn new(frontend: impl Into<AnySocket>, backend: impl Into<AnySocket>) -> Self {
        let control = ProxyControl {
            state: Arc::new(watch::Sender::new(State::Running)),
            counts: Arc::default(),
        };
        Self {
            frontend: frontend.into(),
            backend: backend.into(),
            capture: None,
            control,
        }
    }

    /// Sends a copy of everything that passes to `capture`. What it has no room for it misses.
    #[must_use]
    pub fn capture(mut self, capture: impl Into<AnySocket>) -> Self {
        self.capture = Some(capture.into());
        self
    }

    /// The handle that steers this proxy.
    pub fn control(&self) -> ProxyControl {
        self.control.clone()
    }

    /// Moves messages until [`terminate`](ProxyControl::terminate).
    ///
    /// # Errors
    /// A socket was closed.
    ///
    /// # Cancel safety
    /// Not cancel-safe: a message that was received and not yet sent is lost. Terminate instead.
    pub async fn run(self) -> Result<(), ProxyError> {
        let forth = self.pump(&self.frontend, &self.backend, 0);
        let back = self.pump(&self.backend, &self.frontend, 2);
        tokio::try_join!(forth, back).map(|_| ())
    }

    async fn pump(&self, from: &AnySocket, to: &AnySocket, side: usize) -> Result<(), ProxyError> {
        if !from.kind().row().receives
            || to.kind().row().sends == withy_proto::pattern::Sends::Nothing
        {
            return Ok(());
        }
        let mut state = self.control.state.subscribe();
        let mut messages = Vec::with_capacity(BATCH);
        loop {
            let now = *state.borrow_and_update();
            match now {
                State::Terminated => return Ok(()),
                State::Running => {}
                State::Paused => {
                    let _ = state.wait_for(|state| *state != State::Paused).await;
                    continue;
                }
            }
            tokio::select! {
                received = from.recv_many(&mut messages, BATCH) => match received {
                    Ok(_) => {}
                    Err(ReceiveError::Closed) => return Err(ProxyError::Closed),
                    Err(_) => continue,
                },
                _ = state.changed() => continue,
            }
            for message in messages.drain(..) {
                self.pass(to, message, side).await?;
            }
        }
    }

    async fn pass(&self, to: &AnySocket, message: Message, side: usize) -> Result<(), ProxyError> {
        let size = message.size() as u64;
        if let Some(capture) = &self.capture {
            let _ = capture.try_send(message.clone());
        }
        self.control.counts[side].add(size);
        match to.send(message).await {
            Ok(()) => self.control.counts[side + 1].add(size),
            Err(SendError::Closed(_)) => return Err(ProxyError::Closed),
            // The peer that asked is gone: nobody waits for this reply.
            Err(_) => {}
        }
        Ok(())
    }
}

impl Count {
    fn add(&self, octets: u64) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.octets.fetch_add(octets, Ordering::Relaxed);
    }

    fn passed(&self) -> Passed {
        Passed {
            messages: self.messages.load(Ordering::Relaxed),
            octets: self.octets.load(Ordering::Relaxed),
        }
    }
}

impl ProxyControl {
    /// Stops moving messages; they wait in the sockets.
    pub fn pause(&self) {
        self.set(State::Paused);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.set(State::Running);
    }

    /// Ends the proxy; the sockets stay open for those who hold other handles.
    pub fn terminate(&self) {
        self.set(State::Terminated);
    }

    /// What passed so far.
    pub fn statistics(&self) -> ProxyStatistics {
        let [
            frontend_received,
            backend_sent,
            backend_received,
            frontend_sent,
        ] = std::array::from_fn(|side| self.counts[side].passed());
        ProxyStatistics {
            frontend_received,
            frontend_sent,
            backend_received,
            backend_sent,
        }
    }

    fn set(&self, state: State) {
        self.state.send_if_modified(|known| {
            let change = *known != state && *known != State::Terminated;
            if change {
                *known = state;
            }
            change
        });
    }
}

//! Connects two sockets: what one receives, the other sends.
//!
//! ROUTER and DEALER make a shared queue, XSUB and XPUB a forwarder, PULL and PUSH a streamer. A
//! capture socket sees everything that passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use withy_proto::Message;
use withy_proto::pattern::Sends;

use crate::error::{ReceiveError, SendError};
use crate::socket::{AnySocket, Socket as _};

/// Messages that one direction takes at a time, and at most has in transit.
const BATCH: usize = 256;

/// Two sockets, to be connected by [`run`](Proxy::run).
///
/// Where the receiving side has no room, the other side waits, up to its own peers. A ROUTER never
/// makes it wait, since one peer that does not read would stop all others: what a peer of a ROUTER
/// has no room for is dropped and counted, as libzmq does it.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let clients = withy::Router::bind("tcp://127.0.0.1:5559").await?;
/// let workers = withy::Dealer::bind("tcp://127.0.0.1:5560").await?;
/// let mut proxy = withy::Proxy::new(clients, workers);
/// let control = proxy.control();
/// tokio::spawn(async move { proxy.run().await });
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
    forth: Transit,
    back: Transit,
    control: ProxyControl,
}

/// Steers a [`Proxy`] while it runs.
#[derive(Debug, Clone)]
pub struct ProxyControl {
    state: Arc<watch::Sender<State>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Paused,
    Terminated,
}

/// What one direction has received and not sent. It stands here and not in a future, so that no
/// future takes it along when it is dropped.
#[derive(Debug, Default)]
struct Transit {
    next: Option<Message>,
    /// The last is the first to follow.
    rest: Vec<Message>,
}

#[derive(Debug, Default)]
struct Counts {
    forth: Direction,
    back: Direction,
    capture_missed: Count,
}

#[derive(Debug, Default)]
struct Direction {
    received: Count,
    sent: Count,
    dropped: Count,
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

/// What a proxy moved, as libzmq counts it, and what it did not.
///
/// Of what was received, what was neither sent nor dropped is in transit: at most 256 messages in
/// each direction. What a socket drops by its own policy counts as sent here, and stands in its
/// [`Stats`](crate::Stats).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyStatistics {
    /// Received by the frontend.
    pub frontend_received: Passed,
    /// Sent by the frontend.
    pub frontend_sent: Passed,
    /// Not sent by the frontend: its peer had no room or was gone, or the proxy ended first.
    pub frontend_dropped: Passed,
    /// Received by the backend.
    pub backend_received: Passed,
    /// Sent by the backend.
    pub backend_sent: Passed,
    /// Not sent by the backend, as [`frontend_dropped`](Self::frontend_dropped).
    pub backend_dropped: Passed,
    /// Passed without a copy, for which the capture socket had no room.
    pub capture_missed: Passed,
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
            forth: Transit::default(),
            back: Transit::default(),
            control,
        }
    }

    /// Sends a copy of everything that passes to `capture`. What it has no room for it misses, and
    /// that is counted.
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
    /// Cancel-safe: what was received and not yet sent stays in the proxy, and the next call goes
    /// on with it.
    pub async fn run(&mut self) -> Result<(), ProxyError> {
        let Self {
            frontend,
            backend,
            capture,
            forth,
            back,
            control,
        } = self;
        let counts = &control.counts;
        let pump = |from, to, counts| Pump {
            from,
            to,
            capture: capture.as_ref(),
            counts,
            capture_missed: &control.counts.capture_missed,
            state: control.state.subscribe(),
        };
        let (forth, back) = (
            pump(&*frontend, &*backend, &counts.forth).run(forth),
            pump(backend, frontend, &counts.back).run(back),
        );
        tokio::try_join!(forth, back).map(|_| ())
    }
}

/// One direction while the proxy runs.
struct Pump<'a> {
    from: &'a AnySocket,
    to: &'a AnySocket,
    capture: Option<&'a AnySocket>,
    counts: &'a Direction,
    capture_missed: &'a Count,
    state: watch::Receiver<State>,
}

impl Pump<'_> {
    async fn run(mut self, transit: &mut Transit) -> Result<(), ProxyError> {
        let sends = self.to.kind().row().sends;
        if !self.from.kind().row().receives || sends == Sends::Nothing {
            return Ok(());
        }
        let never_waits = sends == Sends::ByIdentity;
        loop {
            let state = *self.state.borrow_and_update();
            match state {
                State::Running => {}
                State::Paused => {
                    let _ = self.state.changed().await;
                    continue;
                }
                State::Terminated => return self.send_rest(transit),
            }
            if !self.take(transit) {
                tokio::select! {
                    received = self.from.recv_many(&mut transit.rest, BATCH) => match received {
                        Ok(_) => self.received(transit),
                        Err(ReceiveError::Closed) => return Err(ProxyError::Closed),
                        Err(_) => {}
                    },
                    _ = self.state.changed() => {}
                }
                continue;
            }
            self.to.owner().core().pay_debt().await;
            if self.try_send(transit, never_waits)? {
                continue;
            }
            let size = transit.size();
            if let Some(message) = &mut transit.next {
                tokio::select! {
                    sent = self.to.owner().send(message) => {
                        transit.next = None;
                        self.judge(size, sent)?;
                    }
                    _ = self.state.changed() => {}
                }
            }
        }
    }

    /// Counts what was received, and puts it in its order.
    fn received(&self, transit: &mut Transit) {
        let octets = transit.rest.iter().map(Message::size).sum::<usize>();
        let count = &self.counts.received;
        count.add_many(transit.rest.len() as u64, octets as u64);
        transit.rest.reverse();
    }

    /// Makes a message the next to be sent; returns whether there is one.
    fn take(&self, transit: &mut Transit) -> bool {
        if transit.next.is_some() {
            return true;
        }
        let Some(message) = transit.rest.pop() else {
            return false;
        };
        if let Some(capture) = self.capture
            && capture.try_send(message.clone()).is_err()
        {
            self.capture_missed.add(message.size() as u64);
        }
        transit.next = Some(message);
        true
    }

    /// Sends the next message if there is room for it, or drops it if `or_drop` is set; returns
    /// whether it is gone from here.
    fn try_send(&self, transit: &mut Transit, or_drop: bool) -> Result<bool, ProxyError> {
        let size = transit.size();
        let Some(message) = transit.next.take() else {
            return Ok(true);
        };
        match self.to.try_send(message) {
            Err(SendError::Full(message)) if !or_drop => {
                transit.next = Some(message);
                return Ok(false);
            }
            sent => self.judge(size, sent)?,
        }
        Ok(true)
    }

    /// Sends what is in transit as far as there is room, and drops what is left.
    fn send_rest(&self, transit: &mut Transit) -> Result<(), ProxyError> {
        while self.take(transit) {
            self.try_send(transit, true)?;
        }
        Ok(())
    }

    fn judge(&self, size: u64, sent: Result<(), SendError>) -> Result<(), ProxyError> {
        match sent {
            Ok(()) => self.counts.sent.add(size),
            Err(error) => {
                self.counts.dropped.add(size);
                if matches!(error, SendError::Closed(_)) {
                    return Err(ProxyError::Closed);
                }
            }
        }
        Ok(())
    }
}

impl Transit {
    /// The octets of the next message.
    fn size(&self) -> u64 {
        self.next.as_ref().map_or(0, Message::size) as u64
    }
}

impl Count {
    fn add(&self, octets: u64) {
        self.add_many(1, octets);
    }

    fn add_many(&self, messages: u64, octets: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
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
    /// Stops moving messages; they wait in the sockets, and what is in transit in the proxy.
    pub fn pause(&self) {
        self.set(State::Paused);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.set(State::Running);
    }

    /// Ends the proxy; the sockets stay open for those who hold other handles. What is in transit
    /// is sent as far as there is room, and the rest counted as dropped.
    pub fn terminate(&self) {
        self.set(State::Terminated);
    }

    /// What passed so far.
    pub fn statistics(&self) -> ProxyStatistics {
        let Counts {
            forth,
            back,
            capture_missed,
        } = &*self.counts;
        ProxyStatistics {
            frontend_received: forth.received.passed(),
            frontend_sent: back.sent.passed(),
            frontend_dropped: back.dropped.passed(),
            backend_received: back.received.passed(),
            backend_sent: forth.sent.passed(),
            backend_dropped: forth.dropped.passed(),
            capture_missed: capture_missed.passed(),
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

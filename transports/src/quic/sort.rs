//! Streams for messages, from the connection on which the peer opened them to their links.
//!
//! Invariant: a stream that says nothing, or names no link, holds up no other.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use quinn::{Connection, RecvStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use withy_proto::quic::{Header, LANES, MAX_LARGE};

use super::endpoint::Grant;
use super::error::UNKNOWN_LINK;
use super::streams::Arrived;

/// Streams of a link that wait to be read, beside those that are: as many as it may have.
const WAITING: usize = MAX_LARGE + LANES;

/// The links of a connection that await streams.
#[derive(Debug, Clone)]
pub(super) struct Links(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connection: Connection,
    grant: Grant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    links: HashMap<u64, mpsc::Sender<Arrived>>,
    admitted: bool,
    /// For how many links the peer has what it needs.
    granted: usize,
}

/// A link that awaits streams, as long as this lives.
#[derive(Debug)]
pub(super) struct Awaited {
    links: Links,
    link: u64,
}

impl Links {
    pub(super) fn new(connection: Connection, grant: Grant) -> Self {
        Self(Arc::new(Shared {
            connection,
            grant,
            state: Mutex::default(),
        }))
    }

    /// No more streams come: whoever awaits them hears of it.
    fn close(&self) {
        self.0.state.lock().links.clear();
    }

    /// Awaits the streams of a link.
    pub(super) fn await_streams(&self, link: u64) -> (mpsc::Receiver<Arrived>, Awaited) {
        let (arrived, arrivals) = mpsc::channel(WAITING);
        self.change(|state| drop(state.links.insert(link, arrived)));
        let links = self.clone();
        (arrivals, Awaited { links, link })
    }

    fn get(&self, link: u64) -> Option<mpsc::Sender<Arrived>> {
        self.0.state.lock().links.get(&link).cloned()
    }

    /// Changes what there is, and what the peer is granted with it. That stays when links go: others
    /// may follow.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.state.lock();
        change(&mut state);
        let links = state.links.len();
        if state.admitted && links > state.granted {
            state.granted = links;
            self.0.grant.give(&self.0.connection, links);
        }
    }
}

impl Awaited {
    /// Grants the peer all that there is for it.
    pub(super) fn admit(&self) {
        self.links.change(|state| state.admitted = true);
    }

    /// Whether the connection has ended.
    pub(super) fn is_lost(&self) -> bool {
        self.links.0.connection.close_reason().is_some()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.links.0.state.lock().links.remove(&self.link);
    }
}

/// Hands the streams that the peer opens to their links, until the connection ends.
pub(super) async fn sort(connection: Connection, links: Links) {
    let mut beginning = JoinSet::new();
    loop {
        tokio::select! {
            opened = connection.accept_uni() => match opened {
                Ok(stream) => {
                    beginning.spawn(hand_over(stream, links.clone()));
                }
                Err(_) => break,
            },
            Some(_) = beginning.join_next() => {}
        }
    }
    // What came is still for its links, although the connection has ended.
    while beginning.join_next().await.is_some() {}
    links.close();
}

/// Waits for as long as the stream takes to say what it is: it is opened by the first packet of any
/// later one, and may have to wait its turn. How many there are is bounded.
async fn hand_over(mut stream: RecvStream, links: Links) {
    let mut octets = [0; Header::SIZE];
    let told = stream.read_exact(&mut octets).await;
    let header = Header::decode(&octets).filter(|_| told.is_ok());
    let link = header.and_then(|header| links.get(header.link));
    let refused = match (header, link) {
        (Some(header), Some(link)) => link
            .try_send(Arrived { header, stream })
            // It has more than it may have, or it is gone.
            .map_err(|error| error.into_inner().stream)
            .err(),
        _ => Some(stream),
    };
    if let Some(mut stream) = refused {
        // The stream ends either way.
        let _ = stream.stop(UNKNOWN_LINK);
    }
}

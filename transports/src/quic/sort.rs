//! Streams for messages, from the connection on which the peer opened them to their links.
//!
//! Invariant: a stream that says nothing, or names no link, holds up no other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quinn::{Connection, RecvStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use withy_proto::quic::{Header, LANES, MAX_LARGE};

use super::error::UNKNOWN_LINK;
use super::streams::Arrived;

/// Streams of a link that wait to be read, beside those that are.
const WAITING: usize = MAX_LARGE + LANES;

/// How long a stream may take to say what it is.
const BEGINNING: Duration = Duration::from_secs(5);

/// The links of a connection that await streams.
#[derive(Debug, Clone, Default)]
pub(super) struct Links(Arc<Mutex<HashMap<u64, mpsc::Sender<Arrived>>>>);

/// A link that awaits streams, as long as this lives.
#[derive(Debug)]
pub(super) struct Awaited {
    links: Links,
    link: u64,
}

impl Links {
    /// No more streams come: whoever awaits them hears of it.
    fn close(&self) {
        self.0.lock().clear();
    }

    /// Awaits the streams of a link.
    pub(super) fn await_streams(&self, link: u64) -> (mpsc::Receiver<Arrived>, Awaited) {
        let (arrived, arrivals) = mpsc::channel(WAITING);
        self.0.lock().insert(link, arrived);
        let links = self.clone();
        (arrivals, Awaited { links, link })
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.links.0.lock().remove(&self.link);
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

async fn hand_over(mut stream: RecvStream, links: Links) {
    let mut octets = [0; Header::SIZE];
    let told = timeout(BEGINNING, stream.read_exact(&mut octets)).await;
    let header = Header::decode(&octets).filter(|_| matches!(told, Ok(Ok(()))));
    let link = header.and_then(|header| links.0.lock().get(&header.link).cloned());
    if let (Some(header), Some(link)) = (header, link) {
        // It may be gone meanwhile: then nobody wants the stream.
        let _ = link.send(Arrived { header, stream }).await;
    } else {
        let _ = stream.stop(UNKNOWN_LINK);
    }
}

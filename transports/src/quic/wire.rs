//! One connection, the links over it, and how long it lives.
//!
//! ```text
//!  dial                              listener
//!   open stream, "WQ" 1 kind ------->
//!   <------------------------------- 0    the link exists on both sides
//!   octets <-----------------------> octets
//! ```
//!
//! The dial that makes a connection does not wait for the answer to its link: it comes before the peer's
//! first octets, and a refusal in their place.
//!
//! A connection ends at the side that dialled, [`QuicOptions::spare`] after its last link, and not before
//! the peer has acknowledged what closed links had written, or [`QuicOptions::linger`] is over. quinn closes
//! a connection as soon as nobody holds a handle, so that a task, the keeper, holds one.
//!
//! The side that listens ends it too, once it has had no link that was
//! [admitted](crate::QuicReader::admit) for [`QuicOptions::admission_timeout`]: whoever has only proven
//! a node's key may be anybody.
//!
//! [`QuicOptions::linger`]: crate::QuicOptions::linger
//! [`QuicOptions::spare`]: crate::QuicOptions::spare
//! [`QuicOptions::admission_timeout`]: crate::QuicOptions::admission_timeout

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream, VarInt, WriteError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::back::{self, Own};
use super::endpoint::Grant;
use super::error::{DONE, ENOUGH, NOBODY_LISTENS, NOT_ADMITTED, UNKNOWN_LINK};
use super::guests::Admissions;
use super::lease::{Lease, Retired, WeakLease};
use super::link;
use super::refusals::Refusals;
use super::sort::{Links, sort};
use super::streams::{CONTROL, More};
use super::tls;
use crate::{ByteReader, ByteWriter, Connected, Link, Peer, Proven, QuicError, tcp};

/// How a link begins: what speaks, its version, and the kind of link.
const PREAMBLE: [u8; 4] = [b'W', b'Q', 1, BYTES];

/// The kind of link that carries bytes in both directions.
const BYTES: u8 = 0;

/// How a link begins that is opened [back](super::back), before the address and port that it is for.
const BACK: [u8; 4] = [b'W', b'Q', 1, 1];

/// What a listener answers to a preamble that it takes.
pub(super) const TAKEN: u8 = 0;

/// How long a new link waits for the peer to allow one more on the connection. A peer raises its limit
/// once it has admitted a link.
const ROOM: Duration = Duration::from_millis(500);

/// A connection whose peer has proven its key.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub(super) connection: Connection,
    pub(super) proven: tls::Proven,
    local: SocketAddr,
    /// Whether the peer's limit of links was met.
    full: Arc<AtomicBool>,
    links: Links,
}

impl Wire {
    /// Takes a connection over, and starts its keeper, which ends it when the returned lease and its
    /// clones are gone, and what it stays for is over.
    pub(super) fn new(
        connection: Connection,
        proven: tls::Proven,
        bound: SocketAddr,
        grant: Grant,
        linger: Duration,
        stays: Stays,
        ended: impl Send + 'static,
    ) -> (Self, Lease) {
        let mut local = bound;
        if let Some(ip) = connection.local_ip() {
            local.set_ip(ip);
        }
        let admissions = match &stays {
            Stays::Guest(guest) => guest.admissions.clone(),
            Stays::Spare(_) => Admissions::new(),
        };
        let (lease, retired) = Lease::new(admissions);
        let weak = lease.downgrade();
        let links = Links::new(connection.clone(), grant);
        let wire = Self {
            connection,
            proven,
            local,
            full: Arc::default(),
            links,
        };
        tokio::spawn(sort(wire.connection.clone(), wire.links.clone()));
        let connection = wire.connection.clone();
        tokio::spawn(async move {
            keep(connection, retired, linger, stays, weak).await;
            drop(ended);
        });
        (wire, lease)
    }

    /// Opens a link, and waits until the peer took it, unless the connection is `fresh`; `None` if it allows
    /// no more on this connection.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future ends the attempt, and the peer may see a link that ends.
    pub(super) async fn open(
        &self,
        lease: Lease,
        fresh: bool,
    ) -> Result<Option<Connected>, QuicError> {
        let opened = {
            let known = self.full.load(Ordering::Relaxed);
            let patience = if known { Duration::ZERO } else { ROOM };
            timeout(patience, self.connection.open_bi()).await
        };
        let Ok(opened) = opened else {
            self.full.store(true, Ordering::Relaxed);
            return Ok(None);
        };
        let (send, receive) = opened?;
        let begun = self.begin(send, receive, lease, &PREAMBLE, fresh);
        begun.await.map(Some)
    }

    /// As [`open`](Self::open), to the peer's listener at an address, where the peer made the connection;
    /// it has that address then.
    pub(super) async fn open_back(
        &self,
        lease: Lease,
        to: SocketAddr,
    ) -> Result<Option<Connected>, QuicError> {
        // A peer that listens nowhere allows none, and nobody waits for it.
        let Ok(opened) = timeout(Duration::ZERO, self.connection.open_bi()).await else {
            return Ok(None);
        };
        let (send, receive) = opened?;
        let preamble = [&BACK[..], &back::encode(to)].concat();
        let begun = self.begin(send, receive, lease, &preamble, false);
        let mut connected = begun.await?;
        connected.peer.address = tcp::canonical(to);
        Ok(Some(connected))
    }

    /// Says what a new link is, and waits until the peer took it, unless the connection is `fresh`.
    async fn begin(
        &self,
        mut send: SendStream,
        mut receive: RecvStream,
        lease: Lease,
        preamble: &[u8],
        fresh: bool,
    ) -> Result<Connected, QuicError> {
        // It fails only once the stream is reset.
        let _ = send.set_priority(CONTROL);
        send.write_all(preamble).await?;
        if fresh {
            return self.connected(send, receive, lease, true);
        }
        let mut answer = [0];
        receive.read_exact(&mut answer).await?;
        match answer {
            [TAKEN] => self.connected(send, receive, lease, false),
            _ => Err(QuicError::NoCommonProtocol),
        }
    }

    /// Serves the links that the peer opens, until the connection ends. A link is taken once `takers`
    /// has room for it; when nobody listens any more it is refused, and the connection ends with the
    /// last one that was taken.
    pub(super) async fn serve<E: Send + 'static>(
        self,
        lease: Lease,
        takers: mpsc::Sender<Result<Connected, E>>,
        limit: Duration,
    ) {
        let mut beginning = JoinSet::new();
        let mut lease = Some(lease);
        loop {
            tokio::select! {
                () = takers.closed(), if lease.is_some() => lease = None,
                opened = self.connection.accept_bi() => match (opened, &lease) {
                    (Ok((send, receive)), Some(lease)) => {
                        let (wire, lease) = (self.clone(), lease.clone());
                        beginning.spawn(wire.take(send, receive, lease, takers.clone(), limit));
                    }
                    (Ok((send, receive)), None) => refuse(send, receive, NOBODY_LISTENS),
                    (Err(_), _) => return,
                },
                Some(_) = beginning.join_next() => {}
            }
        }
    }

    /// Serves the links that the peer opens [back](super::back) to listeners of this node, over a connection
    /// that was dialled, until it ends.
    pub(super) async fn serve_back(self, lease: WeakLease, own: Own, limit: Duration) {
        let mut beginning = JoinSet::new();
        loop {
            tokio::select! {
                opened = self.connection.accept_bi() => match (opened, lease.upgrade()) {
                    (Ok((send, receive)), Some(lease)) => {
                        beginning.spawn(self.clone().take_back(send, receive, lease, own, limit));
                    }
                    (Ok((send, receive)), None) => refuse(send, receive, NOBODY_LISTENS),
                    (Err(_), _) => return,
                },
                Some(_) = beginning.join_next() => {}
            }
        }
    }

    async fn take_back(
        self,
        send: SendStream,
        mut receive: RecvStream,
        lease: Lease,
        own: Own,
        limit: Duration,
    ) {
        let mut preamble = [0; BACK.len() + back::ADDRESS];
        let told = timeout(limit, receive.read_exact(&mut preamble)).await;
        let to = preamble.split_first_chunk().filter(|it| *it.0 == BACK);
        let (Ok(Ok(())), Some((_, to))) = (told, to) else {
            return refuse(send, receive, UNKNOWN_LINK);
        };
        match back::takers(own, to) {
            Some(takers) => self.hand_over(send, receive, lease, takers).await,
            None => refuse(send, receive, NOBODY_LISTENS),
        }
    }

    async fn take<E>(
        self,
        send: SendStream,
        mut receive: RecvStream,
        lease: Lease,
        takers: mpsc::Sender<Result<Connected, E>>,
        limit: Duration,
    ) {
        let mut preamble = [0; PREAMBLE.len()];
        match timeout(limit, receive.read_exact(&mut preamble)).await {
            Ok(Ok(())) if preamble == PREAMBLE => {
                self.hand_over(send, receive, lease, takers).await;
            }
            _ => refuse(send, receive, UNKNOWN_LINK),
        }
    }

    /// Takes a link, and hands it to who listens, once there is room.
    async fn hand_over<E>(
        &self,
        mut send: SendStream,
        receive: RecvStream,
        lease: Lease,
        takers: mpsc::Sender<Result<Connected, E>>,
    ) {
        match takers.reserve().await {
            Ok(room) => {
                // It fails only once the stream is reset.
                let _ = send.set_priority(CONTROL);
                // The stream has room for one octet, since nothing was written before. A peer that does not
                // read it may have written all that it has to say.
                let answered = send.write_all(&[TAKEN]).await;
                if matches!(answered, Ok(()) | Err(WriteError::Stopped(_)))
                    && let Ok(connected) = self.connected(send, receive, lease, false)
                {
                    room.send(Ok(connected));
                }
            }
            Err(_) => refuse(send, receive, NOBODY_LISTENS),
        }
    }

    fn connected(
        &self,
        send: SendStream,
        receive: RecvStream,
        lease: Lease,
        unanswered: bool,
    ) -> Result<Connected, QuicError> {
        let link = VarInt::from(send.id()).into_inner();
        let binding = tls::binding(&self.connection, link)?;
        let (arrivals, awaited) = self.links.await_streams(link);
        let more = More {
            connection: self.connection.clone(),
            link,
            lease: lease.clone(),
            arrivals,
            awaited,
        };
        let (reader, writer) = link::halves(send, receive, lease, more, unanswered);
        Ok(Connected {
            link: Link::Bytes(
                ByteReader::Quic(Box::new(reader)),
                ByteWriter::Quic(Box::new(writer)),
            ),
            local: tcp::canonical(self.local),
            peer: Peer {
                address: tcp::canonical(self.connection.remote_address()),
                credentials: None,
                proven: Some(Proven {
                    key: self.proven.key,
                    post_quantum: self.proven.post_quantum,
                    network: self.proven.network.clone(),
                    binding,
                }),
            },
        })
    }
}

fn refuse(mut send: SendStream, mut receive: RecvStream, code: VarInt) {
    // The streams end either way.
    let _ = send.reset(code);
    let _ = receive.stop(code);
}

/// What a connection without an admitted link stays for.
pub(super) enum Stays {
    /// The peer dialled it, and may open links for a while.
    Guest(Guest),
    /// It was dialled, and may be wanted again for so long after its last link.
    Spare(Duration),
}

/// A connection that the peer dialled.
pub(super) struct Guest {
    pub(super) admissions: Admissions,
    /// How long it may have no link that is admitted.
    pub(super) patience: Duration,
    pub(super) refusals: Arc<Refusals>,
}

/// Waits until no link was admitted for so long: at the beginning, or after the last one ended.
async fn unused(admissions: &Admissions, first: Duration, later: Duration) {
    let mut admitted = admissions.watch();
    let mut patience = first;
    loop {
        let (count, since) = *admitted.borrow_and_update();
        tokio::select! {
            // It cannot fail, since we hold a sender.
            _ = admitted.changed() => patience = later,
            () = sleep_until(since + patience), if count == 0 => return,
        }
    }
}

/// Holds a lease while a link is admitted, and for so long after the last one; it does not end.
async fn spare(weak: &WeakLease, time: Duration) {
    let mut admitted = weak.admissions.watch();
    while !time.is_zero() && admitted.wait_for(|(count, _)| *count > 0).await.is_ok() {
        let Some(_held) = weak.upgrade() else {
            break;
        };
        unused(&weak.admissions, time, time).await;
    }
    std::future::pending().await
}

/// Keeps a connection until nobody needs it.
async fn keep(
    connection: Connection,
    mut retired: mpsc::UnboundedReceiver<Retired>,
    linger: Duration,
    stays: Stays,
    weak: WeakLease,
) {
    let mut lingering = JoinSet::new();
    let outstayed = async {
        match stays {
            Stays::Guest(guest) => {
                // Something of the last link may linger.
                let later = guest.patience.max(linger);
                unused(&guest.admissions, guest.patience, later).await;
                guest.refusals.give_up();
            }
            Stays::Spare(time) => spare(&weak, time).await,
        }
    };
    let mut outstayed = pin!(outstayed);
    loop {
        tokio::select! {
            closed = retired.recv() => match closed {
                Some(closed) => {
                    lingering.spawn(acknowledged(closed, linger));
                }
                None => break,
            },
            Some(_) = lingering.join_next() => {}
            _ = connection.closed() => return,
            () = &mut outstayed => return connection.close(NOT_ADMITTED, b""),
        }
    }
    while lingering.join_next().await.is_some() {}
    connection.close(DONE, b"");
}

/// Waits until the peer has all of a stream, or does not want it. `limit` counts from when its link is
/// closed, at least: what a link wrote that lives may wait its turn.
async fn acknowledged(closed: Retired, limit: Duration) {
    loop {
        let lives = closed.link.lives();
        match timeout(limit, closed.stream.stopped()).await {
            Ok(Ok(Some(code))) if code != ENOUGH && closed.link.lives() => closed.link.refuse(),
            Err(_) if lives => continue,
            // Late or lost: no more can be done for it.
            _ => {}
        }
        break;
    }
    drop(closed);
}

//! From a link to an established connection, within a deadline that progress does not move.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use withy_proto::SocketType;
use withy_proto::crypto::Randomness;
use withy_proto::mechanism::party::Expected;
use withy_proto::mechanism::zap::{Credentials, Decision};
use withy_proto::mechanism::{Opener, Sealer};
use withy_proto::trust::Shown;
use withy_proto::zmtp::connection::{Extensions, Host, RESOURCE, local_metadata};
use withy_proto::zmtp::metadata::Metadata;
use withy_proto::zmtp::{
    Command, Connection, ConnectionError, Decoder, Established, Framing, Item, Outbox, Peer,
};
use withy_transports::{ByteReader, ByteWriter, Connected, Link, Streams, pipe};

use super::core::Core;
use super::deadline::{Timer, within};
use super::dial::Dialed;
use super::link::{Items, Reader, Writer};
use super::listen::Place;
use super::resources::Asking;
use crate::event::HandshakeFailure;

/// What a handshake reads at a time.
const READ: usize = 4 * 1024;

/// An established connection with its link. Boxed wherever a future hands it on, as each of them has a
/// place of its own for it.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) established: Established,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    /// That of the handshake, for the connection to go on with.
    pub(crate) timer: Option<Timer>,
    /// Of an accepted connection.
    pub(crate) place: Option<Place>,
    /// The socket that took it over, where the peer asked for another one than ours.
    pub(crate) host: Option<Arc<Core>>,
}

/// Which side of a handshake this is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side<'a> {
    /// The peer made the link.
    Accepting,
    /// This side did.
    Dialing(&'a Dialed),
}

impl Side<'_> {
    pub(crate) fn is_accepting(self) -> bool {
        matches!(self, Self::Accepting)
    }

    /// Whose identity and trust the connection is made with, if not the socket's own.
    fn host(&self) -> Option<&Core> {
        match self {
            Self::Accepting => None,
            Self::Dialing(to) => to.host.as_deref(),
        }
    }

    /// Who the peer has to be.
    pub(crate) fn expected(self) -> Option<Expected> {
        match self {
            Self::Accepting => None,
            Self::Dialing(to) => to.expected,
        }
    }

    /// What the peer was reached by, where this side dialed; a peer that is known by its key is
    /// reached at any endpoint.
    fn name_dialed(self) -> Option<String> {
        match self {
            Self::Dialing(to) if to.resource.is_none() => Some(to.first().to_string()),
            _ => None,
        }
    }

    /// The peer by the routing id that this side gives it.
    fn name(self, mut peer: Peer) -> Peer {
        if let Self::Dialing(Dialed {
            routing_id: Some(id),
            ..
        }) = self
        {
            peer.identity.clone_from(id);
        }
        peer
    }
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OsRandomness;

impl Randomness for OsRandomness {
    fn fill(&mut self, octets: &mut [u8]) {
        getrandom::fill(octets)
            .expect("the operating system always has random octets for a running process");
    }
}

impl Core {
    /// Our properties, and what we want of the other side.
    fn metadata_for(&self, side: Side<'_>) -> Metadata {
        let mut metadata = self.metadata();
        if let Side::Dialing(Dialed {
            resource: Some(name),
            ..
        }) = side
        {
            let set = metadata.set(RESOURCE, name.as_bytes());
            set.expect("the name is within the RFC's alphabet");
        }
        metadata
    }

    /// As what this socket takes a connection over.
    fn as_host(&self) -> Host {
        Host {
            kind: self.shown_as(),
            metadata: self.metadata(),
            limits: self.options.limits,
        }
    }

    /// As what this socket shows itself.
    fn shown_as(&self) -> SocketType {
        self.options.shown_as.unwrap_or(self.kind)
    }

    /// Our properties.
    fn metadata(&self) -> Metadata {
        let correlate = match self.kind {
            SocketType::Rep => true,
            SocketType::Router => self.options.correlate_envelopes,
            _ => false,
        };
        local_metadata(
            self.shown_as(),
            &self.options.identity,
            Extensions {
                withy: true,
                correlate,
            },
        )
    }

    /// Shakes hands on a link.
    pub(crate) async fn handshake(
        self: &Arc<Self>,
        connected: Box<Connected>,
        side: Side<'_>,
    ) -> Result<Box<Ready>, HandshakeFailure> {
        let limit = self.options.connections.handshake_timeout;
        let beat = self.options.heartbeat.interval;
        let shaken = match connected.link {
            Link::Bytes(reader, writer) => {
                // Boxed: a future that is handed on has two places in who waits for it.
                let shaking = Box::pin(self.shake_octets(reader, writer, &connected.peer, side));
                within(limit, beat, shaking).await
            }
            Link::Messages(end) => within(limit, beat, Box::pin(self.shake_items(end, side))).await,
        };
        let Some((shaken, timer)) = shaken else {
            return Err(HandshakeFailure::Timeout(limit));
        };
        match shaken {
            // Of the ways to a node that a peer tries, it gives up all but one.
            Err(HandshakeFailure::Link(why))
                if side.is_accepting() && self.options.hosts.is_some() =>
            {
                Err(HandshakeFailure::Abandoned(why))
            }
            Err(failure) => Err(failure),
            Ok(mut ready) => {
                ready.timer = Some(timer);
                Ok(ready)
            }
        }
    }

    async fn shake_octets(
        self: &Arc<Self>,
        mut reader: ByteReader,
        writer: ByteWriter,
        link: &withy_transports::Peer,
        side: Side<'_>,
    ) -> Result<Box<Ready>, HandshakeFailure> {
        let security = &side.host().unwrap_or(&**self).options.security;
        let started = security.start(self.metadata_for(side), side, link)?;
        let mut connection = Connection::new(
            self.shown_as(),
            started.name,
            started.is_server,
            side.is_accepting(),
            started.handshake,
            self.options.limits,
        );
        if self.options.hosts.is_some() {
            connection = connection.shared();
        }
        let mut randomness = OsRandomness;
        let (mut place, mut host) = (None, None);
        let (mut shown, mut user) = (None, String::new());
        if side.is_accepting() {
            // The peer may have said something already: one write then answers all of it.
            let early = poll_fn(|cx| {
                if let Err(error) = ready!(writer.poll_write_ready(cx)) {
                    return Poll::Ready(Err(error));
                }
                match read(&mut reader, cx, &mut connection, &mut randomness) {
                    Poll::Ready(read) => Poll::Ready(read.map(Some)),
                    Poll::Pending => Poll::Ready(Ok(None)),
                }
            });
            if let Some(taken) = early.await.map_err(link_error)? {
                taken_in(taken, &mut connection, &writer).await?;
            }
        }
        loop {
            if let Some(mut request) = connection.poll_auth() {
                // Whoever is asked may take his time.
                transmit(&mut connection, &writer).await?;
                request.address.clone_from(&link.address);
                if let Credentials::Noise(proven) = &request.credentials {
                    shown = Some(proven.clone());
                }
                // Boxed, as below: most handshakes ask nobody, and then have no place for it.
                let name = side.name_dialed();
                let deciding = Box::pin(security.decide(&request, name.as_deref()));
                let (decision, confirmed) = deciding.await;
                if let Some(membership) = confirmed {
                    connection.confirm(&membership);
                }
                if let Decision::Accept(accepted) = &decision {
                    user.clone_from(&accepted.id);
                }
                let decided = connection.set_decision(decision, &mut randomness);
                transmit(&mut connection, &writer).await?;
                decided?;
            }
            match connection.poll_admission() {
                Ok(Some(peer)) => {
                    let peer = side.name(peer);
                    match self.admit_peer(&peer, shown.as_deref(), &user) {
                        Ok(taken) => (place, host) = (Some(taken.0), taken.1),
                        Err(failure) => {
                            // Of another type it stays, however often it tries.
                            if peer.extensions.withy || failure.is_protocol() {
                                connection.refuse(&failure.to_string());
                            }
                            let _ = transmit(&mut connection, &writer).await;
                            return Err(failure);
                        }
                    }
                    let admitted = if self.options.hosts.is_some() {
                        let host = host.as_ref().unwrap_or(self).as_host();
                        connection.admit_to(host, &mut randomness)
                    } else {
                        connection.admit(&mut randomness)
                    };
                    if let Err(error) = admitted {
                        let _ = transmit(&mut connection, &writer).await;
                        return Err(error.into());
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    let _ = transmit(&mut connection, &writer).await;
                    return Err(error.into());
                }
            }
            transmit(&mut connection, &writer).await?;
            if connection.is_complete() {
                let mut established = connection.finish()?;
                if established.peer.confirmation.is_some() {
                    Box::pin(security.confirmed(&mut established.peer)).await;
                }
                established.peer = side.name(established.peer);
                let core = host.as_ref().unwrap_or(self);
                let (reader, writer) = core.halves(reader, writer, &mut established);
                return Ok(Box::new(Ready {
                    established,
                    reader,
                    writer,
                    timer: None,
                    place,
                    host,
                }));
            }
            let taken = poll_fn(|cx| read(&mut reader, cx, &mut connection, &mut randomness));
            let taken = taken.await.map_err(link_error)?;
            taken_in(taken, &mut connection, &writer).await?;
        }
    }

    /// The halves of an established link, which with QUIC gets more streams.
    fn halves(
        &self,
        reader: ByteReader,
        writer: ByteWriter,
        established: &mut Established,
    ) -> (Reader, Writer) {
        let (reader, writer) = match (reader, writer) {
            (ByteReader::Quic(reader), ByteWriter::Quic(writer)) => (reader, writer),
            (reader, writer) => return (Reader::Bytes(reader), Writer::Bytes(writer)),
        };
        reader.admit();
        let limits = self.options.limits;
        let fresh = Decoder::new(limits, Opener::Clear);
        let decoder = std::mem::replace(&mut established.decoder, fresh);
        // Exchanges are told apart by their envelopes, and one need not wait for another.
        let exchanges = [SocketType::Req, SocketType::Rep];
        let exchanges =
            exchanges.contains(&self.kind) && exchanges.contains(&established.peer.kind);
        let ordered = !(exchanges || self.options.unordered);
        let priority = self.options.priority;
        let end = Streams::new(*reader, *writer, decoder, limits, ordered, priority);
        let end = Arc::new(Items::Streams(Box::new(end)));
        let first = VecDeque::new();
        (
            Reader::Items {
                end: Arc::clone(&end),
                first,
            },
            Writer::Items(end),
        )
    }

    /// Inside the process both sides show their properties, and nothing is to be proven.
    async fn shake_items(
        self: &Arc<Self>,
        end: pipe::End<Item>,
        side: Side<'_>,
    ) -> Result<Box<Ready>, HandshakeFailure> {
        let closed = |_| HandshakeFailure::Link("the peer closed the link".to_owned());
        let ready = |of| VecDeque::from([Item::Command(Box::new(Command::Ready(of)))]);
        if !side.is_accepting() {
            let mut ready = ready(self.metadata_for(side));
            end.try_send_batch(&mut ready).map_err(closed)?;
        }
        let mut items = VecDeque::new();
        poll_fn(|cx| end.poll_recv_batch(cx, &mut items))
            .await
            .map_err(closed)?;
        let metadata = match items.pop_front() {
            Some(Item::Command(command)) => match *command {
                Command::Ready(metadata) => metadata,
                _ => return Err(ConnectionError::MessageBeforeReady.into()),
            },
            _ => return Err(ConnectionError::MessageBeforeReady.into()),
        };
        let (mut place, mut host) = (None, None);
        if side.is_accepting() {
            let peer = Connection::claimed(self.kind, metadata.clone())?;
            host = self.host_of(&peer, None, "")?;
        }
        let core = host.as_ref().unwrap_or(self);
        let peer = side.name(Connection::peer_of(core.kind, metadata)?);
        if side.is_accepting() {
            place = Some(core.find_room(&peer)?);
            end.try_send_batch(&mut ready(core.metadata()))
                .map_err(closed)?;
        }
        let established = Established {
            peer,
            decoder: Decoder::new(core.options.limits, Opener::Clear),
            outbox: Outbox::new(Framing::Clear),
            sealer: Sealer::Clear,
        };
        let end = Arc::new(Items::Pipe(end));
        Ok(Box::new(Ready {
            established,
            reader: Reader::Items {
                end: Arc::clone(&end),
                first: items,
            },
            writer: Writer::Items(end),
            timer: None,
            place,
            host,
        }))
    }

    /// The other socket that takes over a peer which connected, if one does.
    fn host_of(
        &self,
        peer: &Peer,
        shown: Option<&Shown>,
        user: &str,
    ) -> Result<Option<Arc<Self>>, HandshakeFailure> {
        let Some(hosts) = &self.options.hosts else {
            return Ok(None);
        };
        hosts.host_of(Asking {
            kind: peer.kind,
            metadata: &peer.metadata,
            shown,
            key: peer.key,
            user,
        })
    }

    /// Whether a peer that connected may stay, here or at the socket that takes it over.
    fn admit_peer(
        self: &Arc<Self>,
        peer: &Peer,
        shown: Option<&Shown>,
        user: &str,
    ) -> Result<(Place, Option<Arc<Self>>), HandshakeFailure> {
        let host = self.host_of(peer, shown, user)?;
        let place = host.as_ref().unwrap_or(self).find_room(peer)?;
        Ok((place, host))
    }

    /// Whether there is room for a peer: the socket has a place, and so has its pattern.
    fn find_room(self: &Arc<Self>, peer: &Peer) -> Result<Place, HandshakeFailure> {
        let place = self.take_place()?;
        self.find_place(peer).map_err(HandshakeFailure::NoPlace)?;
        Ok(place)
    }
}

/// What a read brought: the end of the link, or octets that the engine took or refused.
type Taken = Option<Result<(), ConnectionError>>;

/// Reads once for the engine. The buffer lives no longer than that: who waits keeps none.
fn read(
    reader: &mut ByteReader,
    cx: &mut Context<'_>,
    connection: &mut Connection,
    randomness: &mut OsRandomness,
) -> Poll<io::Result<Taken>> {
    let mut octets = [MaybeUninit::uninit(); READ];
    let mut buffer = ReadBuf::uninit(&mut octets);
    ready!(reader.poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(match buffer.filled() {
        [] => None,
        octets => Some(connection.handle_input(octets, randomness)),
    }))
}

/// Goes on with what a read brought, if there was any, and it was no offence.
async fn taken_in(
    taken: Taken,
    connection: &mut Connection,
    writer: &ByteWriter,
) -> Result<(), HandshakeFailure> {
    let Some(taken) = taken else {
        let why = "the peer closed the link".to_owned();
        return Err(HandshakeFailure::Link(why));
    };
    if taken.is_err() {
        // Best effort: the peer may want to know why.
        let _ = transmit(connection, writer).await;
    }
    Ok(taken?)
}

async fn transmit(
    connection: &mut Connection,
    writer: &ByteWriter,
) -> Result<(), HandshakeFailure> {
    while let Some(octets) = connection.poll_transmit() {
        let mut at = 0;
        while at < octets.len() {
            match writer.try_write(&octets[at..]) {
                Ok(written) => at += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| writer.poll_write_ready(cx))
                        .await
                        .map_err(link_error)?;
                }
                Err(error) => return Err(link_error(error)),
            }
        }
    }
    Ok(())
}

fn link_error(error: io::Error) -> HandshakeFailure {
    match error.downcast() {
        Ok(error) => HandshakeFailure::NotTaken(error),
        Err(error) => HandshakeFailure::Link(error.to_string()),
    }
}

//! Links against peers that send on their streams what they like, or stop.

mod links;
mod turns;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use quinn::SendStream;
use tokio::time::timeout;
use withy_proto::crypto::Provider;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::mechanism::Opener;
use withy_proto::quic::{Carries, LANES};
use withy_proto::zmtp::{Command, Framing, Outbox};

use super::*;
use crate::options::QuicOptions;
use crate::quic::listener::Accepting;
use crate::quic::{chunk, pool};
use crate::{ByteReader, ByteWriter, Connected, Link};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Octets of a message that cannot have arrived when its stream is known.
const LONG: usize = 900_000;

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap()
}

fn key(octet: u8) -> SigningKey {
    SigningKey::from_seed(Provider::Real, &[octet; 32])
}

/// Both sides of a link.
type Halves = (QuicReader, QuicWriter);

/// Links over one connection.
struct Between {
    accepting: Accepting,
    options: QuicOptions,
}

impl Between {
    fn new(options: QuicOptions) -> Self {
        let address = ([127, 0, 0, 1], 0).into();
        let accepting = Accepting::begin(address, &key(1), &options, false, 16).unwrap();
        Self { accepting, options }
    }

    /// One more; the sides have not admitted each other.
    async fn link(&mut self) -> (Halves, Halves) {
        let remote = self.accepting.local_addr().unwrap();
        let dial = pool::dial(key(2), remote, self.options.clone());
        let (ours, theirs) = tokio::join!(dial, self.accepting.accept());
        (halves(ours.unwrap()), halves(theirs.unwrap()))
    }

    /// One more; both sides know that the other has admitted them.
    async fn admitted(&mut self) -> (Halves, Halves) {
        let (mut ours, mut theirs) = self.link().await;
        ours.0.admit();
        theirs.0.admit();
        for (writer, reader) in [(&ours.1, &mut theirs.0), (&theirs.1, &mut ours.0)] {
            writer.try_write(b"?").unwrap();
            let mut heard = Vec::with_capacity(1);
            let read = soon(poll_fn(|cx| reader.poll_read_buf(cx, &mut heard))).await;
            assert_eq!(read.unwrap(), 1);
        }
        (ours, theirs)
    }

    /// One more between our streams and a peer that does as it likes.
    async fn raw(&mut self) -> (Streams, Raw) {
        let (ours, theirs) = self.admitted().await;
        (streams(ours), Raw::new(theirs))
    }
}

fn halves(connected: Connected) -> Halves {
    match connected.link {
        Link::Bytes(ByteReader::Quic(reader), ByteWriter::Quic(writer)) => (*reader, *writer),
        _ => panic!("this link is of another transport"),
    }
}

fn streams(halves: Halves) -> Streams {
    streams_of(halves, true)
}

fn streams_of((reader, writer): Halves, ordered: bool) -> Streams {
    let limits = Limits::default();
    let decoder = Decoder::new(limits, Opener::Clear);
    Streams::new(reader, writer, decoder, limits, ordered, Priority::Normal)
}

/// A peer that does as it likes.
struct Raw {
    more: Box<More>,
    writer: QuicWriter,
    _reader: QuicReader,
}

impl Raw {
    fn new((mut reader, writer): Halves) -> Self {
        Self {
            more: reader.more.take().unwrap(),
            writer,
            _reader: reader,
        }
    }

    async fn open(&self) -> SendStream {
        soon(self.more.connection.open_uni()).await.unwrap()
    }

    fn header(&self, ordered: bool, carries: Carries) -> [u8; Header::SIZE] {
        let link = self.more.link;
        let header = Header {
            link,
            ordered,
            carries,
        };
        header.encode()
    }

    async fn begin(&self, carries: Carries) -> SendStream {
        let mut stream = self.open().await;
        let header = self.header(true, carries);
        stream.write_all(&header).await.unwrap();
        stream
    }

    /// Ends a stream, and waits until the other side has all of it.
    async fn finish(mut stream: SendStream) {
        stream.finish().unwrap();
        assert_eq!(soon(stream.stopped()).await.unwrap(), None);
    }

    /// The next stream that the other side opened.
    async fn arrived(&mut self) -> Arrived {
        soon(self.more.arrivals.recv()).await.unwrap()
    }
}

fn message(octet: u8, size: usize) -> Message {
    Message::from(vec![octet; size])
}

fn item(octet: u8) -> Item {
    Item::Message(message(octet, 9))
}

fn mark(number: u64) -> Item {
    Item::Command(Box::new(Command::Large(number)))
}

/// Items as they are on the wire.
fn encoded(items: impl IntoIterator<Item = Item>) -> Vec<u8> {
    let mut outbox = Outbox::new(Framing::Clear);
    for item in items {
        match item {
            Item::Message(message) => outbox.push(&message),
            Item::Command(command) => outbox.push_command(&command),
        }
    }
    let mut batch = outbox.take(Vec::new());
    let mut octets = Vec::new();
    while !batch.is_done() {
        let next = chunk::next(&batch);
        octets.extend_from_slice(&next);
        batch.advance(next.len());
    }
    octets
}

/// The first octets of the messages that come next.
async fn receive(streams: &Streams) -> Result<Vec<u8>, StreamsError> {
    let mut items = VecDeque::new();
    soon(poll_fn(|cx| streams.poll_recv_batch(cx, &mut items))).await?;
    let first = items.iter().map(|item| match item {
        Item::Message(message) => message.first().as_slice()[0],
        Item::Command(command) => panic!("{command:?}"),
    });
    Ok(first.collect())
}

/// All messages that come, and how the link ended.
async fn receive_all(streams: &Streams) -> (Vec<u8>, StreamsError) {
    let mut all = Vec::new();
    loop {
        match receive(streams).await {
            Ok(more) => all.extend(more),
            Err(error) => return (all, error),
        }
    }
}

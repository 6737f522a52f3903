//! Links against peers that send on their streams what they like, or stop.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use quinn::SendStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use withy_proto::Frame;
use withy_proto::mechanism::Opener;
use withy_proto::quic::{Carries, LANES, MAX_LARGE};
use withy_proto::zmtp::{Command, Framing, Outbox};

use super::super::listener::Accepting;
use super::super::{chunk, error, pool};
use super::*;
use crate::options::{QuicOptions, Secret};
use crate::{ByteReader, ByteWriter, Connected, Link};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Octets of a message that cannot have arrived when its stream is known.
const LONG: usize = 900_000;

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap()
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
        let seed = Secret::from([1; 32]);
        let accepting = Accepting::begin(address, &seed, &options, false, 16).unwrap();
        Self { accepting, options }
    }

    /// One more; the sides have not admitted each other.
    async fn link(&mut self) -> (Halves, Halves) {
        let remote = self.accepting.local_addr().unwrap();
        let dial = pool::dial(Secret::from([2; 32]), remote, self.options.clone());
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
        Link::Bytes(ByteReader::Quic(reader), ByteWriter::Quic(writer)) => (reader, writer),
        _ => panic!("this link is of another transport"),
    }
}

fn streams((reader, writer): Halves) -> Streams {
    let limits = Limits::default();
    let decoder = Decoder::new(limits, Opener::Clear);
    Streams::new(reader, writer, decoder, limits, true, Priority::Normal)
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

/// quinn opens streams by the first packet of any later one, however long theirs are on their way.
#[tokio::test]
async fn a_stream_may_wait_its_turn() {
    let mut between = Between::new(QuicOptions::default());
    let (ours, raw) = between.raw().await;
    let mut large = raw.open().await;
    let mut lane = raw.begin(Carries::Lane(0)).await;
    lane.write_all(&encoded([item(1), mark(0), item(3)]))
        .await
        .unwrap();
    assert_eq!(receive(&ours).await.unwrap(), [1]);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(15)).await;
    tokio::time::resume();
    large
        .write_all(&raw.header(true, Carries::Large(0)))
        .await
        .unwrap();
    large.write_all(&encoded([item(2)])).await.unwrap();
    assert_eq!(receive(&ours).await.unwrap(), [2, 3]);
}

/// It was written whole, and lingers.
#[tokio::test]
async fn a_link_whose_stream_is_refused_is_lost() {
    let mut between = Between::new(QuicOptions::default());
    let (ours, mut raw) = between.raw().await;
    let mut batch = VecDeque::from([Item::Message(message(1, LONG))]);
    ours.try_send_batch(&mut batch).unwrap();
    assert!(ours.is_drained());
    while let mut arrived = raw.arrived().await
        && (arrived.header.carries == Carries::Lane(0)
            || arrived.stream.stop(9_u32.into()).is_err())
    {}
    let (messages, error) = receive_all(&ours).await;
    assert!(matches!(error, StreamsError::Lost(_)), "{error}");
    assert!(messages.is_empty());
    assert_eq!(ours.take_back().1, 1, "one is uncertain");
}

/// Its message came whole, the end of the stream was still on its way.
#[tokio::test]
async fn a_stream_that_was_read_enough_ends_no_link() {
    let mut between = Between::new(QuicOptions::default());
    let (ours, mut raw) = between.raw().await;
    let mut batch = VecDeque::from([Item::Message(message(1, LONG))]);
    ours.try_send_batch(&mut batch).unwrap();
    while let mut arrived = raw.arrived().await
        && (arrived.header.carries == Carries::Lane(0)
            || arrived.stream.stop(error::ENOUGH).is_err())
    {}
    let mut lane = raw.begin(Carries::Lane(0)).await;
    for octet in 0..50 {
        lane.write_all(&encoded([item(octet)])).await.unwrap();
        assert_eq!(receive(&ours).await.unwrap(), [octet]);
    }
}

/// The peer gave the link up, or the connection is gone.
#[tokio::test]
async fn what_arrived_is_given_out_before_the_loss() {
    for (reset, commands) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut between = Between::new(QuicOptions::default());
        let (ours, raw) = between.raw().await;
        let mut lane = raw.begin(Carries::Lane(0)).await;
        let sent = [item(1), mark(0), item(2), mark(1), item(4)];
        lane.write_all(&encoded(sent)).await.unwrap();
        let more: Vec<Item> = (0..2_000).map(|_| item(6)).collect();
        lane.write_all(&encoded(more)).await.unwrap();
        Raw::finish(lane).await;
        for (number, octet) in [(1, 3), (2, 5)] {
            let mut large = raw.begin(Carries::Large(number)).await;
            large.write_all(&encoded([item(octet)])).await.unwrap();
            Raw::finish(large).await;
        }
        if reset {
            raw.writer.reset();
        } else {
            raw.more.connection.close(9_u32.into(), b"");
        }
        if commands {
            let mut read = VecDeque::new();
            let poll = |cx: &mut Context<'_>| match ours.poll_commands(cx, &mut read) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(error),
            };
            let error = soon(poll_fn(poll)).await;
            assert!(matches!(error, StreamsError::Lost(_)), "{error}");
        }
        let (mut messages, error) = receive_all(&ours).await;
        assert!(matches!(error, StreamsError::Lost(_)), "{error}");
        let early = messages.iter().position(|&octet| octet == 5).unwrap();
        messages.remove(early);
        assert_eq!(messages[..4], [1, 2, 3, 4]);
        assert_eq!(messages[4..], [6; 2_000]);
    }
}

/// Nobody reads what fills all their streams.
#[tokio::test]
async fn links_that_are_not_read_leave_others_their_room() {
    const WINDOW: usize = 128 << 10;
    let mut between = Between::new(QuicOptions {
        stream_receive_window: WINDOW as u32,
        ..QuicOptions::default()
    });
    let mut unread = Vec::new();
    for _ in 0..12 {
        let (ours, raw) = between.raw().await;
        let mut filled = Vec::new();
        let lanes = (0..LANES).map(Carries::Lane);
        let larges = (0..MAX_LARGE as u64).map(Carries::Large);
        for carries in lanes.chain(larges) {
            let mut stream = raw.open().await;
            let mut octets = raw.header(false, carries).to_vec();
            octets.resize(WINDOW, 0);
            soon(stream.write_all(&octets)).await.unwrap();
            filled.push(stream);
        }
        unread.push((ours, raw, filled));
    }
    let (ours, theirs) = between.admitted().await;
    let (ours, theirs) = (streams(ours), streams(theirs));
    let ping = Command::Ping {
        ttl: Duration::ZERO,
        context: Frame::new(),
    };
    let mut batch = VecDeque::from([
        Item::Command(Box::new(ping)),
        Item::Message(message(1, LONG)),
    ]);
    let sending = async {
        while !batch.is_empty() || !theirs.is_drained() {
            theirs.try_send_batch(&mut batch).unwrap();
            if !theirs.is_drained() {
                poll_fn(|cx| theirs.poll_writable(cx)).await.unwrap();
            }
        }
    };
    let receiving = async {
        let mut items = VecDeque::new();
        while items.len() < 2 {
            poll_fn(|cx| ours.poll_recv_batch(cx, &mut items))
                .await
                .unwrap();
        }
        items
    };
    let ((), items) = soon(async { tokio::join!(sending, receiving) }).await;
    assert!(matches!(&items[0], Item::Command(_)));
    assert!(matches!(&items[1], Item::Message(message) if message.size() == LONG));
}

#[tokio::test]
async fn whoever_waits_for_a_stream_is_woken_although_others_wrote_meanwhile() {
    let mut between = Between::new(QuicOptions::default());
    let (ours, theirs) = between.link().await;
    let connection = ours.0.more.as_ref().unwrap().connection.clone();
    let ours = Arc::new(streams(ours));
    // All that there are until the link is admitted.
    let mut taken = Vec::new();
    loop {
        let mut opening = pin!(connection.open_uni());
        match poll_fn(|cx| Poll::Ready(opening.as_mut().poll(cx))).await {
            Poll::Ready(opened) => taken.push(opened.unwrap()),
            Poll::Pending => break,
        }
    }
    let mut batch = VecDeque::from([Item::Message(message(1, LONG))]);
    ours.try_send_batch(&mut batch).unwrap();
    assert!(batch.is_empty() && !ours.is_drained());
    let waiter = Arc::clone(&ours);
    let waiting = tokio::spawn(async move { poll_fn(|cx| waiter.poll_writable(cx)).await });
    tokio::task::yield_now().await;
    ours.try_send_batch(&mut batch).unwrap();
    // They say nothing and end, so that the peer allows others.
    taken.truncate(taken.len() - 3);
    soon(waiting).await.unwrap().unwrap();
    drop(theirs);
}

#[tokio::test]
async fn a_lost_link_has_not_written_all() {
    let mut between = Between::new(QuicOptions::default());
    let (ours, raw) = between.raw().await;
    let mut batch = VecDeque::from([Item::Message(message(1, 3 << 20))]);
    ours.try_send_batch(&mut batch).unwrap();
    raw.more.connection.close(9_u32.into(), b"");
    let lost = async {
        while ours.try_send_batch(&mut batch).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(lost).await;
    assert!(!ours.is_drained());
    let (back, uncertain) = ours.take_back();
    assert_eq!((back.len(), uncertain), (1, 0));
}

/// One link has more streams than it may have, and nobody takes them.
#[tokio::test]
async fn a_link_that_nobody_reads_does_not_hold_up_the_end_of_others() {
    let mut between = Between::new(QuicOptions::default());
    let (_unread, raw) = between.raw().await;
    let (ours, _other) = between.raw().await;
    let mut refused = JoinSet::new();
    for number in 0..2 * MAX_LARGE + LANES {
        let stream = raw.begin(Carries::Large(number as u64)).await;
        refused.spawn(async move { stream.stopped().await });
    }
    let first = soon(refused.join_next()).await.unwrap().unwrap();
    assert!(first.unwrap().is_some(), "what is over is refused");
    raw.more.connection.close(9_u32.into(), b"");
    let (_, error) = receive_all(&ours).await;
    assert!(matches!(error, StreamsError::Lost(_)), "{error}");
}

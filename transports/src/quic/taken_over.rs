//! Links that were taken over, against a peer that sees their streams and sends on its own what it
//! likes.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake};
use std::time::Duration;

use tokio::time::timeout;
use withy_proto::Message;
use withy_proto::mechanism::Opener;
use withy_proto::quic::{Carries, Header, LANES, Priority};
use withy_proto::zmtp::{Command, Decoder, Framing, Item, Limits, Outbox};

use super::link::{QuicReader, QuicWriter};
use super::listener::Accepting;
use super::{Streams, chunk, pool};
use crate::options::{QuicOptions, Secret};
use crate::{ByteReader, ByteWriter, Connected, Link};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap()
}

/// A link that our side has taken over, and the peer's end.
struct TakenOver {
    ours: Streams,
    reader: QuicReader,
    writer: QuicWriter,
    _accepting: Accepting,
}

impl TakenOver {
    async fn new(options: QuicOptions) -> Self {
        let address = ([127, 0, 0, 1], 0).into();
        let seed = Secret::from([1; 32]);
        let mut accepting = Accepting::begin(address, &seed, &options, false, 16).unwrap();
        let remote = accepting.local_addr().unwrap();
        let dial = pool::dial(Secret::from([2; 32]), remote, options);
        let (ours, theirs) = tokio::join!(dial, accepting.accept());
        let [ours, theirs] = [ours.unwrap(), theirs.unwrap()].map(halves);
        ours.0.admit();
        theirs.0.admit();
        let limits = Limits::default();
        let decoder = Decoder::new(limits, Opener::Clear);
        let (reader, writer) = theirs;
        Self {
            ours: Streams::new(ours.0, ours.1, decoder, limits, false, Priority::Normal),
            reader,
            writer,
            _accepting: accepting,
        }
    }
}

fn halves(connected: Connected) -> (QuicReader, QuicWriter) {
    match connected.link {
        Link::Bytes(ByteReader::Quic(reader), ByteWriter::Quic(writer)) => (reader, writer),
        _ => panic!("this link is of another transport"),
    }
}

/// Items as they are on the wire.
fn encoded(items: &[Item]) -> Vec<u8> {
    let mut outbox = Outbox::new(Framing::Clear);
    for item in items {
        match item {
            Item::Message(message) => outbox.push(message),
            Item::Command(command) => outbox.push_command(command),
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

/// Else a peer that has read lane 0 to its end would believe that nothing else comes.
#[tokio::test]
async fn all_lanes_are_announced_on_the_first() {
    let TakenOver {
        ours,
        mut reader,
        writer: _writer,
        _accepting,
    } = TakenOver::new(QuicOptions::default()).await;
    let more = reader.more.as_mut().unwrap();
    let mut lanes = BTreeMap::new();
    let arriving = async {
        while lanes.len() < LANES {
            let arrived = more.arrivals.recv().await.unwrap();
            let Carries::Lane(number) = arrived.header.carries else {
                panic!("{:?}", arrived.header);
            };
            lanes.insert(number, arrived.stream);
        }
    };
    let sending = async {
        loop {
            let mut batch = VecDeque::from([Item::Message(Message::from("a small one"))]);
            ours.try_send_batch(&mut batch).unwrap();
            poll_fn(|cx| ours.poll_writable(cx)).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    soon(async {
        tokio::select! {
            () = arriving => {}
            () = sending => {}
        }
    })
    .await;
    while !ours.is_drained() {
        ours.try_send_batch(&mut VecDeque::new()).unwrap();
        soon(poll_fn(|cx| ours.poll_writable(cx))).await.unwrap();
    }
    ours.close();
    let mut first = lanes.remove(&0).unwrap();
    let octets = soon(first.read_to_end(1 << 20)).await.unwrap();
    let mut decoder = Decoder::new(Limits::default(), Opener::Clear);
    let items = decoder.decode_all(&octets).unwrap();
    let announced = items.into_iter().filter_map(|item| match item {
        Item::Command(command) => Some(*command),
        Item::Message(_) => None,
    });
    assert!(announced.eq((1..LANES as u64).map(Command::Lane)));
}

/// Whether somebody was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What is read of a stream that has come whole, and the polls that had something left to read.
async fn read_whole(carries: Carries, items: &[Item], window: u32) -> (VecDeque<Item>, usize) {
    let taken_over = TakenOver::new(QuicOptions {
        stream_receive_window: window,
        ..QuicOptions::default()
    });
    let TakenOver {
        ours,
        reader,
        writer: _writer,
        _accepting,
    } = taken_over.await;
    let more = reader.more.as_ref().unwrap();
    let mut stream = soon(more.connection.open_uni()).await.unwrap();
    let header = Header {
        link: more.link,
        ordered: true,
        carries,
    };
    soon(stream.write_all(&header.encode())).await.unwrap();
    soon(stream.write_all(&encoded(items))).await.unwrap();
    stream.finish().unwrap();
    assert_eq!(soon(stream.stopped()).await.unwrap(), None);
    let (woken, mut read) = (Arc::new(Woken::default()), VecDeque::new());
    let waker = Arc::clone(&woken).into();
    let cx = &mut Context::from_waker(&waker);
    let mut polls = 0;
    loop {
        let polled = ours.poll_recv_batch(cx, &mut read);
        if !woken.0.swap(false, Ordering::Relaxed) || polled.is_ready() {
            return (read, polls);
        }
        polls += 1;
    }
}

fn mark() -> Item {
    Item::Command(Box::new(Command::Large(0)))
}

/// Nothing of it can be given out, and it is all there.
#[tokio::test]
async fn a_link_with_much_that_waits_for_a_large_message_gives_others_a_turn() {
    let mut items = vec![mark()];
    items.extend((0..800).map(|_| Item::Message(Message::from(vec![7; 4_500]))));
    let (read, polls) = read_whole(Carries::Lane(0), &items, 8 << 20).await;
    assert!(read.is_empty());
    assert_eq!(polls, 1, "of two that have something to read");
}

/// Whoever reads what is left of a lost link polls once.
#[tokio::test]
async fn what_the_default_window_holds_is_read_in_one_turn() {
    let window = QuicOptions::default().stream_receive_window;
    let mut items = vec![mark()];
    items.extend((0..220).map(|_| Item::Message(Message::from(vec![7; 4_500]))));
    let (read, polls) = read_whole(Carries::Lane(0), &items, window).await;
    assert!(read.is_empty());
    assert_eq!(polls, 0);
}

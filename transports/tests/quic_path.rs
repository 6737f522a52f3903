//! `quic` links over paths that lose, double and reorder datagrams, or change the address of a side.

#![allow(clippy::unwrap_used, reason = "a failure to set up is a failed test")]

mod support;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::*;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::crypto::{Provider, Randomness, Seeded};
use withy_transports::{
    ByteReader, ByteWriter, Connected, DialOptions, Link, ListenOptions, dial, listen,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a path does to one datagram of a hundred, on the average.
#[derive(Clone, Copy, Default)]
struct Path {
    lost: u64,
    doubled: u64,
    late: u64,
}

/// A relay to an address, which the peer there knows by another address after each
/// [`Relay::move_on`].
struct Relay {
    address: SocketAddr,
    moves: Arc<AtomicUsize>,
}

impl Relay {
    async fn to(peer: SocketAddr, path: Path, seed: u64) -> Self {
        let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = near.local_addr().unwrap();
        let moves = Arc::new(AtomicUsize::new(0));
        let asked = Arc::clone(&moves);
        tokio::spawn(async move {
            let mut random = Seeded::new(seed);
            let mut far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
            let (mut client, mut moved, mut held) = (address, 0, None);
            loop {
                let (to, datagram, forth) = tokio::select! {
                    received = near.recv_from(&mut there) => {
                        let (length, from) = received.unwrap();
                        client = from;
                        (peer, &there[..length], true)
                    }
                    received = far.recv_from(&mut back) => {
                        let (length, _) = received.unwrap();
                        (client, &back[..length], false)
                    }
                };
                if asked.load(Ordering::Relaxed) != moved {
                    moved += 1;
                    far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                }
                let dice = random.next_u64() % 100;
                let mut send = vec![(to, datagram.to_vec(), forth)];
                if dice < path.lost {
                    send.clear();
                } else if dice < path.lost + path.doubled {
                    send.push(send[0].clone());
                } else if dice < path.lost + path.doubled + path.late && held.is_none() {
                    held = send.pop();
                } else {
                    // What is late comes after what was sent later.
                    send.extend(held.take());
                }
                for (to, datagram, forth) in send {
                    let socket = if forth { &far } else { &near };
                    // A side that is gone refuses datagrams.
                    let _ = socket.send_to(&datagram, to).await;
                }
            }
        });
        Self { address, moves }
    }

    fn move_on(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }
}

/// Both sides of a link over a relay.
async fn linked_over(path: Path, seed: u64) -> (Relay, Connected, Connected) {
    let mut listening = ListenOptions::default();
    listening.quic.node_key = Some(SigningKey::from_seed(Provider::Real, &[1; 32]));
    listening.quic.handshake_timeout = PATIENCE;
    let listened = listen(&endpoint("quic://127.0.0.1:*"), &listening).await;
    let mut listener = listened.unwrap();
    let address = listener.endpoint().to_string();
    let peer = address["quic://".len()..].parse().unwrap();
    let relay = Relay::to(peer, path, seed).await;
    let mut dialling = DialOptions::default();
    dialling.quic.node_key = Some(SigningKey::from_seed(Provider::Real, &[2; 32]));
    dialling.connect_timeout = PATIENCE;
    let place = endpoint(&format!("quic://{}", relay.address));
    let (ours, theirs) = tokio::join!(dial(&place, &dialling), listener.accept());
    (relay, admit(ours.unwrap()), admit(theirs.unwrap()))
}

fn split(connected: Connected) -> (ByteReader, ByteWriter) {
    match connected.link {
        Link::Bytes(reader, writer) => (reader, writer),
        Link::Messages(_) => panic!("this link carries messages"),
    }
}

/// Writes `count` numbers of 8 octets, and lets `each` know of each.
async fn count_up(writer: &ByteWriter, count: u64, mut each: impl FnMut(u64)) {
    for number in 0..count {
        each(number);
        let octets = number.to_be_bytes();
        let mut rest = &octets[..];
        while !rest.is_empty() {
            match writer.try_write(rest) {
                Ok(taken) => rest = &rest[taken..],
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    poll_fn(|cx| writer.poll_write_ready(cx)).await.unwrap();
                }
            }
        }
    }
}

/// Reads `count` numbers, which must be in order.
async fn hear_out(reader: &mut ByteReader, count: u64) {
    let mut heard = Vec::new();
    let (mut at, mut expected) = (0, 0);
    while expected < count {
        heard.reserve(65_536);
        let read = poll_fn(|cx| reader.poll_read_buf(cx, &mut heard)).await;
        assert!(read.unwrap() > 0, "the end came after {expected} numbers");
        while let Some(number) = heard.get(at..at + 8) {
            assert_eq!(number, expected.to_be_bytes());
            (at, expected) = (at + 8, expected + 1);
        }
        heard.drain(..at);
        at = 0;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_bad_path_does_is_made_good() {
    const NUMBERS: u64 = 10_000;
    for (seed, lost) in [(1, 1), (2, 5), (3, 12)] {
        let path = Path {
            lost,
            doubled: 5,
            late: 10,
        };
        let (_relay, ours, theirs) = linked_over(path, seed).await;
        let ((mut our_reader, our_writer), (mut reader, writer)) = (split(ours), split(theirs));
        let all = async {
            tokio::join!(
                count_up(&our_writer, NUMBERS, |_| {}),
                count_up(&writer, NUMBERS, |_| {}),
                hear_out(&mut our_reader, NUMBERS),
                hear_out(&mut reader, NUMBERS),
            )
        };
        timeout(PATIENCE, all).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_survives_a_change_of_our_address() {
    const NUMBERS: u64 = 60_000;
    let (relay, ours, theirs) = linked_over(Path::default(), 4).await;
    let ((mut our_reader, our_writer), (mut reader, writer)) = (split(ours), split(theirs));
    let all = async {
        tokio::join!(
            count_up(&our_writer, NUMBERS, |number| {
                if number % 20_000 == 10_000 {
                    relay.move_on();
                }
            }),
            count_up(&writer, NUMBERS, |_| {}),
            hear_out(&mut our_reader, NUMBERS),
            hear_out(&mut reader, NUMBERS),
        )
    };
    timeout(PATIENCE, all).await.unwrap();
}

//! What a message costs in the patterns, without sockets: choosing its peers and encoding it for
//! them, and taking it from a peer.
//!
//! `cargo bench -p withy --bench patterns`.

#![allow(clippy::unwrap_used, reason = "a failure ends the benchmark")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use withy_proto::mechanism::Opener;
use withy_proto::mechanism::zap::User;
use withy_proto::pattern::outgoing::SendOptions;
use withy_proto::pattern::pipe::{Carrier, HighWaterMark, Load};
use withy_proto::pattern::{Incoming, Outgoing, PipeKey};
use withy_proto::zmtp::connection::Extensions;
use withy_proto::zmtp::metadata::Metadata;
use withy_proto::zmtp::{Decoder, Framing, Limits, Outbox, Peer};
use withy_proto::{Frame, Message, SocketType};

/// Messages between two flushes, fewer than may wait for a peer.
const MESSAGES: usize = 500;

const SIZE: usize = 64;

/// A socket's sending half with so many peers.
fn outgoing(kind: SocketType, to: SocketType, peers: usize) -> (Outgoing, Vec<PipeKey>) {
    let mut out = Outgoing::new(kind, SendOptions::default());
    let attach = |_| {
        let peer = Peer {
            kind: to,
            identity: Vec::new(),
            minor: 1,
            extensions: Extensions::default(),
            mechanism: "NULL",
            metadata: Metadata::default(),
            user: User::default(),
            key: None,
            proven: None,
            confirmation: None,
        };
        out.attach(Carrier::Octets(Outbox::new(Framing::Clear)), &peer)
            .unwrap()
    };
    let keys: Vec<_> = (0..peers).map(attach).collect();
    if kind == SocketType::Pub {
        for &key in &keys {
            out.subscribed(key, b"", true).unwrap();
        }
    }
    (out, keys)
}

/// Takes what waits for each peer as if it was written.
fn flush(out: &mut Outgoing, keys: &[PipeKey], spares: &mut [Vec<u8>]) {
    for (&key, spare) in keys.iter().zip(spares) {
        if let (Some(load), _) = out.take(key, std::mem::take(spare)) {
            out.written(key, load.messages(), load.size());
            if let Load::Batch(batch) = load {
                *spare = batch.into_spare();
            }
        }
    }
}

fn sending(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("send");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    for (kind, to) in [
        (SocketType::Push, SocketType::Pull),
        (SocketType::Pub, SocketType::Sub),
    ] {
        for peers in [1, 8, 64] {
            let (mut out, keys) = outgoing(kind, to, peers);
            let mut spares = vec![Vec::new(); peers];
            let mut message = Message::from([7; SIZE]);
            group.bench_function(format!("{}/{peers}", kind.name()), |bencher| {
                bencher.iter(|| {
                    for _ in 0..MESSAGES {
                        out.send(&mut message).unwrap();
                        while out.touched().is_some() {}
                    }
                    flush(&mut out, &keys, &mut spares);
                });
            });
        }
    }
}

fn receiving(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    let mut outbox = Outbox::new(Framing::Clear);
    for _ in 0..MESSAGES {
        outbox.push(&Message::from([7; SIZE]));
    }
    let octets = outbox.take(Vec::new()).as_slice().unwrap().to_vec();
    for (kind, from) in [
        (SocketType::Pull, SocketType::Push),
        (SocketType::Sub, SocketType::Pub),
        (SocketType::Router, SocketType::Dealer),
    ] {
        // The key of a pipe comes from the sending half.
        let (_, keys) = outgoing(kind, from, 1);
        let mut incoming = Incoming::new(kind, HighWaterMark::default(), false);
        incoming.filter(b"", true);
        let decoder = Decoder::new(Limits::default(), Opener::Clear);
        incoming.attach(keys[0], Some(decoder), Frame::from("peer"));
        let mut message = Message::new();
        group.bench_function(kind.name(), |bencher| {
            bencher.iter_batched_ref(
                || octets.clone(),
                |octets| {
                    let mut at = 0;
                    for _ in 0..MESSAGES {
                        let decoded = incoming.decode(keys[0], &mut octets[at..], &mut message);
                        let (used, event) = decoded.unwrap();
                        assert!(event.is_some());
                        at += used;
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, sending, receiving);
criterion_main!(benches);

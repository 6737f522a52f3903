//! What one message costs in the core, without sockets: encoding, decoding, CURVE, and finding
//! the subscribers of a topic by prefixes and by filters.
//!
//! `cargo bench -p withy`. Rates beside other libraries are the business of `tests/bench/run`.

#![allow(clippy::unwrap_used, reason = "a failure ends the benchmark")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use withy_proto::Message;
use withy_proto::bus::{Filter, FilterTree, Topic};
use withy_proto::crypto::Seeded;
use withy_proto::crypto::keys::KeyPair;
use withy_proto::mechanism::curve::{Client, Server};
use withy_proto::mechanism::{Agreed, Handshake, Local, Opener, Sealer};
use withy_proto::routing::trie::{Limits as TrieLimits, Repeats, Trie};
use withy_proto::zmtp::metadata::Metadata;
use withy_proto::zmtp::{Decoder, Framing, Limits, Outbox};

/// Octets of a batch, as a socket writes them at once.
const BATCH: usize = 64 * 1024;

const SIZES: [usize; 4] = [16, 64, 256, 4_096];

fn messages(size: usize) -> (Message, u64) {
    (Message::from(vec![7; size]), (BATCH / size) as u64)
}

fn local(kind: &str) -> Local {
    let mut metadata = Metadata::default();
    metadata.set("Socket-Type", kind).unwrap();
    Local {
        metadata,
        domain: String::new(),
        authenticate: false,
        accepting: kind == "PULL",
    }
}

/// Both ends of a CURVE connection.
fn curve() -> (Agreed, Agreed) {
    let mut randomness = Seeded::new(1);
    let server_keys = KeyPair::generate(&mut randomness);
    let client_keys = KeyPair::generate(&mut randomness);
    let mut client = Client::new(local("PUSH"), client_keys, server_keys.public());
    let mut server = Server::new(local("PULL"), server_keys);
    while !(client.is_complete() && server.is_complete()) {
        if let Some(command) = client.next_command(&mut randomness) {
            server.handle_command(&command).unwrap();
        }
        if let Some(command) = server.next_command(&mut randomness) {
            client.handle_command(&command).unwrap();
        }
    }
    (Box::new(client).finish(), Box::new(server).finish())
}

/// A batch on the wire, and how many messages it has.
fn encode(framing: Framing, sealer: &mut Sealer, message: &Message, count: u64) -> Vec<u8> {
    let mut outbox = Outbox::new(framing);
    for _ in 0..count {
        outbox.push(message);
    }
    let mut batch = outbox.take(Vec::new());
    batch.seal(sealer, || Duration::ZERO).unwrap();
    batch.as_slice().unwrap().to_vec()
}

fn decode(decoder: &mut Decoder, octets: &mut [u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    let mut message = Message::new();
    loop {
        let (used, decoded) = decoder.decode(&mut octets[at..], &mut message).unwrap();
        at += used;
        match black_box(decoded) {
            Some(_) => count += 1,
            None => return count,
        }
    }
}

fn framing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("null");
    for size in SIZES {
        let (message, count) = messages(size);
        group.throughput(Throughput::Elements(count));
        let mut outbox = Outbox::new(Framing::Clear);
        let mut spare = Vec::new();
        group.bench_function(format!("encode/{size}"), |bencher| {
            bencher.iter(|| {
                for _ in 0..count {
                    outbox.push(black_box(&message));
                }
                spare = outbox.take(std::mem::take(&mut spare)).into_spare();
            });
        });
        let mut octets = encode(Framing::Clear, &mut Sealer::Clear, &message, count);
        let mut decoder = Decoder::new(Limits::default(), Opener::Clear);
        group.bench_function(format!("decode/{size}"), |bencher| {
            bencher.iter(|| assert_eq!(decode(&mut decoder, &mut octets) as u64, count));
        });
    }
}

fn sealing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("curve");
    for size in SIZES {
        let (message, count) = messages(size);
        group.throughput(Throughput::Elements(count));
        let (mut client, _) = curve();
        group.bench_function(format!("seal/{size}"), |bencher| {
            bencher.iter(|| encode(Framing::Curve, &mut client.sealer, &message, count));
        });
        let (mut client, server) = curve();
        let mut decoder = Decoder::new(Limits::default(), server.opener);
        group.bench_function(format!("open/{size}"), |bencher| {
            bencher.iter_batched_ref(
                || encode(Framing::Curve, &mut client.sealer, &message, count),
                |octets| assert_eq!(decode(&mut decoder, octets) as u64, count),
                BatchSize::PerIteration,
            );
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("handshake", |bencher| bencher.iter(curve));
}

fn routing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("topics");
    for prefixes in [10, 1_000, 100_000_u32] {
        let mut trie = Trie::new(TrieLimits::default(), Repeats::default());
        let mut topics = Vec::new();
        for number in 0..prefixes {
            let prefix = format!("sensors/{}/{}", number % 97, number);
            trie.subscribe(prefix.as_bytes(), number % 64).unwrap();
            topics.push(prefix + "/celsius");
        }
        let mut at = 0;
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("match/{prefixes}"), |bencher| {
            bencher.iter(|| {
                // A prime, so that neighbours are not asked for one after the other.
                at = (at + 7_919) % topics.len();
                trie.matches(topics[at].as_bytes(), &mut |subscriber| {
                    black_box(subscriber);
                });
            });
        });
    }
}

fn filtering(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filters");
    for filters in [10, 1_000, 100_000_u32] {
        let mut tree = FilterTree::default();
        let mut topics = Vec::<Topic>::new();
        for number in 0..filters {
            let device = format!("sensors/{}/{}", number % 97, number);
            let filter = match number % 4 {
                0 => format!("{device}/#"),
                1 => format!("sensors/+/{number}/celsius"),
                _ => format!("{device}/+"),
            };
            let filter: Filter = filter.parse().unwrap();
            tree.subscribe(&filter, number % 64).unwrap();
            topics.push(format!("{device}/celsius").parse().unwrap());
        }
        let mut at = 0;
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("match/{filters}"), |bencher| {
            bencher.iter(|| {
                at = (at + 7_919) % topics.len();
                tree.matches(&topics[at], &mut |subscriber| {
                    black_box(subscriber);
                });
            });
        });
    }
}

criterion_group!(benches, framing, sealing, routing, filtering);
criterion_main!(benches);

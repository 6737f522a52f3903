//! What encryption costs, without sockets: records under both ciphers, the key agreements and
//! signatures of a handshake, and a whole one of NOISE. CURVE is in `data_path`.
//!
//! `cargo bench -p withy --bench crypto`.

#![allow(clippy::unwrap_used, reason = "a failure ends the benchmark")]

use std::hint::black_box;
use std::io::IoSlice;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use withy_proto::crypto::aead::{Key, Suite};
use withy_proto::crypto::kem::{self, DecapsulationKey};
use withy_proto::crypto::keys::KeyPair;
use withy_proto::crypto::sign::{self, SigningKey};
use withy_proto::crypto::{Provider, Seeded};
use withy_proto::mechanism::noise::{Initiator, NAME, Responder};
use withy_proto::mechanism::party::{Realm, Settings};
use withy_proto::mechanism::zap::Decision;
use withy_proto::mechanism::{Handshake, Local, Opener};
use withy_proto::trust::{Certificate, NodeId, Validity};
use withy_proto::zmtp::metadata::Metadata;
use withy_proto::zmtp::{Decoder, Limits, greeting, record};

const SIZES: [usize; 3] = [64, 1_024, record::MAX_PLAINTEXT];

/// Seconds since the Unix epoch, when certificates are made and shown.
const NOW: u64 = 1_800_000_000;

fn sealer(suite: Suite) -> record::Sealer {
    record::Sealer::new(Key::new(Provider::Real, suite, &[7; 32]), 0)
}

fn seal(sealer: &mut record::Sealer, plaintext: &[u8]) -> Vec<u8> {
    let runs = [IoSlice::new(plaintext)].into_iter();
    sealer.seal(runs, plaintext.len(), Duration::ZERO).unwrap()
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("records");
    for suite in [Suite::AesGcm, Suite::ChaChaPoly] {
        for size in SIZES {
            let name = suite.name();
            let plaintext = vec![7; size];
            group.throughput(Throughput::Bytes(size as u64));
            let mut sealing = sealer(suite);
            group.bench_function(format!("seal/{name}/{size}"), |bencher| {
                bencher.iter(|| seal(&mut sealing, black_box(&plaintext)));
            });
            let mut sealing = sealer(suite);
            let key = Key::new(Provider::Real, suite, &[7; 32]);
            let opener = Opener::Records(Box::new(record::Opener::new(key, 0)));
            let mut decoder = Decoder::new(Limits::default(), opener);
            group.bench_function(format!("open/{name}/{size}"), |bencher| {
                bencher.iter_batched_ref(
                    || seal(&mut sealing, &plaintext),
                    |record| assert_eq!(decoder.open(record), Ok(size)),
                    BatchSize::PerIteration,
                );
            });
        }
    }
}

fn agreements(criterion: &mut Criterion) {
    let mut randomness = Seeded::new(1);
    let mut group = criterion.benchmark_group("x25519");
    group.bench_function("generate", |bencher| {
        bencher.iter(|| KeyPair::generate(&mut randomness));
    });
    let public = KeyPair::generate(&mut randomness).public();
    // It is found out by an agreement.
    group.bench_function("agree", |bencher| {
        bencher.iter(|| black_box(&public).is_weak());
    });
    group.finish();

    let mut group = criterion.benchmark_group("ml-kem-768");
    group.bench_function("generate", |bencher| {
        bencher.iter(|| DecapsulationKey::generate(Provider::Real, &mut randomness));
    });
    let key = DecapsulationKey::generate(Provider::Real, &mut randomness);
    let public = key.public();
    group.bench_function("encapsulate", |bencher| {
        bencher.iter(|| kem::encapsulate(Provider::Real, &public, &mut randomness).unwrap());
    });
    let (ciphertext, _) = kem::encapsulate(Provider::Real, &public, &mut randomness).unwrap();
    group.bench_function("decapsulate", |bencher| {
        bencher.iter(|| key.decapsulate(black_box(&ciphertext)));
    });
}

fn signatures(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ed25519");
    let key = SigningKey::from_seed(Provider::Real, &[7; 32]);
    let parts = [&b"domain"[..], &[7; 128]];
    group.bench_function("sign", |bencher| bencher.iter(|| key.sign(&parts)));
    let (public, signature) = (key.public(), key.sign(&parts));
    group.bench_function("verify", |bencher| {
        bencher.iter(|| assert!(sign::verify(Provider::Real, &public, &parts, &signature)));
    });
}

fn settings(seed: u64) -> Settings {
    let mut randomness = Seeded::new(seed);
    let identity = SigningKey::generate(Provider::Real, &mut randomness);
    let node = NodeId::of(&SigningKey::generate(Provider::Real, &mut randomness));
    let keys = KeyPair::generate(&mut randomness);
    let validity = Validity::starting(NOW, 1_000);
    let certificate = Certificate::issue(&identity, node, keys.public(), validity);
    Settings {
        has_aes: true,
        ..Settings::new(keys, vec![Realm::open(certificate)], NOW)
    }
}

fn local(kind: &str) -> Local {
    let mut metadata = Metadata::default();
    metadata.set("Socket-Type", kind).unwrap();
    Local {
        metadata,
        domain: String::new(),
        authenticate: kind == "REP",
        accepting: kind == "REP",
    }
}

/// A handshake of NOISE, both ends.
fn noise(ours: &Settings, theirs: &Settings, randomness: &mut Seeded) {
    let mut first = Initiator::new(local("REQ"), ours.clone(), Provider::Real, randomness);
    let mut second = Responder::new(local("REP"), theirs.clone(), Provider::Real, randomness);
    let greeting = greeting::encode(NAME, false, first.filler());
    let answer = greeting::encode(NAME, true, second.filler());
    first.handle_greetings(&greeting, &answer).unwrap();
    second.handle_greetings(&answer, &greeting).unwrap();
    while !(first.is_complete() && second.is_complete()) {
        if let Some(command) = first.next_command(randomness) {
            second.handle_command(&command).unwrap();
        }
        if second.auth_request().is_some() {
            second.set_decision(Decision::accept("peer"));
        }
        if let Some(command) = second.next_command(randomness) {
            first.handle_command(&command).unwrap();
        }
    }
}

fn handshake(criterion: &mut Criterion) {
    let (ours, theirs) = (settings(1), settings(2));
    let mut randomness = Seeded::new(3);
    criterion.bench_function("noise/handshake", |bencher| {
        bencher.iter(|| noise(&ours, &theirs, &mut randomness));
    });
}

criterion_group!(benches, records, agreements, signatures, handshake);
criterion_main!(benches);

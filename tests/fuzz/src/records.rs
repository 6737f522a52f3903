//! The transport stream of NOISE: records sealed by ours, repeated, left out, swapped, changed and
//! cut on their way, with the ciphers themselves; and records that anybody can make, with the null
//! cipher. Only what comes as it was sealed, in its order, may come out.

use std::hash::{DefaultHasher, Hasher as _};
use std::time::Duration;

use withy_proto::crypto::Provider;
use withy_proto::crypto::aead::{Key, Suite, TAG};
use withy_proto::mechanism::{Opener, Sealer};
use withy_proto::zmtp::decoder::Limits;
use withy_proto::zmtp::record::{self, REKEY_EVERY};
use withy_proto::zmtp::{Decoder, Framing, Item, Outbox};

use super::input::Input;
use super::model::{self, Fault};
use super::session::items;
use super::wire::{self, Receiver};

/// Streams are no longer than this.
const LONGEST: usize = 100_000;

/// A key, and where its counter starts.
#[derive(Clone, Copy)]
struct Start {
    provider: Provider,
    suite: Suite,
    key: [u8; 32],
    counter: u64,
}

impl Start {
    fn key(self) -> Key {
        Key::new(self.provider, self.suite, &self.key)
    }

    fn sealer(self) -> Sealer {
        Sealer::Records(Box::new(record::Sealer::new(self.key(), self.counter)))
    }

    fn receiver(self, limits: Limits) -> Receiver {
        let opener = record::Opener::new(self.key(), self.counter);
        Receiver::new(Decoder::new(limits, Opener::Records(Box::new(opener))))
    }
}

/// A record as it was sealed, and what it carries.
struct Sealed {
    record: Vec<u8>,
    plain: Vec<u8>,
}

/// Seals, disturbs, opens.
pub fn run(input: &[u8]) {
    let key = key_of(input);
    let mut input = Input::new(input);
    let choice = input.octet();
    let start = Start {
        provider: match choice & 1 {
            0 => Provider::DangerNull,
            _ => Provider::Real,
        },
        suite: match choice & 2 {
            0 => Suite::AesGcm,
            _ => Suite::ChaChaPoly,
        },
        key,
        counter: input.one_of(&[0, 1, 1 << 32, u64::MAX - 5]),
    };
    let how = input.octet();
    let limits = Limits {
        max_message_size: input.one_of(&[0, 1, 100, 300, 40_000, 1 << 26, 1 << 26, 1 << 26]),
        max_parts: input.one_of(&[1, 2, 1024, 1024]),
    };
    let sealed = seal(start, &mut input);
    let stream = disturb(&sealed, &mut input);
    let expected = Model::of(start, &sealed, &stream);
    let (items, fault) = model::decode(&expected.plain, limits, 0, &mut model::clear);
    let fault = fault.or_else(|| expected.forged.then_some(Fault::Forged));

    // A record at a time, all that comes before a fault comes out.
    let mut exact = start.receiver(limits);
    let mut rest = &stream[..];
    for size in expected.sizes {
        let (record, tail) = rest.split_at(size);
        exact.arrive(record, false);
        rest = tail;
    }
    exact.arrive(rest, false);
    assert_eq!(exact.items, items);
    assert_eq!(exact.failure.as_ref().map(model::fault), fault);

    // In other pieces, what comes in one piece with a record that does not open may be missing.
    let mut receiver = start.receiver(limits);
    for piece in wire::pieces(how, &stream) {
        receiver.arrive(piece, how & 0x80 != 0);
    }
    assert_eq!(receiver.failure.is_some(), fault.is_some());
    if receiver.failure.as_ref().map(model::fault) == Some(Fault::Forged) {
        assert!(items.starts_with(&receiver.items));
    } else {
        assert_eq!(receiver.items, items);
    }
}

/// A key of this input alone: a fuzzer sees which tag a record should have had, and would forge one with
/// the next input.
fn key_of(input: &[u8]) -> [u8; 32] {
    let mut hasher = DefaultHasher::new();
    hasher.write(input);
    let mut key = [7; 32];
    key[..8].copy_from_slice(&hasher.finish().to_be_bytes());
    key
}

/// A few batches, between which an hour may pass; each with its twin of the null cipher, which is
/// what it carries.
fn seal(start: Start, input: &mut Input<'_>) -> Vec<Sealed> {
    let null = Start {
        provider: Provider::DangerNull,
        ..start
    };
    let (mut sealer, mut twin) = (start.sealer(), null.sealer());
    let mut now = Duration::ZERO;
    let mut sealed = Vec::new();
    for _ in 0..4 {
        let choice = input.octet();
        if choice & 1 != 0 {
            now += REKEY_EVERY;
        }
        let said = items(input);
        let mut both = [&mut sealer, &mut twin].map(|sealer| {
            let mut batch = outbox_of(&said).take(Vec::new());
            let result = batch.seal(sealer, || now);
            result.is_ok().then(|| split(&wire::write(&mut batch, 0)))
        });
        let [Some(records), Some(plains)] = &mut both else {
            assert!(both.iter().all(Option::is_none), "both counters end");
            break;
        };
        assert_eq!(records.len(), plains.len());
        for (record, plain) in records.drain(..).zip(plains.drain(..)) {
            assert_eq!(record.len(), plain.len());
            let plain = plain[2..plain.len() - TAG].to_vec();
            sealed.push(Sealed { record, plain });
        }
    }
    sealed
}

fn outbox_of(items: &[Item]) -> Outbox {
    let mut outbox = Outbox::new(Framing::Clear);
    for item in items {
        match item {
            Item::Message(message) => outbox.push(message),
            Item::Command(command) => outbox.push_command(command),
        }
    }
    outbox
}

/// The octets of whole records, one by one.
fn split(mut octets: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let Some(size) = whole(octets) {
        let (record, rest) = octets.split_at(size);
        records.push(record.to_vec());
        octets = rest;
    }
    assert!(octets.is_empty());
    records
}

/// The octets of the record at the front, if it is whole.
fn whole(octets: &[u8]) -> Option<usize> {
    let size = 2 + usize::from(octets.first().copied()?) * 256 + usize::from(*octets.get(1)?);
    (octets.len() >= size).then_some(size)
}

/// What arrives of the records.
fn disturb(sealed: &[Sealed], input: &mut Input<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut next = 0;
    while !input.is_empty() && stream.len() < LONGEST {
        let choice = input.octet();
        let at = match choice & 0x40 {
            0 => next,
            _ => usize::from(input.octet()),
        };
        let record = match sealed.get(at % sealed.len().max(1)) {
            Some(sealed) => &sealed.record[..],
            None => &[],
        };
        match choice & 0xbf {
            // As it is, which is mostly the next one.
            0..=0x2f => {
                stream.extend_from_slice(record);
                next = at + 1;
            }
            // Left out.
            0x30..=0x33 => next = at + 1,
            // Changed.
            0x34..=0x3f => {
                let mut record = record.to_vec();
                let place = input.number();
                if !record.is_empty() {
                    let length = record.len();
                    record[place % length] ^= input.octet();
                }
                stream.extend_from_slice(&record);
                next = at + 1;
            }
            // Cut.
            0x80..=0x87 => {
                let length = input.number() % (record.len() + 1);
                stream.extend_from_slice(&record[..length]);
                next = at + 1;
            }
            // Made up, with a tag of the null cipher or with any.
            0x88..=0xaf => {
                let length = usize::from(input.octet() % 64);
                let text = input.take(length);
                let size = (text.len() + TAG) as u16;
                stream.extend_from_slice(&size.to_be_bytes());
                stream.extend_from_slice(text);
                let tag = if choice & 0x0f == 0x0f { 1 } else { 0 };
                stream.extend_from_slice(&[tag; TAG]);
            }
            // Any octets.
            _ => {
                let length = usize::from(input.octet() % 64);
                stream.extend_from_slice(input.take(length));
            }
        }
    }
    stream
}

/// The obvious opener: the whole stream at once.
struct Model {
    plain: Vec<u8>,
    /// The octets of each record that is whole, up to the first that does not open.
    sizes: Vec<usize>,
    forged: bool,
}

impl Model {
    fn of(start: Start, sealed: &[Sealed], mut stream: &[u8]) -> Self {
        let mut model = Self {
            plain: Vec::new(),
            sizes: Vec::new(),
            forged: false,
        };
        let mut opened: u64 = 0;
        let mut was_empty = false;
        while let Some(size) = whole(stream) {
            let (record, rest) = stream.split_at(size);
            stream = rest;
            model.sizes.push(size);
            let last = start.counter.checked_add(opened) == Some(u64::MAX);
            let plain = match start.provider {
                _ if last => None,
                Provider::Real => sealed
                    .get(opened as usize)
                    .filter(|sealed| sealed.record == record)
                    .map(|sealed| &sealed.plain[..]),
                Provider::DangerNull => record[2..]
                    .split_last_chunk::<TAG>()
                    .filter(|(_, tag)| **tag == [0; TAG])
                    .map(|(plain, _)| plain),
            };
            // Two in a row that carry nothing are no better than one that does not open.
            let Some(plain) = plain.filter(|plain| !(plain.is_empty() && was_empty)) else {
                model.forged = true;
                return model;
            };
            was_empty = plain.is_empty();
            model.plain.extend_from_slice(plain);
            opened += 1;
        }
        model
    }
}

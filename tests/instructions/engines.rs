//! Rows of the core, without sockets.

use std::hint::black_box;
use std::io::IoSlice;
use std::time::Duration;

use withy_proto::Message;
use withy_proto::bus::{Filter, FilterTree, Topic};
use withy_proto::crypto::Provider;
use withy_proto::crypto::aead::{Key, Suite};
use withy_proto::mechanism::Opener;
use withy_proto::routing::trie::{Limits as TrieLimits, Repeats, Trie};
use withy_proto::zmtp::{Decoder, Framing, Limits, Outbox, record};

use crate::Failure;
use crate::callgrind::counted;

/// Octets that a socket writes at once.
const BATCH: usize = 64 * 1024;

/// Runs it once for the caches, and once to be counted.
fn count(mut work: impl FnMut()) {
    work();
    counted(&mut work);
}

pub(crate) fn encode(size: usize, messages: u64) -> Result<(), Failure> {
    let message = Message::from(vec![7; size]);
    let mut outbox = Outbox::new(Framing::Clear);
    let mut spare = Vec::new();
    count(|| {
        for _ in 0..messages {
            outbox.push(black_box(&message));
            if outbox.size() >= BATCH {
                spare = outbox.take(std::mem::take(&mut spare)).into_spare();
            }
        }
    });
    Ok(())
}

pub(crate) fn decode(size: usize, messages: u64) -> Result<(), Failure> {
    let mut outbox = Outbox::new(Framing::Clear);
    let in_one = (BATCH / size).max(1) as u64;
    for _ in 0..in_one {
        outbox.push(&Message::from(vec![7; size]));
    }
    let batch = outbox.take(Vec::new());
    let mut octets = batch.as_slice().ok_or("a batch in two parts")?.to_vec();
    let mut decoder = Decoder::new(Limits::default(), Opener::Clear);
    let mut message = Message::new();
    let mut decoded = 0;
    count(|| {
        decoded = 0;
        while decoded < messages {
            let mut at = 0;
            while let Ok((used, Some(_))) = decoder.decode(&mut octets[at..], &mut message) {
                black_box(&message);
                at += used;
                decoded += 1;
            }
        }
    });
    Ok(())
}

/// Finds the subscribers of a topic among prefixes.
pub(crate) fn prefixes(prefixes: u32, messages: u64) -> Result<(), Failure> {
    let mut trie = Trie::new(TrieLimits::default(), Repeats::default());
    let mut topics = Vec::new();
    for number in 0..prefixes {
        let prefix = format!("sensors/{}/{number}", number % 97);
        trie.subscribe(prefix.as_bytes(), number % 64)
            .map_err(|error| format!("{error:?}"))?;
        topics.push(prefix + "/celsius");
    }
    count(|| {
        for topic in scattered(&topics).take(messages as usize) {
            trie.matches(topic.as_bytes(), &mut |subscriber| {
                black_box(subscriber);
            });
        }
    });
    Ok(())
}

/// Finds the subscribers of a topic among filters with wildcards.
pub(crate) fn filters(filters: u32, messages: u64) -> Result<(), Failure> {
    let mut tree = FilterTree::default();
    let mut topics = Vec::<Topic>::new();
    for number in 0..filters {
        let device = format!("sensors/{}/{number}", number % 97);
        let filter: Filter = match number % 4 {
            0 => format!("{device}/#"),
            1 => format!("sensors/+/{number}/celsius"),
            _ => format!("{device}/+"),
        }
        .parse()?;
        tree.subscribe(&filter, number % 64)
            .map_err(|error| format!("{error:?}"))?;
        topics.push(format!("{device}/celsius").parse()?);
    }
    count(|| {
        for topic in scattered(&topics).take(messages as usize) {
            tree.matches(topic, &mut |subscriber| {
                black_box(subscriber);
            });
        }
    });
    Ok(())
}

/// All of them again and again, but neighbours not one after the other.
fn scattered<T>(topics: &[T]) -> impl Iterator<Item = &T> {
    // A prime.
    (0..).map(|turn| &topics[turn * 7_919 % topics.len()])
}

fn key() -> Key {
    Key::new(Provider::Real, Suite::AesGcm, &[7; 32])
}

/// Seals records of `size` octets.
pub(crate) fn seal(size: usize, records: u64) -> Result<(), Failure> {
    let mut sealer = record::Sealer::new(key(), 0);
    let plaintext = vec![7; size];
    count(|| {
        for _ in 0..records {
            let run = [IoSlice::new(&plaintext)].into_iter();
            black_box(sealer.seal(run, size, Duration::ZERO).is_ok());
        }
    });
    Ok(())
}

/// Opens records of `size` octets.
pub(crate) fn open(size: usize, records: u64) -> Result<(), Failure> {
    let mut sealer = record::Sealer::new(key(), 0);
    let opener = Opener::Records(Box::new(record::Opener::new(key(), 0)));
    let mut decoder = Decoder::new(Limits::default(), opener);
    let plaintext = vec![7; size];
    let mut sealed = Vec::new();
    for _ in 0..2 * records {
        let run = [IoSlice::new(&plaintext)].into_iter();
        let record = sealer.seal(run, size, Duration::ZERO);
        sealed.push(record.map_err(|error| format!("{error:?}"))?);
    }
    let mut opened = 0;
    let mut next = sealed.iter_mut();
    count(|| {
        for record in next.by_ref().take(records as usize) {
            opened += decoder.open(record).unwrap_or(0);
        }
    });
    if opened as u64 != 2 * records * size as u64 {
        return Err("a record did not open".into());
    }
    Ok(())
}

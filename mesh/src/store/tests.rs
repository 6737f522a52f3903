//! A folder that is closed, cut, damaged and opened again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use withy_proto::queue::{Options, Put, Queue, QueueName, Receipt};

use super::*;

const NOW: Duration = Duration::from_secs(1_000);

fn name() -> QueueName {
    "jobs".parse().unwrap()
}

fn open(folder: &Path) -> Result<(Log, Queue), StoreError> {
    Log::open(folder, &name(), Options::default())
}

/// Puts a message, and stores all that there is to store.
fn put(log: &mut Log, queue: &mut Queue, body: &str) -> Result<(), StoreError> {
    let put = Put {
        message: body.into(),
        ..Put::default()
    };
    queue.put(put, NOW).unwrap();
    store(log, queue)
}

fn store(log: &mut Log, queue: &mut Queue) -> Result<(), StoreError> {
    let mut octets = Vec::new();
    let mut last: Option<Receipt> = None;
    while let Some((receipt, record)) = queue.poll_store() {
        record.encode(&mut octets);
        last = Some(receipt);
    }
    log.append(&octets)?;
    last.into_iter().for_each(|receipt| queue.stored(receipt));
    Ok(())
}

/// The bodies of all messages, in order.
fn bodies(queue: &mut Queue) -> Vec<String> {
    let consumer = withy_proto::queue::ConsumerId(1);
    queue.grow(consumer, u32::MAX).unwrap();
    let deliveries = std::iter::from_fn(|| queue.poll(NOW));
    let text = |frame: &crate::Frame| frame.as_str().unwrap().to_owned();
    deliveries.map(|it| text(it.message.first())).collect()
}

#[test]
fn what_was_stored_is_there_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("deep").join("queue");
    let (mut log, mut queue) = open(&path).unwrap();
    assert!(queue.is_empty() && log.len() == 0);
    for body in ["one", "two", "three"] {
        put(&mut log, &mut queue, body).unwrap();
    }
    let refused = open(&path).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    drop(log);
    let (mut log, mut queue) = open(&path).unwrap();
    assert_eq!(bodies(&mut queue), ["one", "two", "three"]);
    // Written anew, it is shorter, and goes on.
    let tag = withy_proto::queue::Tag(1);
    queue.ack(withy_proto::queue::ConsumerId(1), tag).unwrap();
    let before = log.len();
    let (receipt, records) = queue.snapshot();
    log.rewrite(records).unwrap();
    queue.stored(receipt);
    assert!(log.len() < before && !path.join("log.new").exists());
    put(&mut log, &mut queue, "four").unwrap();
    drop(log);
    let (log, mut queue) = open(&path).unwrap();
    assert_eq!(bodies(&mut queue), ["two", "three", "four"]);
    drop(log);
    let other = "others".parse().unwrap();
    let refused = Log::open(&path, &other, Options::default()).unwrap_err();
    assert!(
        matches!(refused, StoreError::OtherQueue { .. }),
        "{refused}"
    );
}

#[test]
fn others_may_not_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("queue");
    let _open = open(&path).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("log")), 0o600);
}

#[test]
fn a_log_that_is_cut_anywhere_opens_with_what_is_whole() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let (mut log, mut queue) = open(path).unwrap();
    let mut ends = vec![0];
    for body in ["one", "two", "three"] {
        put(&mut log, &mut queue, body).unwrap();
        ends.push(log.len());
    }
    drop(log);
    let whole = fs::read(path.join("log")).unwrap();
    // Every record's header, and places in its body.
    for end in (0..=whole.len()).filter(|end| end % 3 == 0 || ends.contains(&(*end as u64))) {
        for zeros in [0, 5_000] {
            let torn = [&whole[..end], &vec![0; zeros]].concat();
            fs::write(path.join("log"), torn).unwrap();
            let (mut log, mut queue) = open(path).unwrap();
            let found = bodies(&mut queue);
            let count = ends.iter().filter(|it| **it <= end as u64).count() - 1;
            // What was cut off may have been zeros.
            assert!(found.len() == count || zeros > 0 && found.len() == count + 1);
            assert_eq!(found, ["one", "two", "three"][..found.len()]);
            // It goes on where the tail was.
            put(&mut log, &mut queue, "next").unwrap();
            drop(log);
            let (_log, mut queue) = open(path).unwrap();
            assert_eq!(bodies(&mut queue).len(), found.len() + 1);
        }
    }
}

#[test]
fn damage_is_told_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let (mut log, mut queue) = open(path).unwrap();
    // More than one piece, so that damage is met wherever a piece ends.
    let long = "x".repeat(700_000);
    let mut starts = Vec::new();
    for _ in 0..5 {
        starts.push(log.len());
        put(&mut log, &mut queue, &long).unwrap();
    }
    drop(log);
    let whole = fs::read(path.join("log")).unwrap();
    for start in &starts[..4] {
        for within in [0, 5, 9, 13, 400_000] {
            let mut damaged = whole.clone();
            damaged[*start as usize + within] ^= 4;
            fs::write(path.join("log"), &damaged).unwrap();
            let error = open(path).unwrap_err();
            let StoreError::Damaged { at, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(at, *start);
            assert!(fs::read(path.join("log")).unwrap() == damaged);
        }
    }
    fs::write(path.join("log"), &whole).unwrap();
    let (_, mut queue) = open(path).unwrap();
    assert_eq!(bodies(&mut queue).len(), 5);
}

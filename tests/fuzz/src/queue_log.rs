//! Logs of queues: any octets, and logs that a queue wrote, cut and changed; and any records, against
//! a queue of a plain list.

use std::collections::BTreeMap;
use std::time::Duration;

use withy_proto::Message;
use withy_proto::queue::record::HEADER;
use withy_proto::queue::{
    Cause, ConsumerId, History, LogReader, Nack, Options, Origin, Priority, ProducerId, Put, Queue,
    Record, RecordError, RestoreError,
};

use super::input::Input;

/// Reads the input as a log, as changes to one, or as records.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    match input.octet() % 4 {
        0 => _ = read(input.rest()),
        1 => sealed(&mut input),
        2 => written(&mut input),
        _ => restore(&mut input),
    }
}

/// Reads a log; whatever it has is written as it was.
fn read(log: &[u8]) -> Vec<Record> {
    let mut reader = LogReader::new(log);
    let mut again = Vec::new();
    let mut records = Vec::new();
    let mut error = None;
    for record in reader.by_ref() {
        match record {
            Ok(record) => {
                record.encode(&mut again);
                records.push(record);
            }
            Err(found) => error = Some(found),
        }
    }
    assert_eq!(again, log[..reader.end()]);
    assert!(reader.next().is_none());
    let rest = &log[reader.end()..];
    if let Some(error) = error {
        assert_eq!(error.at, reader.end());
        assert_ne!(error.error, RecordError::CutShort);
        assert!(rest.iter().any(|octet| *octet != 0));
    }
    records
}

/// The checksum of records, bit by bit.
fn checksum(octets: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for octet in octets {
        sum ^= u32::from(*octet);
        for _ in 0..8 {
            let carry = sum & 1;
            sum = (sum >> 1) ^ (carry * 0x82f6_3b78);
        }
    }
    !sum
}

/// Bodies of any octets behind right checksums.
fn sealed(input: &mut Input<'_>) {
    let mut log = Vec::new();
    while !input.is_empty() {
        let choice = input.octet();
        let length = usize::from(choice % 128).min(64);
        let mut body = input.take(length).to_vec();
        if choice & 0x80 == 0 && body.len() > 1 {
            body[0] = 1;
            body[1] %= 9;
        }
        let length = (body.len() as u32).to_be_bytes();
        log.extend(length);
        log.extend(checksum(&length).to_be_bytes());
        log.extend(checksum(&body).to_be_bytes());
        log.extend(&body);
    }
    read(&log);
}

/// What a queue does, at the input's choice.
fn operate(queue: &mut Queue, input: &mut Input<'_>, log: &mut Vec<u8>) {
    let mut open = Vec::new();
    for _ in 0..input.octet() % 32 {
        let choice = input.octet();
        let now = Duration::from_millis(u64::from(choice));
        match choice % 6 {
            0 | 1 => {
                let origin = Origin {
                    producer: ProducerId([choice >> 6; 16]),
                    sequence: u64::from(input.octet()),
                };
                let put = Put {
                    origin: (choice & 8 != 0).then_some(origin),
                    priority: Priority::new(choice >> 4),
                    ttl: (choice & 16 != 0).then_some(now),
                    message: Message::from(input.take(usize::from(choice >> 3))),
                    ..Put::default()
                };
                _ = queue.put(put, now);
            }
            2 => {
                assert!(queue.grow(ConsumerId(0), 2).is_ok());
                open.extend(queue.poll(now));
            }
            3 => {
                if let Some(delivery) = open.pop() {
                    _ = queue.ack(delivery.consumer, delivery.tag);
                }
            }
            4 => {
                if let Some(delivery) = open.pop() {
                    let (consumer, tag) = (delivery.consumer, delivery.tag);
                    _ = queue.nack(consumer, tag, Nack::DeadLetter, "no", now);
                }
            }
            _ => {
                while let Some((receipt, record)) = queue.poll_store() {
                    record.encode(log);
                    queue.stored(receipt);
                }
            }
        }
    }
}

/// A log that a queue wrote is read back; cut, it is the beginning of that; changed, it is an error or
/// the beginning.
fn written(input: &mut Input<'_>) {
    let options = Options {
        max_messages: 5,
        max_dead: 2,
        durable: true,
        ..Options::default()
    };
    let name = || "jobs".parse().unwrap_or_else(|error| panic!("{error}"));
    let mut queue = Queue::new(name(), options.clone());
    let mut log = Vec::new();
    operate(&mut queue, input, &mut log);
    let whole = read(&log);
    let restored = Queue::restore(name(), options, whole.clone());
    assert!(restored.is_ok());
    let at = input.number() % (log.len() + 1);
    let cut = read(&log[..at]);
    assert_eq!(cut, whole[..cut.len()]);
    if at < log.len() {
        log[at] ^= input.octet().max(1);
        let changed = read(&log);
        assert_eq!(changed, whole[..changed.len()]);
        assert!(changed.len() < whole.len());
    }
    assert!(log.is_empty() || log.len() > HEADER);
}

/// Records in any order against the rule that each is about a message that is there.
fn restore(input: &mut Input<'_>) {
    let mut records = Vec::new();
    // Whether each message is dead.
    let mut there = BTreeMap::new();
    let mut highest = 0;
    let mut expected = Ok(());
    while !input.is_empty() {
        let choice = input.octet();
        let id = u64::from(choice >> 4);
        let live = there.get(&id) == Some(&false);
        let unknown = Err(RestoreError::Unknown { id });
        let (record, outcome) = match choice % 5 {
            0 | 1 => {
                let id = id + highest / 2;
                let fits = id > highest;
                if fits {
                    there.insert(id, false);
                    highest = id;
                }
                let outcome = if fits {
                    Ok(())
                } else {
                    Err(RestoreError::Order { id })
                };
                (put(id), outcome)
            }
            2 => {
                let attempt = Record::Attempt { id, attempt: 1 };
                (attempt, if live { Ok(()) } else { unknown })
            }
            3 => {
                let dead = Record::Dead {
                    id,
                    cause: Cause::Expired,
                    at: 0,
                    detail: String::new(),
                };
                if live {
                    there.insert(id, true);
                }
                (dead, if live { Ok(()) } else { unknown })
            }
            _ => {
                let was = there.remove(&id).is_some();
                (Record::Done { id }, if was { Ok(()) } else { unknown })
            }
        };
        records.push(record);
        if outcome.is_err() {
            expected = outcome;
            break;
        }
    }
    let name = "jobs".parse().unwrap_or_else(|error| panic!("{error}"));
    let restored = Queue::restore(name, Options::default(), records);
    let dead = there.values().filter(|dead| **dead).count();
    match (restored, expected) {
        (Ok(queue), Ok(())) => {
            assert_eq!((queue.len(), queue.dead()), (there.len() - dead, dead));
        }
        (restored, expected) => assert_eq!(restored.map(|_| ()), expected),
    }
}

fn put(id: u64) -> Record {
    Record::Put {
        id,
        origin: None,
        priority: Priority::default(),
        expires: None,
        attempts: 0,
        redelivered: false,
        dead: None,
        history: History::default(),
        message: Message::new(),
    }
}

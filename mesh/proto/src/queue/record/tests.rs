//! Records there and back, and octets that are none.

use super::*;
use crate::crypto::{Randomness as _, Seeded};
use std::time::Duration;

/// A record of any kind.
pub(in crate::queue) fn any(random: &mut Seeded) -> Record {
    let id = random.next_u64() >> (random.next_u64() % 64);
    let origin = random.next_u64().is_multiple_of(2).then_some(Origin {
        producer: ProducerId([random.next_u64() as u8; 16]),
        sequence: id,
    });
    let cause = Cause::ALL[random.next_u64() as usize % 4];
    let mut history = History::default();
    for _ in 0..random.next_u64() % 3 {
        let at = Duration::from_millis(id >> 8);
        history.note(&"jobs".parse().unwrap(), cause, "since", at);
    }
    match random.next_u64() % 8 {
        0 => Record::Epoch(Epoch::NONE),
        1 => Record::Attempt { id, attempt: 7 },
        2 => Record::Dead {
            id,
            cause,
            at: id,
            detail: "détail".to_owned(),
        },
        3 => Record::Done { id },
        4 => Record::Withdrawn { id, origin },
        5 => Record::Producer {
            producer: ProducerId([id as u8; 16]),
            window: Box::default(),
        },
        _ => Record::Put {
            id,
            origin,
            priority: Priority::new(random.next_u64() as u8 % 10),
            expires: random.next_u64().is_multiple_of(2).then_some(id),
            attempts: id as u32,
            redelivered: random.next_u64().is_multiple_of(2),
            dead: random.next_u64().is_multiple_of(2).then_some(cause),
            history,
            message: (0..=random.next_u64() % 3)
                .map(|frame| vec![id as u8; 50 * frame as usize])
                .collect(),
        },
    }
}

#[test]
fn the_checksum_is_the_one_of_the_rfc() {
    assert_eq!(checksum(b"123456789"), 0xe306_9283);
    assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
}

#[test]
fn records_round_trip_and_nothing_shorter_or_changed_does() {
    let mut random = Seeded::new(1);
    for _ in 0..200 {
        let record = any(&mut random);
        let mut octets = vec![9];
        record.encode(&mut octets);
        let octets = &mut octets[1..];
        assert_eq!(Record::decode(octets), Ok((record, octets.len())));
        for end in 0..octets.len() {
            assert_eq!(Record::decode(&octets[..end]), Err(RecordError::CutShort));
        }
        for at in 0..octets.len() {
            let bit = 1 << (random.next_u64() % 8);
            octets[at] ^= bit;
            let wrong = match at {
                0..8 => RecordError::Header,
                _ => RecordError::Body,
            };
            assert_eq!(Record::decode(octets), Err(wrong));
            octets[at] ^= bit;
        }
    }
}

/// A body with right checksums.
fn sealed(body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    let checksums = [checksum(&length), checksum(body)].map(u32::to_be_bytes);
    [&length, checksums.as_flattened(), body].concat()
}

#[test]
fn fields_that_no_record_has_are_errors() {
    let decode = |body: &[u8]| Record::decode(&sealed(body)).map(|(record, _)| record);
    let id = [0; 8];
    let done = [&[1, 5][..], &id].concat();
    assert_eq!(decode(&done), Ok(Record::Done { id: 0 }));
    let long = [&done[..], &[0]].concat();
    assert_eq!(decode(&long), Err(RecordError::Fields));
    assert_eq!(decode(&[]), Err(RecordError::Fields));
    let wrong = RecordError::Version { found: 2 };
    assert_eq!(decode(&[2, 5]), Err(wrong));
    for kind in [0, 8, 255] {
        let unknown = [&[1, kind][..], &id].concat();
        assert_eq!(decode(&unknown), Err(RecordError::Fields));
    }
    let put = |flags: u8, priority: u8, frames: u8| {
        let tail = [flags, priority, 0, 0, 0, 0, 0, 0, frames, 0, 0, 0, 0];
        decode(&[&[1, 2][..], &id, &tail].concat())
    };
    assert!(put(0, 9, 1).is_ok());
    for (flags, priority, frames) in [(16, 0, 1), (0, 10, 1), (0, 0, 0), (0, 0, 2)] {
        assert_eq!(put(flags, priority, frames), Err(RecordError::Fields));
    }
}

//! A producer and the keepers that answer it.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn node(number: u8) -> NodeId {
    NodeId::from_octets([number; 32])
}

fn epoch(number: u64, holder: u8) -> Epoch {
    Epoch::new(number, node(holder))
}

fn push() -> Push {
    Push {
        message: Message::from("job"),
        ..Push::default()
    }
}

/// What the keeper says to the last puts.
fn accepted(producer: &Producer, epoch: Epoch, first: u64, last: u64) -> Command {
    Command::Accepted {
        epoch,
        start: producer.start,
        first,
        last,
    }
}

/// Epoch, number and flag of the puts that are due.
fn puts(producer: &mut Producer) -> Vec<(Epoch, u64, bool)> {
    let due = std::iter::from_fn(|| producer.poll_transmit(SECOND));
    due.map(|command| match command {
        Command::Put {
            epoch,
            origin,
            redelivered,
            ..
        } => (epoch, origin.sequence, redelivered),
        other => panic!("{other:?}"),
    })
    .collect()
}

#[test]
fn what_is_not_confirmed_goes_to_the_next_keeper() {
    let mut producer = Producer::new(ProducerId([1; 16]), 3);
    for sequence in 1..=3 {
        assert_eq!(producer.push(push(), SECOND), Ok(sequence));
    }
    assert_eq!(producer.push(push(), SECOND), Err(push()));
    assert_eq!(puts(&mut producer), []);
    producer.connected(node(1));
    // It asks with one message, and is told.
    assert_eq!(puts(&mut producer), [(Epoch::NONE, 1, false)]);
    let first = epoch(1, 1);
    producer.handle(Command::Moved { epoch: first }).unwrap();
    let expected = [1, 2, 3].map(|sequence| (first, sequence, false));
    assert_eq!(puts(&mut producer), expected);
    let late = accepted(&producer, first, 1, 3);
    producer.handle(accepted(&producer, first, 2, 2)).unwrap();
    assert_eq!(producer.poll_event(), Some(Event::Accepted { sequence: 2 }));
    let second = epoch(2, 2);
    producer.observe(second);
    // Whatever the old keeper says does not count.
    producer.handle(late).unwrap();
    producer.handle(Command::Moved { epoch: first }).unwrap();
    assert_eq!((producer.stale(), producer.unconfirmed()), (2, 2));
    producer.connected(node(2));
    let expected = [1, 3].map(|sequence| (second, sequence, true));
    assert_eq!(puts(&mut producer), expected);
    let moved = Command::Moved { epoch: second };
    producer.handle(moved).unwrap();
    assert_eq!(puts(&mut producer), expected);
    // Nor does what it says to puts before the last start.
    let start = producer.start - 1;
    let refused = Command::Refused {
        epoch: second,
        start,
        sequence: 1,
        refusal: Refusal::Full,
    };
    producer.handle(refused).unwrap();
    assert_eq!((producer.stale(), producer.unconfirmed()), (3, 2));
    producer.handle(accepted(&producer, second, 1, 3)).unwrap();
    assert_eq!((producer.unconfirmed(), producer.resent()), (0, 4));
}

#[test]
fn answers_to_what_was_not_put_are_misuse() {
    let mut producer = Producer::new(ProducerId([1; 16]), 3);
    producer.connected(node(1));
    producer.observe(epoch(1, 1));
    producer.push(push(), SECOND).unwrap();
    let answer = accepted(&producer, epoch(1, 1), 1, 1);
    assert_eq!(producer.handle(answer.clone()), Err(Misuse::Answer));
    assert_eq!(puts(&mut producer).len(), 1);
    let beyond = accepted(&producer, epoch(1, 1), 1, 2);
    assert_eq!(producer.handle(beyond), Err(Misuse::Answer));
    assert_eq!(producer.handle(answer), Ok(()));
    let epoch = epoch(1, 1);
    let wrong = Command::Credit { epoch, credit: 1 };
    assert_eq!(producer.handle(wrong), Err(Misuse::Direction));
}

#[test]
fn what_is_refused_or_too_old_comes_back() {
    let mut producer = Producer::new(ProducerId([1; 16]), 3);
    producer.connected(node(1));
    producer.observe(epoch(1, 1));
    producer.push(push(), SECOND).unwrap();
    let ttl = Some(SECOND);
    producer.push(Push { ttl, ..push() }, SECOND).unwrap();
    assert_eq!(puts(&mut producer).len(), 2);
    let refusal = Refusal::Full;
    let full = Command::Refused {
        epoch: epoch(1, 1),
        start: producer.start,
        sequence: 1,
        refusal,
    };
    producer.handle(full).unwrap();
    assert_eq!(producer.next_timeout(), Some(2 * SECOND));
    producer.handle_timeout(2 * SECOND);
    let refused = |sequence, refusal, push| Event::Refused {
        sequence,
        refusal,
        push,
    };
    assert_eq!(producer.poll_event(), Some(refused(1, refusal, push())));
    let expired = Push {
        ttl,
        redelivered: true,
        ..push()
    };
    let expected = refused(2, Refusal::Expired, expired);
    assert_eq!(producer.poll_event(), Some(expected));
    assert_eq!((producer.next_timeout(), producer.unconfirmed()), (None, 0));
}

#[test]
fn numbers_under_way_stay_within_what_a_keeper_remembers() {
    let mut producer = Producer::new(ProducerId([1; 16]), usize::MAX);
    producer.connected(node(1));
    producer.observe(epoch(1, 1));
    while producer.has_room() {
        producer.push(push(), SECOND).unwrap();
    }
    assert_eq!(producer.unconfirmed() as u64, WINDOW);
    assert_eq!(puts(&mut producer).len() as u64, WINDOW);
    producer
        .handle(accepted(&producer, epoch(1, 1), 2, WINDOW))
        .unwrap();
    while producer.poll_event().is_some() {}
    assert!(!producer.has_room(), "the first is still under way");
    producer
        .handle(accepted(&producer, epoch(1, 1), 1, 1))
        .unwrap();
    assert!(producer.has_room());
}

#[test]
fn who_resumes_goes_on_with_the_number() {
    let mut producer = Producer::resuming(ProducerId([1; 16]), 7, 3);
    let epoch = epoch(1, 1);
    producer.observe(epoch);
    producer.connected(node(1));
    assert_eq!(producer.push(push(), SECOND), Ok(7));
    assert_eq!(puts(&mut producer), [(epoch, 7, false)]);
    let answer = accepted(&producer, epoch, 7, 7);
    producer.handle(answer).unwrap();
    assert_eq!(producer.poll_event(), Some(Event::Accepted { sequence: 7 }));
    assert_eq!(Producer::resuming(ProducerId([1; 16]), 0, 3).next, 1);
}

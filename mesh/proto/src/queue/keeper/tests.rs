//! A keeper between its peers and its store.

use super::super::options::Options;
use super::super::window::{Origin, ProducerId};
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const PEER: PeerId = PeerId(1);
const OTHER: PeerId = PeerId(2);

fn node(number: u8) -> NodeId {
    NodeId::from_octets([number; 32])
}

fn keeper(durable: bool) -> Keeper {
    let options = Options {
        durable,
        max_messages: 5,
        ..Options::default()
    };
    Keeper::new(node(1), Queue::new("jobs".parse().unwrap(), options))
}

fn put(epoch: Epoch, sequence: u64) -> Command {
    Command::Put {
        epoch,
        start: 4,
        origin: Origin {
            producer: ProducerId([1; 16]),
            sequence,
        },
        priority: super::super::Priority::default(),
        ttl: None,
        redelivered: false,
        history: super::super::History::default(),
        message: "job".into(),
    }
}

fn due(keeper: &mut Keeper) -> Vec<(PeerId, Command)> {
    std::iter::from_fn(|| keeper.poll_transmit(SECOND)).collect()
}

fn store(keeper: &mut Keeper) {
    let last = std::iter::from_fn(|| keeper.poll_store()).last();
    last.into_iter()
        .for_each(|(receipt, _)| keeper.stored(receipt));
}

#[test]
fn it_keeps_the_queue_when_its_claim_is_good_and_stored() {
    let mut keeper = keeper(true);
    keeper.handle(PEER, put(Epoch::NONE, 1), SECOND).unwrap();
    let epoch = keeper.claim(SECOND, SECOND).unwrap();
    keeper.handle(OTHER, put(epoch, 1), SECOND).unwrap();
    store(&mut keeper);
    assert!(keeper.is_claiming() && due(&mut keeper).is_empty());
    assert_eq!(keeper.next_timeout(), Some(2 * SECOND));
    keeper.handle_timeout(2 * SECOND);
    assert_eq!((keeper.held(), keeper.fenced()), (Some(epoch), 2));
    let moved = |peer, epoch| (peer, Command::Moved { epoch });
    assert_eq!(due(&mut keeper), [moved(PEER, epoch), moved(OTHER, epoch)]);
    // Who was told is not told again.
    keeper.handle(PEER, put(Epoch::NONE, 1), SECOND).unwrap();
    assert_eq!(due(&mut keeper), []);
    let higher = Epoch::new(5, node(2));
    keeper.handle(PEER, put(higher, 1), SECOND).unwrap();
    assert_eq!(
        (keeper.rumour(), keeper.held()),
        (Some(higher), Some(epoch))
    );
    assert_eq!(keeper.observe(higher, SECOND), Observed::SteppedDown);
    assert_eq!((keeper.rumour(), keeper.held()), (None, None));
    assert_eq!(
        due(&mut keeper),
        [moved(PEER, higher), moved(OTHER, higher)]
    );
    assert_eq!(keeper.queue().epoch(), higher);
}

#[test]
fn a_claim_that_is_not_stored_is_none() {
    let mut keeper = keeper(true);
    let epoch = keeper.claim(SECOND, Duration::ZERO).unwrap();
    keeper.handle_timeout(2 * SECOND);
    assert!(keeper.is_claiming() && keeper.held().is_none());
    keeper.handle(PEER, put(epoch, 1), SECOND).unwrap();
    assert_eq!((keeper.fenced(), due(&mut keeper)), (1, vec![]));
    store(&mut keeper);
    assert_eq!(keeper.held(), Some(epoch));
    assert_eq!(due(&mut keeper), [(PEER, Command::Moved { epoch })]);
}

#[test]
fn puts_are_answered_when_they_are_stored_many_at_once() {
    let mut keeper = keeper(true);
    let epoch = keeper.claim(SECOND, Duration::ZERO).unwrap();
    store(&mut keeper);
    for (peer, sequence) in [
        (PEER, 1),
        (PEER, 2),
        (OTHER, 3),
        (PEER, 3),
        (PEER, 9),
        (PEER, 10),
    ] {
        keeper.handle(peer, put(epoch, sequence), SECOND).unwrap();
    }
    // The other peer's 3 is the first's as well; five messages are queued, and a sixth is not.
    keeper.handle(PEER, put(epoch, 11), SECOND).unwrap();
    assert_eq!(keeper.queue().len(), 5);
    let refused = Command::Refused {
        epoch,
        start: 4,
        sequence: 11,
        refusal: Refusal::Full,
    };
    assert_eq!(due(&mut keeper), [(PEER, refused)]);
    store(&mut keeper);
    let accepted = |peer, first, last| {
        (
            peer,
            Command::Accepted {
                epoch,
                start: 4,
                first,
                last,
            },
        )
    };
    let expected = [
        accepted(PEER, 1, 2),
        accepted(OTHER, 3, 3),
        accepted(PEER, 3, 3),
        accepted(PEER, 9, 10),
    ];
    assert_eq!(due(&mut keeper), expected);
}

#[test]
fn what_is_not_stored_is_given_up_with_the_epoch() {
    let mut keeper = keeper(true);
    let epoch = keeper.claim(SECOND, Duration::ZERO).unwrap();
    store(&mut keeper);
    keeper.handle(PEER, put(epoch, 1), SECOND).unwrap();
    store(&mut keeper);
    keeper.handle(PEER, put(epoch, 2), SECOND).unwrap();
    let subscribe = Command::Subscribe {
        epoch,
        subscription: 1,
        credit: 1,
    };
    keeper.handle(OTHER, subscribe, SECOND).unwrap();
    let sent = due(&mut keeper);
    let delivers = |it: &(PeerId, Command)| {
        matches!(
            it.1,
            Command::Deliver {
                subscription: 1,
                ..
            }
        )
    };
    assert!(sent.len() == 2 && sent.iter().any(delivers));
    keeper.observe(Epoch::new(2, node(2)), SECOND);
    assert_eq!((keeper.queue().len(), keeper.queue().open()), (1, 0));
    assert_eq!(keeper.queue().counts().withdrawn, 1);
    store(&mut keeper);
    assert!(
        due(&mut keeper)
            .iter()
            .all(|(_, it)| matches!(it, Command::Moved { .. }))
    );
}

#[test]
fn peers_that_break_the_rules_are_told_which() {
    let mut keeper = keeper(true);
    let epoch = keeper.claim(SECOND, Duration::ZERO).unwrap();
    store(&mut keeper);
    let moved = Command::Moved { epoch };
    assert_eq!(keeper.handle(PEER, moved, SECOND), Err(Misuse::Direction));
    for _ in 0..WINDOW {
        keeper.handle(PEER, put(epoch, 1), SECOND).unwrap();
    }
    assert_eq!(
        keeper.handle(PEER, put(epoch, 1), SECOND),
        Err(Misuse::Puts)
    );
    keeper.lost(PEER, SECOND);
    store(&mut keeper);
    assert_eq!(due(&mut keeper), []);
}

#[test]
fn what_the_store_does_not_take_is_refused_until_it_takes_something() {
    let mut keeper = keeper(true);
    let epoch = keeper.claim(SECOND, Duration::ZERO).unwrap();
    store(&mut keeper);
    for sequence in 1..=3 {
        keeper.handle(PEER, put(epoch, sequence), SECOND).unwrap();
    }
    store(&mut keeper);
    keeper.handle(PEER, put(epoch, 4), SECOND).unwrap();
    let (receipt, _) = std::iter::from_fn(|| keeper.poll_store()).last().unwrap();
    keeper.store_failed();
    keeper.handle(PEER, put(epoch, 5), SECOND).unwrap();
    let refused = |sequence| {
        let refusal = Refusal::Store;
        let refused = Command::Refused {
            epoch,
            start: 4,
            sequence,
            refusal,
        };
        (PEER, refused)
    };
    let accepted = Command::Accepted {
        epoch,
        start: 4,
        first: 1,
        last: 3,
    };
    let expected = [refused(4), refused(5), (PEER, accepted)];
    assert_eq!(due(&mut keeper), expected);
    assert_eq!(keeper.queue().len(), 3);
    // What was withdrawn is written behind what was not, so that no trace of it counts.
    let withdrawn = keeper.poll_store().unwrap();
    assert!(matches!(withdrawn.1, Record::Withdrawn { .. }));
    keeper.stored(receipt.max(withdrawn.0));
    keeper.handle(PEER, put(epoch, 4), SECOND).unwrap();
    store(&mut keeper);
    let accepted = Command::Accepted {
        epoch,
        start: 4,
        first: 4,
        last: 4,
    };
    assert_eq!(due(&mut keeper), [(PEER, accepted)]);
}

#[test]
fn a_worker_may_take_more_time() {
    let mut keeper = keeper(false);
    let epoch = keeper.claim(SECOND, Duration::ZERO).unwrap();
    keeper.handle(PEER, put(epoch, 1), SECOND).unwrap();
    let subscribe = Command::Subscribe {
        epoch,
        subscription: 1,
        credit: 1,
    };
    keeper.handle(OTHER, subscribe, SECOND).unwrap();
    let tags = due(&mut keeper).into_iter().filter_map(|(_, it)| match it {
        Command::Deliver { tag, .. } => Some(tag),
        _ => None,
    });
    let tag = tags.last().unwrap();
    let lease = 5 * SECOND;
    let extend = Command::Extend { epoch, tag, lease };
    // It is another peer's.
    keeper.handle(PEER, extend.clone(), SECOND).unwrap();
    assert_eq!(keeper.queue().counts().stale, 1);
    keeper.handle(OTHER, extend, SECOND).unwrap();
    assert_eq!(keeper.next_timeout(), Some(6 * SECOND));
    keeper.handle_timeout(6 * SECOND);
    assert_eq!(keeper.queue().counts().timed_out, 1);
}

//! Commands there and back, and what is none.

use super::*;
use crate::queue::death::Cause;
use crate::trust::id::NodeId;

fn all() -> Vec<Command> {
    let epoch = Epoch::new(7, NodeId::from_octets([3; 32]));
    let mut history = History::default();
    let at = Duration::from_secs(1_000);
    history.note(&"jobs".parse().unwrap(), Cause::Rejected, "no", at);
    let put = |ttl| Command::Put {
        epoch,
        start: 2,
        origin: Origin {
            producer: ProducerId([9; 16]),
            sequence: 1,
        },
        priority: Priority::new(9),
        ttl,
        redelivered: true,
        history: history.clone(),
        message: ["two", "frames"].into_iter().collect(),
    };
    let refused = Refusal::ALL.map(|refusal| Command::Refused {
        epoch,
        start: 2,
        sequence: 5,
        refusal,
    });
    let nacks = [Nack::Requeue, Nack::DeadLetter].map(|nack| Command::Nack {
        epoch,
        tag: Tag(8),
        nack,
        detail: "not my job".to_owned(),
    });
    let mut all = vec![
        put(None),
        put(Some(Duration::from_millis(5))),
        Command::Accepted {
            epoch,
            start: 2,
            first: 3,
            last: 3,
        },
        Command::Subscribe {
            epoch,
            subscription: 3,
            credit: 10,
        },
        Command::Credit { epoch, credit: 5 },
        Command::Deliver {
            epoch,
            subscription: 3,
            tag: Tag(u64::MAX),
            attempt: 2,
            redelivered: false,
            priority: Priority::default(),
            history,
            message: Message::new(),
        },
        Command::Ack {
            epoch,
            tags: (0..MAX_TAGS as u64).map(Tag).collect(),
        },
        Command::Extend {
            epoch,
            tag: Tag(8),
            lease: Duration::from_millis(1),
        },
        Command::Moved { epoch },
    ];
    all.extend(refused.into_iter().chain(nacks));
    all
}

#[test]
fn commands_round_trip() {
    for command in all() {
        let message = command.clone().encode();
        assert_eq!(Command::decode(message), Ok(command));
    }
}

#[test]
fn numbers_are_held_to_their_verb() {
    for command in all() {
        let mut frames = command.clone().encode().into_frames();
        let numbers = frames[1].to_vec();
        // An ACK with fewer tags is one as well.
        let step = if frames[0] == "ACK" { 8 } else { usize::MAX };
        for end in 0..=numbers.len() + 1 {
            let changed = [&numbers[..], &[0]].concat()[..end].to_vec();
            frames[1] = Frame::from(changed);
            let whole = end == numbers.len() || end > 40 && end < numbers.len() && end % step == 0;
            let decoded = Command::decode(frames.clone().into());
            assert_eq!(decoded.is_ok(), whole, "{command:?} with {end}");
        }
    }
}

#[test]
fn what_no_command_has_is_refused() {
    let decode = |frames: &[&[u8]]| {
        let frames = frames.iter().map(|frame| Frame::from(*frame));
        Command::decode(frames.collect())
    };
    let epoch = &[0; 40][..];
    let with = |more: &[u8]| [epoch, more].concat();
    let found = |found| Err(CommandError::Frames { found });
    assert_eq!(decode(&[b"MOVED"]), found(1));
    assert_eq!(decode(&[b"MOVED", epoch, b""]), found(3));
    assert_eq!(decode(&[b"PUT", epoch]), found(2));
    assert_eq!(decode(&[b"moved", epoch]), Err(CommandError::Verb));
    let many = with(&[0; 8 * (MAX_TAGS + 1)]);
    assert_eq!(decode(&[b"ACK", &many]), Err(CommandError::Numbers));
    let backwards = with(&[[0; 15].as_slice(), &[1], &[0; 8]].concat());
    assert_eq!(
        decode(&[b"ACCEPTED", &backwards]),
        Err(CommandError::Numbers)
    );
    for reason in [0, 7] {
        let refused = with(&[[0; 16].as_slice(), &[reason]].concat());
        assert_eq!(decode(&[b"REFUSED", &refused]), Err(CommandError::Numbers));
    }
    let nack = with(&[0; 9]);
    for detail in [&[0xff][..], &[b'x'; 256]] {
        assert_eq!(decode(&[b"NACK", &nack, detail]), Err(CommandError::Detail));
    }
    let nack = with(&[2; 9]);
    assert_eq!(decode(&[b"NACK", &nack, b""]), Err(CommandError::Numbers));
}

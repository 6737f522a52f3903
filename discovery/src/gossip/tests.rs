use super::*;
use crate::membership::{Beat, State, Update};
use crate::revocation::Target;
use crate::testing::{NOW, content, key};

fn peer(number: u8) -> PeerTag {
    PeerTag::from_octets([number; PeerTag::SIZE])
}

fn update(number: u8) -> Update {
    Update {
        peer: peer(number),
        incarnation: 3,
        state: State::Dead,
    }
}

fn record(node: u8) -> Bytes {
    content(1, node).sign(&key(node)).unwrap().octets().clone()
}

fn messages() -> Vec<Message> {
    let mut buckets = [0; BUCKETS];
    buckets[63] = 7;
    let summary = Summary {
        buckets,
        revocations: 9,
    };
    let entry = Entry {
        sequence: 5,
        digest: [1, 2, 3, 4],
        update: update(4),
    };
    let revocation = Revocation::issue(&key(1), Target::Serial(1), NOW);
    vec![
        Message::News(vec![
            Item::Record(record(2)),
            Item::Update(update(5)),
            Item::Revocation(revocation),
        ]),
        Message::Summary(Box::new(summary)),
        Message::Listing {
            buckets: 1 << entry.bucket(),
            entries: vec![entry],
        },
        Message::Want(vec![peer(1), peer(2)]),
        Message::Revoked {
            answers: true,
            digests: vec![[8; 8]],
        },
        Message::Beat(Beat {
            incarnation: 7,
            asks: true,
        }),
    ]
}

#[test]
fn messages_survive_the_wire() {
    for message in messages() {
        let octets = message.encode();
        assert_eq!(Message::decode(&octets).as_ref(), Ok(&message));
        if !matches!(
            message,
            Message::News(_) | Message::Want(_) | Message::Revoked { .. }
        ) {
            for length in 2..octets.len() {
                let cut = Message::decode(&octets[..length]);
                // A listing may hold fewer entries.
                let whole = matches!(message, Message::Listing { .. }) && length == 10;
                assert_eq!(cut.is_ok(), whole, "{length} of {message:?}");
            }
        }
    }
    assert_eq!(messages()[5].encode()[..], [1, 6, 0, 0, 0, 7, 1]);
    assert_eq!(messages()[1].encode().len(), 2 + 65 * 8);
}

#[test]
fn what_is_not_gossip_is_refused() {
    let refused = |octets: &[u8]| Message::decode(octets).unwrap_err();
    assert_eq!(refused(&[]), MessageError::Malformed);
    assert_eq!(refused(&[1]), MessageError::Malformed);
    assert_eq!(refused(&[2, 1]), MessageError::Version { found: 2 });
    assert_eq!(refused(&[1, 0]), MessageError::Kind { found: 0 });
    assert_eq!(refused(&[1, 7]), MessageError::Kind { found: 7 });
    let length = Message::MAX + 1;
    assert_eq!(refused(&vec![1; length]), MessageError::Length { length });
    // A flag of 2, an entry of a bucket that is not named, an item of no kind.
    assert_eq!(refused(&[1, 6, 0, 0, 0, 0, 2]), MessageError::Malformed);
    let mut listing = messages()[2].encode().to_vec();
    listing[2..10].fill(0);
    assert_eq!(refused(&listing), MessageError::Malformed);
    assert_eq!(refused(&[1, 1, 4, 0, 0]), MessageError::Malformed);
}

#[test]
fn news_goes_to_some_or_to_all_and_never_back() {
    let mut gossip = Gossip::new(peer(0), Spread::default(), 1);
    (1..=8).for_each(|number| gossip.link_up(peer(number)));
    gossip.spread(&Item::Record(record(2)), Some(peer(1)));
    let now = Duration::from_secs(1);
    let sent: Vec<_> = std::iter::from_fn(|| gossip.poll_transmit(now)).collect();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|(to, _)| *to != peer(1)));
    let before = |(to, _): &(PeerTag, Bytes)| *to == peer(8);
    assert!(sent.iter().any(before), "on the ring 8 is before 0");
    let now = Duration::from_secs(2);
    gossip.spread(&Item::Update(update(9)), Some(peer(1)));
    gossip.spread(&Item::Update(update(9)), None);
    let sent: Vec<_> = std::iter::from_fn(|| gossip.poll_transmit(now)).collect();
    let to: Vec<_> = sent.iter().map(|(to, _)| *to).collect();
    assert_eq!(to.len(), 8, "once to each");
}

#[test]
fn a_neighbour_that_floods_is_cut_short_and_no_other_is() {
    let mut gossip = Gossip::new(peer(0), Spread::default(), 1);
    gossip.link_up(peer(1));
    gossip.link_up(peer(2));
    let message = Message::News(vec![Item::Record(record(2)); 30]).encode();
    let now = Duration::from_secs(1);
    let mut taken = 0;
    for _ in 0..1_000 {
        if gossip.receive(peer(1), &message, now).unwrap().is_some() {
            taken += message.len() as u64;
        }
    }
    let limit = Spread::default().taken + message.len() as u64;
    assert!(taken <= limit && taken > limit / 2, "{taken}");
    assert!(gossip.counters().over_quota > 900);
    assert!(gossip.receive(peer(2), &message, now).unwrap().is_some());
    let later = now + Duration::from_secs(1);
    assert!(gossip.receive(peer(1), &message, later).unwrap().is_some());
    assert!(gossip.receive(peer(2), &[9], later).is_err());
    assert_eq!(gossip.counters().invalid, 1);
    assert_eq!(gossip.receive(peer(3), &message, now), Ok(None), "no link");
}

#[test]
fn what_waits_for_a_link_is_bounded_and_goes_out_at_its_pace() {
    let mut gossip = Gossip::new(peer(0), Spread::default(), 1);
    gossip.link_up(peer(1));
    for number in 0..3_000_u32 {
        let mut octets = record(2).to_vec();
        octets[..4].copy_from_slice(&number.to_be_bytes());
        gossip.send(peer(1), Item::Record(octets.into()));
    }
    assert!(gossip.counters().dropped > 1_000);
    let lane = &gossip.lanes[&peer(1)];
    assert!(lane.octets <= Gossip::MAX_OCTETS && lane.items.len() <= Gossip::MAX_ITEMS);
    let start = Duration::from_secs(1);
    let (mut now, mut octets) = (start, 0);
    while gossip.lanes[&peer(1)].waits() {
        while let Some((_, message)) = gossip.poll_transmit(now) {
            assert!(message.len() <= Message::MAX);
            octets += message.len() as u64;
        }
        // A heartbeat does not wait.
        gossip.say(peer(1), &messages()[5]);
        assert_eq!(gossip.poll_transmit(now).unwrap().1.len(), 7);
        gossip.round = Duration::MAX;
        now = gossip.poll_timeout(now).min(now + Duration::from_secs(1));
    }
    let rate = octets * 1_000 / (now - start).as_millis() as u64;
    assert!(rate <= 66 * 1_024, "{rate} octets per second");
    assert_eq!(gossip.lanes[&peer(1)].octets, 0);
}

#[test]
fn revocations_are_kept_once_and_bounded() {
    let mut gossip = Gossip::new(peer(0), Spread::default(), 1);
    let issue = |serial| Revocation::issue(&key(1), Target::Serial(serial), NOW);
    assert!(gossip.keep(issue(0)));
    assert!(!gossip.keep(issue(0)));
    for serial in 1..1_100 {
        gossip.keep(issue(serial));
    }
    assert_eq!(gossip.revocations().len(), Gossip::MAX_REVOCATIONS);
    assert_eq!(gossip.counters().full, 1_100 - 1_024);
}

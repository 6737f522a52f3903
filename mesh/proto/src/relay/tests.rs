use std::collections::BTreeSet;

use super::*;
use crate::crypto::{Randomness as _, Seeded};
use crate::trust::{IdentityId, NodeId};

fn party(number: u8) -> Party {
    Party {
        identity: IdentityId::from_octets([number; 32]),
        node: NodeId::from_octets([number + 100; 32]),
    }
}

/// Another node of the same identity.
fn sibling(number: u8, node: u8) -> Party {
    Party {
        node: NodeId::from_octets([node; 32]),
        ..party(number)
    }
}

fn nodes(numbers: &[u8]) -> BTreeSet<NodeId> {
    numbers.iter().map(|number| party(*number).node).collect()
}

fn open(origin: u8, target: u8, visited: &[u8]) -> Open {
    Open {
        hops: MAX_HOPS,
        target: party(target),
        origin: party(origin),
        visited: nodes(visited),
    }
}

fn asks() -> Vec<Ask> {
    let many: Vec<u8> = (10..10 + MAX_VISITED as u8).collect();
    vec![
        Ask::Open(open(1, 2, &[])),
        Ask::Open(open(1, 2, &many)),
        Ask::Open(Open {
            hops: 0,
            ..open(3, 4, &[5])
        }),
        Ask::Line,
        Ask::Fetch(u64::MAX),
    ]
}

fn replies() -> Vec<Reply> {
    let whys = [
        Why::NoRelay,
        Why::Absurd,
        Why::NotPermitted,
        Why::Busy,
        Why::Loop,
        Why::Far,
        Why::Unreachable,
    ];
    let refused = whys.map(|why| Reply::Refused(why, nodes(&[1, 2, 3])));
    let mut all = vec![Reply::Opened, Reply::Invite(7)];
    all.extend(refused);
    all
}

#[test]
fn messages_round_trip_and_are_refused_when_cut_or_longer() {
    for ask in asks() {
        let octets = ask.encode();
        assert!(octets.len() <= MAX_MESSAGE);
        assert_eq!(Ask::decode(&octets), Ok(ask));
        for end in 0..octets.len() {
            assert!(Ask::decode(&octets[..end]).is_err());
        }
        assert!(Ask::decode(&[&octets[..], &[0]].concat()).is_err());
        assert!(Reply::decode(&octets).is_err());
    }
    for reply in replies() {
        let octets = reply.encode();
        assert_eq!(Reply::decode(&octets), Ok(reply));
        for end in 0..octets.len() {
            assert!(Reply::decode(&octets[..end]).is_err());
        }
        assert!(Reply::decode(&[&octets[..], &[0]].concat()).is_err());
        assert!(Ask::decode(&octets).is_err());
    }
}

#[test]
fn what_is_changed_is_refused_or_says_something_else() {
    let mut random = Seeded::new(7);
    let all = asks().into_iter().map(|ask| ask.encode());
    for octets in all.chain(replies().into_iter().map(|reply| reply.encode())) {
        for _ in 0..2_000 {
            let mut changed = octets.clone();
            let at = random.next_u64() as usize % changed.len();
            changed[at] ^= 1 << (random.next_u64() % 8);
            if let Ok(ask) = Ask::decode(&changed) {
                assert_eq!(ask.encode(), changed);
            }
            if let Ok(reply) = Reply::decode(&changed) {
                assert_eq!(reply.encode(), changed);
            }
        }
    }
}

#[test]
fn limits_are_kept_by_what_is_read() {
    let Ask::Open(many) = &asks()[1] else {
        unreachable!("it is one");
    };
    let mut octets = Ask::Open(many.clone()).encode();
    octets[2] = MAX_HOPS + 1;
    assert_eq!(Ask::decode(&octets), Err(MessageError::Malformed));
    octets[2] = 1;
    let count = 3 + 4 * 32;
    octets[count] += 1;
    octets.extend([0xff; 32]);
    assert_eq!(Ask::decode(&octets), Err(MessageError::Malformed));
    let later = [2, 1];
    assert_eq!(Ask::decode(&later), Err(MessageError::Version { found: 2 }));
    // Twice the same relay, and relays out of order.
    for visited in [[9_u8, 9], [9, 8]] {
        let mut octets = Ask::Open(open(1, 2, &[])).encode();
        octets.pop();
        octets.push(2);
        visited.iter().for_each(|node| octets.extend([*node; 32]));
        assert_eq!(Ask::decode(&octets), Err(MessageError::Malformed));
    }
    // What has more relays than fit is written with the first of them.
    let many: BTreeSet<_> = (0..40)
        .map(|node| NodeId::from_octets([node; 32]))
        .collect();
    let reply = Reply::Refused(Why::Far, many.clone()).encode();
    let first = many.into_iter().take(MAX_VISITED).collect();
    assert_eq!(Reply::decode(&reply), Ok(Reply::Refused(Why::Far, first)));
}

fn relay(limits: Limits) -> Admission {
    Admission::new(Door {
        own: party(0),
        relays: Some(limits),
        ends: 4,
    })
}

#[test]
fn a_relay_leads_on_and_says_why_not() {
    let mut relay = relay(Limits::default());
    let onward = Ok(Course::Onward { hops: MAX_HOPS - 1 });
    assert_eq!(relay.ask(party(1), &open(1, 2, &[]), true), onward);
    // A relay that was asked before asks for somebody else.
    assert_eq!(relay.ask(party(3), &open(1, 2, &[3, 4]), true), onward);
    for (sender, open, permitted, why) in [
        // In somebody else's name.
        (4, open(1, 2, &[]), true, Why::Absurd),
        (4, open(1, 2, &[3]), true, Why::Absurd),
        (1, open(1, 1, &[]), true, Why::Absurd),
        (3, open(0, 2, &[3]), true, Why::Absurd),
        (1, open(1, 2, &[]), false, Why::NotPermitted),
        (3, open(1, 2, &[0, 3]), true, Why::Loop),
        (
            3,
            Open {
                hops: 0,
                ..open(1, 2, &[3])
            },
            true,
            Why::Far,
        ),
    ] {
        assert_eq!(relay.ask(party(sender), &open, permitted), Err(why));
    }
    let asked: Vec<u8> = (3..3 + MAX_VISITED as u8).collect();
    let far = relay.ask(party(3), &open(1, 2, &asked), true);
    assert_eq!(far, Err(Why::Far));
    let counters = relay.counters();
    assert_eq!((counters.admitted, counters.relaying), (2, 2));
    assert_eq!(counters.refused[&Why::Absurd], 4);
    assert_eq!(counters.refused[&Why::Far], 2);
}

#[test]
fn who_does_not_relay_is_an_end_only() {
    let mut end = Admission::new(Door {
        own: party(0),
        relays: None,
        ends: 3,
    });
    assert_eq!(end.ask(party(1), &open(1, 2, &[]), true), Err(Why::NoRelay));
    // Permissions to relay are for relays.
    let here = Ok(Course::Here);
    assert_eq!(end.ask(party(5), &open(1, 0, &[5]), false), here);
    assert_eq!(end.ask(party(5), &open(2, 0, &[5]), false), here);
    // Half of them at most, rounded up.
    assert_eq!(end.ask(party(5), &open(3, 0, &[5]), true), Err(Why::Busy));
    assert_eq!(end.ask(party(6), &open(3, 0, &[6]), true), here);
    assert_eq!(end.ask(party(7), &open(4, 0, &[7]), true), Err(Why::Busy));
    end.ended(Course::Here, party(5), party(1));
    assert_eq!(end.ask(party(7), &open(4, 0, &[7]), true), here);
    assert_eq!(end.counters().ending, 3);
}

#[test]
fn quotas_hold_for_all_for_origins_and_for_identities() {
    let limits = Limits {
        circuits: 6,
        per_origin: 2,
    };
    let mut relay = relay(limits);
    let onward = Ok(Course::Onward { hops: MAX_HOPS - 1 });
    let of = |origin: Party| Open {
        origin,
        ..open(1, 2, &[])
    };
    let busy = Err(Why::Busy);
    let first = sibling(1, 1);
    assert_eq!(relay.ask(first, &of(first), true), onward);
    assert_eq!(relay.ask(first, &of(first), true), onward);
    assert_eq!(relay.ask(first, &of(first), true), busy);
    let second = sibling(1, 2);
    assert_eq!(relay.ask(second, &of(second), true), onward);
    assert_eq!(relay.ask(second, &of(second), true), busy, "half of all");
    // Nodes of the relay's own identity have what is left.
    for number in [3, 4, 5] {
        let own = sibling(0, number);
        assert_eq!(relay.ask(own, &of(own), true), onward);
    }
    let own = sibling(0, 6);
    assert_eq!(relay.ask(own, &of(own), true), busy);
    let course = Course::Onward { hops: 0 };
    relay.ended(course, first, first);
    relay.ended(course, first, first);
    assert_eq!(relay.counters().relaying, 4);
    assert_eq!(relay.ask(first, &of(first), true), onward);
}

/// Relays that reach each other and nobody else end with a refusal, and each is asked once.
#[test]
fn a_ring_of_relays_ends_and_asks_each_once() {
    for count in [2_u8, 5, 20] {
        let mut relays: Vec<Admission> = (0..count)
            .map(|number| {
                Admission::new(Door {
                    own: party(number),
                    relays: Some(Limits::default()),
                    ends: 4,
                })
            })
            .collect();
        let mut asked = 0;
        let start = Open {
            hops: MAX_HOPS,
            target: party(150),
            origin: party(151),
            visited: BTreeSet::new(),
        };
        let visited = wander(&mut relays, 0, party(151), &start, &mut asked);
        assert!(asked <= usize::from(count) + MAX_VISITED * 2, "{asked}");
        assert!(visited.len() <= MAX_VISITED + 1);
        let relaying: usize = relays.iter().map(|it| it.counters().relaying).sum();
        assert_eq!(relaying, 0);
    }
}

/// What a relay does with a request: it asks all others in turn, none of them twice.
fn wander(
    relays: &mut [Admission],
    at: u8,
    sender: Party,
    open: &Open,
    asked: &mut usize,
) -> BTreeSet<NodeId> {
    *asked += 1;
    let mut visited = open.visited.clone();
    let decided = relays[usize::from(at)].ask(sender, open, true);
    visited.insert(party(at).node);
    let Ok(Course::Onward { hops }) = decided else {
        return visited;
    };
    for next in 0..relays.len() as u8 {
        if visited.len() > MAX_VISITED || hops == 0 {
            break;
        }
        if visited.contains(&party(next).node) {
            continue;
        }
        let onward = Open {
            hops,
            visited: visited.clone(),
            ..open.clone()
        };
        visited.extend(wander(relays, next, party(at), &onward, asked));
    }
    relays[usize::from(at)].ended(Course::Onward { hops }, sender, open.origin);
    visited
}

//! The sending half without links.

use super::*;
use crate::bus::TopicError;
use crate::mechanism::zap::User;
use crate::pattern::pipe::HighWaterMark;
use crate::zmtp::connection::Extensions;
use crate::zmtp::metadata::Metadata;
use crate::zmtp::{Framing, Outbox};

fn attach(out: &mut Outgoing, kind: SocketType, identity: &[u8]) -> PipeKey {
    let carrier = Carrier::Octets(Outbox::new(Framing::Clear));
    out.attach(carrier, &peer(kind, identity)).unwrap()
}

pub(super) fn attach_with(out: &mut Outgoing, carrier: Carrier) -> PipeKey {
    out.attach(carrier, &peer(SocketType::Sub, b"")).unwrap()
}

fn peer(kind: SocketType, identity: &[u8]) -> Peer {
    Peer {
        kind,
        identity: identity.to_vec(),
        minor: 1,
        extensions: Extensions::default(),
        mechanism: "NULL",
        metadata: Metadata::default(),
        user: User::default(),
        key: None,
        proven: None,
        confirmation: None,
    }
}

#[test]
fn a_router_names_peers_from_a_number_on_and_leaves_claimed_names_out() {
    let options = SendOptions::default();
    let mut out = Outgoing::new(SocketType::Router, options).numbering_from(u32::MAX - 1);
    let claimed = attach(&mut out, SocketType::Dealer, &[0, 0, 0, 0, 0]);
    let first = attach(&mut out, SocketType::Dealer, b"");
    let second = attach(&mut out, SocketType::Dealer, b"");
    let names = [claimed, first, second].map(|key| out.identity(key).unwrap().to_vec());
    let expected = [[0; 5], [0, 255, 255, 255, 255], [0, 0, 0, 0, 1]];
    assert_eq!(names, expected.map(|name| name.to_vec()));
}

#[test]
fn conflating_replaces_at_any_mark_and_keeps_commands() {
    let options = SendOptions {
        high_water_mark: HighWaterMark {
            messages: 1,
            octets: 1,
        },
        conflate: true,
        ..SendOptions::default()
    };
    let mut out = Outgoing::new(SocketType::Dealer, options);
    let key = attach(&mut out, SocketType::Dealer, b"");
    out.send_pong(key, Frame::from("context"));
    let command = out.waiting_size(key);
    for n in 0..5_u8 {
        out.send(&mut Message::from([n; 100])).unwrap();
        assert_eq!(out.waiting(key), 1);
        assert_eq!(out.waiting_size(key), command + 102);
    }
    let (load, _) = out.take(key, Vec::new());
    let recovered = load.unwrap().recover().unwrap();
    assert_eq!(recovered, [Message::from([4; 100])]);
    assert_eq!(out.counts().dropped, 4);
}

#[test]
fn drops_are_told_once_until_the_pipe_is_idle() {
    for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
        let options = SendOptions {
            high_water_mark: HighWaterMark {
                messages: 2,
                ..HighWaterMark::default()
            },
            overflow,
            ..SendOptions::default()
        };
        let mut out = Outgoing::new(SocketType::Pub, options);
        let key = attach(&mut out, SocketType::Sub, b"");
        out.subscribed(key, b"", true).unwrap();
        for round in 1..=2 {
            for _ in 0..5 {
                out.send(&mut Message::from("news")).unwrap();
            }
            assert_eq!(out.overflown(), Some((key, Overflown::Drops)));
            let (load, _) = out.take(key, Vec::new());
            let load = load.unwrap();
            // There is room again, but what was taken is not written yet.
            for _ in 0..3 {
                out.send(&mut Message::from("news")).unwrap();
            }
            assert_eq!(out.overflown(), None, "{overflow:?}");
            out.written(key, load.messages(), load.size());
            assert_eq!(out.dropped_for(key), round * 4);
            let (rest, _) = out.take(key, Vec::new());
            let rest = rest.unwrap();
            out.written(key, rest.messages(), rest.size());
        }
    }
}

#[test]
fn dropping_the_oldest_makes_room_for_octets_too() {
    let options = SendOptions {
        high_water_mark: HighWaterMark {
            messages: 1_000,
            octets: 10_000,
        },
        overflow: Overflow::DropOldest,
        ..SendOptions::default()
    };
    let mut out = Outgoing::new(SocketType::Pub, options);
    let key = attach(&mut out, SocketType::Sub, b"");
    out.subscribed(key, b"", true).unwrap();
    for _ in 0..200 {
        out.send(&mut Message::from(vec![0; 50])).unwrap();
    }
    for _ in 0..200 {
        out.send(&mut Message::from(vec![0; 5_000])).unwrap();
        assert!(out.waiting_size(key) < 10_000 + 5_010);
    }
    let counts = out.counts();
    assert_eq!(counts.sent, 400);
    assert_eq!(counts.dropped, 400 - out.waiting(key) as u64);
}

#[test]
fn a_lost_peer_does_not_bring_back_what_conflating_replaced() {
    let options = SendOptions {
        conflate: true,
        ..SendOptions::default()
    };
    let mut out = Outgoing::new(SocketType::Push, options);
    let keys = [(); 2].map(|()| attach(&mut out, SocketType::Pull, b""));
    out.send(&mut Message::from("old")).unwrap();
    let first = keys.into_iter().find(|&key| out.waiting(key) == 1).unwrap();
    let other = keys.into_iter().find(|&key| key != first).unwrap();
    out.send(&mut Message::from("new")).unwrap();
    assert_eq!(out.waiting(other), 1);
    out.detach(first, None);
    let (load, _) = out.take(other, Vec::new());
    assert_eq!(load.unwrap().recover().unwrap(), [Message::from("new")]);
    assert_eq!(out.counts().dropped, 1);
}

#[test]
fn a_publisher_by_filters_sends_to_those_that_choose_the_topic() {
    let options = SendOptions {
        matching: Matching::Filters,
        ..SendOptions::default()
    };
    let mut out = Outgoing::new(SocketType::Pub, options);
    let keys = [(); 3].map(|()| attach(&mut out, SocketType::Sub, b""));
    for (key, filter) in keys.into_iter().zip(["home/+", "home/#", "home/a"]) {
        let subscribed = out.subscribed(key, filter.as_bytes(), true);
        assert_eq!(subscribed, Ok(Subscribed::Changed));
    }
    for (topic, expected) in [
        ("home/a", [1, 1, 1]),
        ("home", [0, 1, 0]),
        ("home/a/b", [0, 1, 0]),
        ("home/b", [1, 1, 0]),
        // It would begin with a prefix.
        ("home/abc", [1, 1, 0]),
    ] {
        let before = keys.map(|key| out.waiting(key));
        out.send(&mut Message::from_iter([topic, "", "body"]))
            .unwrap();
        let now = keys.map(|key| out.waiting(key));
        let got: Vec<_> = now.iter().zip(before).map(|(now, old)| now - old).collect();
        assert_eq!(got, expected, "{topic}");
    }
}

#[test]
fn what_is_no_filter_is_an_error_of_its_peer_only() {
    let options = SendOptions {
        matching: Matching::Filters,
        ..SendOptions::default()
    };
    let mut out = Outgoing::new(SocketType::XPub, options).reporting(Verbose::Changes, true);
    let key = attach(&mut out, SocketType::Sub, b"");
    let error = SubscribeError::Filter(TopicError::Hash { at: 2 });
    for add in [true, false] {
        assert_eq!(out.subscribed(key, b"a/#/b", add), Err(error));
        assert_eq!(out.asked(key, b"a/#/b", add), Err(error));
    }
    assert_eq!(out.publishing().subscriptions(), 0);
    out.asked(key, b"a/#", true).unwrap();
    out.subscribed(key, b"a/#", true).unwrap();
    out.detach(key, None);
    assert_eq!(out.take_cancelled(), [Frame::from("a/#")]);
}

#[test]
fn first_and_last_of_a_filter_go_upstream() {
    let options = SendOptions {
        matching: Matching::Filters,
        ..SendOptions::default()
    };
    let mut out = Outgoing::new(SocketType::Sub, options);
    let key = attach(&mut out, SocketType::Pub, b"");
    let mut sizes = Vec::new();
    for (filter, add, changes) in [
        ("a/+", true, true),
        ("a/+", true, false),
        ("a+", true, false),
        ("a/+", false, false),
        ("a/+", false, true),
    ] {
        assert_eq!(out.subscribe(filter.as_bytes(), add), changes);
        sizes.push(out.waiting_size(key));
    }
    sizes.dedup();
    assert_eq!(sizes.len(), 2, "one SUBSCRIBE, one CANCEL");
}

#[test]
fn a_request_takes_the_pipe_that_costs_least_in_turn_among_equals() {
    let mut out = Outgoing::new(SocketType::Req, SendOptions::default());
    let keys = [(); 3].map(|()| attach(&mut out, SocketType::Rep, b""));
    let mut best = |cost: &dyn Fn(PipeKey) -> Option<u32>| {
        let chosen = out.best_for_request(true, cost);
        chosen.map(|(key, _)| keys.iter().position(|it| *it == key).unwrap())
    };
    let equal = [(); 6].map(|()| best(&|_| Some(1)).unwrap());
    assert_eq!(equal, [0, 1, 2, 0, 1, 2]);
    for cheap in [2, 2, 0, 1] {
        let chosen = best(&|key| Some(u32::from(key != keys[cheap])));
        assert_eq!(chosen, Some(cheap));
    }
    assert_eq!(best(&|key| (key == keys[1]).then_some(9)), Some(1));
    assert_eq!(best(&|_| None), None);
}

#[test]
fn a_pipe_without_room_or_with_a_plain_request_takes_no_other() {
    let high_water_mark = HighWaterMark {
        messages: 1,
        ..HighWaterMark::default()
    };
    let options = SendOptions {
        high_water_mark,
        ..SendOptions::default()
    };
    let mut out = Outgoing::new(SocketType::Req, options);
    let [full, plain] = [(); 2].map(|()| attach(&mut out, SocketType::Rep, b""));
    let first = |key| Some(u32::from(key != full));
    assert_eq!(out.best_for_request(true, first), Some((full, true)));
    out.send_to(full, &mut Message::from("x")).unwrap();
    assert_eq!(out.best_for_request(false, first), Some((plain, false)));
    assert_eq!(out.best_for_request(false, first), None);
    for key in [full, plain] {
        assert_eq!(out.claim_for_request(key, true), Err(NotSent::Full));
    }
    assert!(out.replied(plain));
    assert_eq!(out.claim_for_request(plain, true), Ok(true));
    out.detach(plain, None);
    assert_eq!(out.claim_for_request(plain, true), Err(NotSent::PeerGone));
}

#[test]
fn frames_are_published_as_a_message_of_them() {
    let publication = crate::bus::Publication::new("home/a".parse().unwrap(), "21.5");
    let frames = publication.into_frames();
    let message = Message::from_frames(frames.to_vec());
    let options = SendOptions {
        matching: Matching::Filters,
        ..SendOptions::default()
    };
    let mut out = Outgoing::new(SocketType::Pub, options);
    let keys = [0; 3].map(|_| attach(&mut out, SocketType::Sub, b""));
    for key in &keys[1..] {
        out.subscribed(*key, b"home/+", true).unwrap();
    }
    out.publish(&frames).unwrap();
    out.send(&mut message.clone()).unwrap();
    assert_eq!(keys.map(|key| out.waiting(key)), [0, 2, 2]);
    let (load, _) = out.take(keys[2], Vec::new());
    let recovered = load.unwrap().recover().unwrap();
    assert_eq!(recovered, [message.clone(), message]);
}

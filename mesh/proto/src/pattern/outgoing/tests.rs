//! The sending half without links.

use super::*;
use crate::mechanism::zap::User;
use crate::pattern::pipe::HighWaterMark;
use crate::zmtp::connection::Extensions;
use crate::zmtp::metadata::Metadata;

fn attach(out: &mut Outgoing, kind: SocketType, identity: &[u8]) -> PipeKey {
    let peer = Peer {
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
    };
    let carrier = Carrier::Octets(Outbox::new(Framing::Clear));
    out.attach(carrier, peer).unwrap()
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

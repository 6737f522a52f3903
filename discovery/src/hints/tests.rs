use std::net::IpAddr;

use withy_proto::crypto::Seeded;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::trust::{Name, Network, NetworkId, NodeId};

use super::*;
use crate::announcement::{Content, Opened, Places, Private};
use crate::dials::DialLimits;
use crate::record::Record;
use crate::testing::{NOW, content, key};
use crate::{Action, Config, Discovery, Event, Time};

const SECRET: Secret = Secret::from_octets([9; 32]);

fn at(seconds: u64) -> Time {
    Time {
        monotonic: Duration::from_secs(seconds),
        unix: NOW + seconds,
    }
}

fn record(identity: u8, node: u8) -> Record {
    content(identity, node).sign(&key(node)).unwrap()
}

fn discovery() -> Discovery {
    let network = Network {
        id: NetworkId::of(&key(200)),
        name: "home".parse::<Name>().unwrap(),
        secret: SECRET,
    };
    let config = Config {
        networks: vec![network],
        ..Config::default()
    };
    Discovery::new(Provider::Real, config, record(1, 1), 7)
}

fn places(last: u8) -> Places {
    Places::choose([IpAddr::from([192, 168, 0, last])]).unwrap()
}

fn sender(last: u8) -> Origin {
    Origin::Mdns([192, 168, 0, last].into())
}

fn public_of(content: Content, key: &SigningKey) -> Heard {
    let (port, addresses) = (content.port, content.places.iter());
    let addresses = addresses.map(|ip| SocketAddr::new(ip, 0)).collect();
    let announcement = Announcement::Public(content.sign(key).unwrap());
    Heard {
        instance: "node".into(),
        txt: announcement.encode(),
        port,
        addresses,
    }
}

/// What a node announces that listens at an address with this end.
fn public(node: u8) -> Heard {
    let content = Content::of(&record(1, node), 7_100, places(node));
    public_of(content, &key(node))
}

fn private(secret: &Secret, node: u8) -> Heard {
    let opened = Opened {
        peer: record(1, node).peer(),
        sequence: 7,
        expires: NOW + 3_600,
    };
    let mut random = Seeded::new(u64::from(node));
    let sealed = Private::seal(secret, &opened, 7_100, places(node), NOW, &mut random);
    let (name, private) = sealed.unwrap();
    Heard {
        instance: name.into(),
        txt: Announcement::Private(private).encode(),
        port: 7_100,
        addresses: vec![([192, 168, 0, node], 0).into()],
    }
}

fn tries(discovery: &mut Discovery) -> Vec<Try> {
    let actions = std::iter::from_fn(|| discovery.poll_action());
    let tries = actions.filter_map(|action| match action {
        Action::Try(attempt) => Some(*attempt),
        _ => None,
    });
    tries.collect()
}

#[test]
fn what_is_heard_is_dialled_once_and_again_when_that_failed() {
    let mut discovery = discovery();
    let heard = Hint::Heard(public(2));
    let hinted = discovery.hint(heard.clone(), sender(2), at(1));
    assert_eq!(hinted, Ok(Hinted::New));
    let first = tries(&mut discovery);
    let address = Address::Quic(([192, 168, 0, 2], 7_100).into());
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].addresses, [address]);
    assert!(
        first[0]
            .expects
            .fits(record(1, 2).identity(), record(1, 2).node())
    );
    assert!(
        !first[0]
            .expects
            .fits(record(1, 2).identity(), record(1, 3).node())
    );
    let again = discovery.hint(heard, sender(2), at(1));
    assert_eq!(again, Ok(Hinted::Known));
    discovery.handle_timeout(at(2));
    assert_eq!(tries(&mut discovery), []);
    discovery.try_ended(first[0].tag, false, at(2));
    assert_eq!(tries(&mut discovery), [], "not at once");
    discovery.handle_timeout(at(3));
    assert_eq!(tries(&mut discovery), first);
    // It counts for an hour, and a few minutes for clocks that are wrong.
    discovery.try_ended(first[0].tag, false, at(4));
    discovery.handle_timeout(at(4_000));
    assert_eq!(tries(&mut discovery), []);
    assert_eq!(discovery.hints_waiting(), 0);
    assert_eq!(discovery.hint_counters().expired, 1);
}

#[test]
fn who_is_known_is_not_dialled() {
    let mut discovery = discovery();
    let hint = |node| Hint::Heard(public(node));
    let own = discovery.hint(hint(1), sender(1), at(1));
    assert_eq!(own, Err(HintRefusal::Ourselves));
    discovery
        .learn(record(1, 2).octets(), Origin::Fixed, at(1))
        .unwrap();
    assert_eq!(discovery.hint(hint(2), sender(2), at(1)), Ok(Hinted::Known));
    // One that is linked, whose record did not come yet.
    discovery.link_up(record(1, 3).peer(), at(1));
    assert_eq!(discovery.hint(hint(3), sender(3), at(1)), Ok(Hinted::Known));
    assert_eq!(tries(&mut discovery), []);
    // One that is known with an older record.
    let newer = Content {
        sequence: 8,
        ..Content::of(&record(1, 2), 7_100, places(2))
    };
    let newer = Hint::Heard(public_of(newer, &key(2)));
    assert_eq!(discovery.hint(newer, sender(2), at(1)), Ok(Hinted::New));
    assert_eq!(tries(&mut discovery).len(), 1);
}

#[test]
fn who_has_links_enough_dials_one_after_the_other() {
    let mut discovery = discovery();
    for linked in 100..105 {
        discovery.link_up(PeerTag::from_octets([linked; 16]), at(1));
    }
    for node in 2..5 {
        let hint = Hint::Heard(public(node));
        assert_eq!(discovery.hint(hint, sender(node), at(1)), Ok(Hinted::New));
    }
    assert_eq!(tries(&mut discovery).len(), 1);
    discovery.handle_timeout(at(2));
    assert_eq!(tries(&mut discovery).len(), 1);
    discovery.handle_timeout(at(3));
    assert_eq!(tries(&mut discovery).len(), 1);
}

#[test]
fn a_hint_goes_when_its_node_is_met_or_says_goodbye() {
    let mut discovery = discovery();
    for node in [2, 3] {
        let hint = Hint::Heard(public(node));
        discovery.hint(hint, sender(node), at(1)).unwrap();
    }
    assert_eq!(discovery.hints_waiting(), 2);
    let dialled = tries(&mut discovery);
    discovery.link_up(dialled[0].tag, at(2));
    discovery.try_ended(dialled[0].tag, true, at(2));
    assert_eq!(discovery.hints_waiting(), 1);
    assert_eq!(discovery.hint_counters().met, 1);
    discovery.retract("other");
    assert_eq!(discovery.hints_waiting(), 1);
    discovery.retract("node");
    assert_eq!(discovery.hints_waiting(), 0);
    discovery.try_ended(dialled[1].tag, false, at(3));
    discovery.handle_timeout(at(10));
    assert_eq!(tries(&mut discovery), []);
}

#[test]
fn forgeries_are_refused_counted_and_told_of_once() {
    let mut discovery = discovery();
    let victim = record(1, 2);
    for number in 0..1_000_u64 {
        let mut heard = public(2);
        let length = heard.txt.len();
        // Other digits of base64 within the signature.
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        for place in 0..3 {
            let digit = number / 26_u64.pow(place) % 26;
            heard.txt[length - 10 - place as usize] = digits[digit as usize];
        }
        let now = Time {
            monotonic: Duration::from_millis(1_000 + 10 * number),
            unix: NOW,
        };
        let refused = discovery.hint(Hint::Heard(heard), sender(66), now);
        assert!(refused.is_err(), "{refused:?}");
    }
    assert_eq!(discovery.hint_counters().forged, 1_000);
    let events = std::iter::from_fn(|| discovery.poll_event());
    let told: Vec<_> = events
        .filter(|event| matches!(event, Event::Forged { .. }))
        .collect();
    let expected = Event::Forged {
        peer: Some(victim.peer()),
        origin: sender(66),
    };
    assert_eq!(told, [expected]);
    assert_eq!(tries(&mut discovery), []);
    // The node itself is found all the same.
    let real = discovery.hint(Hint::Heard(public(2)), sender(2), at(12));
    assert_eq!(real, Ok(Hinted::New));
    assert_eq!(tries(&mut discovery).len(), 1);
}

#[test]
fn a_flood_of_forgeries_costs_few_signatures() {
    let mut discovery = discovery();
    let mut heard = public(2);
    let at_signature = heard.txt.len() - 10;
    heard.txt[at_signature] = if heard.txt[at_signature] == b'A' {
        b'B'
    } else {
        b'A'
    };
    for _ in 0..10_000 {
        let refused = discovery.hint(Hint::Heard(heard.clone()), sender(66), at(1));
        assert!(refused.is_err());
    }
    let counters = discovery.hint_counters();
    assert_eq!(counters.forged, u64::from(Hints::MAX_VERIFIED));
    assert_eq!(counters.forged + counters.crowded, 10_000);
    let hint = Hint::Heard(public(2));
    assert_eq!(discovery.hint(hint, sender(2), at(3)), Ok(Hinted::New));
}

#[test]
fn only_near_addresses_that_the_node_announced_are_dialled() {
    let mut discovery = discovery();
    let mut heard = public(2);
    for wrong in ["192.168.0.3", "8.8.8.8", "224.0.0.1", "::ffff:192.168.0.2"] {
        heard.addresses = vec![SocketAddr::new(wrong.parse().unwrap(), 0)];
        let refused = discovery.hint(Hint::Heard(heard.clone()), sender(2), at(1));
        assert_eq!(refused, Err(HintRefusal::Elsewhere), "{wrong}");
    }
    heard.addresses.push(([192, 168, 0, 2], 9).into());
    let hinted = discovery.hint(Hint::Heard(heard.clone()), sender(2), at(1));
    assert_eq!(hinted, Ok(Hinted::New));
    let address = Address::Quic(([192, 168, 0, 2], 7_100).into());
    assert_eq!(tries(&mut discovery)[0].addresses, [address]);
    heard.port = 53;
    let refused = discovery.hint(Hint::Heard(heard), sender(2), at(1));
    let forged = AnnouncementError::Forged.into();
    assert!(refused == Err(forged) || refused == Ok(Hinted::Known));
    assert_eq!(tries(&mut discovery), []);
}

#[test]
fn members_find_each_other_and_others_find_nobody() {
    let mut discovery = discovery();
    let hint = Hint::Heard(private(&SECRET, 2));
    let hinted = discovery.hint(hint.clone(), sender(2), at(1));
    assert_eq!(hinted, Ok(Hinted::New));
    let attempt = tries(&mut discovery);
    let peer = record(1, 2);
    assert_eq!(attempt[0].expects, Expected::Peer(peer.peer()));
    assert!(attempt[0].expects.fits(peer.identity(), peer.node()));
    // An hour later it has another name, and is not dialled again while it is known.
    discovery
        .learn(peer.octets(), Origin::Fixed, at(1))
        .unwrap();
    let mut other = private(&SECRET, 2);
    assert_eq!(
        discovery.hint(Hint::Heard(other.clone()), sender(2), at(1)),
        Ok(Hinted::Known)
    );
    other.port = 7_101;
    let forged = discovery.hint(Hint::Heard(other), sender(2), at(1));
    assert_eq!(forged, Err(AnnouncementError::Forged.into()));
    let foreign = private(&Secret::from_octets([8; 32]), 3);
    let foreign = discovery.hint(Hint::Heard(foreign), sender(3), at(1));
    assert_eq!(foreign, Err(HintRefusal::Foreign));
    let counters = *discovery.hint_counters();
    assert_eq!((counters.foreign, counters.forged), (1, 1));
}

/// Where many nodes begin at once, each dials some, and is dialled by as many.
#[test]
fn of_many_that_are_heard_at_once_few_are_dialled_and_a_seed_is_at_once() {
    let mut discovery = discovery();
    for node in 2..32 {
        let _ = discovery.hint(Hint::Heard(public(node)), sender(node), at(1));
    }
    let first = tries(&mut discovery);
    assert_eq!(first.len(), 3);
    let seed = Hint::Seed {
        addresses: vec![Address::Quic(([8, 8, 8, 8], 7_100).into())],
        expects: Expected::Anyone,
    };
    assert_eq!(discovery.hint(seed, Origin::Fixed, at(1)), Ok(Hinted::New));
    assert_eq!(tries(&mut discovery).len(), 1);
    // None of them answers: others are dialled beside them, now and then.
    discovery.handle_timeout(at(2));
    assert_eq!(tries(&mut discovery).len(), 1);
    for attempt in first {
        discovery.try_ended(attempt.tag, false, at(3));
    }
    assert!(!tries(&mut discovery).is_empty());
}

/// Somebody announces many nodes that nobody can reach.
#[test]
fn a_flood_of_nodes_leaves_room_for_others() {
    let mut discovery = discovery();
    let mut under_way = Vec::new();
    for number in 0..2_000_u64 {
        let last = (number % 250) as u8;
        let heard = Hint::Heard(another(number, last));
        let now = Time {
            monotonic: Duration::from_millis(1_000 + 10 * number),
            unix: NOW,
        };
        let _ = discovery.hint(heard, sender(last), now);
        under_way.extend(tries(&mut discovery));
        assert!(under_way.len() <= 8, "half of the dials");
        assert!(discovery.hints_waiting() <= Hints::MAX);
    }
    assert!(discovery.hint_counters().crowded > 1_000);
    let seed = Hint::Seed {
        addresses: vec![Address::Quic(([8, 8, 8, 8], 7_100).into())],
        expects: Expected::Anyone,
    };
    assert_eq!(discovery.hint(seed, Origin::Fixed, at(30)), Ok(Hinted::New));
    let member = Hint::Heard(private(&SECRET, 251));
    assert_eq!(discovery.hint(member, sender(251), at(30)), Ok(Hinted::New));
    assert_eq!(tries(&mut discovery).len(), 1, "the seed's");
    assert_eq!(
        discovery.hint(Hint::Heard(public(2)), sender(2), at(30)),
        Err(HintRefusal::Full)
    );
    // Those that failed make room.
    discovery.try_ended(under_way[0].tag, false, at(31));
    let next = tries(&mut discovery);
    assert_eq!(next[0].expects, Expected::Peer(record(1, 251).peer()));
    for attempt in &under_way[1..] {
        discovery.try_ended(attempt.tag, false, at(31));
    }
    assert_eq!(
        discovery.hint(Hint::Heard(public(2)), sender(2), at(32)),
        Ok(Hinted::New)
    );
    assert_eq!(discovery.hint_counters().evicted, 1);
}

/// A node of a key of its own, at the address with this end.
fn another(number: u64, last: u8) -> Heard {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    let node = SigningKey::from_seed(Provider::Real, &seed);
    let content = Content {
        node: NodeId::of(&node),
        ..Content::of(&record(1, 2), 7_100, places(last))
    };
    public_of(content, &node)
}

#[test]
fn neither_a_sender_nor_a_member_has_all_places() {
    let mut discovery = discovery();
    for number in 0..100 {
        let hinted = discovery.hint(Hint::Heard(another(number, 2)), sender(2), at(1));
        let count = Hints::MAX_PER_SENDER;
        let full = Err(HintRefusal::Sender { count });
        let expected = if number < 32 { Ok(Hinted::New) } else { full };
        assert_eq!(hinted, expected, "{number}");
    }
    let mut random = Seeded::new(1);
    let mut member = |number: u64| {
        let opened = Opened {
            peer: PeerTag::from_octets([number as u8; 16]),
            sequence: number,
            expires: NOW + 3_600,
        };
        let last = (number % 250) as u8;
        let sealed = Private::seal(&SECRET, &opened, 7_100, places(last), NOW, &mut random);
        let (name, private) = sealed.unwrap();
        let heard = Heard {
            instance: name.into(),
            txt: Announcement::Private(private).encode(),
            port: 7_100,
            addresses: vec![([192, 168, 0, last], 0).into()],
        };
        discovery.hint(Hint::Heard(heard), sender(last), at(1))
    };
    for number in 3..(256 - 32 + 3) {
        assert_eq!(member(number), Ok(Hinted::New), "{number}");
    }
    assert_eq!(member(240), Err(HintRefusal::Full));
    assert_eq!(discovery.hints_waiting(), Hints::MAX);
}

#[test]
fn so_many_hints_wait_as_are_told_and_half_of_strangers() {
    let dials = DialLimits {
        hints: 4,
        ..DialLimits::default()
    };
    let config = Config {
        dials,
        ..Config::default()
    };
    let mut discovery = Discovery::new(Provider::Real, config, record(1, 1), 7);
    for number in 0..2 {
        let hinted = discovery.hint(Hint::Heard(another(number, 2)), sender(2), at(1));
        assert_eq!(hinted, Ok(Hinted::New));
    }
    let hinted = discovery.hint(Hint::Heard(another(2, 2)), sender(2), at(1));
    assert_eq!(hinted, Err(HintRefusal::Full));
}

#[test]
fn a_seed_is_dialled_wherever_it_is() {
    let mut discovery = discovery();
    let address = |last| Address::Quic(([8, 8, 8, last], 7_100).into());
    let seed = |last| Hint::Seed {
        addresses: vec![address(last), address(last)],
        expects: Expected::Identity(record(1, 2).identity()),
    };
    assert_eq!(
        discovery.hint(seed(1), Origin::Fixed, at(1)),
        Ok(Hinted::New)
    );
    assert_eq!(
        discovery.hint(seed(1), Origin::Fixed, at(1)),
        Ok(Hinted::Known)
    );
    assert_eq!(
        discovery.hint(seed(2), Origin::File, at(1)),
        Ok(Hinted::New)
    );
    let dialled = tries(&mut discovery);
    assert_eq!(dialled.len(), 2);
    let all: Vec<_> = dialled.iter().flat_map(|it| it.addresses.clone()).collect();
    assert_eq!(all, [address(1), address(2)]);
    for attempt in dialled {
        discovery.try_ended(attempt.tag, false, at(2));
    }
    assert_eq!(
        discovery.hints_waiting(),
        0,
        "whoever configured them asks again"
    );
    let none = Hint::Seed {
        addresses: Vec::new(),
        expects: Expected::Anyone,
    };
    let refused = discovery.hint(none, Origin::Fixed, at(2));
    assert_eq!(refused, Err(HintRefusal::Elsewhere));
}

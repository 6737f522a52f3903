use std::collections::BTreeSet;
use std::net::IpAddr;

use withy_proto::crypto::{Randomness as _, Seeded};
use withy_proto::trust::{CLOCK_SKEW, Secret};

use super::*;
use crate::testing::{NOW, content, key};

fn places(texts: &[&str]) -> Places {
    Places::choose(texts.iter().map(|it| it.parse::<IpAddr>().unwrap())).unwrap()
}

fn few() -> Places {
    places(&["192.168.0.7", "127.0.0.1", "fe80::7"])
}

/// As many as there can be.
fn many() -> Places {
    let v4 = (0..9).map(|last| IpAddr::from([10, 255, 255, last]));
    let v6 = (0..9).map(|last| IpAddr::from([0xfd00, 0xffff, 0xffff, 0, 0, 0, 0, last]));
    let places = Places::choose(v4.chain(v6)).unwrap();
    assert_eq!(places.iter().count(), Places::MAX_V4 + Places::MAX_V6);
    places
}

fn public(places: Places) -> Announcement {
    let record = content(1, 2).sign(&key(2)).unwrap();
    let content = Content::of(&record, 7_100, places);
    Announcement::Public(content.sign(&key(2)).unwrap())
}

const SECRET: Secret = Secret::from_octets([9; 32]);

const OPENED: Opened = Opened {
    peer: PeerTag::from_octets([7; 16]),
    sequence: 7,
    expires: NOW + Record::LIFETIME,
};

fn private_at(now: u64, seed: u64) -> (String, Private) {
    let mut random = Seeded::new(seed);
    Private::seal(&SECRET, &OPENED, 7_100, few(), now, &mut random).unwrap()
}

fn holds(announcement: &Announcement, name: &str) -> bool {
    match announcement {
        Announcement::Public(public) => {
            public.check(NOW).is_ok() && public.verify(Provider::Real).is_ok()
        }
        Announcement::Private(private) => {
            let opened = private.open(name, &SECRET, NOW);
            opened.is_some_and(|opened| opened.is_ok_and(|it| it.check(NOW).is_ok()))
        }
    }
}

fn samples() -> Vec<(String, Announcement)> {
    let (name, private) = private_at(NOW, 1);
    vec![
        (String::new(), public(few())),
        (String::new(), public(many())),
        (name, Announcement::Private(private)),
    ]
}

#[test]
fn an_announcement_survives_the_wire() {
    for (name, announcement) in samples() {
        let octets = announcement.encode();
        assert!(octets.len() <= Announcement::MAX, "{}", octets.len());
        assert_eq!(
            Announcement::decode(&octets, 7_100).as_ref(),
            Ok(&announcement)
        );
        assert!(holds(&announcement, &name));
    }
}

/// What DNS-SD asks of a TXT record (RFC 6763 §6).
#[test]
fn the_longest_one_fits_into_a_txt_record() {
    let content = Content {
        sequence: u64::MAX,
        expires: u64::MAX,
        port: u16::MAX,
        ..match public(many()) {
            Announcement::Public(public) => public.content,
            Announcement::Private(_) => unreachable!(),
        }
    };
    let octets = content.sign(&key(2)).unwrap().encode();
    assert!(octets.len() <= 400, "{}", octets.len());
    let mut rest = &octets[..];
    let mut first = true;
    while let [length, after @ ..] = rest {
        let (string, after) = after.split_at(usize::from(*length));
        let key = string.split(|octet| *octet == b'=').next().unwrap();
        assert!((1..=9).contains(&key.len()));
        assert!(string.iter().all(|octet| octet.is_ascii_graphic()));
        assert!(!std::mem::take(&mut first) || string == b"txtvers=1");
        rest = after;
    }
}

#[test]
fn the_form_does_not_change() {
    let octets = public(places(&["10.0.0.1", "fd00::1"])).encode();
    let text = String::from_utf8(octets).unwrap();
    assert!(
        text.starts_with("\u{9}txtvers=1\u{3}p=1\u{2e}id="),
        "{text:?}"
    );
    assert!(text.contains("\u{5}seq=7\u{e}exp=1800003600"), "{text:?}");
    assert!(
        text.contains("\u{9}a4=CgAAAQ\u{19}a6=_QAAAAAAAAAAAAAAAAAAAQ"),
        "{text:?}"
    );
    // The same by Python's hmac and base64.
    let (name, private) = private_at(NOW, 1);
    assert_eq!(name, "yl54i4p7rip43soqxgvuvx2z");
    let text = String::from_utf8(private.encode()).unwrap();
    assert_eq!(
        text,
        "\u{9}txtvers=1\u{3}p=1\u{18}n=wVwCiewtCpFn7I5loY3rvg\
        \u{2d}c=pGZ2sKdU0KDM2ctIn9ln3afjf7hvL3t-EKhtZ788waw\
        \u{e}a4=fwAAAcCoAAc\u{19}a6=_oAAAAAAAAAAAAAAAAAABw\
        \u{1a}mac=DEa5lWkvBTYdp-mPjGbgmA"
    );
}

#[test]
fn whatever_is_changed_or_cut_does_not_hold() {
    for (name, announcement) in samples() {
        let octets = announcement.encode();
        for at in 0..octets.len() {
            assert!(Announcement::decode(&octets[..at], 7_100).is_err(), "{at}");
            for bit in 0..8 {
                let mut octets = octets.clone();
                octets[at] ^= 1 << bit;
                let decoded = Announcement::decode(&octets, 7_100);
                assert!(!decoded.is_ok_and(|it| holds(&it, &name)), "{at} {bit}");
            }
        }
        for port in [0, 1, 7_101] {
            let decoded = Announcement::decode(&octets, port);
            assert!(!decoded.is_ok_and(|it| holds(&it, &name)), "{port}");
        }
        let mut longer = octets.clone();
        longer.extend_from_slice(b"\x03x=1");
        if longer.len() <= Announcement::MAX {
            let decoded = Announcement::decode(&longer, 7_100);
            assert_eq!(decoded, Err(AnnouncementError::Trailing));
        }
    }
}

#[test]
fn what_is_decoded_is_in_its_one_form() {
    let text = |strings: &[&str]| {
        let mut octets = Vec::new();
        strings
            .iter()
            .for_each(|it| withy_proto::fields::put_short(&mut octets, it.as_bytes()));
        Announcement::decode(&octets, 1).unwrap_err()
    };
    let missing = |key| AnnouncementError::Missing { key };
    let value = |key| AnnouncementError::Value { key };
    assert_eq!(text(&[]), missing("txtvers"));
    assert_eq!(text(&["TXTVERS=1"]), missing("txtvers"));
    assert_eq!(text(&["txtvers"]), missing("txtvers"));
    assert_eq!(text(&["txtvers=01"]), value("txtvers"));
    assert_eq!(text(&["txtvers=+1"]), value("txtvers"));
    let later = AnnouncementError::Version { found: 2 };
    assert_eq!(text(&["txtvers=2"]), later);
    let later = AnnouncementError::Protocol { found: 2 };
    assert_eq!(text(&["txtvers=1", "p=2"]), later);
    assert_eq!(text(&["txtvers=1", "p=1", "by=x"]), missing("id"));
    assert_eq!(text(&["txtvers=1", "p=1", "id=x"]), value("id"));
    assert_eq!(
        text(&["txtvers=1", "", "p=1"]),
        AnnouncementError::Malformed
    );
    let long = Announcement::decode(&[b'x'; 401], 1);
    assert_eq!(long, Err(AnnouncementError::Length { length: 401 }));
    // Of the last digit in base64, two bits are over.
    let octets = public(few()).encode();
    let at = octets.windows(3).position(|it| it == b"by=").unwrap() - 2;
    let decoded = |last: u8| {
        let mut octets = octets.clone();
        octets[at] = last;
        Announcement::decode(&octets, 7_100)
    };
    let good = (b'A'..=b'Z').filter(|last| decoded(*last).is_ok()).count();
    assert!(good < 26, "{good}");
}

#[test]
fn addresses_are_near_few_and_in_order() {
    let choose = |texts: &[&str]| Places::choose(texts.iter().map(|it| it.parse().unwrap()));
    assert_eq!(choose(&[]), Err(PlacesError::None));
    for far in [
        "8.8.8.8",
        "0.0.0.0",
        "224.0.0.1",
        "2001:db8::1",
        "::",
        "ff02::1",
    ] {
        assert_eq!(choose(&[far]), Err(PlacesError::None), "{far}");
        assert_eq!(choose(&[far, "10.0.0.1"]).unwrap().iter().count(), 1);
    }
    let swapped = "CgAAAgoAAAE";
    let twice = "CgAAAQoAAAE";
    let public_address = "CAgICA";
    let decode = |list: &str| {
        let mut out = Vec::new();
        put(&mut out, "a4", list);
        Places::decode(&mut Strings::new(&out).unwrap())
    };
    assert_eq!(decode(swapped), Err(PlacesError::Order.into()));
    assert_eq!(decode(twice), Err(PlacesError::Order.into()));
    assert_eq!(decode(public_address), Err(PlacesError::Reach.into()));
    assert_eq!(decode(""), Err(AnnouncementError::Value { key: "a4" }));
    assert_eq!(decode("CgAA"), Err(AnnouncementError::Value { key: "a4" }));
    let seven: Vec<u8> = (0..7).flat_map(|last| [10, 0, 0, last]).collect();
    let many = PlacesError::Many { count: 7 };
    assert_eq!(decode(&txt::base64(&seven)), Err(many.into()));
}

#[test]
fn it_counts_until_it_expires_and_not_for_ever() {
    for (expires, good) in [
        (NOW - CLOCK_SKEW - 1, false),
        (NOW - CLOCK_SKEW, true),
        (NOW + Record::MAX_LIFETIME + CLOCK_SKEW, true),
        (NOW + Record::MAX_LIFETIME + CLOCK_SKEW + 1, false),
        (u64::MAX, false),
    ] {
        let opened = Opened { expires, ..OPENED };
        assert_eq!(opened.check(NOW).is_ok(), good, "{expires}");
    }
    assert!(OPENED.check(u64::MAX).is_err());
}

#[test]
fn only_the_key_of_a_node_signs_for_it() {
    let Announcement::Public(public) = public(few()) else {
        unreachable!();
    };
    let forged = public.content.clone().sign(&key(3));
    assert_eq!(forged, Err(AnnouncementError::Forged));
    let no_port = Content {
        port: 0,
        ..public.content
    };
    assert_eq!(no_port.sign(&key(2)), Err(AnnouncementError::Port));
}

#[test]
fn members_read_what_outsiders_cannot_link() {
    let (name, private) = private_at(NOW, 1);
    assert!(Private::is_name(&name), "{name}");
    assert_eq!(private.open(&name, &SECRET, NOW), Some(Ok(OPENED)));
    let other = Secret::from_octets([8; 32]);
    assert_eq!(private.open(&name, &other, NOW), None);
    // The next hour, and the same hour again: nothing but the addresses is as it was.
    for (now, seed) in [(NOW + Private::EPOCH, 2), (NOW, 3)] {
        let (later_name, later) = private_at(now, seed);
        assert_ne!(later_name, name);
        assert_ne!(later.nonce, private.nonce);
        let shared = private.content.iter().zip(later.content);
        assert!(shared.filter(|(one, two)| **one == *two).count() < 8);
        assert_ne!(later.code, private.code);
    }
    // Even if a nonce came again, an hour later all is different.
    let (later_name, later) = private_at(NOW + Private::EPOCH, 1);
    assert_eq!(later.nonce, private.nonce);
    assert_ne!(later_name, name);
    assert_ne!(later.content, private.content);
    // No id and no service is in there.
    let octets = private.encode();
    let text = String::from_utf8(octets).unwrap();
    assert!(!text.contains("id=") && !text.contains("by=") && !text.contains("sv="));
    let tag = txt::base64(OPENED.peer.as_octets());
    assert!(!text.contains(&tag));
}

#[test]
fn a_clock_may_be_an_hour_off() {
    let (name, private) = private_at(NOW, 1);
    for (hours, good) in [
        (-2_i64, false),
        (-1, true),
        (0, true),
        (1, true),
        (2, false),
    ] {
        let now = NOW.wrapping_add_signed(hours * Private::EPOCH as i64);
        assert_eq!(private.open(&name, &SECRET, now).is_some(), good, "{hours}");
    }
    assert_eq!(private.open(&name, &SECRET, 0), None);
    assert_eq!(private.open(&name, &SECRET, u64::MAX), None);
}

#[test]
fn a_name_does_not_make_a_forgery_hold() {
    let (name, private) = private_at(NOW, 1);
    let forged = Private {
        places: places(&["10.0.0.66"]),
        ..private
    };
    let opened = forged.open(&name, &SECRET, NOW);
    assert_eq!(opened, Some(Err(AnnouncementError::Forged)));
}

#[test]
fn names_of_many_announcements_differ() {
    let names: BTreeSet<_> = (0..1_000).map(|seed| private_at(NOW, seed).0).collect();
    assert_eq!(names.len(), 1_000);
}

#[test]
fn any_octets_are_an_announcement_or_an_error() {
    let mut random = Seeded::new(1);
    for _ in 0..20_000 {
        let mut octets = vec![0; random.next_u64() as usize % 420];
        random.fill(&mut octets);
        let _ = Announcement::decode(&octets, random.next_u64() as u16);
    }
}

//! Sources on a port of their own, with multicast on the interfaces that there are.

use std::net::UdpSocket;
use std::time::{Duration, Instant, SystemTime};

use withy_proto::crypto::{Provider, Seeded};

use super::*;
use crate::announcement::{Announcement, Private};
use crate::hints::Heard;
use crate::testing::{content, key};
use crate::{Config, Discovery, Hinted, Time};

/// A port that nobody uses.
fn port() -> u16 {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    socket.local_addr().unwrap().port()
}

fn source(port: u16, seed: u64) -> Mdns {
    Mdns::new_with_port(port, Box::new(Seeded::new(seed))).unwrap()
}

fn speaker(node: u8, sequence: u64, audience: Audience) -> Speaker {
    let mut content = content(1, node);
    content.sequence = sequence;
    // It listens at all addresses of this host.
    content.addresses = Vec::new();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    content.validity = withy_proto::trust::Validity::starting(now, Record::LIFETIME);
    Speaker {
        key: key(node),
        record: content.sign(&key(node)).unwrap(),
        port: 7_100,
        audience,
    }
}

/// Waits until a source has what is looked for.
fn wait<T>(source: &Mdns, mut find: impl FnMut(Found) -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = source.poll().into_iter().find_map(&mut find) {
            return found;
        }
        assert!(
            Instant::now() < end,
            "{:?} {:?}",
            source.state(),
            source.counters()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn public(heard: &Heard) -> Option<crate::announcement::Public> {
    match Announcement::decode(&heard.txt, heard.port) {
        Ok(Announcement::Public(public)) => Some(public),
        _ => None,
    }
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn two_nodes_find_each_other_change_and_go() {
    let port = port();
    let (one, two) = (source(port, 1), source(port, 2));
    one.announce(speaker(1, 1, Audience::Everybody));
    two.announce(speaker(2, 1, Audience::Everybody));
    let sequence = |node: u8, sequence: u64| {
        move |found: Found| match found {
            Found::Hint(Hint::Heard(heard), Origin::Mdns(_)) => {
                let public = public(&heard)?;
                public.verify(Provider::Real).unwrap();
                let content = public.content();
                let right = content.node == speaker(node, 1, Audience::Everybody).record.node();
                assert!(right, "one's own is not found");
                (content.sequence == sequence).then_some(heard)
            }
            _ => None,
        }
    };
    let heard = wait(&one, sequence(2, 1));
    assert_eq!(heard.port, 7_100);
    let local = |address: &SocketAddr| {
        interfaces::locals()
            .unwrap()
            .iter()
            .any(|it| it.ip == address.ip())
    };
    assert!(heard.addresses.iter().all(local), "{heard:?}");
    wait(&two, sequence(1, 1));
    until("it hears itself", || one.state() == State::Working);
    two.announce(speaker(2, 2, Audience::Everybody));
    wait(&one, sequence(2, 2));
    let instance = heard.instance;
    drop(two);
    wait(&one, |found| {
        (found == Found::Gone(instance.clone())).then_some(())
    });
    assert_eq!(one.counters().replaced, 0);
}

#[test]
fn members_find_each_other_and_others_see_nothing() {
    let port = port();
    let secret = || Secret::from_octets([9; 32]);
    let (one, two) = (source(port, 1), source(port, 2));
    let outsider = source(port, 3);
    let members = || Audience::Members(vec![secret()]);
    two.announce(speaker(2, 1, members()));
    let unix = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let heard = |found: Found| match found {
        Found::Hint(Hint::Heard(heard), _) => Some(heard),
        _ => None,
    };
    let first = wait(&one, heard);
    let Ok(Announcement::Private(private)) = Announcement::decode(&first.txt, first.port) else {
        panic!("{first:?}");
    };
    let now = unix().unwrap().as_secs();
    let opened = private.open(&first.instance, &secret(), now);
    let record = speaker(2, 1, members()).record;
    assert_eq!(opened.unwrap().unwrap().peer, record.peer());
    let seen = wait(&outsider, heard);
    let text = format!("{} {}", seen.instance, String::from_utf8(seen.txt).unwrap());
    for id in [record.node().to_string(), record.identity().to_string()] {
        assert!(!text.contains(&id[..8]), "{text}");
    }
    // Its next announcement has another name, and the old one is gone.
    two.announce(speaker(2, 2, members()));
    let (mut gone, mut next) = (false, None);
    wait(&one, |found| {
        match found {
            Found::Gone(name) => gone |= name == first.instance,
            Found::Hint(Hint::Heard(heard), _) => next = Some(heard.instance),
            Found::Hint(..) => {}
        }
        (gone && next.is_some()).then_some(())
    });
    let next = next.unwrap();
    assert!(next != first.instance && Private::is_name(&next), "{next}");
}

/// From multicast to a dial.
#[test]
fn what_is_found_is_dialled() {
    let port = port();
    let (one, two) = (source(port, 1), source(port, 2));
    let own = speaker(1, 1, Audience::Everybody);
    let mut discovery = Discovery::new(Provider::Real, Config::default(), own.record, 1);
    two.announce(speaker(2, 1, Audience::Everybody));
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let time = Time {
        monotonic: Duration::from_secs(1),
        unix: unix.unwrap().as_secs(),
    };
    let hinted = wait(&one, |found| match found {
        Found::Hint(hint, origin) => Some(discovery.hint(hint, origin, time)),
        Found::Gone(_) => None,
    });
    assert_eq!(hinted, Ok(Hinted::New));
    let action = discovery.poll_action();
    let Some(crate::Action::Try(attempt)) = action else {
        panic!("{action:?}");
    };
    assert_eq!(
        attempt.tag,
        speaker(2, 1, Audience::Everybody).record.peer()
    );
    let near = |it: &Address| it.ip().is_some_and(|ip| !ip.is_unspecified());
    assert!(!attempt.addresses.is_empty() && attempt.addresses.iter().all(near));
}

#[test]
fn one_that_falls_silent_is_gone_and_may_speak_again() {
    let port = port();
    let (one, two) = (source(port, 1), source(port, 2));
    for sequence in [1, 2] {
        two.announce(speaker(2, sequence, Audience::Everybody));
        wait(&one, |found| matches!(found, Found::Hint(..)).then_some(()));
        two.fall_silent();
        wait(&one, |found| matches!(found, Found::Gone(_)).then_some(()));
        until("it listens", || two.state() == State::Listening);
    }
}

/// Two on one port use it together.
#[test]
fn a_late_one_hears_what_was_said_before() {
    let port = port();
    let one = source(port, 1);
    one.announce(speaker(1, 1, Audience::Everybody));
    until("it hears itself", || one.state() == State::Working);
    let two = source(port, 2);
    let from = wait(&two, |found| match found {
        Found::Hint(_, Origin::Mdns(ip)) => Some(ip),
        _ => None,
    });
    let locals = interfaces::locals().unwrap();
    let is = |ip: IpAddr| locals.iter().any(|it| it.ip == ip);
    assert!(is(from), "{from}");
}

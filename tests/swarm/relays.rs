//! Nodes that do not reach each other, and those that relay for them.

use std::net::SocketAddr;
use std::time::Duration;

use withy_tests::scale;

use crate::meshing::meet;
use crate::node::{Role, now};
use crate::sites::Sites;
use crate::swarm::{LONG, Swarm, between, home, inside, limit, runtime};

/// For how long a mesh is watched in which nothing happens.
const CALM: Duration = Duration::from_secs(10);

/// A host with these addresses, of the first site and the following.
fn host(at: &[(usize, &str)]) -> Vec<(usize, String)> {
    let owned = |(site, address): &(usize, &str)| (*site, (*address).to_owned());
    at.iter().map(owned).collect()
}

fn role(number: usize) -> Role {
    Role {
        number,
        runtime: runtime(&format!("host{number}")),
        lan: true,
        ..Role::default()
    }
}

/// A node on each of the first hosts, of one user.
fn start(test: &'static str, sites: &Sites, count: usize, role: impl Fn(Role) -> Role) -> Swarm {
    let home = home("home");
    let mut swarm = Swarm::new(test);
    for number in 0..count {
        let plain = Role {
            home: home.clone(),
            ..self::role(number)
        };
        swarm.start(Some(sites.host(number)), &role(plain));
    }
    swarm
}

/// Uses what a node serves from another, in all patterns.
fn use_all(swarm: &mut Swarm, from: usize, at: usize) {
    let name = format!("n{from}x{at}");
    let since = now();
    swarm.tell(at, &format!("serve {name}"));
    swarm.say_all(&[at], LONG, since, |what| what == "serves");
    swarm.tell(from, &format!("use {name}"));
    for pattern in ["request", "queue", "pair", "push"] {
        let used = format!("used {pattern} {name}");
        swarm.say_all(&[from], LONG, since, |what| what == used);
    }
}

/// What a node says of its relaying.
fn relayed(swarm: &mut Swarm, number: usize) -> Vec<u64> {
    let since = now();
    swarm.tell(number, "relayed");
    let is = |what: &str| what.starts_with("relayed ");
    swarm.say_all(&[number], LONG, since, is);
    let said = swarm.log().iter().rev();
    let mut said = said.filter(|said| said.node == number && is(&said.what));
    let numbers = said.next().unwrap().what.split(' ').skip(1);
    numbers.map(|it| it.parse().unwrap()).collect()
}

/// How a node reaches another over its link for gossip, if it has one.
fn carried_by(swarm: &mut Swarm, from: usize, to: usize) -> Option<String> {
    let (since, tag) = (now(), swarm.tag(to));
    swarm.tell(from, "carried");
    let is = |what: &str| what.starts_with("carried");
    swarm.say_all(&[from], LONG, since, is);
    let said = swarm.log().iter().rev();
    let mut said = said.filter(|said| said.node == from && is(&said.what));
    let mut links = said.next().unwrap().what.split(' ').skip(1);
    let link = links.find_map(|link| link.strip_prefix(&format!("{tag}:")));
    link.map(str::to_owned)
}

/// How often nodes said since a moment that one of those who are there does not answer, or is dead.
fn wrongs(swarm: &mut Swarm, since: u64) -> (usize, usize) {
    let tags: Vec<_> = swarm.numbers().iter().map(|it| swarm.tag(*it)).collect();
    let count = |swarm: &mut Swarm, state: &str| {
        let about = |what: &str| tags.iter().any(|tag| what == format!("{state} {tag}"));
        let said = swarm.log().iter();
        said.filter(|said| said.at >= since && about(&said.what))
            .count()
    };
    (count(swarm, "suspected"), count(swarm, "died"))
}

#[test]
fn two_lans_joined_by_one_node_are_one_mesh() {
    const TEST: &str = "relays::two_lans_joined_by_one_node_are_one_mesh";
    inside(TEST, || {
        let each = scale::count(2, 5) as usize;
        let number =
            |site: usize, host: usize| vec![(site, format!("10.77.{site}.{}/24", host + 1))];
        let mut hosts: Vec<_> = (0..each).map(|host| number(0, host)).collect();
        hosts.extend((0..each).map(|host| number(1, host)));
        hosts.push(host(&[(0, "10.77.0.99/24"), (1, "10.77.1.99/24")]));
        let sites = Sites::new(2, &hosts);
        let joins = 2 * each;
        let relay = |role: Role| Role {
            relay: role.number == joins,
            ..role
        };
        let mut swarm = start(TEST, &sites, joins + 1, relay);
        let (_, known, reached) = meet(&mut swarm);
        let count = format!("2 LANs of {each} nodes with one relay");
        scale::report(
            &format!("{count} know each other after"),
            format!("{known:.1?}"),
        );
        scale::report(
            &format!("{count} reach each other after"),
            format!("{reached:.1?}"),
        );
        let (first, last) = (each, joins - 1);
        use_all(&mut swarm, 0, first);
        use_all(&mut swarm, last, 1);
        let [relaying, octets, ..] = relayed(&mut swarm, joins)[..] else {
            panic!("it says more");
        };
        assert!(relaying >= 4, "{relaying} circuits");
        assert!(octets > 10_000, "{octets} octets");
        // That many addresses lead nowhere makes nobody doubt that somebody is there.
        let since = now();
        std::thread::sleep(CALM);
        let (suspected, died) = wrongs(&mut swarm, since);
        scale::report("suspicions of nodes behind a relay, in 10 s", suspected);
        assert_eq!(died, 0);
        assert!(suspected == 0 || cfg!(debug_assertions), "{suspected}");
        let [_, later, ..] = relayed(&mut swarm, joins)[..] else {
            panic!("it says more");
        };
        let rate = (later - octets) / CALM.as_secs();
        let what = format!("octets a second that one relay carries for {joins} idle nodes");
        scale::report(&what, rate);
        // Who dies is noticed on the other side.
        let died = format!("died {}", swarm.tag(first));
        let killed = swarm.kill(first);
        let noticed = between(killed, swarm.all_say(LONG, killed, |what| what == died));
        scale::report(
            "kill -9 behind a relay is noticed after",
            format!("{noticed:.1?}"),
        );
        assert!(noticed <= limit(3), "{noticed:?}");
        // Without the relay there are two meshes.
        let gone = format!("died {}", swarm.tag(last));
        let killed = swarm.kill(joins);
        swarm.say_all(&[0, 1], LONG, killed, |what| what == gone);
    });
}

#[test]
fn a_node_that_did_not_say_so_relays_nothing_and_nobody_dies_of_it() {
    const TEST: &str = "relays::a_node_that_did_not_say_so_relays_nothing_and_nobody_dies_of_it";
    inside(TEST, || {
        let sites = Sites::new(
            2,
            &[
                host(&[(0, "10.77.1.1/24")]),
                host(&[(1, "10.77.2.1/24")]),
                host(&[(0, "10.77.1.9/24"), (1, "10.77.2.9/24")]),
            ],
        );
        let mut swarm = start(TEST, &sites, 3, |role| role);
        swarm.tell_all("expect 2");
        swarm.built(LONG);
        // They hear of each other, and all that each reaches is who is between them.
        swarm.all_say(LONG, 0, |what| what == "knows 2");
        swarm.say_all(&[2], LONG, 0, |what| what == "heard 2");
        let since = now();
        std::thread::sleep(CALM);
        let far = swarm.log().iter().filter(|said| said.node < 2);
        let far = far.filter(|said| said.what == "heard 2").count();
        let (suspected, died) = wrongs(&mut swarm, since);
        scale::report(
            "suspicions of two nodes that no relay joins, in 10 s",
            suspected,
        );
        assert_eq!((far, died), (0, 0));
        assert_eq!(relayed(&mut swarm, 2)[..2], [0, 0]);
    });
}

#[test]
fn nodes_of_two_homes_with_the_same_addresses_meet_at_a_relay() {
    const TEST: &str = "relays::nodes_of_two_homes_with_the_same_addresses_meet_at_a_relay";
    inside(TEST, || {
        // Two homes, each behind a router that lets nobody in, and the world between them.
        let sites = Sites::new(
            3,
            &[
                host(&[(0, "192.168.1.2/24")]),
                host(&[(1, "192.168.1.2/24")]),
                host(&[(2, "10.77.0.9/24")]),
                host(&[(0, "192.168.1.1/24"), (2, "10.77.0.1/24")]),
                host(&[(1, "192.168.1.1/24"), (2, "10.77.0.2/24")]),
            ],
        );
        for home in [0, 1] {
            sites.route(home, "192.168.1.1");
            sites.translate(3 + home);
        }
        let relay: SocketAddr = "10.77.0.9:7100".parse().unwrap();
        let mut swarm = start(TEST, &sites, 3, |role| match role.number {
            2 => Role {
                relay: true,
                listen: Some(relay),
                ..role
            },
            _ => Role {
                seed: Some(relay.to_string()),
                ..role
            },
        });
        let (_, _, reached) = meet(&mut swarm);
        scale::report(
            "two homes behind routers reach each other after",
            format!("{reached:.1?}"),
        );
        use_all(&mut swarm, 0, 1);
        use_all(&mut swarm, 1, 0);
        let since = now();
        std::thread::sleep(CALM);
        let (suspected, died) = wrongs(&mut swarm, since);
        scale::report("suspicions of nodes of two homes, in 10 s", suspected);
        assert_eq!(died, 0);
        assert!(suspected == 0 || cfg!(debug_assertions), "{suspected}");
    });
}

#[test]
fn two_relays_in_a_row_join_three_lans_and_one_that_dies_is_replaced() {
    const TEST: &str = "relays::two_relays_in_a_row_join_three_lans_and_one_that_dies_is_replaced";
    inside(TEST, || {
        // 0 -- 2 or 3 -- 4 -- 1
        let sites = Sites::new(
            3,
            &[
                host(&[(0, "10.77.1.1/24")]),
                host(&[(2, "10.77.3.1/24")]),
                host(&[(0, "10.77.1.2/24"), (1, "10.77.2.2/24")]),
                host(&[(0, "10.77.1.3/24"), (1, "10.77.2.3/24")]),
                host(&[(1, "10.77.2.4/24"), (2, "10.77.3.4/24")]),
            ],
        );
        let mut swarm = start(TEST, &sites, 5, |role| Role {
            relay: role.number >= 2,
            ..role
        });
        meet(&mut swarm);
        use_all(&mut swarm, 0, 1);
        swarm.tell_all("tick 100");
        let taken = match relayed(&mut swarm, 2)[1] > relayed(&mut swarm, 3)[1] {
            true => 2,
            false => 3,
        };
        let left = 5 - taken;
        let killed = swarm.kill(taken);
        swarm.tell_all("mark");
        let marked = now();
        let heard = swarm.all_say(LONG, marked, |what| what == "heard 3");
        let heard = between(killed, heard);
        scale::report(
            "traffic goes through another relay after kill -9 of one, after",
            format!("{heard:.1?}"),
        );
        assert!(heard <= limit(10), "{heard:?}");
        assert!(relayed(&mut swarm, left)[0] > 0);
        let (_, died) = wrongs(&mut swarm, killed);
        scale::report("deaths of nodes whose relay died", died);
        use_all(&mut swarm, 1, 0);
    });
}

#[test]
fn direct_ways_are_taken_again_when_they_work() {
    const TEST: &str = "relays::direct_ways_are_taken_again_when_they_work";
    inside(TEST, || {
        let sites = Sites::new(
            1,
            &[
                host(&[(0, "10.77.0.1/24")]),
                host(&[(0, "10.77.0.2/24")]),
                host(&[(0, "10.77.0.3/24")]),
            ],
        );
        sites.part(0, 0, 1);
        let mut swarm = start(TEST, &sites, 3, |role| Role {
            relay: role.number == 2,
            again: Some(2_000),
            ..role
        });
        meet(&mut swarm);
        use_all(&mut swarm, 0, 1);
        swarm.tell_all("tick 100");
        let end = now() + LONG.as_micros() as u64;
        while carried_by(&mut swarm, 0, 1).as_deref() != Some("relay") {
            assert!(now() < end, "there is no link");
            std::thread::sleep(Duration::from_millis(100));
        }
        sites.join();
        let since = now();
        while relayed(&mut swarm, 2)[0] > 0 {
            assert!(now() < end, "it still relays");
            std::thread::sleep(Duration::from_millis(100));
        }
        let direct = between(since, now());
        scale::report(
            "all goes directly again, of 2 s between tries, after",
            format!("{direct:.1?}"),
        );
        assert_ne!(carried_by(&mut swarm, 0, 1).as_deref(), Some("relay"));
        swarm.tell_all("mark");
        swarm.all_say(LONG, since, |what| what == "heard 2");
        let (_, died) = wrongs(&mut swarm, since);
        assert_eq!(died, 0);
        use_all(&mut swarm, 1, 0);
    });
}

//! All nodes find and reach each other, soon; so is what is new, and who is gone is noticed.

use std::time::Duration;

use withy_tests::scale;

use crate::lan::{Lan, address};
use crate::node::{Role, now};
use crate::swarm::{LONG, Swarm, between, home, inside, limit, runtime};

/// The processor time in which two nodes know and reach each other: 4.5 ms were measured, and twice as much
/// on a machine that did other things as well.
const EACH_TWO: Duration = Duration::from_millis(10);

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(1);

/// So few nodes that they keep the limits without optimisation, on two processors that others use as well.
const FEW: usize = 8;

/// How many nodes there are.
pub(crate) fn count() -> usize {
    scale::count(20, 50) as usize
}

/// The nodes of a test, one on each host.
pub(crate) fn swarm(
    test: &'static str,
    lan: &Lan,
    count: usize,
    role: impl Fn(Role) -> Role,
) -> Swarm {
    let home = home("home");
    let mut swarm = Swarm::new(test);
    for number in 0..count {
        let plain = Role {
            number,
            home: home.clone(),
            runtime: runtime(&format!("host{number}")),
            lan: true,
            ..Role::default()
        };
        swarm.start(Some(lan.host(number)), &role(plain));
    }
    swarm
}

/// Waits until all nodes know and heard all others; says since when they are built, and how long both took.
pub(crate) fn meet(swarm: &mut Swarm) -> (u64, Duration, Duration) {
    let others = swarm.numbers().len() - 1;
    swarm.tell_all(&format!("expect {others}"));
    let built = swarm.built(LONG);
    let knows = format!("knows {others}");
    let known = swarm.all_say(LONG, 0, |what| what == knows);
    let heard = format!("heard {others}");
    let heard = swarm.all_say(LONG, 0, |what| what == heard);
    (built, between(built, known), between(built, heard))
}

/// As [`meet`], for nodes that wait to be told: counted since then, with the time for which processors
/// worked meanwhile.
fn meet_at_once(swarm: &mut Swarm) -> (Duration, Duration, Duration) {
    let told = swarm.go();
    let before = swarm.worked();
    let others = swarm.numbers().len() - 1;
    swarm.tell_all(&format!("expect {others}"));
    let known = swarm.all_say(LONG, told, |what| what == format!("knows {others}"));
    let heard = swarm.all_say(LONG, told, |what| what == format!("heard {others}"));
    let worked = swarm.worked() - before;
    swarm.built(LONG);
    (between(told, known), between(told, heard), worked)
}

/// The role of a node that [meets all others at once](meet_at_once).
fn at_once(role: Role, count: usize) -> Role {
    Role {
        waits: true,
        others: count - 1,
        ..role
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Until all know and reach each other.
    meet: Duration,
    /// Until all know and reach each other, where they know a seed.
    seeded: Duration,
    /// Until all use a new service.
    used: Duration,
    /// Until all notice a death.
    noticed: Duration,
}

impl Limits {
    /// Those of a large swarm, in a long suite.
    fn of_many() -> Self {
        Self {
            meet: limit(3),
            seeded: limit(10),
            used: limit(1),
            // Of a second each.
            noticed: limit(3),
        }
    }

    /// The same, in every build, with what a busy machine may add.
    fn of_few() -> Self {
        let secs = Duration::from_secs;
        Self {
            meet: secs(3) + SLACK,
            seeded: secs(10) + SLACK,
            used: secs(1) + SLACK,
            noticed: secs(3) + SLACK,
        }
    }
}

#[test]
fn all_find_each_other_and_notice_what_changes() {
    const TEST: &str = "meshing::all_find_each_other_and_notice_what_changes";
    inside(TEST, || find_and_notice(TEST, count(), Limits::of_many()));
}

#[test]
fn a_few_find_each_other_and_notice_what_changes_in_time() {
    const TEST: &str = "meshing::a_few_find_each_other_and_notice_what_changes_in_time";
    inside(TEST, || find_and_notice(TEST, FEW, Limits::of_few()));
}

fn find_and_notice(test: &'static str, count: usize, limits: Limits) {
    let lan = Lan::new(count);
    let mut swarm = swarm(test, &lan, count, |role| at_once(role, count));
    let (known, reached, worked) = meet_at_once(&mut swarm);
    scale::report(
        &format!("{count} nodes know each other after"),
        format!("{known:.1?}"),
    );
    scale::report(
        &format!("{count} nodes reach each other after"),
        format!("{reached:.1?}"),
    );

    // Of all nodes together: each reaches all others, which is a handshake for each two and way.
    scale::report(
        &format!("processor time until {count} nodes reach each other"),
        format!("{worked:.1?}"),
    );
    let processors = std::thread::available_parallelism().unwrap().get();
    let bound = worked / processors as u32;

    // A new service.
    let since = now();
    swarm.tell(1, "late news");
    let used = swarm.all_say(LONG, since, |what| what == "late late/news");
    let used = between(since, used);
    scale::report(
        &format!("a new service is used by {count} nodes after"),
        format!("{used:.1?}"),
    );

    // Somebody dies.
    let mut worst = Duration::ZERO;
    for victim in [count - 1, count / 2] {
        let died = format!("died {}", swarm.tag(victim));
        let killed = swarm.kill(victim);
        let noticed = swarm.all_say(LONG, killed, |what| what == died);
        worst = worst.max(between(killed, noticed));
    }
    scale::report(
        &format!("kill -9 is noticed by {count} nodes after"),
        format!("{worst:.1?}"),
    );
    // Nobody else was taken for dead.
    let tags: Vec<_> = swarm
        .numbers()
        .iter()
        .map(|number| swarm.tag(*number))
        .collect();
    let wrong = |what: &str| tags.iter().any(|tag| what == format!("died {tag}"));
    let wrong = swarm.log().iter().filter(|said| wrong(&said.what)).count();
    scale::report(&format!("deaths of {count} nodes that did not die"), wrong);
    let is_strict = !cfg!(debug_assertions) || count <= FEW;
    assert!(wrong == 0 || !is_strict, "{wrong}");
    // Each two nodes cost so much at most: where all of them share a few processors, that is the limit.
    let most = EACH_TWO * (count * (count - 1) / 2) as u32;
    assert!(worked <= most || cfg!(debug_assertions), "{worked:?}");
    // Where processors are few, nodes wait for them, but not for each other.
    let limit_of_all = limits.meet.max(bound * 5 / 4);
    if reached.max(known) > limits.meet {
        let missed = format!("{known:.1?}, {reached:.1?}: {bound:.1?} for each processor");
        scale::report(&format!("MISSED: {count} nodes in 3 s"), missed);
    }
    assert!(
        known <= limit_of_all && reached <= limit_of_all,
        "{known:?}, {reached:?}, {bound:?} of work for each processor"
    );
    assert!(used <= limits.used, "{used:?}");
    assert!(worst <= limits.noticed, "{worst:?}");
}

#[test]
fn a_seed_is_enough_where_multicast_does_not_reach() {
    const TEST: &str = "meshing::a_seed_is_enough_where_multicast_does_not_reach";
    inside(TEST, || know_a_seed(TEST, count(), Limits::of_many()));
}

#[test]
fn a_seed_is_enough_for_a_few_in_time() {
    const TEST: &str = "meshing::a_seed_is_enough_for_a_few_in_time";
    inside(TEST, || know_a_seed(TEST, FEW, Limits::of_few()));
}

fn know_a_seed(test: &'static str, count: usize, limits: Limits) {
    let lan = Lan::new(count);
    lan.drop_all("meta pkttype multicast udp dport 5353");
    // What is announced is no port that anybody knows: this one is.
    let seed = std::net::SocketAddr::new(address(0), 7_100);
    let mut swarm = swarm(test, &lan, count, |role| match role.number {
        0 => Role {
            listen: Some(seed),
            ..at_once(role, count)
        },
        _ => Role {
            seed: Some(seed.to_string()),
            ..at_once(role, count)
        },
    });
    let (known, reached, worked) = meet_at_once(&mut swarm);
    scale::report(
        &format!("{count} nodes with a seed know each other after"),
        format!("{known:.1?}"),
    );
    scale::report(
        &format!("{count} nodes with a seed reach each other after"),
        format!("{reached:.1?}"),
    );
    scale::report(
        &format!("processor time until {count} nodes with a seed reach each other"),
        format!("{worked:.1?}"),
    );
    let reached = reached.max(known);
    assert!(reached <= limits.seeded, "{known:?}, {reached:?}");
}

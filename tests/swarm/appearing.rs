//! A node that is opened is heard at once by one that is there.

use std::time::Duration;

use withy_tests::namespace::run;
use withy_tests::scale;

use crate::lan::Lan;
use crate::node::Role;
use crate::swarm::{LONG, Swarm, between, home, inside, runtime};

/// Nodes that are opened one after the other.
fn count() -> usize {
    scale::count(7, 31) as usize
}

/// Opens nodes one after the other, each of which ends before the next one; reports how long it takes until
/// one that is there heard them, and asserts that half of them take less than this.
fn appear(test: &'static str, lan: Option<&Lan>, role: impl Fn(usize) -> Role, limit: Duration) {
    let mut swarm = Swarm::new(test);
    let host = |number: usize| lan.map(|lan| lan.host(number));
    swarm.start(host(0), &role(0));
    swarm.built(LONG);
    let mut times = Vec::new();
    // The first one may come before the one that is there was announced, and does not count.
    for number in 1..=count() + 1 {
        swarm.start(host(1), &role(number));
        let heard = format!("heard {number}");
        let heard = swarm.say_all(&[0], LONG, 0, |what| what == heard);
        let opened = swarm.say_all(&[number], LONG, 0, |what| what == "opens");
        times.push(between(opened, heard));
        swarm.kill(number);
    }
    times.remove(0);
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    let how = if lan.is_some() {
        "by multicast"
    } else {
        "on one host"
    };
    scale::report(
        &format!("from opening a node to its first message at another, {how}"),
        format!("{median:.1?}, at worst {worst:.1?}"),
    );
    assert!(median < limit, "{times:?}");
}

/// What it may take, in milliseconds: without optimisation, on a machine that does other things as well, and
/// with it.
fn limit(plain: u64, optimised: u64) -> Duration {
    Duration::from_millis(match cfg!(debug_assertions) {
        true => plain,
        false => optimised,
    })
}

/// Since it asks who is there: nobody hears what is said to all.
#[test]
fn who_opens_on_the_local_network_is_heard_though_no_announcement_is() {
    const TEST: &str =
        "appearing::who_opens_on_the_local_network_is_heard_though_no_announcement_is";
    inside(TEST, || {
        let lan = Lan::new(2);
        lan.drop_all("meta pkttype multicast udp sport 5353");
        let home = home("home");
        let role = |number| Role {
            number,
            home: home.clone(),
            runtime: runtime(&format!("host{number}")),
            lan: true,
            ..Role::default()
        };
        appear(TEST, Some(&lan), role, limit(500, 100));
    });
}

#[test]
fn who_opens_on_this_host_is_heard_at_once() {
    const TEST: &str = "appearing::who_opens_on_this_host_is_heard_at_once";
    inside(TEST, || {
        run("ip link set lo up");
        let home = home("home");
        let role = |number| Role {
            number,
            home: home.clone(),
            runtime: runtime("all"),
            ..Role::default()
        };
        appear(TEST, None, role, limit(500, 50));
    });
}

//! Which way two nodes choose, and what they do when it breaks.

use std::time::Duration;

use withy_tests::namespace::run;
use withy_tests::scale;

use crate::lan::{Lan, address};
use crate::meshing::{meet, swarm};
use crate::node::{Role, now};
use crate::swarm::{LONG, Swarm, between, home, inside, limit, runtime};

/// What carries the links of a node.
fn links(swarm: &mut Swarm, number: usize) -> Vec<String> {
    let since = now();
    swarm.tell(number, "links");
    let is = |what: &str| what.starts_with("links");
    swarm.say_all(&[number], LONG, since, is);
    let said = swarm.log().iter().rev();
    let mut said = said.filter(|said| said.node == number && is(&said.what));
    let said = said.next().unwrap();
    said.what
        .split_whitespace()
        .skip(1)
        .map(str::to_owned)
        .collect()
}

/// Waits until a node has one link, which this carries.
fn carries(swarm: &mut Swarm, number: usize, transport: &str) {
    let end = now() + LONG.as_micros() as u64;
    loop {
        let links = links(swarm, number);
        if matches!(&*links, [link] if link == transport) {
            return;
        }
        assert!(now() < end, "{links:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn nodes_of_a_host_take_ipc_and_have_one_link() {
    const TEST: &str = "paths::nodes_of_a_host_take_ipc_and_have_one_link";
    inside(TEST, || {
        run("ip link set lo up");
        let mut swarm = Swarm::new(TEST);
        let home = home("home");
        for number in 0..2 {
            swarm.start(
                None,
                &Role {
                    number,
                    home: home.clone(),
                    runtime: runtime("both"),
                    lan: true,
                    ..Role::default()
                },
            );
        }
        meet(&mut swarm);
        carries(&mut swarm, 0, "ipc");
        carries(&mut swarm, 1, "ipc");
    });
}

#[test]
fn nodes_of_two_hosts_take_quic_and_tcp_when_that_breaks() {
    const TEST: &str = "paths::nodes_of_two_hosts_take_quic_and_tcp_when_that_breaks";
    inside(TEST, || {
        let lan = Lan::new(2);
        let mut swarm = swarm(TEST, &lan, 2, |role| role);
        meet(&mut swarm);
        carries(&mut swarm, 0, "quic");
        carries(&mut swarm, 1, "quic");
        swarm.tell_all("tick 100");
        let since = now();
        lan.drop_all("meta l4proto udp");
        carries(&mut swarm, 0, "tcp");
        carries(&mut swarm, 1, "tcp");
        let links = between(since, now());
        let marked = now();
        swarm.tell_all("mark");
        let heard = swarm.all_say(LONG, marked, |what| what == "heard 1");
        let heard = between(since, heard);
        scale::report(
            "links are over TCP after UDP is dropped, after",
            format!("{links:.1?}"),
        );
        scale::report(
            "messages go on after UDP is dropped, after",
            format!("{heard:.1?}"),
        );
        assert!(heard <= limit(8), "{heard:?}");
    });
}

#[test]
fn a_seed_is_reached_where_udp_is_blocked() {
    const TEST: &str = "paths::a_seed_is_reached_where_udp_is_blocked";
    inside(TEST, || {
        let lan = Lan::new(2);
        lan.drop_all("meta l4proto udp");
        // Where it listens over both, as `withy node` does.
        let seed = std::net::SocketAddr::new(address(0), 7_100);
        let mut swarm = swarm(TEST, &lan, 2, |role| match role.number {
            0 => Role {
                listen: Some(seed),
                ..role
            },
            _ => Role {
                seed: Some(seed.to_string()),
                ..role
            },
        });
        let (_, known, heard) = meet(&mut swarm);
        carries(&mut swarm, 0, "tcp");
        carries(&mut swarm, 1, "tcp");
        scale::report("a seed is known without UDP after", format!("{known:.1?}"));
        assert!(heard <= limit(8), "{heard:?}");
    });
}

//! What `node` and `doctor` make of the interfaces that there are, in network namespaces.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod program;

use program::Program;
use program::homes::{User, until_said};
use program::namespace::{CABLE, DROP, inside, run};

const PORT: u16 = 7100;

/// The lines of the doctor about one check.
fn doctor(user: &User, check: &str) -> String {
    let (code, out, err) = user.run(&["doctor", "--discovery", "mdns"]);
    assert_eq!(code, 0, "{out}{err}");
    let lines = out
        .lines()
        .filter(|line| line.split_whitespace().nth(1) == Some(check));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn without_an_interface_a_node_says_so_and_goes_on() {
    inside("without_an_interface_a_node_says_so_and_goes_on", || {
        let user = User::new();
        let node = Program::start(&mut user.withy(&["node", "--discovery", "mdns", "-v"]));
        until_said(&node, "listening on quic://127.0.0.1:7100");
        until_said(&node, "no interface of this host or its site is up");
        // Nodes of this host are met, and seeds are reached.
        let pull = Program::start(&mut user.withy(&["pull", "jobs", "--count", "1"]));
        until_said(&node, "joined");
        let at = format!("127.0.0.1:{PORT}");
        let seeded = ["--discovery", "off", "--seed", &at, "--wait", "2s"];
        let peers = user.does(&[&["peers"][..], &seeded].concat());
        assert!(peers.contains("pull:jobs"), "{peers}");
        user.does(&["push", "jobs", "x", "--timeout", "15s"]);
        assert_eq!(pull.end().1, "x\n");
        assert!(doctor(&user, "interfaces").starts_with("warn  interfaces  no interface"));
        let ports = doctor(&user, "ports");
        assert!(
            ports.contains("in use: UDP 127.0.0.1:7100, TCP 127.0.0.1:7100"),
            "{ports}"
        );
    });
}

#[test]
fn a_node_listens_at_near_addresses_at_one_port() {
    inside("a_node_listens_at_near_addresses_at_one_port", || {
        run(CABLE);
        run("ip addr add 198.51.100.7/24 dev near");
        let user = User::new();
        let node = Program::start(&mut user.withy(&["node", "--discovery", "mdns", "--json"]));
        let listening: serde_json::Value = serde_json::from_str(&node.line()).unwrap();
        let addresses = listening["addresses"].as_array().unwrap();
        let has = |address: &str| addresses.iter().any(|it| it == address);
        for near in ["127.0.0.1", "10.77.0.1"] {
            assert!(has(&format!("quic://{near}:{PORT}")), "{listening}");
            assert!(has(&format!("tcp://{near}:{PORT}")), "{listening}");
        }
        // Public ones have to be named.
        assert!(
            !listening.to_string().contains("198.51.100.7"),
            "{listening}"
        );
        let (code, _, err) = user.run(&["node"]);
        assert_eq!(code, 2, "{err}");
        assert!(
            err.contains("127.0.0.1:7100") && err.contains("in use"),
            "{err}"
        );
        let public = ["node", "--listen", "198.51.100.7", "--json"];
        let public = Program::start(&mut user.withy(&public)).line();
        assert!(public.contains("quic://198.51.100.7:7100"), "{public}");
        assert!(!public.contains("10.77.0.1"), "{public}");
    });
}

#[test]
fn the_doctor_tells_whether_multicast_works() {
    inside("the_doctor_tells_whether_multicast_works", || {
        run(CABLE);
        let user = User::new();
        let working = doctor(&user, "multicast");
        assert_eq!(
            working,
            "ok    multicast   this node hears its own announcement\n"
        );
        run(DROP);
        let dropped = doctor(&user, "multicast");
        assert!(
            dropped.starts_with("warn  multicast   something swallows it"),
            "{dropped}"
        );
    });
}

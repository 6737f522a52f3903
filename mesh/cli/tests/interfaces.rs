//! What `node` and `doctor` make of the interfaces that there are, in network namespaces.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod program;

use std::process::Command;

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

#[test]
fn the_doctor_names_the_rules_that_stand_in_the_way() {
    inside("the_doctor_names_the_rules_that_stand_in_the_way", || {
        let user = User::new();
        assert_eq!(
            doctor(&user, "firewall"),
            "ok    firewall    nothing filters what comes in\n"
        );
        run(DROP);
        let dropped = doctor(&user, "firewall");
        assert_eq!(
            dropped,
            "warn  firewall    a rule of the input chain inet drops input drops or rejects UDP 5353\n"
        );
        run("
            nft flush ruleset
            nft add table inet strict
            nft add chain inet strict in '{ type filter hook input priority 0; policy drop; }'
            nft add rule inet strict in iifname lo accept
            nft add rule inet strict in ct state established,related accept
            nft add rule inet strict in udp dport 7100 accept
        ");
        let (code, out, err) = user.run(&["doctor", "--wait", "100ms", "--json"]);
        assert_eq!(code, 0, "{out}{err}");
        let findings = out.lines().map(|line| serde_json::from_str(line).unwrap());
        let of_firewall = |it: &serde_json::Value| it["check"] == "firewall";
        let found: Vec<_> = findings.filter(of_firewall).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0]["level"], "warn");
        assert_eq!(
            found[0]["finding"],
            "the input chain inet strict in drops by default and no rule accepts UDP 5353, TCP 7100"
        );
        // What it says helps.
        run(found[0]["remedy"].as_str().unwrap());
        let open = doctor(&user, "firewall");
        assert_eq!(
            open,
            "ok    firewall    the rules let UDP 5353, UDP 7100 and TCP 7100 in\n"
        );
    });
}

#[test]
fn the_doctor_says_that_it_could_not_read_the_rules() {
    inside("the_doctor_says_that_it_could_not_read_the_rules", || {
        run(DROP);
        let user = User::new();
        // Without the right to look at them, as any user but root.
        let withy = user.withy(&["doctor", "--wait", "100ms"]);
        let mut limited = Command::new("setpriv");
        limited
            .arg("--bounding-set=-net_admin")
            .arg(withy.get_program());
        limited.args(withy.get_args());
        for (name, value) in withy.get_envs() {
            limited.env(name, value.unwrap_or_default());
        }
        let (code, out, err) = Program::start(&mut limited).end();
        assert_eq!(code, 0, "{out}{err}");
        assert!(
            out.contains("ok    firewall    could not read the rules: ")
                && out.contains(
                    "-> run as root: `sudo withy doctor`; other hosts need UDP and TCP 7100"
                ),
            "{out}"
        );
    });
}

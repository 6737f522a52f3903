//! `doctor`: what it finds in homes that are whole and broken, and what it says to do.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod program;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use program::Program;
use program::homes::User;
use serde_json::Value;

/// What the doctor finds: the exit code and the findings.
fn examine(user: &User, beside: &User, more: &[&str]) -> (i32, Vec<Value>) {
    let mut arguments = vec!["doctor", "--json", "--wait", "2s"];
    arguments.extend(more);
    let (code, out, _) = Program::start(&mut user.withy_beside(beside, &arguments)).end();
    let findings = out.lines().map(|line| serde_json::from_str(line).unwrap());
    (code, findings.collect())
}

/// The findings of a check.
fn of<'a>(findings: &'a [Value], check: &str) -> Vec<&'a Value> {
    let found: Vec<_> = findings.iter().filter(|it| it["check"] == check).collect();
    assert!(!found.is_empty(), "no finding of {check} in {findings:?}");
    found
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_whole_home_fails_nowhere() {
    let user = User::new();
    // Nothing is there yet.
    let (code, findings) = examine(&user, &user, &[]);
    assert_eq!(code, 0, "{findings:?}");
    assert!(
        of(&findings, "identity")[0]["finding"]
            .as_str()
            .unwrap()
            .starts_with("none yet")
    );
    for check in [
        "home",
        "trust",
        "networks",
        "config",
        "interfaces",
        "ports",
        "firewall",
    ] {
        assert_ne!(of(&findings, check)[0]["level"], "fail");
    }
    for check in ["runtime", "multicast", "clock", "nodes"] {
        assert_eq!(of(&findings, check)[0]["level"], "ok", "{findings:?}");
    }
    user.makes_network("garden", &[]);
    let (code, findings) = examine(&user, &user, &[]);
    assert_eq!(code, 0, "{findings:?}");
    assert_eq!(of(&findings, "identity")[0]["finding"], user.id());
    let network = of(&findings, "networks")[0]["finding"].as_str().unwrap();
    assert!(network.starts_with("garden: a member for "), "{network}");
    // As text: level, check, finding.
    let text = user.does(&["doctor", "--wait", "100ms"]);
    assert!(
        text.contains(&format!("ok    identity    {}\n", user.id())),
        "{text}"
    );
}

#[test]
fn each_broken_file_is_named_with_its_remedy() {
    let user = User::new();
    user.makes_network("garden", &[]);
    let identity = user.path("identity");
    chmod(&identity, 0o644);
    fs::write(user.path("trusted"), "nobody\n").unwrap();
    fs::write(user.path("permissions"), "everybody may\n").unwrap();
    chmod(&user.path("networks/garden"), 0o640);
    fs::write(user.path("node.toml"), "colour = 1\n").unwrap();
    let (code, findings) = examine(&user, &user, &[]);
    assert_eq!(code, 1, "{findings:?}");
    let chmod_identity = format!("chmod 600 {}", identity.display());
    let chmod_network = format!("chmod 600 {}", user.path("networks/garden").display());
    for (check, says, remedy) in [
        ("identity", "has mode 0644", chmod_identity.as_str()),
        ("trust", "line 1", "mend that line, or take it out"),
        ("permissions", "line 1", "mend that line, or take it out"),
        ("networks", "has mode 0640", &chmod_network),
        (
            "config",
            "node.toml:1: colour: there is no such key",
            "mend it; `withy node config check` looks again",
        ),
    ] {
        let found = of(&findings, check);
        let found = found.iter().find(|it| it["level"] == "fail").unwrap();
        assert!(found["finding"].as_str().unwrap().contains(says), "{found}");
        assert_eq!(found["remedy"], remedy, "{found}");
    }
    // Without usable files no node is made, and that is said.
    assert_eq!(of(&findings, "mesh")[0]["level"], "warn");
    // What it says helps.
    chmod(&identity, 0o600);
    chmod(&user.path("networks/garden"), 0o600);
    fs::remove_file(user.path("trusted")).unwrap();
    fs::remove_file(user.path("permissions")).unwrap();
    fs::remove_file(user.path("node.toml")).unwrap();
    assert_eq!(examine(&user, &user, &[]).0, 0);
    // As text, the remedy is a line of its own.
    fs::write(&identity, "x").unwrap();
    let (code, out, err) = user.run(&["doctor", "--wait", "100ms"]);
    assert_eq!(code, 1);
    assert!(
        out.contains("fail  identity    ") && out.contains("-> put it back from a copy"),
        "{out}"
    );
    assert!(err.contains("one check failed"), "{err}");
}

#[test]
fn a_runtime_directory_of_others_is_named() {
    let user = User::new();
    let directory = user.path("withy");
    fs::create_dir(&directory).unwrap();
    chmod(&directory, 0o777);
    let (code, findings) = examine(&user, &user, &[]);
    assert_eq!(code, 1, "{findings:?}");
    let found = of(&findings, "runtime")[0];
    assert_eq!(found["level"], "fail", "{found}");
    assert!(
        found["remedy"].as_str().unwrap().contains("chmod 700"),
        "{found}"
    );
}

#[test]
fn a_port_in_use_and_a_stranger_are_named() {
    let (ada, bob) = User::two();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let node = Program::start(&mut ada.withy(&["node", "--listen", "127.0.0.1:0", "--json"]));
    node.line();
    let (code, findings) = examine(&bob, &ada, &["--port", &port.to_string()]);
    assert_eq!(code, 0, "{findings:?}");
    let found = of(&findings, "ports")[0];
    assert_eq!(found["level"], "warn");
    let says = format!("TCP 127.0.0.1:{port}");
    assert!(
        found["finding"].as_str().unwrap().contains(&says),
        "{found}"
    );
    let stranger = of(&findings, "nodes");
    let stranger = stranger.iter().find(|it| it["level"] == "warn").unwrap();
    let remedy = format!("if you know who that is: `withy trust {}`", ada.id());
    assert_eq!(stranger["remedy"], remedy);
    // Once trusted, it is counted.
    bob.trusts(&ada);
    ada.trusts(&bob);
    let (_, findings) = examine(&bob, &ada, &[]);
    let nodes = of(&findings, "nodes")[0]["finding"].as_str().unwrap();
    assert!(
        nodes.starts_with("trusted: ") && nodes != "trusted: 0",
        "{nodes}"
    );
}

//! `node config`: what holds, where it comes from, and what is wrong with it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod program;

use std::fs;
use std::path::Path;

use program::Program;
use program::homes::User;

#[test]
fn an_option_goes_before_a_variable_and_that_before_the_file() {
    let user = User::new();
    let file = user.path("node.toml");
    let id = user.id();
    let text = format!(
        "# A comment.\nlisten = [\"127.0.0.1:1\", \"::1\"]\nseed = \"a:1\"\n\
         discovery = \"mdns\"\nseed-file = \"seeds\"\nrelay = true\nmax-nodes = 4096\n\n[names]\norders = \"{id}\"\n\n\
         [queue.jobs]\nttl = \"1h\"\nmax-messages = 1_000\nlease = \"1m\"\n"
    );
    fs::write(&file, text).unwrap();
    let options = ["--seed", "c:3", "--keep", "jobs", "--queue", "jobs:ttl=3h"];
    let show = [&["node"], &options[..], &["config", "show", "--origin"]].concat();
    let mut command = user.withy(&show);
    command
        .env("WITHY_NODE_SEED", "b:2")
        .env("WITHY_NODE_QUEUE", "jobs:ttl=2h, jobs:lease=2m")
        .env("WITHY_NODE_STATUS", "9100");
    command.env_remove("WITHY_DISCOVERY");
    let (code, out, err) = Program::start(&mut command).end();
    assert_eq!(code, 0, "{err}");
    let file = file.display();
    let seeds = user.path("seeds");
    for line in [
        format!("listen = [\"127.0.0.1:1\", \"::1\"]  # {file}:2"),
        "seed = [\"c:3\"]  # --seed".to_owned(),
        format!("seed-file = \"{}\"  # {file}:5", seeds.display()),
        format!("discovery = \"mdns\"  # {file}:4"),
        "# network: none: identities that are trusted are met  # default".to_owned(),
        "status = \"9100\"  # $WITHY_NODE_STATUS".to_owned(),
        format!("relay = true  # {file}:6"),
        format!("max-nodes = \"4096\"  # {file}:7"),
        format!("\"orders\" = \"{id}\"  # {file}:10"),
        // Each setting of a queue counts for itself.
        "[queue.\"jobs\"]".to_owned(),
        "ttl = \"3h\"  # --queue".to_owned(),
        "lease = \"2m\"  # $WITHY_NODE_QUEUE".to_owned(),
        format!("max-messages = 1000  # {file}:14"),
    ] {
        assert!(out.lines().any(|it| it == line), "{line}\nis not in\n{out}");
    }
    // What is shown is a file that says the same.
    let copy = user.path("copy.toml");
    fs::write(&copy, &out).unwrap();
    let copy = copy.to_str().unwrap();
    let again = user.does(&["node", "config", "show", copy]);
    assert!(again.contains("seed = [\"c:3\"]\n"), "{again}");
    // The variable of all verbs counts, and the node's own more.
    assert!(again.contains("discovery = \"host\"\n"), "{again}");
    let json = user.does(&["node", "config", "show", "--json", copy]);
    let objects: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let seed = objects.iter().find(|it| it["key"] == "seed").unwrap();
    assert_eq!(seed["value"], serde_json::json!(["c:3"]));
    assert!(
        seed["origin"].as_str().unwrap().ends_with("copy.toml:2"),
        "{seed}"
    );
    let names = objects
        .iter()
        .find(|it| it["key"] == "names.orders")
        .unwrap();
    assert_eq!(names["value"], id);
    let ttl = objects.iter().find(|it| it["key"] == "queue.jobs.ttl");
    let ttl = ttl.unwrap();
    assert_eq!(ttl["value"], "3h");
    assert_eq!(ttl["default"], "a message waits for ever");
}

#[test]
fn a_broken_file_is_refused_with_line_key_and_what_is_accepted() {
    let user = User::new();
    let file = user.path("broken.toml");
    let text = "\nlisen = []\ndiscovery = \"lan\"\nseed = 7\nmax-nodes = 5000\n[queue.jobs]\nattempts = 0\n";
    fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    for arguments in [
        &["node", "--config", path][..],
        &["node", "config", "check", path],
        &["node", "config", "show", path],
    ] {
        let (code, _, err) = user.run(arguments);
        assert_eq!(code, 2, "{err}");
        for says in [
            format!("{path}:2: lisen: there is no such key; is listen meant?"),
            format!(
                "{path}:3: discovery: \"lan\" is no way to find nodes; accepted: \"host\", \"mdns\" or \"off\""
            ),
            format!("{path}:4: seed: expected strings, not integer; accepted: HOST:PORT"),
            format!("{path}:5: max-nodes: 5000 nodes are too few or too many; accepted: how many"),
            format!("{path}:7: queue.jobs.attempts: \"0\" is no number from 1"),
        ] {
            assert!(err.contains(&says), "{says}\nis not in\n{err}");
        }
    }
    let (code, out, _) = user.run(&["node", "config", "check", "--json", path]);
    assert_eq!(code, 2);
    let object: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(object["ok"], false);
    assert_eq!(object["errors"].as_array().unwrap().len(), 5);

    // Settings of a queue that is not kept are there for one that was meant to be.
    fs::write(&file, "keep = [\"jobs\"]\n[queue.jbos]\nttl = \"1h\"\n").unwrap();
    let (code, _, err) = user.run(&["node", "config", "check", path]);
    let says = format!("{path}:3: queue.jbos.ttl: jbos is not kept");
    assert!(code == 2 && err.contains(&says), "{err}");
    fs::write(&file, text).unwrap();

    // The user's own file is read without being named.
    fs::rename(&file, user.path("node.toml")).unwrap();
    assert_eq!(user.run(&["node"]).0, 2);
    fs::write(user.path("node.toml"), "listen = \"127.0.0.1:0\"\n").unwrap();
    assert_eq!(
        user.does(&["node", "config", "check"]),
        "ok: keys that are set: 2\n"
    );
}

#[test]
fn variables_and_options_are_checked_alike() {
    let user = User::new();
    let mut command = user.withy(&["node", "config", "check"]);
    command
        .env("WITHY_NODE_LISEN", "x")
        .env("WITHY_NODE_STATUS", "x");
    let (code, _, err) = Program::start(&mut command).end();
    assert_eq!(code, 2, "{err}");
    assert!(
        err.contains("$WITHY_NODE_LISEN: there is no such variable; is WITHY_NODE_LISTEN meant?"),
        "{err}"
    );
    assert!(
        err.contains("$WITHY_NODE_STATUS: status: \"x\" is neither IP:PORT nor a port; accepted: "),
        "{err}"
    );
    for (arguments, says) in [
        (
            &["node", "--listen", "localhost"][..],
            "--listen: listen: \"localhost\" is no IP address",
        ),
        (&["node", "--seed", "x"], "--seed: seed: "),
        (
            &["node", "--config", "/nowhere/node.toml"],
            "/nowhere/node.toml: No such file",
        ),
        (
            &["node", "--identity", "/nowhere/identity"],
            "there is no identity in /nowhere/identity",
        ),
        (
            &["node", "--network", "garden"],
            "there is no network \"garden\" here",
        ),
    ] {
        let (code, _, err) = user.run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(err.contains(says), "{arguments:?}: {err}");
    }
}

#[test]
fn the_examples_can_be_used() {
    let user = User::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/systemd");
    let path = folder.join("node.toml");
    let said = user.does(&["node", "config", "check", path.to_str().unwrap()]);
    assert!(said.starts_with("ok: "), "{said}");
    // All keys stand there, commented out or not.
    let text = fs::read_to_string(path).unwrap();
    let shown = user.does(&["node", "config", "show", "--json"]);
    for line in shown.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = object["key"].as_str().unwrap();
        assert!(text.contains(&format!("{key} = ")), "{key}");
    }
    // So do all settings of a queue.
    let (_, _, err) = user.run(&["node", "--queue", "jobs:colour=1"]);
    let settings = err.rsplit_once("accepted: ").unwrap().1.trim();
    for setting in settings.split(", ") {
        assert!(text.contains(&format!("#{setting} = ")), "{setting}");
    }
    // What stands there can be used.
    let section = text.split("\n#[queue.jobs]\n").nth(1).unwrap();
    let lines = section.lines().take_while(|line| !line.is_empty());
    let used: String = lines
        .map(|line| format!("{}\n", line.trim_start_matches('#')))
        .collect();
    let path = user.path("used.toml");
    fs::write(&path, format!("keep = [\"jobs\"]\n[queue.jobs]\n{used}")).unwrap();
    let said = user.does(&["node", "config", "check", path.to_str().unwrap()]);
    // With keep, and what all verbs are told of discovery.
    let count = settings.split(", ").count() + 2;
    assert!(
        said.starts_with(&format!("ok: keys that are set: {}", count)),
        "{said}"
    );
}

//! `push --acked`, `pull --acked` and `node --keep`: separate processes on one host.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod program;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use program::Program;
use program::homes::User;
use serde_json::{Value, json};

/// A node that keeps queues, once it listens.
fn keeper(user: &User, queue: &str) -> Program {
    let arguments = ["node", "--listen", "127.0.0.1:0", "--keep", queue];
    Program::bound(&mut user.withy(&arguments)).0
}

#[test]
fn what_was_accepted_is_there_after_the_keeper_was_killed() {
    let user = User::new();
    let folder = user.path("jobs");
    let queue = format!("jobs={}", folder.display());
    let first = keeper(&user, &queue);
    let push = ["push", "--acked", "jobs", "a", "b", "c", "--timeout", "15s"];
    let (code, out, err) = user.run(&push);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    first.signal("-KILL");
    drop(first);
    let _second = keeper(&user, &queue);
    let pull = |count| {
        let arguments = ["pull", "--acked", "jobs", "--count", count, "--timeout"];
        user.run(&[&arguments[..], &["15s"]].concat())
    };
    assert_eq!(pull("2"), (0, "a\nb\n".to_owned(), String::new()));
    assert_eq!(pull("1"), (0, "c\n".to_owned(), String::new()));
}

#[test]
fn who_pushes_stays_until_all_is_acked_if_nobody_keeps_the_queue() {
    let user = User::new();
    let push = ["push", "--acked", "jobs", "a", "b", "--timeout"];
    let (code, _, err) = user.run(&[&push[..], &["2s"]].concat());
    assert_eq!(code, 3);
    assert!(err.contains("2 messages that no worker has acked"), "{err}");
    let push = Program::start(&mut user.withy(&[&push[..], &["15s"]].concat()));
    let pull = [
        "pull",
        "--acked",
        "jobs",
        "--count",
        "2",
        "--timeout",
        "15s",
    ];
    let (code, out, err) = user.run(&pull);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "a\nb\n", ""));
    let (code, _, err) = push.end();
    assert_eq!((code, err.as_str()), (0, ""));
}

/// A node with a configuration, once it listens.
fn configured(user: &User, text: &str) -> Program {
    let file = user.path("node.toml");
    fs::write(&file, format!("listen = \"127.0.0.1:0\"\n{text}")).unwrap();
    Program::bound(&mut user.withy(&["node", "--config", file.to_str().unwrap()])).0
}

/// The dead letters of a queue, as objects.
fn dead(user: &User, more: &[&str]) -> Vec<Value> {
    let look = ["dead", "jobs", "--json", "--wait", "100ms"];
    let out = user.does(&[&look[..], more].concat());
    let lines = out.lines();
    lines.map(|it| serde_json::from_str(it).unwrap()).collect()
}

/// Waits until there are so many.
fn until_dead(user: &User, count: usize) -> Vec<Value> {
    let start = Instant::now();
    loop {
        let letters = dead(user, &[]);
        if letters.len() == count {
            return letters;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{letters:?}");
    }
}

#[test]
fn a_kept_queue_has_the_settings_of_the_file_and_shows_its_dead_letters() {
    let user = User::new();
    let config = "keep = [\"jobs=jobs\"]\n[queue.jobs]\nmax-messages = 2\nttl = \"1h\"\n";
    let node = configured(&user, config);
    let push = |messages: &[&str]| {
        let arguments = [&["push", "--acked", "jobs", "--timeout", "15s"], messages].concat();
        user.run(&arguments)
    };
    let (code, _, err) = push(&["a", "b\tB"]);
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = push(&["c"]);
    assert!(code == 1 && err.contains("full"), "{err}");
    assert_eq!(dead(&user, &[]), [] as [Value; 0]);
    node.signal("-TERM");
    assert_eq!(node.end().0, 0);

    // Another TTL holds for what is put from then on.
    let _node = configured(&user, &config.replace("1h", "50ms").replace("= 2", "= 4"));
    let (code, _, err) = push(&["c", "d\tD"]);
    assert_eq!(code, 0, "{err}");
    let letters = until_dead(&user, 2);
    let node = letters[0]["node"].as_str().unwrap();
    let id = letters[0]["id"].as_u64().unwrap();
    let died = letters[0]["deaths"][0]["first_ms"].as_u64().unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    assert!(now.as_millis().abs_diff(died.into()) < 60_000, "{died}");
    let expected = json!({
        "queue": "jobs",
        "node": node,
        "id": id,
        "cause": "expired",
        "reason": null,
        "priority": 4,
        "deaths": [{
            "queue": "jobs",
            "cause": "expired",
            "count": 1,
            "first_ms": died,
            "last_ms": died,
            "reason": "",
        }],
        "frames": ["Yw=="],
        "text": ["c"],
    });
    assert_eq!(letters[0], expected);
    assert_eq!(letters[1]["text"], json!(["d", "D"]));
    // As lines; looking changes nothing.
    let look = ["dead", "jobs", "--wait", "100ms"];
    assert_eq!(user.does(&look), "expired\t\tc\nexpired\t\td\tD\n");
    assert_eq!(dead(&user, &["--count", "1"]), letters[..1]);

    // What is taken away is gone, and can be put again.
    let taken = dead(&user, &["--take", "--count", "1"]);
    assert_eq!(taken, letters[..1]);
    assert_eq!(dead(&user, &["--take"]), letters[1..]);
    assert_eq!(dead(&user, &[]), [] as [Value; 0]);
    let again = ["push", "--acked", "jobs", "--json", "--timeout", "15s"];
    let (code, _, err) = user.run_with(&again, &format!("{}\n", taken[0]));
    assert_eq!(code, 0, "{err}");
    assert_eq!(until_dead(&user, 1)[0]["frames"], json!(["Yw=="]));
}

#[test]
fn more_dead_letters_than_a_page_are_shown_each_once() {
    let user = User::new();
    let keep = ["node", "--listen", "127.0.0.1:0", "--keep", "jobs"];
    let setting = ["--queue", "jobs:ttl=1ms", "--queue", "jobs:max-dead=600"];
    let mut command = user.withy(&[&keep[..], &setting].concat());
    // An option goes before a variable.
    let (_node, _) = Program::bound(command.env("WITHY_NODE_QUEUE", "jobs:ttl=1h,jobs:lease=1m"));
    let lines: String = (0..650).map(|number| format!("{number}\n")).collect();
    let push = ["push", "--acked", "jobs", "--timeout", "15s"];
    let (code, _, err) = user.run_with(&push, &lines);
    assert_eq!(code, 0, "{err}");
    until_dead(&user, 600);
    // The oldest were dropped.
    let start = Instant::now();
    let texts = loop {
        let letters = dead(&user, &[]);
        let texts: Vec<u64> = letters
            .iter()
            .map(|it| it["text"][0].as_str().unwrap().parse().unwrap())
            .collect();
        if texts.last() == Some(&649) {
            break texts;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{texts:?}");
    };
    assert!(texts.into_iter().eq(50..650));
    assert_eq!(dead(&user, &["--take", "--count", "300"]).len(), 300);
    assert_eq!(dead(&user, &["--take"]).len(), 300);
    assert_eq!(dead(&user, &[]).len(), 0);
}

#[test]
fn a_message_is_given_out_as_often_as_the_setting_says() {
    let user = User::new();
    let keep = ["node", "--listen", "127.0.0.1:0", "--keep", "jobs"];
    let setting = ["--queue", "jobs:attempts=1", "--queue", "jobs:lease=100ms"];
    let (_node, _) = Program::bound(&mut user.withy(&[&keep[..], &setting].concat()));
    // Nobody reads what it prints, and a pipe has no room for so much: it does not ack in time.
    let mut pull = user.withy(&["pull", "--acked", "jobs"]);
    let pull = pull.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut pull = pull.stderr(Stdio::null()).spawn().unwrap();
    let long = format!("{}\n", "x".repeat(300_000));
    let push = ["push", "--acked", "jobs", "--timeout", "15s"];
    let (code, _, err) = user.run_with(&push, &long);
    assert_eq!(code, 0, "{err}");
    let letters = until_dead(&user, 1);
    pull.kill().unwrap();
    pull.wait().unwrap();
    assert_eq!(letters[0]["cause"], "delivery_limit");
    assert_eq!(letters[0]["text"][0].as_str().unwrap().len(), 300_000);
}

#[test]
fn dead_letters_are_for_who_may_call_for_them() {
    let (ada, bob) = User::two();
    ada.trusts(&bob);
    bob.trusts(&ada);
    let rules = |verbs: &str| format!("{} {verbs}\n", bob.id());
    fs::write(ada.path("permissions"), rules("pull,push jobs")).unwrap();
    let _node = keeper(&ada, "jobs");
    let look = ["dead", "jobs", "--wait", "100ms", "--timeout", "2s"];
    let (code, _, err) = Program::start(&mut bob.withy_beside(&ada, &look)).end();
    assert!(
        code == 3 && err.contains("`call` $withy/dead/jobs"),
        "{code}: {err}"
    );
    fs::write(ada.path("permissions"), rules("call $withy/dead/jobs")).unwrap();
    let look = ["dead", "jobs", "--wait", "100ms", "--timeout", "15s"];
    let (code, out, err) = Program::start(&mut bob.withy_beside(&ada, &look)).end();
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
}

#[test]
fn what_cannot_be_is_refused() {
    let user = User::new();
    for (arguments, says) in [
        (
            &["push", "--acked", "tcp://127.0.0.1:1", "a"][..],
            "only the mesh has acked queues",
        ),
        (&["push", "--acked", "a\tb", "x"], "name"),
        (
            &["node", "--listen", "127.0.0.1:0", "--keep", "jobs=/proc/x"],
            "the queue jobs cannot be kept",
        ),
        (
            &["node", "--keep", "jobs", "--queue", "job:ttl=1h"],
            "--queue: queue.job.ttl: job is not kept; accepted: the settings of a queue that keep names",
        ),
        (
            &["node", "--keep", "jobs", "--queue", "jobs:ttl=1"],
            "--queue: queue.jobs.ttl: expected a number and a unit",
        ),
        (&["dead", "a\tb"], "name"),
        (
            &["node", "--keep", "jobs="],
            "--keep: keep: the path is empty; accepted: QUEUE=FOLDER",
        ),
        (
            &["pub", "tcp://127.0.0.1:1", "x", "--priority", "9"],
            "--priority and --expiry are for topics",
        ),
    ] {
        let (code, _, err) = user.run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(err.contains(says), "{arguments:?}: {err}");
    }
}

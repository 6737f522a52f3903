//! `push --acked`, `pull --acked` and `node --keep`: separate processes on one host.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod program;

use program::Program;
use program::homes::User;

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

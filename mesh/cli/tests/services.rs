//! `serve`, `req` and `rep` by name: separate processes on one host.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod program;

use std::time::{Duration, Instant};

use program::Program;
use program::homes::{User, until_said};

/// A service of a user, which answers by a command.
fn serve(user: &User, name: &str, command: &str, more: &[&str]) -> Program {
    let mut arguments = vec!["serve", name, "--exec", command];
    arguments.extend(more);
    let program = Program::start(&mut user.withy(&arguments));
    until_said(&program, &format!("serving {name}"));
    program
}

fn ask(user: &User, arguments: &[&str]) -> (i32, String, String) {
    let mut all = vec!["req"];
    all.extend(arguments);
    all.extend(["--timeout", "15s"]);
    user.run(&all)
}

#[test]
fn a_command_answers_by_name() {
    let user = User::new();
    let service = serve(&user, "upper", "tr a-z A-Z", &[]);
    let (code, out, err) = ask(&user, &["upper", "hello", "a\tb\\\\"]);
    assert_eq!((code, out.as_str()), (0, "HELLO\nA\tB\\\\\n"), "{err}");
    // Octets as they are, and objects.
    let raw = serve(&user, "count", "wc -c", &["--raw"]);
    assert_eq!(ask(&user, &["count", "--raw", "\\n\\n"]).1.trim(), "4");
    let json = serve(&user, "same", "cat", &["--json"]);
    assert_eq!(ask(&user, &["same", "a\tb"]).1, "a\tb\n");
    let caller = serve(&user, "who", "echo $WITHY_CALLER $WITHY_ATTEMPT", &[]);
    assert_eq!(ask(&user, &["who", "x"]).1, format!("{} 1\n", user.id()));
    for program in [service, raw, json, caller] {
        program.signal("-TERM");
        assert_eq!(program.end().0, 0);
    }
}

#[test]
fn what_fails_says_why() {
    let user = User::new();
    for (name, command, says) in [
        (
            "last",
            "echo first >&2; echo second >&2; exit 3",
            "the request failed: second",
        ),
        ("code", "exit 3", "the request failed: exit status: 3"),
        ("gone", "/nowhere/program", "not found"),
        (
            "form",
            "printf '\\\\q'",
            "what the command wrote is no reply",
        ),
        ("slow", "sleep 1000", "the command took longer than 1s"),
        (
            "large",
            "head -c 20000000 /dev/zero",
            "the reply is longer than",
        ),
    ] {
        let _service = serve(&user, name, command, &["--timeout", "1s"]);
        let (code, out, err) = ask(&user, &[name, "x"]);
        assert_eq!((code, out.as_str()), (1, ""), "{name}: {err}");
        assert!(err.contains(says), "{name}: {err}");
    }
}

#[test]
fn no_process_outlives_its_request() {
    let user = User::new();
    let mark = format!("{}", 100_000 + std::process::id());
    let running = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = all.filter_map(|it| std::fs::read(it.path().join("cmdline")).ok());
        let sleeps = format!("sleep\0{mark}\0");
        lines.filter(|line| line == sleeps.as_bytes()).count()
    };
    let until_none = || {
        let start = Instant::now();
        while running() > 0 {
            assert!(start.elapsed() < Duration::from_secs(10), "it goes on");
        }
    };
    // One in the background of a command that ends, one that takes too long.
    let service = serve(&user, "behind", &format!("sleep {mark} & echo done"), &[]);
    assert_eq!(ask(&user, &["behind", "x"]).1, "done\n");
    until_none();
    let late = serve(
        &user,
        "late",
        &format!("sleep {mark}; true"),
        &["--timeout", "500ms"],
    );
    assert_eq!(ask(&user, &["late", "x"]).0, 1);
    until_none();
    // And one while the service is told to end.
    let ended = serve(&user, "ended", &format!("sleep {mark}; true"), &[]);
    let client = Program::start(&mut user.withy(&["req", "ended", "x", "--timeout", "15s"]));
    let start = Instant::now();
    while running() == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "it does not run");
    }
    ended.signal("-TERM");
    assert_eq!(ended.end().0, 0);
    until_none();
    assert_eq!(client.end().0, 1);
    drop((service, late));
}

#[test]
fn so_many_commands_run_at_a_time() {
    let user = User::new();
    let lock = user.path("lock");
    let lock = lock.display();
    // Fails if another one runs.
    let command = format!("mkdir {lock} && sleep 0.2 && rmdir {lock} && echo ok");
    let _service = serve(&user, "one", &command, &["--jobs", "1"]);
    let clients: Vec<Program> = (0..3)
        .map(|_| Program::start(&mut user.withy(&["req", "one", "x", "--timeout", "15s"])))
        .collect();
    for client in clients {
        let (code, out, err) = client.end();
        assert_eq!((code, out.as_str()), (0, "ok\n"), "{err}");
    }
}

#[test]
fn a_request_to_nobody_ends_and_says_so() {
    let user = User::new();
    let start = Instant::now();
    let (code, _, err) = user.run(&["req", "nobody", "x", "--timeout", "500ms"]);
    assert_eq!(
        (code, err.as_str()),
        (3, "withy: no instance of nobody; 0 peers known\n")
    );
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn rep_serves_a_name_and_the_next_instance_is_asked() {
    let user = User::new();
    let arguments = ["rep", "echo", "--echo", "--timeout", "20s"];
    let first = Program::start(&mut user.withy(&arguments));
    let (code, out, err) = ask(&user, &["echo", "a\tb", "c"]);
    assert_eq!((code, out.as_str()), (0, "a\tb\nc\n"), "{err}");
    assert_eq!(
        (first.line(), first.line()),
        ("a\tb".to_owned(), "c".to_owned())
    );
    // One that dies in the middle of a request, and one that lives.
    let dies = serve(&user, "job", "kill -9 $PPID", &[]);
    let client =
        Program::start(&mut user.withy(&["req", "job", "x", "--idempotent", "--timeout", "15s"]));
    let _lives = serve(&user, "job", "echo done", &[]);
    assert_eq!(client.end(), (0, "done\n".to_owned(), String::new()));
    drop((first, dies));
}

#[test]
fn only_who_is_trusted_has_commands_run() {
    let (ada, bob) = User::two();
    let _service = serve(&ada, "date", "echo now", &[]);
    let request = ["req", "date", "x", "--timeout", "1s"];
    let (code, out, err) = Program::start(&mut bob.withy_beside(&ada, &request)).end();
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    ada.trusts(&bob);
    bob.trusts(&ada);
    let request = ["req", "date", "x", "--timeout", "15s"];
    let (code, out, err) = Program::start(&mut bob.withy_beside(&ada, &request)).end();
    assert_eq!((code, out.as_str()), (0, "now\n"), "{err}");
}

#[test]
fn what_does_not_go_with_a_name_is_refused() {
    let user = User::new();
    for (arguments, says) in [
        (
            &["req", "a", "b", "--routing-id", "c"][..],
            "--routing-id is for endpoints",
        ),
        (
            &["req", "tcp://127.0.0.1:1", "b", "--idempotent"],
            "--idempotent is for a NAME",
        ),
        (
            &["serve", "a", "--exec", "true", "--insecure"],
            "leave the options of security out",
        ),
        (&["serve", "", "--exec", "true"], "a name has"),
        (&["rep", "a", "b", "--echo"], "takes no messages"),
    ] {
        let (code, _, err) = user.run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(err.contains(says), "{arguments:?}: {err}");
    }
}

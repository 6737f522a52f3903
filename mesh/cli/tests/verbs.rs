//! Every verb as a user types it: what it prints, where, and the code it ends with.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod program;

use std::io::Read as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use program::{ANY, Program, python, run, withy};

#[test]
fn push_reaches_pull() {
    let (pull, endpoint) = Program::bound(&mut withy(&["pull", "--bind", ANY, "--count", "5"]));
    let sent = run(&["push", "--connect", &endpoint, "a", "b c", "frame\\tframe"]);
    assert_eq!(sent, (0, String::new(), String::new()));
    let mut push = Program::start(&mut withy(&["push", "--connect", &endpoint]));
    push.feed("from\tstdin\nlast\n");
    assert_eq!(push.end().0, 0);
    let (code, out, _) = pull.end();
    assert_eq!(code, 0);
    // An escaped TAB is part of a frame, a TAB stands between two.
    assert_eq!(out, "a\nb c\nframe\\tframe\nfrom\tstdin\nlast\n");
}

#[test]
fn an_argument_may_have_frames() {
    let (pull, endpoint) = Program::bound(&mut withy(&[
        "pull", "--bind", ANY, "--count", "1", "--json",
    ]));
    assert_eq!(run(&["push", "--connect", &endpoint, "one\ttwo"]).0, 0);
    let (code, out, _) = pull.end();
    assert_eq!(code, 0);
    assert!(out.contains(r#""frames":["b25l","dHdv"]"#), "{out}");
}

#[test]
fn every_octet_survives_every_form() {
    let all: Vec<u8> = (0..=255).collect();
    let escaped: String = all.iter().map(|octet| format!("\\x{octet:02x}")).collect();
    for form in ["--json", ""] {
        let arguments = ["pull", "--bind", ANY, "--count", "2", form];
        let arguments: Vec<_> = arguments
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        let (pull, endpoint) = Program::bound(&mut withy(&arguments));
        assert_eq!(run(&["push", "--connect", &endpoint, &escaped, ""]).0, 0);
        let (code, out, _) = pull.end();
        assert_eq!(code, 0);
        // What was printed goes back in, and is printed the same.
        let (pull, endpoint) = Program::bound(&mut withy(&arguments));
        let mut push = vec!["push", "--connect", &endpoint];
        push.extend(arguments.last().filter(|word| **word == "--json"));
        let mut push = Program::start(&mut withy(&push));
        push.feed(&out);
        assert_eq!(push.end().0, 0);
        assert_eq!(pull.end().1, out, "{form}");
        assert!(out.is_ascii(), "{out}");
    }
}

#[test]
fn rep_echoes_and_req_prints() {
    let (mut rep, endpoint) = Program::bound(&mut withy(&["rep", "--bind", ANY, "--echo"]));
    let (code, out, _) = run(&["req", "--connect", &endpoint, "hello", "again"]);
    assert_eq!((code, &*out), (0, "hello\nagain\n"));
    assert_eq!((rep.line(), rep.line()), ("hello".into(), "again".into()));
    rep.signal("-INT");
    assert_eq!(rep.wait(), 0);
}

#[test]
fn sub_takes_what_starts_with_its_prefix() {
    let (publisher, endpoint) = Program::bound(&mut withy(&[
        "pub",
        "--bind",
        ANY,
        "--wait",
        "20s",
        "weather.oslo -3",
        "news x",
        "weather.rome 21",
    ]));
    let arguments = [
        "sub",
        "--connect",
        &endpoint,
        "--subscribe",
        "weather.",
        "--count",
        "2",
    ];
    let (code, out, _) = run(&arguments);
    assert_eq!((code, &*out), (0, "weather.oslo -3\nweather.rome 21\n"));
    assert_eq!(publisher.end().0, 0);
}

#[test]
fn pub_without_a_subscriber_says_so() {
    let (code, out, err) = run(&["pub", "--bind", ANY, "--wait", "50ms", "x"]);
    assert_eq!((code, &*out), (0, ""));
    assert!(err.contains("no subscriber"), "{err}");
}

#[test]
fn the_time_of_pub_starts_before_its_wait() {
    let start = Instant::now();
    let (mut publisher, _) = Program::bound(&mut withy(&[
        "pub",
        "--bind",
        ANY,
        "--wait",
        "15s",
        "--timeout",
        "200ms",
    ]));
    assert_eq!(publisher.wait(), 3);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn who_keeps_up_misses_nothing() {
    const COUNT: usize = 100_000;
    let count = COUNT.to_string();
    let (mut publisher, endpoint) =
        Program::bound(&mut withy(&["pub", "--bind", ANY, "--wait", "20s"]));
    let sub = Program::start(&mut withy(&[
        "sub",
        "--connect",
        &endpoint,
        "--count",
        &count,
    ]));
    let numbers: String = (0..COUNT).map(|n| format!("{n}\n")).collect();
    publisher.feed(numbers);
    let (code, _, err) = publisher.end();
    assert_eq!((code, &*err), (0, ""));
    assert!((0..COUNT).all(|n| sub.line() == n.to_string()));
}

#[test]
fn a_subscriber_that_does_not_read_stops_nobody() {
    const COUNT: usize = 20_000;
    // More than the one that does not read can hold, so that being stuck with it would show; all of
    // them only on a machine with time to spare.
    const ENOUGH: &str = "10000";
    let (mut publisher, endpoint) =
        Program::bound(&mut withy(&["pub", "--bind", ANY, "--wait", "20s"]));
    let script = "import sys,zmq\ns=zmq.Context.instance().socket(zmq.SUB)\ns.rcvhwm=1\n\
                  s.subscribe(b'')\ns.connect(sys.argv[1])\ns.recv()\nprint('there')\nsys.stdin.read()";
    let stuck = Program::start(&mut python(script, &[&endpoint]));
    let sub = Program::start(&mut withy(&[
        "sub",
        "--connect",
        &endpoint,
        "--count",
        ENOUGH,
    ]));
    // Both are there once they have got something.
    for peer in [&stuck, &sub] {
        while peer.out.recv_timeout(Duration::from_millis(20)).is_err() {
            publisher.feed("hello\n");
        }
    }
    let text = "x".repeat(2_000);
    for n in 0..COUNT {
        publisher.feed(format!("{n} {text}\n"));
    }
    let (code, _, err) = publisher.end();
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("messages were dropped"), "{err}");
    let (code, out, _) = sub.end();
    assert_eq!(code, 0, "{err}");
    let numbers: Vec<u32> = out
        .lines()
        .filter(|line| *line != "hello")
        .map(|line| line.strip_suffix(&format!(" {text}")).unwrap())
        .map(|number| number.parse().unwrap())
        .collect();
    assert!(numbers.is_sorted_by(|one, next| one < next));
}

#[test]
fn rep_fails_when_a_request_stays_unanswered() {
    let (mut rep, endpoint) = Program::bound(&mut withy(&["rep", "--bind", ANY]));
    drop(rep.stdin.take());
    let _req = Program::start(&mut withy(&["req", "--connect", &endpoint, "x"]));
    let (code, out, err) = rep.end();
    assert_eq!((code, &*out), (1, "x\n"), "{err}");
    assert!(err.contains("stdin ended"), "{err}");
}

#[test]
fn pair_dealer_and_router_talk() {
    let (one, endpoint) = Program::bound(&mut withy(&[
        "pair", "--bind", ANY, "--count", "1", "from one",
    ]));
    let (code, out, err) = run(&["pair", "--connect", &endpoint, "--count", "1", "from other"]);
    assert_eq!((code, &*out), (0, "from one\n"), "{err}");
    let (code, out, err) = one.end();
    assert_eq!((code, &*out), (0, "from other\n"), "{err}");

    let (mut router, endpoint) = Program::bound(&mut withy(&["router", "--bind", ANY]));
    let mut dealer = Program::start(&mut withy(&["dealer", "--connect", &endpoint]));
    dealer.feed("question\n");
    let question = router.line();
    let (peer, text) = question.split_once('\t').unwrap();
    assert_eq!(text, "question");
    router.feed(format!("{peer}\tanswer\n"));
    assert_eq!(dealer.line(), "answer");
}

#[test]
fn a_proxy_stands_between() {
    let arguments = ["proxy", &format!("router:{ANY}"), &format!("dealer:{ANY}")];
    let (proxy, front) = Program::bound(&mut withy(&arguments));
    let back = loop {
        let line = proxy.err.recv_timeout(Duration::from_secs(20)).unwrap();
        if let Some(endpoint) = line.strip_prefix("withy: listening on ") {
            break endpoint.to_owned();
        }
    };
    let _rep = Program::start(&mut withy(&["rep", "--connect", &back, "--echo"]));
    let (code, out, err) = run(&["req", "--connect", &front, "through"]);
    assert_eq!((code, &*out), (0, "through\n"), "{err}");
}

#[test]
fn a_proxy_says_at_its_end_what_passed() {
    let (pull, back) = Program::bound(&mut withy(&["pull", "--bind", ANY, "--count", "1"]));
    let backend = format!("push:connect:{back}");
    let arguments = ["proxy", &format!("pull:{ANY}"), &backend, "--json"];
    let (proxy, front) = Program::bound(&mut withy(&arguments));
    assert_eq!(run(&["push", "--connect", &front, "hello"]).0, 0);
    assert_eq!(pull.end().1, "hello\n");
    proxy.signal("-INT");
    let (code, out, err) = proxy.end();
    assert_eq!((code, out.lines().count()), (0, 1), "{out}{err}");
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    let [none, one] = [0, 1].map(|n| serde_json::json!({ "messages": n, "octets": 5 * n }));
    let expected = serde_json::json!({
        "frontend": { "received": one, "sent": none, "dropped": none },
        "backend": { "received": none, "sent": one, "dropped": none },
        "capture": { "missed": none },
        "unsent": 0,
    });
    assert_eq!(said, expected);
}

#[test]
fn time_and_count_decide_the_exit_code() {
    let start = Instant::now();
    let (code, _, err) = run(&["pull", "--bind", ANY, "--timeout", "200ms"]);
    assert_eq!(code, 3, "{err}");
    assert!(start.elapsed() < Duration::from_secs(5));
    for verb in ["push", "req"] {
        let (code, _, err) = run(&[
            verb,
            "--connect",
            "tcp://127.0.0.1:1",
            "--timeout",
            "200ms",
            "x",
        ]);
        assert_eq!(code, 3, "{verb}: {err}");
    }
    let (pull, endpoint) = Program::bound(&mut withy(&[
        "pull",
        "--bind",
        ANY,
        "--count",
        "2",
        "--timeout",
        "700ms",
    ]));
    assert_eq!(run(&["push", "--connect", &endpoint, "one"]).0, 0);
    let (code, out, _) = pull.end();
    assert_eq!((code, &*out), (3, "one\n"));
}

#[test]
fn misuse_names_the_accepted_form() {
    let port = "tcp://127.0.0.1:1";
    for (arguments, words) in [
        (
            &["push", "--connect", "nonsense", "a"][..],
            &["tcp://", "ipc://"][..],
        ),
        (
            &["push", "--connect", "tcp://127.0.0.1:99999", "a"],
            &["99999"],
        ),
        (&["dealer", "name", "a"], &["--connect", "--bind"]),
        (&["push", "--connect", port, "a\\q"], &["\\xHH", "column 2"]),
        (&["pull", "--bind", ANY, "--timeout", "soon"], &["soon"]),
        (&["pull", "--bind", ANY, "--count", "-1"], &["-1"]),
        (
            &["pull", "--bind", "tcp://*:0"],
            &["--insecure", "--identity", "--secret-key-file", "127.0.0.1"],
        ),
        (
            &["push", "--connect", "tcp://example.org:5555", "x"],
            &["--insecure", "--server-key"],
        ),
        (
            &["push", "--connect", port, "--server-key", "short", "x"],
            &["40"],
        ),
        (&["frob"], &["frob", "--help"]),
        (&["push"], &["--connect"]),
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!((code, &*out), (2, ""), "{arguments:?}: {err}");
        for word in words {
            assert!(err.contains(word), "{arguments:?}: {err}");
        }
    }
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let (pull, endpoint) =
        Program::bound(withy(&["pull", "--bind", ANY, "--raw"]).stdout(Stdio::piped()));
    drop(pull);
    let mut pull = withy(&["pull", "--connect", &endpoint]);
    let mut pull = pull
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(pull.stdout.take());
    // What comes after the reader has left has nowhere to go: the sender's end is not the point.
    let _ = run(&["push", "--bind", &endpoint, "--count", "200", "text"]);
    let mut words = String::new();
    let status = pull.wait().unwrap();
    pull.stderr
        .take()
        .unwrap()
        .read_to_string(&mut words)
        .unwrap();
    assert_eq!(status.code(), Some(0), "{words}");
    assert!(!words.contains("panic"), "{words}");
}

/// NULL is in `misuse_names_the_accepted_form`.
#[test]
fn plain_leaves_the_host_when_told_to_and_curve_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    assert_eq!(run(&["keygen", "-o", &path("key")]).0, 0);
    std::fs::write(path("password"), "secret\n").unwrap();
    std::fs::write(path("users"), "ada=secret\n").unwrap();
    let (key, public) = (path("key"), path("key.pub"));
    let (password, users) = (path("password"), path("users"));
    // Nobody is at this address, which is reserved for documentation, nor connects.
    let push = ["push", "--connect", "tcp://192.0.2.1:5555"];
    let pull = ["pull", "--bind", "tcp://0.0.0.0:*", "--timeout", "100ms"];
    let said = ["--timeout", "100ms", "hello"];
    let user = ["--plain-user", "ada", "--plain-password-file", &password];
    let client = ["--secret-key-file", &key, "--server-key-file", &public];
    for (arguments, code) in [
        ([&push[..], &user, &said].concat(), 2),
        ([&push[..], &["--insecure"], &user, &said].concat(), 3),
        ([&push[..], &client, &said].concat(), 3),
        ([&pull[..], &["--plain-users", &users]].concat(), 2),
        (
            [&pull[..], &["--insecure", "--plain-users", &users]].concat(),
            3,
        ),
        (
            [
                &pull[..],
                &["--secret-key-file", &key, "--allow-any-client"],
            ]
            .concat(),
            3,
        ),
    ] {
        let (ended, _, err) = run(&arguments);
        assert_eq!(ended, code, "{arguments:?}: {err}");
        assert_eq!(err.contains("--insecure"), code == 2, "{err}");
    }
}

#[test]
fn keys_encrypt_and_keep_others_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["server", "ada", "eve"] {
        let (code, out, err) = run(&["keygen", "-o", &path(name)]);
        assert_eq!(code, 0, "{err}");
        if name == "ada" {
            std::fs::write(path("allowed"), out).unwrap();
        }
        let secret = std::fs::read_to_string(path(name)).unwrap();
        assert!(secret.contains("secret-key"));
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
    let (code, _, err) = run(&["keygen", "-o", &path("server")]);
    assert_eq!(code, 1, "a key file is not overwritten: {err}");
    let (_rep, endpoint) = Program::bound(&mut withy(&[
        "rep",
        "--bind",
        ANY,
        "--echo",
        "--secret-key-file",
        &path("server"),
        "--authorized-keys",
        &path("allowed"),
    ]));
    let public = path("server.pub");
    let ask = |who: &[&str]| {
        let mut arguments = vec!["req", "--connect", &endpoint, "--timeout", "1s"];
        arguments.extend(who);
        arguments.push("hello");
        run(&arguments)
    };
    let ada = path("ada");
    let (code, out, err) = ask(&["--secret-key-file", &ada, "--server-key-file", &public]);
    assert_eq!((code, &*out), (0, "hello\n"), "{err}");
    let eve = path("eve");
    assert_eq!(
        ask(&["--secret-key-file", &eve, "--server-key-file", &public]).0,
        3
    );
    assert_eq!(ask(&[]).0, 3, "without keys");

    std::fs::write(path("users"), "ada=secret\n").unwrap();
    std::fs::write(path("password"), "secret\n").unwrap();
    std::fs::write(path("wrong"), "wrong\n").unwrap();
    let (_rep, endpoint) = Program::bound(&mut withy(&[
        "rep",
        "--bind",
        ANY,
        "--echo",
        "--plain-users",
        &path("users"),
    ]));
    for (password, code) in [("password", 0), ("wrong", 3)] {
        let (ended, _, err) = run(&[
            "req",
            "--connect",
            &endpoint,
            "--timeout",
            "1s",
            "--plain-user",
            "ada",
            "--plain-password-file",
            &path(password),
            "hello",
        ]);
        assert_eq!(ended, code, "{err}");
    }
}

#[test]
fn pyzmq_is_at_the_other_end() {
    let (_rep, endpoint) = Program::bound(&mut withy(&["rep", "--bind", ANY, "--echo"]));
    let script = "import sys,zmq\ns=zmq.Context.instance().socket(zmq.REQ)\ns.connect(sys.argv[1])\n\
                  s.send_multipart([b'two',b'frames'])\nprint(s.recv_multipart())";
    let asked = Program::start(&mut python(script, &[&endpoint]));
    assert_eq!(asked.line(), "[b'two', b'frames']");

    let script = "import sys,zmq\ns=zmq.Context.instance().socket(zmq.PUSH)\n\
                  p=s.bind_to_random_port('tcp://127.0.0.1')\nprint(p)\n\
                  [s.send_string(f'n{n}') for n in range(3)]\nsys.stdin.read()";
    let pushing = Program::start(&mut python(script, &[]));
    let endpoint = format!("tcp://127.0.0.1:{}", pushing.line());
    let (code, out, err) = run(&[
        "pull",
        "--connect",
        &endpoint,
        "--count",
        "3",
        "--timeout",
        "15s",
    ]);
    assert_eq!((code, &*out), (0, "n0\nn1\nn2\n"), "{err}");
}

#[test]
fn help_man_and_completions_name_every_verb() {
    let verbs = [
        "push",
        "pull",
        "pub",
        "sub",
        "req",
        "rep",
        "pair",
        "dealer",
        "router",
        "proxy",
        "ping",
        "dead",
        "id",
        "trust",
        "revoke",
        "network",
        "keygen",
        "bench",
        "demo",
        "completions",
        "man",
    ];
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for verb in verbs {
        assert!(help.contains(&format!("  {verb}")), "{verb}");
        let (code, own, _) = run(&[verb, "--help"]);
        assert_eq!(code, 0);
        assert!(own.contains("Example"), "{verb}: {own}");
        let (code, page, _) = run(&["man", verb]);
        assert!(code == 0 && page.contains(".TH "), "{verb}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = run(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(verbs.iter().all(|verb| script.contains(verb)), "{shell}");
    }
    assert!(run(&["man"]).1.contains(".SH EXIT") || run(&["man"]).1.contains("Exit codes"));
}

#[test]
fn bench_measures() {
    let (code, out, err) = run(&["bench", "--duration", "300ms"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("/s"), "{out}");
}

//! `node --zmtp`: pyzmq on one side, verbs of this binary on the other, and a node between them.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod program;

use std::fs;
use std::net::TcpListener;

use program::homes::User;
use program::status::{get, sample};
use program::{ANY, Program, python};
use serde_json::{Value, json};

/// Does one thing at a door: what, where, and with which frames.
const SCRIPT: &str = r#"
import sys, time, zmq
what, endpoint, *frames = sys.argv[1:]
socket = zmq.Context().socket(getattr(zmq, what))
if what == "SUB":
    socket.subscribe(frames.pop())
socket.connect(endpoint)
frames = [frame.encode() for frame in frames]
if what == "REQ":
    socket.send_multipart(frames)
if what in ("REQ", "SUB", "PULL"):
    print(b"|".join(socket.recv_multipart()).decode(), flush=True)
elif what == "REP":
    print("ready", flush=True)
    request = socket.recv_multipart()
    socket.send_multipart(request + [b"done"])
    time.sleep(60)
while what == "PUB":
    socket.send_multipart(frames)
    time.sleep(0.02)
if what == "PUSH":
    socket.send_multipart(frames)
    time.sleep(60)
"#;

fn zmq(what: &str, endpoint: &Value, frames: &[&str]) -> Program {
    let mut arguments = vec![what, endpoint.as_str().unwrap()];
    arguments.extend(frames);
    Program::start(&mut python(SCRIPT, &arguments))
}

#[test]
fn zeromq_sockets_meet_the_verbs() {
    let user = User::new();
    let arguments = [
        "node",
        "--listen",
        "127.0.0.1:0",
        "--status",
        "127.0.0.1:0",
        "--json",
        "--zmtp",
        ANY,
        "--zmtp-serve",
        &format!("worker={ANY}"),
        "--zmtp-pull",
        &format!("jobs={ANY}"),
    ];
    let node = Program::start(&mut user.withy(&arguments));
    let listening: Value = serde_json::from_str(&node.line()).unwrap();
    let zmtp = &listening["zmtp"];
    assert_eq!(zmtp["mechanism"], "NULL");
    let door = &zmtp["endpoints"][0];

    let _echo = Program::start(&mut user.withy(&["serve", "echo", "--exec", "cat"]));
    let req = zmq("REQ", door, &["echo", "hello"]);
    assert_eq!(req.line(), "hello");

    let sub = Program::start(&mut user.withy(&["sub", "home/#", "--count", "1"]));
    let publishing = zmq("PUB", door, &["home/hall", "19"]);
    assert_eq!(sub.line(), "home/hall\t19");
    drop(publishing);

    let sub = zmq("SUB", door, &["garden/"]);
    user.does(&["pub", "garden/pond", "4", "--wait", "15s"]);
    assert_eq!(sub.line(), "garden/pond|4");

    let pull = Program::start(&mut user.withy(&["pull", "parcels", "--count", "1"]));
    let _push = zmq("PUSH", door, &["parcels", "a"]);
    assert_eq!(pull.line(), "a");

    let rep = zmq("REP", &zmtp["serve"]["worker"], &[]);
    assert_eq!(rep.line(), "ready");
    assert_eq!(user.does(&["req", "worker", "7"]), "7\tdone\n");

    let pull = zmq("PULL", &zmtp["pull"]["jobs"], &[]);
    user.does(&["push", "jobs", "b"]);
    assert_eq!(pull.line(), "b");

    let metrics = get(listening["status"].as_str().unwrap(), "/metrics");
    for (name, at_least) in [
        ("withy_zmtp_peers{what=\"worker\"}", 1),
        ("withy_zmtp_messages_total{what=\"published\"}", 1),
        ("withy_zmtp_messages_total{what=\"sent\"}", 1),
        ("withy_zmtp_messages_total{what=\"pushed\"}", 1),
        ("withy_zmtp_messages_total{what=\"taken\"}", 1),
        ("withy_zmtp_requests_total{what=\"asked\"}", 1),
        ("withy_zmtp_requests_total{what=\"served\"}", 1),
    ] {
        assert!(sample(&metrics, name) >= at_least, "{name}\n{metrics}");
    }
    for reason in ["malformed", "denied", "overflowed", "undelivered"] {
        let name = format!("withy_zmtp_lost_total{{reason=\"{reason}\"}}");
        assert_eq!(sample(&metrics, &name), 0, "{name}");
    }
    node.signal("-TERM");
    let (code, _, err) = node.end();
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("for SUB, PUB, REQ, DEALER and PUSH"), "{err}");
    assert!(
        err.contains("for REP and DEALER, the workers of worker"),
        "{err}"
    );
    assert!(err.contains("for PULL, from jobs"), "{err}");
}

#[test]
fn a_door_that_cannot_be_opened_says_why() {
    let user = User::new();
    let file = user.path("node.toml");
    let path = file.to_str().unwrap();
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        let (code, out, err) = user.run(&["node", "config", "check", path]);
        assert_eq!(code, if err.is_empty() { 0 } else { 2 }, "{out}{err}");
        err
    };
    for (text, line, says) in [
        (
            "zmtp = \"tcp://127.0.0.1:1\"\nzmpt-serve = []\n",
            2,
            "zmpt-serve: there is no such key; is zmtp-serve meant?",
        ),
        (
            "\nzmtp = [\"udp://127.0.0.1:1\"]\n",
            2,
            "accepted: tcp://IP:PORT or ipc://PATH",
        ),
        (
            "zmtp-serve = \"tcp://127.0.0.1:1\"\n",
            1,
            "zmtp-serve: \"tcp://127.0.0.1:1\" has no =; accepted: NAME=ENDPOINT",
        ),
        (
            "zmtp-insecure = 1\n",
            1,
            "zmtp-insecure: expected a string, not integer; accepted: true or false",
        ),
        (
            "zmtp-timeout = \"long\"\n",
            1,
            "zmtp-timeout: expected a number and a unit",
        ),
        (
            "discovery = \"off\"\nzmtp = \"tcp://0.0.0.0:1\"\n",
            2,
            "zmtp: other hosts reach tcp://0.0.0.0:1 without proving who they are; accepted: ",
        ),
        (
            "zmtp = \"tcp://0.0.0.0:1\"\nzmtp-plain-users = \"users\"\n",
            1,
            "zmtp: other hosts reach tcp://0.0.0.0:1, and passwords can be read",
        ),
    ] {
        let err = check(text);
        let place = format!("{path}:{line}: ");
        assert!(err.contains(&place) && err.contains(says), "{text}: {err}");
    }
    let good = "zmtp = \"tcp://0.0.0.0:1\"\nzmtp-plain-users = \"users\"\nzmtp-insecure = true\n";
    assert_eq!(check(good), "");
    // What it names is not there.
    let (code, _, err) = user.run(&["node", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains(user.path("users").to_str().unwrap()), "{err}");

    fs::remove_file(&file).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("tcp://{}", taken.local_addr().unwrap());
    let (code, _, err) = user.run(&["node", "--listen", "127.0.0.1:0", "--zmtp", &at]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains(&at), "{err}");
    let open = ["node", "--listen", "127.0.0.1:0", "--zmtp", "tcp://*:0"];
    let (code, _, err) = user.run(&open);
    assert_eq!(code, 2, "{err}");
    assert!(
        err.contains("--zmtp: zmtp: other hosts reach tcp://*:*"),
        "{err}"
    );
}

#[test]
fn the_door_is_shown_with_the_rest_of_the_configuration() {
    let user = User::new();
    let show = [
        "node",
        "--zmtp",
        "ipc:///run/door",
        "config",
        "show",
        "--json",
    ];
    let shown = user.does(&show);
    let object = |key: &str| -> Value {
        let mut objects = shown
            .lines()
            .map(|it| serde_json::from_str::<Value>(it).unwrap());
        objects.rfind(|it| it["key"] == key).unwrap()
    };
    let zmtp = object("zmtp");
    assert_eq!(zmtp["value"], json!(["ipc:///run/door"]));
    assert_eq!(zmtp["origin"], "--zmtp");
    assert_eq!(object("zmtp-timeout")["default"], "30s");
}

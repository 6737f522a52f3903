//! `node`: its configuration, where it listens, its status over HTTP, and who hostile clients keep out.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod program;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use program::Program;
use program::homes::{User, until_said};
use program::status::{exchange, get, sample};

/// The longest wait for a reply.
const DEADLINE: Duration = Duration::from_secs(20);

/// A node of a user at free ports, and the address of its status.
fn node(user: &User, more: &[&str]) -> (Program, String) {
    let mut arguments = vec!["node", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"];
    arguments.extend(more);
    let program = Program::start(&mut user.withy(&arguments));
    loop {
        let line = program.err.recv_timeout(DEADLINE).expect("a status");
        if let Some(rest) = line.strip_prefix("withy: status at http://") {
            let address = rest.strip_suffix("/metrics").unwrap().to_owned();
            return (program, address);
        }
    }
}

#[test]
fn a_node_is_met_and_shows_what_it_counts() {
    let user = User::new();
    let (program, address) = node(&user, &[]);
    let health = get(&address, "/healthz");
    assert!(health.starts_with("HTTP/1.1 200 OK\r\n"), "{health}");
    assert!(get(&address, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(&address, "/").starts_with("HTTP/1.1 404"));
    let post = exchange(
        &address,
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    );
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    let head = exchange(&address, b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );

    let subscriber = Program::start(&mut user.withy(&["sub", "home/#"]));
    let publisher = Program::start(&mut user.withy(&["pub", "home/hall", "--wait", "15s"]));
    let start = Instant::now();
    let metrics = loop {
        let metrics = get(&address, "/metrics");
        let met = sample(&metrics, "withy_peers{presence=\"present\"}") == 2;
        if met && sample(&metrics, "withy_names{kind=\"topic\"}") == 1 {
            break metrics;
        }
        assert!(start.elapsed() < DEADLINE, "{metrics}");
    };
    assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    assert_eq!(sample(&metrics, "withy_peers{presence=\"untrusted\"}"), 0);
    assert_eq!(sample(&metrics, "withy_ready"), 1);
    assert_eq!(
        sample(&metrics, "withy_records_refused_total{reason=\"invalid\"}"),
        0
    );
    // Each family is explained once, and has its type.
    let body = metrics.split("\r\n\r\n").nth(1).unwrap();
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let types = format!("# TYPE {name} ");
        assert_eq!(body.matches(&types).count(), 1, "{name}");
    }
    // Nothing of it says who is there.
    assert!(
        !metrics.contains(&user.id()) && !metrics.contains("home/hall"),
        "{metrics}"
    );
    drop((subscriber, publisher));
    program.signal("-TERM");
    let (code, _, err) = program.end();
    assert_eq!(code, 0, "{err}");
}

#[test]
fn a_stranger_is_counted_and_not_met() {
    let (ada, bob) = User::two();
    let (_node, address) = node(&ada, &[]);
    let watch = Program::start(&mut bob.withy_beside(&ada, &["watch"]));
    let start = Instant::now();
    loop {
        let metrics = get(&address, "/metrics");
        if sample(&metrics, "withy_peers{presence=\"untrusted\"}") == 1 {
            assert_eq!(sample(&metrics, "withy_peers{presence=\"present\"}"), 0);
            break;
        }
        assert!(start.elapsed() < DEADLINE, "{metrics}");
    }
    drop(watch);
}

#[test]
fn a_seed_brings_nodes_together_and_makes_a_node_ready() {
    let user = User::new();
    let listen = [
        "node",
        "--listen",
        "127.0.0.1:0",
        "--discovery",
        "off",
        "--json",
    ];
    let seed = Program::start(&mut user.withy(&listen));
    let listening: serde_json::Value = serde_json::from_str(&seed.line()).unwrap();
    let at = listening["addresses"][0].as_str().unwrap().to_owned();
    assert!(at.starts_with("quic://127.0.0.1:"), "{listening}");
    // UDP and TCP alike.
    let tcp = listening["addresses"][1].as_str().unwrap();
    assert_eq!(tcp.strip_prefix("tcp://"), at.strip_prefix("quic://"));

    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (_alone, address) = node(
        &user,
        &["--discovery", "off", "--seed", &format!("tcp://{gone}")],
    );
    let reply = get(&address, "/readyz");
    assert!(reply.starts_with("HTTP/1.1 503"), "{reply}");
    assert!(reply.ends_with("no seed was reached yet\n"), "{reply}");

    let (_node, address) = node(&user, &["--discovery", "off", "--seed", &at]);
    let start = Instant::now();
    while !get(&address, "/readyz").starts_with("HTTP/1.1 200") {
        assert!(start.elapsed() < DEADLINE, "no seed was reached");
    }
    // A verb with a name finds both by it.
    let arguments = ["peers", "--discovery", "off", "--seed", &at, "--wait", "2s"];
    let peers = user.does(&arguments);
    assert!(peers.lines().count() >= 2, "{peers}");
    let joined = loop {
        let line = seed.line();
        if line.contains("\"joined\"") {
            break line;
        }
    };
    assert!(joined.contains("\"presence\":\"present\""), "{joined}");
}

#[test]
fn who_holds_connections_open_keeps_no_probe_out() {
    let user = User::new();
    let (program, address) = node(&user, &[]);
    // Slow ones, which say a little and no more, more than there is room for.
    let slow: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nA: ").unwrap();
            stream
        })
        .collect();
    let start = Instant::now();
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    // All of them are closed in the end, those that made room at once.
    for mut stream in slow {
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "it stays open");
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    program.signal("-INT");
    assert_eq!(program.end().0, 0);
}

#[test]
fn what_is_no_request_is_refused_and_harms_nobody() {
    let user = User::new();
    let (_program, address) = node(&user, &[]);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20));
    let headers = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(1_000));
    let header = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(1 << 20));
    let garbage: Vec<u8> = (0..4_096_u32)
        .map(|at| (at.wrapping_mul(167) >> 3) as u8)
        .collect();
    let requests: [&[u8]; 9] = [
        b"",
        b"\r\n\r\n",
        b"\0\0\0\0",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  /healthz\r\n\r\n",
        long.as_bytes(),
        headers.as_bytes(),
        header.as_bytes(),
        &garbage,
    ];
    for request in requests {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let _ = stream.write_all(request);
        let _ = stream.shutdown(Shutdown::Write);
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        let reply = String::from_utf8_lossy(&reply);
        let refused = reply.is_empty() || reply.starts_with("HTTP/1.1 4");
        assert!(
            refused,
            "{:?}: {reply}",
            String::from_utf8_lossy(&request[..request.len().min(40)])
        );
        assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    }
    // A body is not waited for.
    let start = Instant::now();
    let body = b"GET /healthz HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\nx";
    assert!(exchange(&address, body).starts_with("HTTP/1.1 200"));
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    // One request a connection.
    let two = b"GET /healthz HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n";
    assert_eq!(exchange(&address, two).matches("HTTP/1.1 200").count(), 1);
}

#[test]
fn two_identities_for_one_name_are_both_shown() {
    let (user, other) = User::two();
    let config = user.path("names.toml");
    fs::write(&config, format!("[names]\norders = \"{}\"\n", other.id())).unwrap();
    let (program, _) = node(&user, &["--config", config.to_str().unwrap()]);
    let _pull = Program::start(&mut user.withy(&["pull", "orders"]));
    let line = until_said(&program, "a name is refused");
    assert!(line.contains("orders"), "{line}");
    assert!(
        line.contains(&user.id()) && line.contains(&other.id()),
        "{line}"
    );
}

#[test]
fn a_broken_file_is_told_of_once_and_seeds_in_one_count_as_seeds() {
    let user = User::new();
    let (_seed, _) = node(&user, &[]);
    let seeds = user.path("seeds");
    let (program, address) = node(
        &user,
        &["--discovery", "off", "--seed-file", seeds.to_str().unwrap()],
    );
    until_said(&program, "No such file");
    // Seeds are to be met before it is ready, whichever way they were told.
    assert!(get(&address, "/readyz").starts_with("HTTP/1.1 503"));
    fs::write(user.path("permissions"), "everybody may\n").unwrap();
    let told = loop {
        let line = program.err.recv_timeout(DEADLINE).unwrap();
        assert!(!line.contains("No such file"), "it is told again: {line}");
        if line.contains("the last good content stays in force") {
            break line;
        }
    };
    assert!(
        told.contains("permissions") && told.contains("line 1"),
        "{told}"
    );
    fs::write(&seeds, "not a seed\n").unwrap();
    let told = until_said(&program, "the file of seeds is not used");
    assert!(told.contains("line 1"), "{told}");
}

#[test]
fn a_port_in_use_is_named() {
    let user = User::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let (code, _, err) = user.run(&["node", "--listen", &at]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains(&at) && err.contains("in use"), "{err}");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = udp.local_addr().unwrap().to_string();
    let (code, _, err) = user.run(&["node", "--listen", &at]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains(&at) && err.contains("in use"), "{err}");
    let at = taken.local_addr().unwrap().to_string();
    let (code, _, err) = user.run(&["node", "--listen", "127.0.0.1:0", "--status", &at]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains(&format!("the status at {at}")), "{err}");
}

#[test]
fn the_service_manager_hears_when_it_listens_and_when_it_leaves() {
    let user = User::new();
    let path = user.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let hear = || {
        let mut buffer = [0; 64];
        let count = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    let mut command = user.withy(&["node", "--listen", "127.0.0.1:0"]);
    let program = Program::start(command.env("NOTIFY_SOCKET", &path));
    assert_eq!(hear(), "READY=1");
    program.signal("-TERM");
    assert_eq!(hear(), "STOPPING=1");
    assert_eq!(program.end().0, 0);
    // One that is gone is no reason not to run.
    fs::remove_file(&path).unwrap();
    let mut command = user.withy(&["node", "--listen", "127.0.0.1:0"]);
    let program = Program::start(command.env("NOTIFY_SOCKET", &path));
    until_said(&program, "the service manager does not hear READY=1");
}

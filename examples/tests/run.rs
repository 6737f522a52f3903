//! Runs the examples as a reader would: each in a process of its own, Withy with Withy and Withy
//! with pyzmq in both directions, and checks what they print. Those of the mesh are in `mesh`.
//!
//! All endpoints have free ports; programs that bind print the real ones. Every wait has a
//! deadline, and every process is gone when its test is.

mod mesh;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The longest wait for a line or an end.
const DEADLINE: Duration = Duration::from_secs(20);

/// A free port, chosen by whoever binds.
const ANY: &str = "tcp://127.0.0.1:*";

/// In what a program is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum In {
    Rust,
    Python,
}

use In::{Python, Rust};

/// Withy with itself, and with pyzmq in both roles.
const PAIRS: [(In, In); 3] = [(Rust, Rust), (Rust, Python), (Python, Rust)];

/// A running example.
struct Program {
    name: String,
    child: Child,
    /// Of those that are spoken to.
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Receiver<String>,
    seen: Vec<String>,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let errors: Vec<String> = self.errors.iter().collect();
            eprintln!("{} said: {}", self.name, errors.join("\n"));
        }
    }
}

/// The lines of a program's output, until it ends.
fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Where the build put an example.
fn binary(name: &str) -> &'static str {
    macro_rules! binaries {
        ($($name:literal)*) => {
            match name {
                $($name => env!(concat!("CARGO_BIN_EXE_", $name)),)*
                _ => panic!("no example {name}"),
            }
        };
    }
    binaries!(
        "bus_door" "chat" "curve_client" "curve_server" "dashboard" "hello_client"
        "hello_client_blocking" "hello_server" "hello_server_blocking" "jobs_producer" "jobs_worker"
        "last_value_cache" "last_value_reader" "last_value_writer" "monitor" "network_bridge"
        "pipeline_sink" "pipeline_ventilator" "pipeline_worker" "plain_client" "plain_server"
        "price_client" "price_service" "queue_broker" "queue_proxy" "queue_worker" "select" "sensor"
        "typed_receiver" "typed_sender" "weather_client" "weather_server" "web"
    )
}

fn start(what: In, name: &str, arguments: &[&str]) -> Program {
    start_with(what, name, arguments, &[])
}

fn start_with(what: In, name: &str, arguments: &[&str], environment: &[(&str, &Path)]) -> Program {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = match what {
        Rust => Command::new(binary(name)),
        Python => {
            let python = examples.join("../tests/.venv/bin/python");
            assert!(
                python.exists(),
                "tests/.venv is missing: run tests/run once, which makes it"
            );
            let mut command = Command::new(python);
            command.arg(examples.join(format!("python/{name}.py")));
            command
        }
    };
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .env("HELLO_PASSWORD", "correct horse")
        .stdin(Stdio::null());
    Program::start(format!("{name} in {what:?}"), &mut command)
}

impl Program {
    fn start(name: String, command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Self {
            name,
            stdin: child.stdin.take(),
            child,
            lines: lines(stdout.expect("it is a pipe")),
            errors: lines(stderr.expect("it is a pipe")),
            seen: Vec::new(),
        }
    }

    /// The next line.
    fn line(&mut self) -> String {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => {
                self.seen.push(line.clone());
                line
            }
            Err(error) => panic!("{}: {error} after {:?}", self.name, self.last_seen()),
        }
    }

    /// The next line that contains `text`.
    fn until(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
            assert!(
                Instant::now() < deadline,
                "{}: no {text:?} in {:?}",
                self.name,
                self.last_seen()
            );
        }
    }

    /// The lines that tell what went wrong, most likely.
    fn last_seen(&self) -> &[String] {
        &self.seen[self.seen.len().saturating_sub(20)..]
    }

    /// The endpoint at the end of the next line, which is to start with `text`.
    fn endpoint(&mut self, text: &str) -> String {
        let line = self.line();
        assert!(line.starts_with(text), "{}: {line}", self.name);
        line.rsplit(' ').next().unwrap_or_default().to_owned()
    }

    /// Waits for the end; whether it was a success.
    fn ended(&mut self) -> bool {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = self.child.try_wait();
            if let Some(status) = status.unwrap_or_else(|error| panic!("{}: {error}", self.name)) {
                return status.success();
            }
            assert!(Instant::now() < deadline, "{} does not end", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A server that listens, and its endpoint.
fn listening(what: In, name: &str, arguments: &[&str]) -> (Program, String) {
    let mut program = start(what, name, arguments);
    let endpoint = program.endpoint("listening on ");
    (program, endpoint)
}

fn says_hello(what: In, client: &str, endpoint: &str) {
    let mut client = start(what, client, &[endpoint]);
    for n in 1..=10 {
        assert_eq!(client.line(), format!("{n}: world"), "{}", client.name);
    }
    assert!(client.ended(), "{}", client.name);
}

#[test]
fn hello_world() {
    let clients = [
        (Rust, "hello_client"),
        (Rust, "hello_client_blocking"),
        (Python, "hello_client"),
    ];
    for (server_in, server) in [
        (Rust, "hello_server"),
        (Rust, "hello_server_blocking"),
        (Python, "hello_server"),
    ] {
        let (mut server, endpoint) = listening(server_in, server, &[ANY]);
        for (client_in, client) in clients {
            if (server_in, client_in) != (Python, Python) {
                says_hello(client_in, client, &endpoint);
                for n in 1..=10 {
                    assert_eq!(server.line(), format!("hello {n}"));
                }
            }
        }
    }
}

#[test]
fn weather() {
    for (server, client) in PAIRS {
        let (_server, endpoint) = listening(server, "weather_server", &[ANY]);
        let mut client = start(client, "weather_client", &[&endpoint, "quito"]);
        let mut sum = 0;
        for _ in 0..5 {
            let line = client.line();
            let degrees = line.strip_prefix("quito ").expect("the topic");
            sum += degrees.parse::<i32>().expect("a number");
        }
        let mean = f64::from(sum) / 5.0;
        assert_eq!(client.line(), format!("mean of quito: {mean:.1}"));
        assert!(client.ended());
    }
}

#[test]
fn pipeline() {
    let sum: u64 = (1..=100).map(|n| n * n).sum();
    for (ends, workers) in PAIRS {
        let (mut sink, sink_at) = listening(ends, "pipeline_sink", &[ANY]);
        let (mut ventilator, at) = listening(ends, "pipeline_ventilator", &[ANY, &sink_at]);
        let _workers = [(); 2].map(|()| start(workers, "pipeline_worker", &[&at, &sink_at]));
        assert_eq!(ventilator.line(), "100 tasks sent, 0 left behind");
        assert_eq!(sink.line(), format!("100 results, sum {sum}"));
        assert!(ventilator.ended() && sink.ended());
    }
}

#[test]
fn shared_queue() {
    for (broker_in, broker, worker, client) in [
        (Rust, "queue_broker", Rust, Python),
        (Rust, "queue_proxy", Python, Rust),
        (Rust, "queue_proxy", Rust, Rust),
        (Python, "queue_broker", Rust, Rust),
    ] {
        let mut broker = start(broker_in, broker, &[ANY, ANY]);
        let (clients, workers) = (
            broker.endpoint("clients at "),
            broker.endpoint("workers at "),
        );
        let mut worker = start(worker, "queue_worker", &[&workers]);
        says_hello(client, "hello_client", &clients);
        assert_eq!(worker.line(), "hello 1");
    }
}

#[test]
fn last_value() {
    for (cache, others) in PAIRS {
        let mut cache = start(cache, "last_value_cache", &[ANY, ANY]);
        let (updates, at) = (
            cache.endpoint("updates at "),
            cache.endpoint("subscribers at "),
        );
        // This one sees changes pass until the last is there, and so knows when the cache has it.
        let mut early = start(others, "last_value_reader", &[&at, "pressure"]);
        let mut writer = start(others, "last_value_writer", &[&updates]);
        assert_eq!(writer.line(), "0 left behind");
        early.until("pressure 1100");
        let mut late = start(others, "last_value_reader", &[&at, "temperature"]);
        assert_eq!(late.line(), "temperature 100", "{}", late.name);
    }
}

#[test]
fn plain() {
    let folder = tempfile::tempdir().expect("a directory");
    let users = folder.path().join("users");
    std::fs::write(&users, "ada=correct horse\n").expect("a file");
    let users = users.to_str().expect("UTF-8");
    for (server, client) in PAIRS {
        let (mut server, endpoint) = listening(server, "plain_server", &[ANY, users]);
        let mut stranger = start(client, "plain_client", &[&endpoint, "bob"]);
        let mut ada = start(client, "plain_client", &[&endpoint, "ada"]);
        assert_eq!(ada.line(), "world");
        assert!(ada.ended());
        assert!(!stranger.ended(), "a stranger was let in");
        assert_eq!(server.line(), "hello");
        assert!(server.lines.try_recv().is_err(), "a stranger was heard");
    }
}

#[test]
fn curve() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let mut allowed = String::new();
    for name in ["server", "ada", "bob"] {
        let keys = withy::generate_key_pair();
        let (public, secret) = (keys.public(), keys.secret().expose_z85());
        let public = format!("curve\n    public-key = \"{public}\"\n");
        let secret = format!("{public}    secret-key = \"{}\"\n", *secret);
        std::fs::write(path(name), secret).expect("a file");
        std::fs::write(path(&format!("{name}.pub")), public).expect("a file");
        if name == "ada" {
            allowed = format!("{} ada\n", keys.public());
        }
    }
    std::fs::write(path("allowed"), allowed).expect("a file");
    let server_key = path("server.pub");
    for (server, client) in PAIRS {
        let arguments = [ANY, &path("server"), &path("allowed")];
        let (mut server, endpoint) = listening(server, "curve_server", &arguments);
        let mut stranger = start(
            client,
            "curve_client",
            &[&endpoint, &path("bob"), &server_key],
        );
        let mut ada = start(
            client,
            "curve_client",
            &[&endpoint, &path("ada"), &server_key],
        );
        assert_eq!(ada.line(), "world");
        assert!(ada.ended());
        assert!(!stranger.ended(), "a stranger was let in");
        assert_eq!(server.line(), "hello");
        assert!(server.lines.try_recv().is_err(), "a stranger was heard");
    }
}

#[test]
fn typed_messages() {
    for (receiver, sender) in PAIRS {
        let (mut receiver, endpoint) = listening(receiver, "typed_receiver", &[ANY]);
        assert!(start(sender, "typed_sender", &[&endpoint]).ended());
        assert_eq!(receiver.line(), "-3 in oslo");
        assert_eq!(receiver.line(), "11 in paris");
    }
    let (mut receiver, endpoint) = listening(Rust, "typed_receiver", &[ANY]);
    assert!(start(Rust, "last_value_writer", &[&endpoint]).ended());
    assert!(receiver.line().starts_with("passed over: "));
}

#[test]
fn select_and_monitor() {
    for peers in [Rust, Python] {
        let (_weather, weather_at) = listening(peers, "weather_server", &[ANY]);
        let (mut select, endpoint) = listening(Rust, "select", &[ANY, &weather_at]);
        select.until("weather: oslo ");
        assert!(start(peers, "last_value_writer", &[&endpoint]).ended());
        select.until("update: pressure 1100");
        select.until("weather: oslo ");

        let (mut monitor, endpoint) = listening(Rust, "monitor", &[ANY]);
        assert!(start(peers, "typed_sender", &[&endpoint]).ended());
        monitor.until("connected to PUSH at 127.0.0.1:");
        monitor.until("is gone: the peer closed the connection");
        monitor.until("0 peers, ");
    }
}

#[test]
fn every_program_has_its_counterpart() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR"));
    let plain = [
        // Its counterparts are the two programs that come to it.
        "bus_door",
        "hello_client_blocking",
        "hello_server_blocking",
        "queue_proxy",
        "select",
        "monitor",
    ];
    let only_ours = [&plain[..], &mesh::EXAMPLES].concat();
    for entry in std::fs::read_dir(examples.join("src/bin")).expect("the examples") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_str().expect("UTF-8");
        binary(name);
        let python = examples.join(format!("python/{name}.py"));
        assert_eq!(python.exists(), !only_ours.contains(&name), "{name}");
    }
}

#[test]
fn the_bus_and_zeromq() {
    let user = tempfile::tempdir().unwrap();
    // A node of this user alone.
    let home = [
        ("WITHY_HOME", user.path()),
        ("XDG_RUNTIME_DIR", user.path()),
    ];
    let mut door = start_with(Rust, "bus_door", &[ANY], &home);
    let endpoint = door.endpoint("listening on ");
    let mut subscriber = start(Python, "bus_subscriber", &[&endpoint]);
    let _publisher = start(Python, "bus_publisher", &[&endpoint]);
    let first = subscriber.line();
    assert!(first.starts_with("home/kitchen/"), "{first}");
    subscriber.until("home/kitchen/fan on");
    subscriber.until("it has 2");
    assert!(subscriber.ended());
}

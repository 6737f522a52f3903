//! The examples that are nodes, found by nothing but their names: programs of one user in a home and
//! a runtime directory of their own, and of users that share the latter.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use withy::Home;

use super::{DEADLINE, Program, binary};

/// The examples that are nodes.
pub(super) const EXAMPLES: [&str; 9] = [
    "chat",
    "dashboard",
    "jobs_producer",
    "jobs_worker",
    "network_bridge",
    "price_client",
    "price_service",
    "sensor",
    "web",
];

/// A host, whose files are gone with it.
struct Host(TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn home(&self, user: &str) -> PathBuf {
        self.0.path().join(user)
    }

    /// Starts an example as a user.
    fn start_as(&self, user: &str, name: &str, arguments: &[&str]) -> Program {
        let mut command = Command::new(binary(name));
        command
            .args(arguments)
            .env("WITHY_HOME", self.home(user))
            .env("XDG_RUNTIME_DIR", self.0.path())
            .stdin(Stdio::piped());
        Program::start(format!("{name} {arguments:?}"), &mut command)
    }

    fn start(&self, name: &str, arguments: &[&str]) -> Program {
        self.start_as("home", name, arguments)
    }
}

impl Program {
    fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it is a pipe");
        writeln!(stdin, "{line}").unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Ends the input.
    fn say_no_more(&mut self) {
        self.stdin = None;
    }

    /// Ends it as `kill -9` does.
    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Whether a line was seen that ends with `text`.
    fn saw(&self, text: &str) -> bool {
        self.seen.iter().any(|line| line.ends_with(text))
    }
}

#[test]
fn chat() {
    let host = Host::new();
    let (mut ada, mut bob) = (host.start("chat", &["ada"]), host.start("chat", &["bob"]));
    ada.until("* bob is here");
    bob.until("* ada is here");
    let mut cyd = host.start("chat", &["cyd"]);
    for (one, name) in [(&mut ada, "cyd"), (&mut bob, "cyd")] {
        one.until(&format!("* {name} is here"));
    }
    cyd.until("is here");
    cyd.until("is here");
    ada.say("good morning");
    assert_eq!(bob.line(), "ada: good morning");
    assert_eq!(cyd.line(), "ada: good morning");
    bob.say("/w ada psst");
    bob.say("over");
    assert_eq!(ada.line(), "bob whispers: psst");
    assert_eq!(ada.line(), "bob: over");
    assert_eq!(cyd.line(), "bob: over", "a whisper is for one");
    cyd.say("/who");
    assert_eq!(cyd.line().split(' ').count(), 5);
    // One leaves, and one is killed.
    cyd.say_no_more();
    assert!(cyd.ended());
    ada.until("* cyd left");
    bob.kill();
    ada.until("* bob left");
    ada.say("/w bob still there?");
    assert_eq!(ada.line(), "* bob is not here");
}

#[test]
fn sensors_and_a_late_dashboard() {
    let host = Host::new();
    let mut sensors = ["hall", "yard"].map(|name| host.start("sensor", &[name]));
    for sensor in &mut sensors {
        for reading in ["18.5", "19.0"] {
            sensor.say(reading);
            assert_eq!(sensor.line(), "published");
        }
    }
    let mut dashboard = host.start("dashboard", &[]);
    let mut first = [dashboard.line(), dashboard.line()];
    first.sort();
    assert_eq!(first, ["hall 19.0", "yard 19.0"], "the last of each, once");
    sensors[1].say("19.5");
    assert_eq!(dashboard.line(), "yard 19.5");
    let [mut hall, _yard] = sensors;
    hall.say_no_more();
    assert!(hall.ended());
}

#[test]
fn a_worker_is_killed_on_the_way() {
    let host = Host::new();
    let mut producer = host.start("jobs_producer", &["10"]);
    let mut slow = host.start("jobs_worker", &["600000"]);
    let held = slow.line();
    let held = held.strip_prefix("begin ").expect("a job");
    assert_eq!(producer.line(), "10 jobs accepted");
    let mut quick = host.start("jobs_worker", &["1"]);
    for _ in 0..9 {
        quick.until("end job");
    }
    assert!(!quick.saw(held), "a job is with one worker at a time");
    slow.kill();
    assert_eq!(quick.line(), format!("begin {held}, attempt 2"));
    assert_eq!(quick.line(), format!("end {held}"));
    assert_eq!(producer.line(), "10 done, 1 came again");
    assert!(producer.ended());
}

#[test]
fn a_client_sees_no_error_when_instances_are_killed() {
    let host = Host::new();
    let mut stuck = host.start("price_service", &["stuck", "600000"]);
    assert_eq!(stuck.line(), "serving");
    let mut client = host.start("price_client", &["400"]);
    assert_eq!(stuck.line(), "asked, attempt 1");
    let mut good = ["one", "two"].map(|name| host.start("price_service", &[name, "5"]));
    for service in &mut good {
        assert_eq!(service.line(), "serving");
    }
    stuck.kill();
    let line = client.line();
    assert!(line.starts_with("1: 3.20 from "), "{line}");
    // The one that answers is killed, and the other goes on.
    let [one, two] = &mut good;
    let (name, left) = match client.line().ends_with("from one") {
        true => {
            one.kill();
            ("two", two)
        }
        false => {
            two.kill();
            ("one", one)
        }
    };
    client.until(&format!("from {name}"));
    let last = client.until("400 answers, ");
    assert!(client.ended(), "{last}");
    assert!(!last.ends_with(" 0 asked again"), "{last}");
    left.until("asked, attempt ");
}

#[test]
fn two_networks_and_a_member_of_both() {
    let host = Host::new();
    let homes = ["ada", "bob", "cyd", "dan", "eve"].map(|user| Home::at(host.home(user)));
    let [ada, bob, cyd, dan, eve] = &homes;
    for (network, founder, members) in [("garden", ada, [bob, eve]), ("house", cyd, [dan, eve])] {
        let network = network.parse().expect("a name");
        founder.create_network(&network).expect("a network");
        for member in members {
            let ticket = founder.invite(&network, Default::default(), None);
            member
                .join(&ticket.expect("a ticket"), None)
                .expect("a member");
        }
    }
    let chat = |name, network| host.start_as(name, "chat", &[name, "--network", network]);
    let [mut ada, mut bob] = ["ada", "bob"].map(|name| chat(name, "garden"));
    let [mut cyd, mut dan] = ["cyd", "dan"].map(|name| chat(name, "house"));
    for (one, sees) in [
        (&mut ada, "bob"),
        (&mut bob, "ada"),
        (&mut cyd, "dan"),
        (&mut dan, "cyd"),
    ] {
        assert_eq!(one.line(), format!("* {sees} is here"));
    }
    ada.say("roses");
    assert_eq!(bob.line(), "ada: roses");
    cyd.say("chairs");
    assert_eq!(dan.line(), "cyd: chairs");
    for (one, all) in [(&mut bob, "* here: bob ada"), (&mut dan, "* here: dan cyd")] {
        one.say("/who");
        assert_eq!(one.line(), all, "the other network is not seen");
    }
    let mut bridge = host.start_as("eve", "network_bridge", &["garden", "house"]);
    assert_eq!(bridge.line(), "between two networks");
    // What is said before the bridge is there is not passed on.
    let deadline = Instant::now() + DEADLINE;
    let crossed = loop {
        ada.say("tulips");
        match dan.lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => break line,
            Err(_) => assert!(Instant::now() < deadline, "nothing crosses"),
        }
    };
    assert_eq!(crossed, "ada: tulips");
    dan.say("/w ada can you hear me?");
    dan.until("* ada is not here");
    assert!(!bob.saw("chairs") && !dan.saw("roses"));
}

/// Asks a web service, and gives the status and the body.
fn http(address: &str, method: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time");
    let length = body.len();
    let request = format!(
        "{method} /temp HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: text/plain\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("it answers");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// Asks until the reply is this one: what is published takes a moment to be there.
fn until_read(address: &str, reply: (u16, &str)) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let (status, body) = http(address, "GET", "");
        if (status, &*body) == reply {
            return;
        }
        assert!(Instant::now() < deadline, "{status} {body}, not {reply:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_web_service_with_a_node() {
    let host = Host::new();
    let mut web = host.start("web", &["127.0.0.1:0"]);
    let address = web.endpoint("listening on ");
    assert_eq!(http(&address, "GET", "").0, 404);
    let mut sensor = host.start("sensor", &["temp"]);
    sensor.say("20.5");
    until_read(&address, (200, "20.5"));
    assert_eq!(http(&address, "POST", "21.5"), (202, String::new()));
    until_read(&address, (200, "21.5"));
    assert_eq!(http(&address, "DELETE", "").0, 405);
    let mut dashboard = host.start("dashboard", &[]);
    let mut values = [dashboard.line(), dashboard.line()];
    values.sort();
    assert_eq!(
        values,
        ["temp 20.5", "temp 21.5"],
        "the last of each publisher"
    );
    let pid = web.child.id().to_string();
    let told = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(told.expect("kill").success());
    assert!(web.ended(), "it ends as it should");
}

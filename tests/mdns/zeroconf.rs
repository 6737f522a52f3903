//! A neighbour by Python's zeroconf reads what we announce, and is read.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use withy_discovery::announcement::{Announcement, Content, Places};

use crate::namespace::{HERE, THERE, There, inside};
use crate::node::{self, announcing, find, lose, node, record, works};

/// The process. Dropping it ends it.
struct Neighbour {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
}

impl Neighbour {
    fn start(there: &There) -> Self {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = tests.join(".venv/bin/python");
        assert!(
            python.exists(),
            "tests/.venv is missing: run tests/run once, which makes it"
        );
        let mut command = Command::new(python);
        command
            .arg(tests.join("mdns/neighbour.py"))
            .arg(THERE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = there.within(move || command.spawn().unwrap());
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap();
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let neighbour = Self {
            stdin: child.stdin.take(),
            child,
            lines,
        };
        neighbour.wait(|said| said["event"] == "ready");
        neighbour
    }

    /// The next line that is looked for.
    fn wait(&self, is: impl Fn(&Value) -> bool) -> Value {
        let mut others = Vec::new();
        loop {
            match self.lines.recv_timeout(Duration::from_secs(60)) {
                Ok(said) if is(&said) => return said,
                Ok(said) => others.push(said),
                Err(error) => panic!("{error}: {others:?}"),
            }
        }
    }

    fn announce(&mut self, announcement: &Announcement, name: &str) {
        let text = strings(&announcement.encode());
        let line = json!({ "name": name, "port": node::PORT, "address": THERE, "txt": text });
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The strings of a TXT record.
pub(crate) fn strings(mut txt: &[u8]) -> Vec<String> {
    let mut strings = Vec::new();
    while let [length, rest @ ..] = txt {
        let (string, rest) = rest.split_at(usize::from(*length));
        strings.push(String::from_utf8(string.to_vec()).unwrap());
        txt = rest;
    }
    strings
}

/// What a node announces that has one address.
pub(crate) fn announcement(number: u8, address: &str) -> Announcement {
    let places = Places::choose([address.parse::<IpAddr>().unwrap()]).unwrap();
    let content = Content::of(&record(number), node::PORT, places);
    Announcement::Public(content.sign(&node::key(number)).unwrap())
}

#[test]
fn a_neighbour_reads_what_we_say_and_we_read_it() {
    inside(
        "zeroconf::a_neighbour_reads_what_we_say_and_we_read_it",
        || {
            let there = There::new();
            let one = announcing(1);
            works(&one);
            let mut neighbour = Neighbour::start(&there);
            let name = node(1).to_string();
            let said = neighbour.wait(|said| said["event"] == "found" && said["name"] == *name);
            assert_eq!(said["port"], node::PORT);
            assert_eq!(said["host"], format!("{name}.local."));
            let addresses = said["addresses"].as_array().unwrap();
            assert!(addresses.contains(&json!(HERE)), "{said}");
            let txt = said["txt"].as_array().unwrap().iter();
            let txt: Vec<_> = txt.map(|it| it.as_u64().unwrap() as u8).collect();
            let Ok(Announcement::Public(public)) = Announcement::decode(&txt, node::PORT) else {
                panic!("{said}");
            };
            public.verify(withy_proto::crypto::Provider::Real).unwrap();

            // Its records are as good as ours, with a goodbye as well.
            neighbour.announce(&announcement(3, THERE), "neighbour");
            let heard = find(&one, 3);
            assert_eq!(
                heard.addresses,
                [(THERE.parse::<IpAddr>().unwrap(), 0).into()]
            );
            drop(neighbour.stdin.take());
            lose(&one, &heard.instance);
        },
    );
}

#[test]
fn a_neighbour_hears_our_goodbye() {
    inside("zeroconf::a_neighbour_hears_our_goodbye", || {
        let there = There::new();
        let neighbour = Neighbour::start(&there);
        let one = announcing(1);
        let name = node(1).to_string();
        neighbour.wait(|said| said["event"] == "found" && said["name"] == *name);
        drop(one);
        neighbour.wait(|said| said["event"] == "gone" && said["name"] == *name);
    });
}

//! The demo: three nodes that do every pattern, and leave nothing behind.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod program;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use program::namespace::{CABLE, inside, run};
use program::{Program, python, withy};

const PATTERNS: [&str; 8] = [
    "nodes",
    "topics",
    "late joiner",
    "service",
    "push/pull",
    "pair",
    "acked queue",
    "group",
];

/// The demo, whose files go to a directory of the test.
fn demo(folder: &TempDir, options: &[&str]) -> Program {
    let mut command = withy(&[&["demo"], options].concat());
    Program::start(command.env("TMPDIR", folder.path()))
}

/// The processes that descend from one, by what the system lists.
fn descendants(of: u32) -> BTreeSet<u32> {
    let mut family = BTreeSet::from([of]);
    loop {
        let before = family.len();
        for entry in Path::new("/proc").read_dir().unwrap().flatten() {
            let Some(number) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
                continue;
            };
            // What follows the name in parentheses: state, parent.
            let parent = stat
                .rsplit(')')
                .next()
                .and_then(|rest| rest.split(' ').nth(2));
            if parent
                .and_then(|parent| parent.parse().ok())
                .is_some_and(|parent| family.contains(&parent))
            {
                family.insert(number);
            }
        }
        if family.len() == before {
            family.remove(&of);
            return family;
        }
    }
}

fn lives(number: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat"));
    stat.is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"))
    })
}

/// Waits until a family is complete; it looks at what the children show of themselves, too.
fn family(of: u32) -> BTreeSet<u32> {
    let start = Instant::now();
    loop {
        let family = descendants(of);
        if family.len() >= 3 {
            for number in &family {
                let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).into_owned();
                // A key has 40 characters, and no word of the command line has.
                assert!(
                    line.split('\0').skip(1).all(|word| word.len() < 40),
                    "{line}"
                );
            }
            return family;
        }
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{} processes",
            family.len()
        );
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn gone(family: &BTreeSet<u32>) {
    let start = Instant::now();
    while let Some(number) = family.iter().find(|number| lives(**number)) {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "process {number} is left behind"
        );
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Waits until a directory is empty.
fn emptied(folder: &TempDir) {
    let start = Instant::now();
    while let Some(Ok(entry)) = folder.path().read_dir().unwrap().next() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{:?} is left behind",
            entry.path()
        );
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn it_does_every_pattern_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let plain = demo(&folder, &[]);
    let family = family(plain.child.id());
    let (code, out, err) = plain.end();
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    println!(
        "count: ms that the demo takes: {}",
        start.elapsed().as_millis()
    );
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(!out.contains('\u{1b}'), "a pipe is no terminal: {out}");
    for (line, pattern) in out.lines().zip(PATTERNS) {
        assert!(line.starts_with(pattern), "{out}");
    }
    assert!(out.contains("all 8 patterns"), "{out}");
    gone(&family);
    emptied(&folder);
}

#[test]
fn programs_read_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, err) = demo(&folder, &["--json"]).end();
    assert_eq!(code, 0, "{err}");
    let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<serde_json::Value> = lines.collect();
    let patterns: Vec<&str> = lines
        .iter()
        .filter_map(|it| it["pattern"].as_str())
        .collect();
    assert_eq!(patterns, PATTERNS);
    assert!(
        lines.iter().all(|it| it["ok"] == true && it["ms"].is_u64()),
        "{out}"
    );
    let queue = lines[6]["did"].as_str().unwrap();
    assert!(queue.contains("cyd took job 1 and was killed"), "{queue}");
    assert!(queue.contains("job 1 flagged as come again"), "{queue}");
}

#[test]
fn it_leaves_nothing_behind_however_it_ends() {
    for (signal, ends) in [("-INT", 0), ("-TERM", 0), ("-KILL", -1)] {
        let folder = tempfile::tempdir().unwrap();
        let mut demo = demo(&folder, &["--stay"]);
        assert!(demo.line().starts_with("nodes"));
        let family = family(demo.child.id());
        demo.signal(signal);
        assert_eq!(demo.wait(), ends, "{signal}");
        gone(&family);
        emptied(&folder);
    }
    // Who ends it before its time does not hear that all is well.
    let folder = tempfile::tempdir().unwrap();
    let demo = demo(&folder, &[]);
    assert!(demo.line().starts_with("nodes"));
    demo.signal("-INT");
    let (code, _, err) = demo.end();
    assert_eq!(code, 1);
    assert!(err.contains("interrupted"), "{err}");
    emptied(&folder);
}

#[test]
fn what_fails_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let demo = demo(&folder, &["--stay", "--json"]);
    assert!(demo.line().contains("nodes"));
    // The first one is ada, which takes part in most, and which nobody kills in the demo.
    let ada = *family(demo.child.id()).first().unwrap();
    let mut kill = Command::new("kill");
    let killed = kill.args(["-KILL", &ada.to_string()]).status();
    assert!(killed.unwrap().success());
    let (code, out, err) = demo.end();
    assert_eq!(code, 1, "{out}{err}");
    let said = err.strip_prefix("withy: ").unwrap();
    let pattern = PATTERNS.iter().find(|it| said.starts_with(**it)).unwrap();
    assert!(said.contains("ada"), "{said}");
    let last: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (last["pattern"].as_str(), &last["ok"]),
        (Some(*pattern), &false.into())
    );
    emptied(&folder);
}

/// Sockets of processes that others may reach: the local addresses of those of UDP, and of those that
/// listen for TCP, as the system lists them.
fn sockets(family: &BTreeSet<u32>) -> Vec<String> {
    let mut inodes = BTreeSet::new();
    for number in family {
        let Ok(files) = Path::new(&format!("/proc/{number}/fd")).read_dir() else {
            continue;
        };
        let links = files
            .flatten()
            .filter_map(|file| file.path().read_link().ok());
        inodes.extend(links.filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        }));
    }
    let mut found = Vec::new();
    for table in ["udp", "udp6", "tcp", "tcp6"] {
        let lines = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap();
        for line in lines.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let listens = columns[3] == "0A";
            if inodes.contains(columns[9]) && (table.starts_with("udp") || listens) {
                found.push(format!("{table} {}", columns[1]));
            }
        }
    }
    found
}

#[test]
fn the_network_sees_nothing_of_it_unless_it_is_told_to() {
    inside(
        "the_network_sees_nothing_of_it_unless_it_is_told_to",
        || {
            run(CABLE);
            let folder = tempfile::tempdir().unwrap();
            let until = |demo: &Program, pattern: &str| while !demo.line().starts_with(pattern) {};
            let quiet = demo(&folder, &["--stay"]);
            until(&quiet, "group");
            let mut family = family(quiet.child.id());
            family.insert(quiet.child.id());
            let found = sockets(&family);
            // The reports to the screen, on the loopback interface.
            let is_local = |it: &String| it.starts_with("tcp 0100007F:");
            assert!(!found.is_empty() && found.iter().all(is_local), "{found:?}");
            drop(quiet);

            let loud = demo(&folder, &["--lan", "--stay"]);
            until(&loud, "nodes");
            let found = sockets(&descendants(loud.child.id()));
            let mdns = format!(":{:04X}", 5353);
            assert!(found.iter().any(|it| it.ends_with(&mdns)), "{found:?}");
            // Over the network, too, each pattern is there, and a killed worker is missed.
            until(&loud, "group");
        },
    );
}

#[test]
fn a_terminal_gets_one_live_screen() {
    let script = "import os,pty,sys\n\
        pid,fd=pty.fork()\n\
        if pid==0: os.execv(sys.argv[1],sys.argv[1:])\n\
        data=b''\n\
        while True:\n\
        \x20try: chunk=os.read(fd,65536)\n\
        \x20except OSError: break\n\
        \x20if not chunk: break\n\
        \x20data+=chunk\n\
        _,status=os.waitpid(pid,0)\n\
        print(os.waitstatus_to_exitcode(status), data.count(b'\\x1b['), b'panicked' in data)";
    let binary = env!("CARGO_BIN_EXE_withy");
    let mut command = python(script, &[binary, "demo"]);
    let demo = Program::start(command.env("TERM", "xterm"));
    let line = demo.line();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!((words[0], words[2]), ("0", "False"), "{line}");
    assert!(
        words[1].parse::<u32>().unwrap() > 10,
        "it moves the cursor: {line}"
    );
}

//! The demo: nine processes that count the words of a text, and leave nothing behind.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod program;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use program::{Program, python, withy};

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
        if family.len() >= 8 {
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

#[test]
fn it_counts_the_words_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text");
    let text = "one two, three\nfour five — six\n\nseven\n".repeat(50);
    std::fs::write(&file, &text).unwrap();
    let start = Instant::now();
    let path = file.to_str().unwrap();
    let mut demo = Program::start(&mut withy(&["demo", "--file", path, "--duration", "1s"]));
    let family = family(demo.child.id());
    let code = demo.wait();
    let out: Vec<String> = demo.out.iter().collect();
    let out = out.join("\n");
    assert_eq!(code, 0, "{out}");
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(!out.contains('\u{1b}'), "a pipe is no terminal: {out}");
    // How often the text was sent whole, and how many words were counted, must fit what counting
    // here says.
    let words = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .count() as u64;
    let number = |before: &str, after: &str| -> u64 {
        let (_, rest) = out
            .split_once(before)
            .unwrap_or_else(|| panic!("{before:?}: {out}"));
        let digits: String = rest.split(after).next().unwrap().replace(',', "");
        digits
            .parse()
            .unwrap_or_else(|_| panic!("{before:?}: {out}"))
    };
    let (rounds, counted) = (
        number("the text ", " times"),
        number("verified:   ", " words"),
    );
    assert!(
        rounds > 0 && number("REQ/REP:    ", " answers") > 0,
        "{out}"
    );
    assert_eq!(counted / words, rounds, "{counted} of {words}: {out}");
    gone(&family);
}

#[test]
fn it_leaves_nothing_behind_however_it_ends() {
    for signal in ["-INT", "-TERM", "-KILL"] {
        let mut demo = Program::start(&mut withy(&["demo", "--stay"]));
        let family = family(demo.child.id());
        demo.signal(signal);
        demo.wait();
        gone(&family);
    }
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
    let mut command = python(script, &[binary, "demo", "--duration", "1s"]);
    let demo = Program::start(command.env("TERM", "xterm"));
    let line = demo.line();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!((words[0], words[2]), ("0", "False"), "{line}");
    assert!(
        words[1].parse::<u32>().unwrap() > 10,
        "it moves the cursor: {line}"
    );
}

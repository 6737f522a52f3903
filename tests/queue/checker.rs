//! The process that writes down what was accepted and what came, and says whether that fits.
//!
//! | it reads from its socket | |
//! |---|---|
//! | `a NUMBER` | a producer heard that a message is accepted |
//! | `g NUMBER FLAG` | a worker got a message, flagged as redelivered if 1; said before it is acked |
//!
//! | it is told | it says |
//! |---|---|
//! | `more COUNT` | `got`, when workers got so many more from now on, or `stuck` |
//! | `finish COUNT` | the verdict, when so many are accepted and all of them came, or nothing comes any more |

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{Part, say, told};

/// When nothing comes for so long, nothing will.
const SILENCE: Duration = Duration::from_secs(40);

/// What is known of a message.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    accepted: bool,
    /// How often it came, and how often without the flag.
    got: u32,
    unflagged: u32,
}

/// What the parts say to the checker.
#[derive(Debug)]
pub(crate) struct Reports(UnixStream);

impl Reports {
    pub(crate) fn to(folder: &Path) -> Self {
        Self(UnixStream::connect(folder.join("checker")).unwrap())
    }

    /// Returns when the report is on its way, whatever becomes of this process.
    fn write(&mut self, line: &str) {
        self.0.write_all(line.as_bytes()).unwrap();
    }

    pub(crate) fn accepted(&mut self, number: u64) {
        self.write(&format!("a {number}\n"));
    }

    pub(crate) fn got(&mut self, number: u64, redelivered: bool) {
        self.write(&format!("g {number} {}\n", u8::from(redelivered)));
    }
}

/// Plays the part of the checker.
pub(crate) fn check(part: &Part) {
    let socket = UnixListener::bind(part.folder.join("checker")).unwrap();
    let (sender, lines) = mpsc::channel();
    let commands = sender.clone();
    let told = told();
    thread::spawn(move || told.iter().for_each(|line| commands.send(line).unwrap()));
    thread::spawn(move || {
        socket
            .incoming()
            .for_each(|it| read(it.unwrap(), sender.clone()))
    });
    say("checks");
    let file = File::create(part.folder.join("reports")).unwrap();
    let mut checker = Checker {
        file: BufWriter::new(file),
        seen: BTreeMap::new(),
        accepted: 0,
        open: 0,
        got: 0,
        wait: None,
        finish: None,
        last: Instant::now(),
    };
    loop {
        match lines.recv_timeout(SILENCE) {
            Ok(line) => checker.note(&line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        checker.answer();
    }
}

fn read(stream: UnixStream, sender: Sender<String>) {
    thread::spawn(move || {
        // Whoever was killed may have left the last line unfinished.
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
            sender.send(line.trim_end().to_owned()).unwrap();
            line.clear();
        }
    });
}

struct Checker {
    file: BufWriter<File>,
    seen: BTreeMap<u64, Seen>,
    accepted: u64,
    /// Accepted, and not got yet.
    open: u64,
    got: u64,
    wait: Option<u64>,
    finish: Option<u64>,
    last: Instant,
}

impl Checker {
    fn note(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (what, number) = (words.next().unwrap(), words.next().unwrap());
        let number: u64 = number.parse().unwrap();
        match what {
            "more" => self.wait = Some(self.got + number),
            "finish" => self.finish = Some(number),
            "a" => {
                let seen = self.seen.entry(number).or_default();
                assert!(!seen.accepted, "a message is accepted once");
                seen.accepted = true;
                self.accepted += 1;
                self.open += u64::from(seen.got == 0);
            }
            _ => {
                let seen = self.seen.entry(number).or_default();
                self.open -= u64::from(seen.accepted && seen.got == 0);
                seen.got += 1;
                seen.unflagged += u32::from(words.next() == Some("0"));
                self.got += 1;
            }
        }
        writeln!(self.file, "{line}").unwrap();
        self.last = Instant::now();
    }

    fn answer(&mut self) {
        let silent = self.last.elapsed() >= SILENCE;
        if let Some(count) = self.wait
            && (silent || self.got >= count)
        {
            self.wait = None;
            say(if self.got >= count { "got" } else { "stuck" });
        }
        if let Some(count) = self.finish
            && (silent || self.accepted == count && self.open == 0)
        {
            self.finish = None;
            self.file.flush().unwrap();
            let seen = || self.seen.values();
            let lost = seen().filter(|it| it.accepted && it.got == 0).count();
            let again: u64 = seen().map(|it| u64::from(it.got.saturating_sub(1))).sum();
            let unflagged = seen().filter(|it| it.unflagged > 1).count();
            say(&format!(
                "{} {} {lost} {again} {unflagged}",
                self.accepted, self.got
            ));
        }
    }
}

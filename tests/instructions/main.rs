//! Counts the instructions of a message on each main path, and holds them against a baseline.
//!
//! Each row runs in a process of its own under valgrind's callgrind: both ends, on one thread, so that
//! what is counted is all that the program does, and nothing that the machine does beside it. The kernel
//! is not counted. `tests/instructions/run` builds and calls this.

#![forbid(unsafe_code)]

mod baseline;
mod callgrind;
mod engines;
mod ground;
mod link;
mod report;
mod rows;
mod sockets;

use std::path::PathBuf;
use std::process::ExitCode;

use rows::{ROWS, Row};

/// Why a row could not be counted.
type Failure = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "\
tests/instructions/run                 counts each row, and compares with the baseline
tests/instructions/run --accept        makes what is counted the new baseline
    --rows TEXT                        only rows whose names have this in them
    --rounds N                         counts each row N times, and shows how far the counts differ
tests/instructions/run --list          the rows";

/// What was asked for.
struct Options {
    accept: bool,
    rows: String,
    rounds: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        // How it calls itself under valgrind.
        ["row", name] => row(name).and_then(Row::run).map(|()| true),
        ["--list"] => {
            ROWS.iter().for_each(|row| println!("{}", row.name));
            Ok(true)
        }
        _ => match options(&arguments) {
            Some(options) => count(&options),
            None => Err(USAGE.into()),
        },
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(2)
        }
    }
}

fn options(arguments: &[&str]) -> Option<Options> {
    let mut options = Options {
        accept: false,
        rows: String::new(),
        rounds: 1,
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--accept" => options.accept = true,
            "--rows" => options.rows = (*rest.next()?).to_owned(),
            "--rounds" => {
                options.rounds = rest.next()?.parse().ok().filter(|&rounds| rounds > 0)?
            }
            _ => return None,
        }
    }
    Some(options)
}

fn row(name: &str) -> Result<&'static Row, Failure> {
    let found = ROWS.iter().find(|row| row.name == name);
    found.ok_or_else(|| format!("no row {name}").into())
}

/// Counts, and compares or accepts. Whether all is well.
fn count(options: &Options) -> Result<bool, Failure> {
    let asked = |row: &&Row| row.name.contains(&options.rows);
    let rows: Vec<&Row> = ROWS.iter().filter(asked).collect();
    if rows.is_empty() {
        return Err(format!("no row has {:?} in its name", options.rows).into());
    }
    let path = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/instructions/baseline.txt"
    ));
    report::run(&rows, options.rounds, options.accept, &path)
}

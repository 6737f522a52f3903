//! Withy beside its peers, on the same work, in one run.
//!
//! ```text
//! runner ── row ── round ── peer ── trial ──┬── child: the process that binds    ── role ── peer
//!                                           └── child: the process that connects ── role ── peer
//!     └── results                 (marks, over stdin)   (counters of the probe, over stdout)
//!           └── samples, table with goals, plot
//! ```
//!
//! The program starts itself for each process of a case. A workload only counts on its probe; the
//! runner reads the counters of both processes before and after the window, so every peer is
//! measured by the same code. Every value is kept as a sample, of which all else is made: medians,
//! ratios and how sure they are, and what of the goals they reach.

use std::{env, fs, path::Path, process::ExitCode, time::Instant};

use crate::{
    cli::{Command, Options},
    machine::Load,
    results::Results,
    trial::Scratch,
};

mod bootstrap;
mod child;
mod cli;
mod goals;
mod histogram;
mod job;
mod machine;
mod metric;
mod peers;
mod plot;
mod probe;
mod results;
mod role;
mod rows;
mod runner;
mod samples;
mod snapshot;
mod stats;
mod table;
mod trial;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((word, rest)) if word == "role" => role::play(rest),
        _ => cli::parse(&words).and_then(obey),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn obey(command: Command) -> Result<(), String> {
    match command {
        Command::Help => println!("{}", cli::USAGE),
        Command::List => {
            rows::all()
                .iter()
                .for_each(|row| println!("row  {}", row.name));
            peers::all().for_each(|peer| println!("peer {}", peer.name()));
        }
        Command::Run(options) if options.from.is_empty() => run(options)?,
        Command::Run(options) => again(options)?,
    }
    Ok(())
}

fn run(options: Options) -> Result<(), String> {
    machine::raise_open_files();
    let scratch = Scratch::new().map_err(|error| format!("no temporary directory: {error}"))?;
    let mut results = Results {
        heading: heading(&options),
        peers: options.peers.clone(),
        ..Results::default()
    };
    let (started, before) = (Instant::now(), Load::now());
    for row in options.rows {
        let (rounds, timing) = (options.rounds, options.timing);
        let cells = runner::measure(&row, &options.peers, rounds, timing, &scratch);
        results.rows.push((row, cells));
        results.remarks = vec![Load::now().since(before, started.elapsed())];
        keep(options.samples.as_deref(), || samples::write(&results))?;
        keep(options.out.as_deref(), || table::write(&results))?;
    }
    keep(options.plot.as_deref(), || plot::write(&results))?;
    println!("{}", table::write(&results));
    Ok(())
}

/// Makes everything from samples of other runs.
fn again(options: Options) -> Result<(), String> {
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let texts = options.from.iter().map(|path| read(path));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let results = samples::read(&texts, options.rows, &options.peers)?;
    keep(options.samples.as_deref(), || samples::write(&results))?;
    keep(options.out.as_deref(), || table::write(&results))?;
    keep(options.plot.as_deref(), || plot::write(&results))?;
    println!("{}", table::write(&results));
    Ok(())
}

/// Writes a file, if it is asked for.
fn keep(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), String> {
    let Some(path) = path else {
        return Ok(());
    };
    fs::write(path, text()).map_err(|error| format!("{}: {error}", path.display()))
}

/// Says what is measured, how and on what.
fn heading(options: &Options) -> Vec<String> {
    let facts = [
        format!(
            "Commit {}, with the versions that its tests/bench/Cargo.lock locks.",
            machine::commit()
        ),
        format!(
            "{} rounds, window {:?} after {:?}; {}.",
            options.rounds,
            options.timing.window,
            options.timing.warm_up,
            machine::describe(),
        ),
    ];
    let version = |peer: &&dyn peers::Peer| format!("- {}: {}", peer.name(), peer.version());
    let versions = options.peers.iter().map(version);
    facts.into_iter().chain(versions).collect()
}

//! Withy beside its peers, on the same work, in one run.
//!
//! ```text
//! runner ── row ── round ── peer ── trial ──┬── child: the process that binds    ── role ── peer
//!                                           └── child: the process that connects ── role ── peer
//!     └── table                   (marks, over stdin)   (counters of the probe, over stdout)
//! ```
//!
//! The program starts itself for each process of a case. A workload only counts on its probe; the
//! runner reads the counters of both processes before and after the window, so every peer is
//! measured by the same code. What is not done here: judging. The table says what was measured.

use std::{env, fs, process::ExitCode, time::Instant};

use crate::{
    cli::{Command, Options},
    machine::Load,
    table::Table,
    trial::Scratch,
};

mod child;
mod cli;
mod histogram;
mod job;
mod machine;
mod metric;
mod peers;
mod probe;
mod role;
mod rows;
mod runner;
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
        Command::Run(options) => run(&options)?,
    }
    Ok(())
}

fn run(options: &Options) -> Result<(), String> {
    let scratch = Scratch::new().map_err(|error| format!("no temporary directory: {error}"))?;
    let mut table = Table::new(heading(options), &options.peers);
    let (started, before) = (Instant::now(), Load::now());
    for row in &options.rows {
        let cells = runner::measure(
            row,
            &options.peers,
            options.rounds,
            options.timing,
            &scratch,
        );
        table.add(row, &cells);
        table.remark(Load::now().since(before, started.elapsed()));
        if let Some(out) = &options.out {
            fs::write(out, table.to_string())
                .map_err(|error| format!("{}: {error}", out.display()))?;
        }
    }
    println!("{table}");
    Ok(())
}

fn heading(options: &Options) -> String {
    let mut heading = format!(
        "# Benchmark\n\n{} rounds, window {:?} after {:?}; {}.\n\
         A cell: **median** (lowest–highest) × libzmq, or × withy-sockets where processes find each other\n\
         by themselves. Rates: more is better; all else: less is better.\n",
        options.rounds,
        options.timing.window,
        options.timing.warm_up,
        machine::describe(),
    );
    for peer in &options.peers {
        heading += &format!("\n- {}: {}", peer.name(), peer.version());
    }
    heading
}

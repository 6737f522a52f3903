//! The command line.

use std::{path::PathBuf, time::Duration};

use crate::{
    peers::{self, Peer},
    rows::{self, Row},
    trial::Timing,
};

/// What the program says about itself.
pub(crate) const USAGE: &str = "\
Measures messaging libraries beside each other and prints a Markdown table, with medians, ratios and
their 95 % intervals, and with the goals that they reach or miss.

Usage: withy-bench [OPTIONS]

  --rows FILTER    rows whose name contains FILTER, or one of several separated by commas [all]
  --peers LIST     peers, separated by commas [all]
  --rounds N       rounds; each walks all peers; 15 or more for intervals that decide [5]
  --window S       seconds that are measured in a round [0.5]
  --warm-up S      seconds before that [0.3]
  --out FILE       also write the table to FILE, after every row
  --samples FILE   write every value to FILE, after every row
  --plot FILE      draw the ratios to the best peer to FILE, as SVG
  --from LIST      measure nothing: make it again from files of samples, separated by commas
  --list           print the names of rows and peers
  --help           print this

The run behind a published table, and the table once more from what it measured:

  tests/bench/run --rounds 15 --samples samples.tsv --out RESULTS.md --plot ratios.svg
  tests/bench/run --from samples.tsv --out RESULTS.md --plot ratios.svg

A long run may be split by rows, each part with samples of its own, which --from takes together.";

/// What the program is asked to do.
pub(crate) enum Command {
    /// Print how to use it.
    Help,
    /// Print the names of rows and peers.
    List,
    /// Measure.
    Run(Options),
}

/// How to measure.
pub(crate) struct Options {
    pub(crate) rows: Vec<Row>,
    pub(crate) peers: Vec<&'static dyn Peer>,
    pub(crate) rounds: usize,
    pub(crate) timing: Timing,
    pub(crate) out: Option<PathBuf>,
    pub(crate) samples: Option<PathBuf>,
    pub(crate) plot: Option<PathBuf>,
    /// Files of samples to read instead of measuring.
    pub(crate) from: Vec<PathBuf>,
}

/// Reads the command line, without the program's name.
///
/// # Errors
///
/// Says which word is wrong and what would be right.
pub(crate) fn parse(words: &[String]) -> Result<Command, String> {
    let mut options = Options {
        rows: rows::all(),
        peers: peers::all().collect(),
        rounds: 5,
        timing: Timing {
            warm_up: Duration::from_millis(300),
            window: Duration::from_millis(500),
        },
        out: None,
        samples: None,
        plot: None,
        from: Vec::new(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--list" => return Ok(Command::List),
            "--rows" => {
                let filters: Vec<_> = value()?.split(',').collect();
                options
                    .rows
                    .retain(|row| filters.iter().any(|filter| row.name.contains(filter)));
            }
            "--peers" => options.peers = value()?.split(',').map(peer).collect::<Result<_, _>>()?,
            "--rounds" => {
                options.rounds = value()?.parse().map_err(|_| "--rounds needs a number")?
            }
            "--window" => options.timing.window = seconds(value()?)?,
            "--warm-up" => options.timing.warm_up = seconds(value()?)?,
            "--out" => options.out = Some(value()?.into()),
            "--samples" => options.samples = Some(value()?.into()),
            "--plot" => options.plot = Some(value()?.into()),
            "--from" => options.from = value()?.split(',').map(PathBuf::from).collect(),
            _ => return Err(format!("unknown option {word}; try --help")),
        }
    }
    if options.rows.is_empty() {
        return Err("no row has such a name; try --list".to_owned());
    }
    Ok(Command::Run(options))
}

fn peer(name: &str) -> Result<&'static dyn Peer, String> {
    peers::named(name).ok_or_else(|| format!("no peer is called {name}; try --list"))
}

fn seconds(word: &str) -> Result<Duration, String> {
    let seconds = word
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| format!("not a number of seconds: {word}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &str) -> Result<Options, String> {
        let words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
        match parse(&words)? {
            Command::Run(options) => Ok(options),
            Command::Help | Command::List => Err("no run".to_owned()),
        }
    }

    #[test]
    fn rows_and_peers_are_selected_by_name() {
        let options =
            run("--rows pull/tcp/64,connect/tcp --peers omq,libzmq --rounds 3 --window 0.3")
                .expect("a valid command");
        let rows: Vec<_> = options.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(rows, ["push-pull/tcp/64", "connect/tcp"]);
        let peers: Vec<_> = options.peers.iter().map(|peer| peer.name()).collect();
        assert_eq!((peers, options.rounds), (vec!["omq", "libzmq"], 3));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            run("--peers nobody").err().as_deref(),
            Some("no peer is called nobody; try --list")
        );
        assert_eq!(
            run("--window soon").err().as_deref(),
            Some("not a number of seconds: soon")
        );
        assert_eq!(
            run("--rows nothing").err().as_deref(),
            Some("no row has such a name; try --list")
        );
    }
}

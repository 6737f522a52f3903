//! The one binary, `withy`: every socket pattern, and what goes with it, on the command line.
//!
//! It is a thin face over the library: a verb reads messages from arguments or stdin, moves them
//! through one socket, prints what comes, and ends with one of four exit codes ([`exit`]). No verb
//! leaves a process behind, and nothing that a peer or a file contains makes one panic.

#![forbid(unsafe_code)]

mod args;
mod bench;
mod bus;
mod child;
mod dead;
mod demo;
mod doctor;
mod duplex;
mod duration;
mod escape;
mod exit;
mod format;
mod identity;
mod input;
mod json;
mod keys;
mod named;
mod network;
mod node;
mod ping;
mod place;
mod proxy;
mod queue;
mod receive;
mod relay;
mod request;
mod send;
mod serve;
mod session;
mod shell;

use std::process::ExitCode;

use clap::Parser as _;
use withy::SocketType;

use crate::args::{Cli, Verb};
use crate::exit::{Failure, Outcome};

/// How long what was sent over QUIC may take to be acknowledged, after all else is done.
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);

/// Threads that drive connections while the verb itself waits for stdin or stdout.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => exit::report(&run(&cli.verb)),
        Err(error) => {
            // Nobody may be reading; help is no failure then, and an error keeps its code.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { 2 } else { 0 })
        }
    }
}

fn run(verb: &Verb) -> Outcome {
    match verb {
        Verb::Id(options) => return identity::show(options),
        Verb::Trust(options) => return identity::trust(options),
        Verb::Revoke(options) => return identity::revoke(options),
        Verb::Network { verb } => return network::run(verb),
        Verb::Keygen(options) => return keys::keygen(options),
        Verb::Completions { shell } => return shell::completions(*shell),
        Verb::Man { verb } => return shell::man(verb.as_deref()),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(async {
        let outcome = run_verb(verb).await;
        // What was sent over QUIC this process has to bring there itself.
        let _ = tokio::time::timeout(LINGER, withy::lingered()).await;
        outcome
    });
    // A thread that still waits for stdin is no reason to stay.
    runtime.shutdown_background();
    outcome
}

async fn run_verb(verb: &Verb) -> Outcome {
    match verb {
        Verb::Push(traffic) => send::push(traffic).await,
        Verb::Pull(traffic) => receive::pull(traffic).await,
        Verb::Pub(options) => send::publish(options).await,
        Verb::Sub(options) => receive::subscribe(options).await,
        Verb::Req(options) => request::ask(options).await,
        Verb::Rep(options) => request::answer(options).await,
        Verb::Pair(traffic) => duplex::pair(traffic).await,
        Verb::Dealer(options) => duplex::routed(SocketType::Dealer, options).await,
        Verb::Router(options) => duplex::routed(SocketType::Router, options).await,
        Verb::Proxy(options) => proxy::run(options).await,
        Verb::Ping(options) => ping::run(options).await,
        Verb::Peers(options) => node::peers(options).await,
        Verb::Services(options) => node::services(options).await,
        Verb::Watch(options) => node::watch(options).await,
        Verb::Serve(options) => serve::run(options).await,
        Verb::Doctor(options) => doctor::run(options).await,
        Verb::Node(options) => relay::run(options).await,
        Verb::Dead(options) => dead::run(options).await,
        Verb::Bench(options) => bench::run(options).await,
        Verb::Demo(options) => demo::run(options).await,
        Verb::Child => child::run().await,
        Verb::Id(_) | Verb::Trust(_) | Verb::Revoke(_) | Verb::Network { .. } => Ok(()),
        Verb::Keygen(_) | Verb::Completions { .. } | Verb::Man { .. } => Ok(()),
    }
}

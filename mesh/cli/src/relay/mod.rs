//! `node`: a node that runs for long, through which others find each other.
//!
//! What it is told is in [`settings`], what it shows in [`status`]. It says on stderr where it listens
//! and what is wrong, and the service manager when it listens and when it leaves. That it finds nobody
//! is no reason to end: it goes on with what there is.

mod config;
mod door;
mod file;
mod keys;
mod metrics;
mod notify;
mod queues;
mod settings;
mod status;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tracing_subscriber::filter::LevelFilter;
use withy::Node;
use withy::node::{
    MulticastState, NodeBuilder, NodeError, NodeEvent, NodeLimits, QueueKeeper, Relay,
};
use withy::store::Store;

use crate::args::{self, Keys, NodeOptions, NodeVerb};
use crate::dead;
use crate::exit::{Failure, Outcome, complain};
use crate::format::write_out;
use crate::node;
use crate::session::Interrupt;
use settings::Settings;
use status::Status;

/// How often multicast is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Runs a node until it is told to end, or looks at its configuration.
pub(crate) async fn run(options: &args::Node) -> Outcome {
    let interrupt = Interrupt::listen()?;
    match &options.verb {
        Some(NodeVerb::Config { verb }) => config::run(&options.options, verb),
        None => serve(&options.options, &interrupt).await,
    }
}

/// Whether a node could be run with its configuration: what it has, or what is wrong with it.
pub(crate) fn check() -> Outcome<String> {
    let settings = Settings::load(&NodeOptions::default(), None)?;
    let count = settings.layer.len();
    Ok(match count {
        0 => "a node runs with defaults".to_owned(),
        _ => format!("keys that are set: {count}; `withy node config show --origin` shows them"),
    })
}

/// Has the library say on stderr what is wrong, and more where that is asked for.
fn log(talk: &args::Talk) {
    let most = match (talk.quiet, talk.verbose) {
        (true, _) => LevelFilter::ERROR,
        (_, true) => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(most)
        .with_ansi(false)
        .with_target(false)
        // Whoever keeps the log knows when.
        .without_time();
    // Only the first of a process counts, and there is none before.
    let _ = log.try_init();
}

async fn serve(options: &NodeOptions, interrupt: &Interrupt) -> Outcome {
    log(&options.talk);
    let settings = Settings::load(options, None)?;
    // First: whoever asks it hears of nothing that is not there.
    let listener = match settings.status {
        Some(address) => Some(TcpListener::bind(address).await.map_err(|error| {
            Failure::Usage(format!("cannot serve the status at {address}: {error}"))
        })?),
        None => None,
    };
    let node = builder(&settings)?.build().await.map_err(not_built)?;
    let kept = keep(&node, &settings).await?;
    let mut dead = show_dead(&node, &kept);
    let mut events = node.events();
    let door = match &settings.door {
        Some(door) => Some(door.open(&node).await?),
        None => None,
    };
    let has_seeds = !settings.seeds.is_empty() || settings.seed_file.is_some();
    let status = Arc::new(Status::new(&node, has_seeds, kept.clone(), door.clone()));
    let at = match &listener {
        Some(listener) => Some(listener.local_addr().map_err(Failure::failed)?),
        None => None,
    };
    let addresses = reachable(&node);
    if options.json {
        let object = json!({
            "event": "listening",
            "node": node.id().to_string(),
            "identity": node.identity().to_string(),
            "tag": node.tag().to_string(),
            "addresses": addresses,
            "status": at.map(|at| at.to_string()),
            "zmtp": door.as_ref().map(door::object),
        });
        write_out(format!("{object}\n"))?;
    }
    if !options.talk.quiet {
        say(&settings, &addresses, at.map(|at| at.ip()));
        door.iter().for_each(door::say);
        if let Some(at) = at {
            complain(format_args!("status at http://{at}/metrics"));
        }
    }
    notify::tell(notify::READY);
    let serving = async {
        match listener {
            Some(listener) => status::serve(listener, Arc::clone(&status)).await,
            None => std::future::pending().await,
        }
    };
    let watching = watch(&node, options, &mut events);
    let ended = tokio::select! {
        () = serving => Ok(()),
        ended = watching => ended,
        () = interrupt.wait() => Ok(()),
    };
    status.leave();
    notify::tell(notify::STOPPING);
    drop(status);
    dead.shutdown().await;
    if let Some(door) = door {
        door.close(node::LEAVE).await;
    }
    for keeper in kept {
        keeper.close().await;
    }
    node.close(node::LEAVE).await;
    ended
}

/// Keeps the queues that it is told to.
async fn keep(node: &Node, settings: &Settings) -> Outcome<Vec<QueueKeeper>> {
    let mut kept = Vec::new();
    for (name, folder, options) in &settings.keep {
        let store = folder.as_ref().map_or(Store::Memory, Store::folder);
        let keeping = node.keep_queue(name.as_str(), options.clone(), store);
        let keeper = keeping
            .await
            .map_err(|error| Failure::Usage(format!("the queue {name} cannot be kept: {error}")))?;
        kept.push(keeper);
    }
    Ok(kept)
}

/// Shows the dead letters of these queues to whoever asks.
fn show_dead(node: &Node, kept: &[QueueKeeper]) -> JoinSet<()> {
    let mut showing = JoinSet::new();
    for keeper in kept {
        match dead::offer(node, keeper) {
            Ok(service) => {
                let serving = dead::serve(service, keeper.clone(), node.id().to_string());
                showing.spawn(serving);
            }
            // The queue is kept all the same.
            Err(error) => complain(format_args!(
                "the dead letters of the queue {} cannot be shown: {error}",
                keeper.name()
            )),
        }
    }
    showing
}

fn builder(settings: &Settings) -> Outcome<NodeBuilder> {
    let keys = Keys {
        identity: settings.identity.clone().map(Some),
        network: settings.network.clone(),
        ..Keys::default()
    };
    let mut builder = node::builder(&keys, settings.discovery, &settings.seeds)?;
    if let Some(path) = &settings.seed_file {
        builder = builder.seed_file(path);
    }
    for (name, (identity, _)) in &settings.layer.names {
        builder = builder.name(name, *identity);
    }
    if let Some(nodes) = settings.max_nodes {
        builder = builder.limits(NodeLimits {
            nodes,
            ..NodeLimits::default()
        });
    }
    if settings.relay {
        builder = builder.relay(Relay::default());
    }
    if settings.listen.is_empty() {
        return Ok(builder.near_port(Node::PORT));
    }
    let told = settings.listen.iter();
    Ok(told.fold(builder.without_near(), |builder, at| builder.listen(*at)))
}

/// An address that cannot be listened at is an error in the configuration.
fn not_built(error: NodeError) -> Failure {
    match error {
        NodeError::Listen(error) => Failure::Usage(format!(
            "{error}; if another node runs here, that is it; --listen ADDRESS:PORT chooses where to listen"
        )),
        error => node::not_joined(error),
    }
}

/// Where other processes reach it over the network.
fn reachable(node: &Node) -> Vec<String> {
    let over_network = |it: &String| it.starts_with("quic://") || it.starts_with("tcp://");
    node.addresses().into_iter().filter(over_network).collect()
}

/// Says where it listens, and what is odd about that.
fn say(settings: &Settings, addresses: &[String], status: Option<IpAddr>) {
    for address in addresses {
        complain(format_args!("listening on {address}"));
    }
    let loopback = |it: &String| it.contains("://127.") || it.contains("://[::1]");
    if settings.listen.is_empty() && addresses.iter().all(loopback) {
        complain(
            "no interface of this host or its site is up: only nodes of this host and seeds are \
             reached; --listen ADDRESS names another address",
        );
    }
    if status.is_some_and(|ip| !ip.is_loopback()) {
        complain("warning: whoever reaches the status's address can read it");
    }
}

/// Tells what happens, until the node is gone.
async fn watch(
    node: &Node,
    options: &NodeOptions,
    events: &mut tokio::sync::broadcast::Receiver<NodeEvent>,
) -> Outcome {
    let mut look = tokio::time::interval(LOOK);
    let mut said = MulticastState::Starting;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) if options.json => write_out(node::tell(&event, true))?,
                Ok(event) if options.talk.verbose => complain(node::tell(&event, false).trim_end()),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    complain(format_args!("{missed} events were missed"));
                }
                Err(RecvError::Closed) => return Ok(()),
            },
            _ = look.tick() => {
                let multicast = node.stats().multicast;
                if let Some(multicast) = multicast.filter(|it| it.state != said) {
                    said = multicast.state;
                    if let Some(trouble) = trouble(&said).filter(|_| !options.talk.quiet) {
                        complain(trouble);
                    }
                }
            }
        }
    }
}

/// What is wrong with multicast, and what that means; `None` if nothing is.
fn trouble(state: &MulticastState) -> Option<String> {
    let what = match state {
        MulticastState::NoInterface => "no interface of this host or its site is up".to_owned(),
        MulticastState::Failed(error) => format!("multicast DNS does not run: {error}"),
        MulticastState::Flooded => "somebody floods multicast DNS".to_owned(),
        MulticastState::Unheard => "this node does not hear its own multicast".to_owned(),
        _ => return None,
    };
    Some(format!(
        "{what}: nodes of this host and seeds are found, others perhaps not; see `withy doctor`"
    ))
}

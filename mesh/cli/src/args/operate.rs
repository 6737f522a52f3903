//! The grammar of what an operator runs: `node`, `doctor`, `serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Discovery, Keys, Mesh, Talk};
use crate::duration;
use crate::format::Format;

/// `node`.
#[derive(Debug, Args)]
pub(crate) struct Node {
    /// What to do instead of running
    #[command(subcommand)]
    pub(crate) verb: Option<NodeVerb>,
    #[command(flatten)]
    pub(crate) options: NodeOptions,
}

/// What stands in the configuration of a node, too. What is not given here comes from there, and so
/// nothing has a default here.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct NodeOptions {
    /// The configuration: TOML. Default: node.toml in the folder of the identity, if it is there
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Listens at ADDRESS over UDP and TCP, and nowhere else; without a port, at 7100; repeatable.
    /// Default: the loopback, private and link-local addresses of this host, at port 7100
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Vec<String>,
    /// A node through which others are found, where multicast does not reach; repeatable
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) seed: Vec<String>,
    /// A file with such nodes, one a line, read again when it changes
    #[arg(long, value_name = "FILE")]
    pub(crate) seed_file: Option<String>,
    /// Relays: connections of trusted nodes that do not reach each other lead through this one, sealed
    #[arg(long)]
    pub(crate) relay: bool,
    /// How other nodes are found. Default: mdns
    #[arg(long, value_name = "HOW")]
    pub(crate) discovery: Option<Discovery>,
    /// How many nodes are known at most, this one included. Default: 2048
    #[arg(long, value_name = "N")]
    pub(crate) max_nodes: Option<String>,
    /// Meets members of this network only (see `withy network`)
    #[arg(long, value_name = "NAME", help_heading = "Security")]
    pub(crate) network: Option<String>,
    /// Proves the identity in FILE instead of this user's
    #[arg(long, value_name = "FILE", help_heading = "Security")]
    pub(crate) identity: Option<String>,
    /// Serves /healthz, /readyz and /metrics over HTTP at ADDRESS; a port alone is one of 127.0.0.1.
    /// Whoever reaches it may read them
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) status: Option<String>,
    /// Keeps the acked QUEUE, in FOLDER if there is one, which outlives this node, else in memory;
    /// repeatable. Whoever kept it before hands it over
    #[arg(long, value_name = "QUEUE[=FOLDER]")]
    pub(crate) keep: Vec<String>,
    /// A setting of a queue that is kept, in the file a table [queue.QUEUE]; repeatable. KEY is ttl,
    /// lease (how long a worker has), attempts, max-messages, max-bytes, max-message, overflow, max-dead,
    /// max-workers or max-producers
    #[arg(long, value_name = "QUEUE:KEY=VALUE")]
    pub(crate) queue: Vec<String>,
    /// Opens a door at ENDPOINT, through which ZeroMQ sockets come to the mesh: SUB and PUB to topics,
    /// REQ and DEALER to services, PUSH to queues, which their first frame names; repeatable
    #[arg(long, value_name = "ENDPOINT", help_heading = "ZeroMQ sockets")]
    pub(crate) zmtp: Vec<String>,
    /// Serves NAME while ZeroMQ workers, REP or DEALER, are connected to ENDPOINT; repeatable
    #[arg(long, value_name = "NAME=ENDPOINT", help_heading = "ZeroMQ sockets")]
    pub(crate) zmtp_serve: Vec<String>,
    /// Takes from QUEUE while ZeroMQ PULLs are connected to ENDPOINT; repeatable
    #[arg(long, value_name = "QUEUE=ENDPOINT", help_heading = "ZeroMQ sockets")]
    pub(crate) zmtp_pull: Vec<String>,
    /// The door's CURVE keys, a file from `withy keygen -o FILE`. Without keys and users it is open to
    /// this host only
    #[arg(long, value_name = "FILE", help_heading = "ZeroMQ sockets")]
    pub(crate) zmtp_secret_key_file: Option<String>,
    /// CURVE clients to let in: a file of `KEY [NAME]` lines, read again when it changes
    #[arg(long, value_name = "FILE", help_heading = "ZeroMQ sockets")]
    pub(crate) zmtp_authorized_keys: Option<String>,
    /// PLAIN users to let in: a file of `NAME=PASSWORD` lines, read again when it changes
    #[arg(long, value_name = "FILE", help_heading = "ZeroMQ sockets")]
    pub(crate) zmtp_plain_users: Option<String>,
    /// Lets PLAIN users in from other hosts, though their passwords can be read on the way
    #[arg(long, help_heading = "ZeroMQ sockets")]
    pub(crate) zmtp_insecure: bool,
    /// How long a request waits for its reply. Default: 30s
    #[arg(long, value_name = "DURATION", help_heading = "ZeroMQ sockets")]
    pub(crate) zmtp_timeout: Option<String>,
    /// Prints what happens, as `withy watch --json` does, after an object that says where it listens
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) talk: Talk,
}

/// The verbs of `node`.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeVerb {
    /// Check or show the configuration
    #[command(
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs",
        disable_help_subcommand = true
    )]
    Config {
        /// What to do
        #[command(subcommand)]
        verb: Config,
    },
}

/// The verbs of `node config`.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Say whether a configuration can be used, and if not, why: file, line, key, accepted values
    #[command(after_help = "Example: withy node config check /etc/withy/node.toml")]
    Check {
        /// The file; without it, that which `withy node` would read
        file: Option<PathBuf>,
        /// Prints one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print what holds: of an option, a variable WITHY_NODE_KEY, the file, or by default, in this
    /// order
    #[command(
        after_help = "Example: WITHY_NODE_SEED=10.0.0.1 withy node --status 9100 config show --origin"
    )]
    Show {
        /// The file; without it, that which `withy node` would read
        file: Option<PathBuf>,
        /// Says where each value comes from
        #[arg(long)]
        origin: bool,
        /// Prints one JSON object a key
        #[arg(long)]
        json: bool,
    },
}

/// `dead`.
#[derive(Debug, Args)]
pub(crate) struct Dead {
    /// The queue
    pub(crate) queue: String,
    /// Takes away what was printed, once it was
    #[arg(long)]
    pub(crate) take: bool,
    /// Ends after this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// How long to look around for nodes that keep the queue
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "1s")]
    pub(crate) wait: Duration,
    /// Ends after this much time, with exit code 3
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "10s")]
    pub(crate) timeout: Duration,
    /// Prints one JSON object a letter: "queue", "node", "id", "cause", "reason", "priority", "deaths", and
    /// "frames" and "text" as of any message, so that `withy push --json` takes it
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) mesh: Mesh,
    #[command(flatten)]
    pub(crate) keys: Keys,
}

/// `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// How long to wait for multicast, which shows at once if it works
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "12s")]
    pub(crate) wait: Duration,
    /// Prints one JSON object a finding
    #[arg(long)]
    pub(crate) json: bool,
    /// The UDP port of multicast DNS, for tests
    #[arg(long, hide = true, value_name = "PORT")]
    pub(crate) mdns_port: Option<u16>,
    /// The port of a node, for tests
    #[arg(long, hide = true, value_name = "PORT", default_value_t = withy::Node::PORT)]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) mesh: Mesh,
    #[command(flatten)]
    pub(crate) keys: Keys,
}

/// `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The name of the service
    pub(crate) name: String,
    /// What answers a request, run by sh: the request is its stdin, its stdout the reply
    #[arg(long, value_name = "CMD")]
    pub(crate) exec: String,
    /// How many requests are answered at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub(crate) jobs: u16,
    /// How long a command may take, if whoever asks waits so long; then it is killed
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "30s")]
    pub(crate) timeout: Duration,
    /// Ends after this many requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// The command reads and writes one JSON object: {"frames":[BASE64,...],"text":[...]}
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// The command reads and writes octets as they are, as one frame
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    pub(crate) talk: Talk,
    #[command(flatten)]
    pub(crate) mesh: Mesh,
    #[command(flatten)]
    pub(crate) keys: Keys,
}

impl Serve {
    pub(crate) fn format(&self) -> Format {
        match (self.json, self.raw) {
            (true, _) => Format::Json,
            (_, true) => Format::Raw,
            _ => Format::Lines,
        }
    }
}

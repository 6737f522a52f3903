//! The grammar: `withy VERB [NAME|ENDPOINT] [MESSAGE...]`.
//!
//! Only what the shell can say is decided here; which of the words are messages is decided in
//! [`place`](crate::place), and what the keys mean in [`keys`](crate::keys).

mod operate;
mod trust;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use withy::node::Seed;
use withy::socket::Socket;
use withy::trust::Name;
use withy::{Builder, PublicKey};

pub(crate) use self::operate::{Config, Dead, Doctor, Node, NodeOptions, NodeVerb, Serve};
pub(crate) use self::trust::{Id, Invite, Join, Network, Revoke, Trust, Whom};
use crate::duration;
use crate::format::Format;

/// A brokerless messaging mesh: ZeroMQ sockets on the command line.
#[derive(Debug, Parser)]
#[command(
    name = "withy",
    version,
    about,
    after_long_help = EXAMPLES,
    after_help = "Try `withy demo`, or `withy --help` for examples.",
    disable_help_subcommand = true,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs",
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  withy demo                                            see it work: three nodes, all patterns

By name, with no address:
  withy sub 'home/#'                                    in one terminal: prints TOPIC TAB PAYLOAD
  withy pub home/kitchen/temp 21.5                      in another
  withy rep adder --echo                                serve a name, on any number of hosts
  withy req adder 1                                     ask whoever serves it
  withy pull jobs                                       take work, and
  withy push jobs a b c                                 give some
  withy serve upper --exec 'tr a-z A-Z'                 answer by a command
  withy node --status 9100                              run a node for long
  withy doctor                                          what keeps nodes from meeting

With endpoints:
  withy rep --bind tcp://127.0.0.1:5555 --echo          answer requests with themselves
  withy req --connect tcp://127.0.0.1:5555 hello        ask, and print the reply
  withy pull --bind tcp://127.0.0.1:5556 --count 10     take ten messages
  seq 10 | withy push --connect tcp://127.0.0.1:5556    send each line of stdin
  withy sub --connect tcp://127.0.0.1:5557 --subscribe weather.
  withy pub --bind tcp://127.0.0.1:5557 'weather.oslo -3'

To another host, with identities, or as members of a network:
  withy id                                              on both sides: prints its id
  withy trust ID                                        on both sides: with the other's id
  withy pull --bind 'tcp://*:5558' --identity
  withy push --connect tcp://HOST:5558 --identity hello
  withy network create garden                           then, for each member to be:
  withy network invite garden                           prints a ticket, for their `withy network join`
  withy pull --bind 'tcp://*:5558' --network garden

To libzmq on another host, with CURVE keys:
  withy keygen -o server.key                            writes server.key and server.key.pub
  withy pull --bind 'tcp://*:5558' --secret-key-file server.key --allow-any-client
  withy push --connect tcp://HOST:5558 --server-key-file server.key.pub hello

Messages:
  One a line; frames are separated by TAB, and \\\\ \\t \\n \\r \\xHH stand for octets that cannot
  be printed. --json has one object a line with frames in base64, --raw the octets as they are.
  Put -- before messages that start with a hyphen.

Exit codes:
  0 done   1 failed   2 usage or configuration   3 timed out, or fewer than --count
  A proxy runs until it is told to end: after its --timeout it exits with 0.";

/// A verb's own text, with what all have in common that send and receive.
macro_rules! duplex {
    ($own:literal) => {
        concat!(
            $own,
            "\n\n\
             Sends and prints what it receives at the same time. It ends after --count received \
             messages; without --count, once peers took all that it sent; and if it had nothing \
             to send, not by itself."
        )
    };
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Send messages, each to one of the peers in turn
    ///
    /// Returns once peers took all messages. Until the first peer is there it waits; nothing is
    /// read from stdin meanwhile.
    #[command(
        after_help = "Examples: withy push jobs a b c\n          withy push --connect tcp://127.0.0.1:5556 a b c"
    )]
    Push(Work),
    /// Receive messages, of all peers in turn
    #[command(
        after_help = "Examples: withy pull jobs --count 3 --timeout 5s\n          withy pull --bind tcp://127.0.0.1:5556 --count 10",
        mut_arg("words", receives_only),
        mut_arg("unordered", |unordered| unordered.hide(true)),
        mut_arg("acked", |acked| acked.help("The NAME is of an acked queue: what is printed is acked"))
    )]
    Pull(Work),
    /// Send messages to all peers that subscribed to their beginning
    ///
    /// Waits up to --wait for the first subscriber, then publishes in any case. It goes no faster
    /// than subscribers take the messages, as long as they do: one that takes none for 500 ms, or
    /// makes it wait for more than 1s at a time, misses what it has no room for. How much was dropped
    /// so stands on stderr at the end, and is no failure. With --block nothing is dropped.
    #[command(
        after_help = "Examples: withy pub home/kitchen/temp 21.5\n          withy pub --bind tcp://127.0.0.1:5557 'weather.oslo -3'"
    )]
    Pub(Publish),
    /// Receive the messages of the topics that a filter chooses, or that start with a prefix
    ///
    /// By name, a FILTER has levels with `/` between them, `+` for one level and a last `#` for any number;
    /// a line is TOPIC TAB PAYLOAD. At endpoints, --subscribe says what messages start with.
    #[command(
        after_help = "Examples: withy sub 'home/#'\n          withy sub --connect tcp://127.0.0.1:5557 --subscribe weather.",
        mut_arg("words", receives_only),
        mut_arg("unordered", |unordered| unordered.hide(true))
    )]
    Sub(Subscribe),
    /// Ask: send each message as a request, and print its reply
    #[command(
        after_help = "Examples: withy req adder 1\n          withy req --connect tcp://127.0.0.1:5555 hello"
    )]
    Req(Ask),
    /// Answer: print each request, and reply to it
    ///
    /// Replies with the request itself (--echo), with the MESSAGEs in turn, from the first again
    /// after the last, or with lines of stdin.
    #[command(
        after_help = "Examples: withy rep adder --echo\n          withy rep --bind tcp://127.0.0.1:5555 --echo"
    )]
    Rep(Reply),
    /// Send to and receive from exactly one peer
    #[command(
        after_help = "Examples: withy pair chess\n          withy pair --connect tcp://127.0.0.1:5560 ping --count 1",
        long_about = duplex!("Send to and receive from exactly one peer")
    )]
    Pair(Traffic),
    /// Send to the peers in turn, and receive what they send, without envelopes
    #[command(
        after_help = "Example: withy dealer --connect tcp://127.0.0.1:5555 $'\\thello' --count 1",
        long_about = duplex!(
            "Send to the peers in turn, and receive what they send, without envelopes\n\n\
             To ask a REP, start the message with an empty frame: a leading TAB."
        )
    )]
    Dealer(Routed),
    /// Receive with the peer's routing id in front, and send to the peer that the first frame names
    #[command(
        after_help = "Example: withy router --bind tcp://127.0.0.1:5561 --count 1",
        long_about = duplex!(
            "Receive with the peer's routing id in front, and send to the peer that the first \
             frame names"
        )
    )]
    Router(Routed),
    /// Connect two sockets: what one receives, the other sends
    ///
    /// A side is TYPE:ENDPOINT, which binds, or TYPE:connect:ENDPOINT. A ROUTER and a DEALER make a
    /// shared queue, an XSUB and an XPUB a forwarder, a PULL and a PUSH a streamer. Runs until it
    /// is interrupted or --timeout, then says on stderr what passed.
    #[command(
        after_help = "Example: withy proxy router:tcp://127.0.0.1:5559 dealer:tcp://127.0.0.1:5560"
    )]
    Proxy(Relay),
    /// Show who answers by a name or at an endpoint, how it is protected, and the round trip
    ///
    /// Of a name, each node that offers it answers. At an endpoint it shakes hands as a socket of a type that fits, and measures how long answers to heartbeats
    /// take. Sockets that would give messages or their only place to it (PUSH, DEALER, PAIR) are not
    /// bothered.
    #[command(after_help = "Example: withy ping adder --count 3")]
    Ping(Ping),
    /// List the nodes that are there, those that are not trusted included
    ///
    /// One a line: presence, node, identity, how it is reached and how long it takes to answer, and what
    /// it offers.
    #[command(after_help = "Example: withy peers --json")]
    Peers(Look),
    /// List what is offered on the mesh: topics, services, queues, by how many nodes
    #[command(after_help = "Example: withy services")]
    Services(Look),
    /// Print what happens to the nodes of the mesh: who is there or joins, changes, leaves and dies
    ///
    /// `linked` says how a link to a node runs that was made or took another's place: transport, round
    /// trip, cipher, address. `unlinked` says that there is none any more, whether the node is there or not.
    ///
    /// Runs until it is interrupted, or as --count and --timeout say.
    #[command(after_help = "Example: withy watch --timeout 10s")]
    Watch(Watch),
    /// Answer requests by name: run a command for each
    ///
    /// The command reads the request on stdin, one line as `withy rep` prints it, and writes the reply
    /// to stdout. If it fails, who asked hears the last line of its stderr. Only who is trusted for
    /// commands is let in: accepted identities and members of the network. The command finds the
    /// identity of who asks in $WITHY_CALLER, and in $WITHY_ATTEMPT which attempt it is, from 1.
    #[command(after_help = "Example: withy serve upper --exec 'tr a-z A-Z'")]
    Serve(Serve),
    /// Run a node for long: one through which others find each other
    ///
    /// It listens at one port, UDP and TCP alike, at addresses that reach no further than this site,
    /// until it is told to end. Public addresses need --listen. An option goes before a variable
    /// WITHY_NODE_KEY, which goes before the key in the file; lists in variables have commas.
    #[command(
        after_help = "Example: withy node --seed 10.0.0.1:7100 --status 9100",
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs",
        disable_help_subcommand = true
    )]
    Node(Node),
    /// Print the dead letters of an acked queue that a `withy node` keeps, each with its reason
    ///
    /// They expired, were rejected or delivered too often, or a full queue had no room for them. A line is
    /// CAUSE TAB REASON TAB MESSAGE: expired, rejected, delivery_limit or maxlen, and what the worker said
    /// that rejected it. They stay, unless --take takes them away. Where permissions are, who looks needs
    /// `call` for $withy/dead/QUEUE.
    #[command(
        after_help = "Example: withy dead jobs --take --json | withy push --acked jobs --json"
    )]
    Dead(Dead),
    /// Find out what keeps nodes from meeting: findings, each with its remedy
    ///
    /// Looks at identity, files, networks, runtime directory, interfaces, ports, firewall, multicast,
    /// clock and the nodes that are there. The firewall's rules are those of nftables, which root alone
    /// can read. Exit code 1 if anything fails.
    #[command(after_help = "Example: withy doctor --json")]
    Doctor(Doctor),
    /// Print this user's id, which others trust
    ///
    /// The identity is made on first use, and kept in $WITHY_HOME, else in $XDG_CONFIG_HOME/withy,
    /// else in ~/.config/withy, for its owner only.
    #[command(after_help = "Example: withy id --json")]
    Id(Id),
    /// Trust an identity, or list who is trusted
    ///
    /// Shows both ids when it accepts one: compare them over another way, such as the telephone.
    /// Programs that run already know it within a second. Without ID it lists, one identity a line,
    /// who is trusted, pinned to an endpoint, or revoked.
    #[command(
        after_help = "Example: withy trust gaytemzugu3doobzmfrggzdfmztwq2lknnwg23tpobyxe43uov3lddhs laptop"
    )]
    Trust(Trust),
    /// Trust an identity never more, whatever else speaks for it
    ///
    /// Programs of this user end its connections within a second.
    #[command(
        after_help = "Example: withy revoke gaytemzugu3doobzmfrggzdfmztwq2lknnwg23tpobyxe43uov3lddhs"
    )]
    Revoke(Revoke),
    /// Make, join and leave networks, whose members trust each other
    #[command(
        after_help = "Example: withy network invite garden | ssh HOST withy network join",
        subcommand_value_name = "VERB",
        subcommand_help_heading = "Verbs",
        disable_help_subcommand = true
    )]
    Network {
        /// What to do
        #[command(subcommand)]
        verb: Network,
    },
    /// Make a key pair for CURVE
    #[command(after_help = "Example: withy keygen -o server.key")]
    Keygen(Keygen),
    /// Measure this machine: throughput and latency between two processes
    #[command(after_help = "Example: withy bench --size 16 --size 1024 --curve")]
    Bench(Bench),
    /// See it work: three nodes find each other and do all patterns of the mesh, encrypted
    ///
    /// Three processes that are told no addresses find each other in a directory of their own, and do
    /// what is there to do by name: topics, a late joiner, a service with two instances, push and
    /// pull, a pair, an acked queue whose worker is killed, a group. They check what they get. It
    /// takes a few seconds, ends by itself, touches no network, and leaves nothing behind; what fails
    /// is named.
    #[command(after_help = "Example: withy demo --json")]
    Demo(Demo),
    /// Print a shell's completions
    #[command(
        after_help = "Example: withy completions bash > ~/.local/share/bash-completion/completions/withy"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print a manual page
    #[command(after_help = "Example: withy man push | man -l -")]
    Man {
        /// The verb; without it, the page of withy itself
        verb: Option<String>,
    },
    /// Runs one process of the demo or the bench
    #[command(hide = true, name = crate::child::VERB)]
    Child,
}

/// The help of a verb that only receives: its only word is an endpoint.
fn receives_only(words: Arg) -> Arg {
    words
        .help(
            "A name on the mesh, or an endpoint to connect to, unless --bind or --connect is given",
        )
        .value_name("NAME|ENDPOINT")
        .num_args(0..=1)
        .action(ArgAction::Set)
}

/// What all verbs that move messages have in common.
#[derive(Debug, Args)]
pub(crate) struct Traffic {
    /// A name on the mesh, or an endpoint to connect to, unless --bind or --connect is given; then
    /// messages to send. Without messages, lines of stdin are sent
    #[arg(value_name = "NAME|ENDPOINT] [MESSAGE")]
    pub(crate) words: Vec<OsString>,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Ends after this many messages; given messages are sent again until then
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Ends after this much time, with exit code 3. Senders and req without it: 5s, for stdin 5s
    /// of waiting for peers
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Prints and reads one JSON object a message: {"frames":[BASE64,...],"text":[...]}
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    /// Prints and reads octets as they are; a line is one frame
    #[arg(long)]
    raw: bool,
    /// Gives the order of sent messages up at QUIC endpoints, so that a lost packet holds few of them
    /// up, and a large one none
    #[arg(long)]
    unordered: bool,
    #[command(flatten)]
    pub(crate) talk: Talk,
    #[command(flatten)]
    pub(crate) keys: Keys,
}

impl Traffic {
    /// Sets what these options say of a socket.
    pub(crate) fn apply<S: Socket>(&self, builder: Builder<S>) -> Builder<S> {
        builder.unordered(self.unordered)
    }

    pub(crate) fn format(&self) -> Format {
        match (self.json, self.raw) {
            (true, _) => Format::Json,
            (_, true) => Format::Raw,
            _ => Format::Lines,
        }
    }
}

/// How much to say on stderr.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Talk {
    /// Says nothing on stderr but errors
    #[arg(long, short, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Says on stderr what happens to the connections
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// Where a socket binds and connects.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Binds to ENDPOINT, and prints the real one on stderr; repeatable
    #[arg(long, value_name = "ENDPOINT")]
    pub(crate) bind: Vec<String>,
    /// Connects to ENDPOINT; repeatable
    #[arg(long, value_name = "ENDPOINT")]
    pub(crate) connect: Vec<String>,
    #[command(flatten)]
    pub(crate) mesh: Mesh,
}

/// How a node of the command line meets others.
#[derive(Debug, Args)]
pub(crate) struct Mesh {
    /// How other nodes are found, for what has a name
    #[arg(
        long,
        value_name = "HOW",
        env = "WITHY_DISCOVERY",
        default_value = "mdns"
    )]
    pub(crate) discovery: Discovery,
    /// A node through which others are found, where multicast does not reach; repeatable
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) seed: Vec<Seed>,
}

/// How the nodes of the mesh are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Discovery {
    /// Those of this user on this host
    Host,
    /// These, and those of the local network, by multicast DNS
    Mdns,
    /// Not at all
    Off,
}

/// `peers` and `services`.
#[derive(Debug, Args)]
pub(crate) struct Look {
    /// How long to look around
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "1s")]
    pub(crate) wait: Duration,
    /// Prints one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) mesh: Mesh,
    #[command(flatten)]
    pub(crate) keys: Keys,
}

/// `watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Ends after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Ends after this much time; with --count, with exit code 3
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Prints one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) mesh: Mesh,
    #[command(flatten)]
    pub(crate) keys: Keys,
}

/// What a socket proves who it is with. The mechanism follows from it.
///
/// Its heading goes on to what follows it, and so it stands last wherever it is flattened in.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct Keys {
    /// This side's CURVE keys, a file from `withy keygen -o FILE`. Without --server-key this side
    /// is the server
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_key_file: Option<PathBuf>,
    /// The server's CURVE public key in Z85; this side is its client, with keys of its own for this
    /// run unless --secret-key-file is given
    #[arg(long, value_name = "KEY", allow_hyphen_values = true, conflicts_with_all = ["authorized_keys", "allow_any_client"])]
    pub(crate) server_key: Option<PublicKey>,
    /// As --server-key, from a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["server_key", "authorized_keys", "allow_any_client"])]
    pub(crate) server_key_file: Option<PathBuf>,
    /// CURVE clients to let in: a file of `KEY [NAME]` lines, read again when it changes
    #[arg(
        long,
        value_name = "FILE",
        requires = "secret_key_file",
        conflicts_with = "allow_any_client"
    )]
    pub(crate) authorized_keys: Option<PathBuf>,
    /// Lets every CURVE client in, whatever its key
    #[arg(long, requires = "secret_key_file")]
    pub(crate) allow_any_client: bool,
    /// A PLAIN user name to show
    #[arg(long, value_name = "NAME", requires = "plain_password_file", conflicts_with_all = ["secret_key_file", "server_key", "server_key_file", "plain_users"])]
    pub(crate) plain_user: Option<String>,
    /// The password of --plain-user: the first line of a file
    #[arg(long, value_name = "FILE", requires = "plain_user")]
    pub(crate) plain_password_file: Option<PathBuf>,
    /// PLAIN users to let in: a file of `NAME=PASSWORD` lines, read again when it changes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["secret_key_file", "server_key", "server_key_file"])]
    pub(crate) plain_users: Option<PathBuf>,
    /// Lets what can be read on the way (no keys, or PLAIN) leave this host
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Proves an identity, and encrypts with NOISE: this user's (see `withy id`), or that in FILE.
    /// At QUIC endpoints this user's is proven without it. Peers have to have the same, or to be trusted (see `withy trust`)
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    #[expect(
        clippy::option_option,
        reason = "the option may be given without a file"
    )]
    pub(crate) identity: Option<Option<PathBuf>>,
    /// As --identity, and meets members of this network only (see `withy network`)
    #[arg(long, value_name = "NAME")]
    pub(crate) network: Option<Name>,
    /// As --identity, and trusts whoever answers first where this side connects, and from then on
    /// nobody else there
    #[arg(long, value_name = "WHOM")]
    pub(crate) trust: Option<Besides>,
    /// As --identity, and lets peers in whose key agreement a quantum computer could break
    #[arg(long)]
    pub(crate) allow_classical: bool,
    /// The traffic of others is carried, for which first use is too weak.
    #[arg(skip)]
    pub(crate) carries: bool,
}

/// Whom to trust besides those that were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Besides {
    /// Whoever answers first at an endpoint.
    FirstUse,
}

/// `ping`.
#[derive(Debug, Args)]
pub(crate) struct Ping {
    /// A name on the mesh, each node that offers it, or an endpoint
    #[arg(value_name = "NAME|ENDPOINT")]
    pub(crate) endpoint: String,
    /// Ends after this many answers
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Ends after this much time, with exit code 3
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "5s")]
    pub(crate) timeout: Duration,
    /// Prints one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) mesh: Mesh,
    #[command(flatten)]
    pub(crate) keys: Keys,
}

/// `push` and `pull`.
#[derive(Debug, Args)]
pub(crate) struct Work {
    /// The NAME is of an acked queue: returns once its keeper has all messages. Where nobody keeps it,
    /// that is this node, which stays until all are acked (see `withy node --keep`)
    #[arg(long)]
    pub(crate) acked: bool,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
}

/// `pub`.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// How urgent the messages on a topic are, 0 to 9: of those that wait at a subscriber, the most
    /// urgent are received first. Default: 4
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=9))]
    pub(crate) priority: Option<u8>,
    /// How long the messages on a topic live: later they are not received
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) expiry: Option<Duration>,
    /// How long to wait for a subscriber before publishing
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "1s")]
    pub(crate) wait: Duration,
    /// Waits until every subscriber has room, however slow it is, and drops nothing
    #[arg(long)]
    pub(crate) block: bool,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
}

/// `sub`.
#[derive(Debug, Args)]
pub(crate) struct Subscribe {
    /// Takes messages that start with PREFIX (escapes as in messages); repeatable. Default: all
    #[arg(long, value_name = "PREFIX", allow_hyphen_values = true)]
    pub(crate) subscribe: Vec<OsString>,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
}

/// `req`.
#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// The requests to a NAME may be done more than once: if an instance is lost, the next is asked
    #[arg(long)]
    pub(crate) idempotent: bool,
    #[command(flatten)]
    pub(crate) routed: Routed,
}

/// `dealer`, `router`, and what `req` has in common with them.
#[derive(Debug, Args)]
pub(crate) struct Routed {
    /// The name by which a ROUTER knows this socket, 1 to 255 octets
    #[arg(long, value_name = "ID")]
    pub(crate) routing_id: Option<OsString>,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
}

/// `rep`.
#[derive(Debug, Args)]
pub(crate) struct Reply {
    /// Replies with the request itself
    #[arg(long)]
    pub(crate) echo: bool,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
}

/// `proxy`.
#[derive(Debug, Args)]
pub(crate) struct Relay {
    /// One side: TYPE:ENDPOINT or TYPE:connect:ENDPOINT
    pub(crate) frontend: String,
    /// The other side
    pub(crate) backend: String,
    /// A third socket (PUB, PUSH, DEALER or PAIR) that gets a copy of everything
    #[arg(long, value_name = "SIDE")]
    pub(crate) capture: Option<String>,
    /// Ends after this much time, with exit code 0
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Prints an object at the end: "frontend" and "backend", each with "received", "sent" and "dropped",
    /// and "capture" with "missed", in {"messages":N,"octets":N}, and "unsent", messages that no peer took
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) talk: Talk,
    #[command(flatten)]
    pub(crate) keys: Keys,
}

/// `keygen`.
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// Writes the pair to FILE, for its owner only, and the public key to FILE.pub
    #[arg(long, short, value_name = "FILE", conflicts_with = "json")]
    pub(crate) output: Option<PathBuf>,
    /// Prints {"public":KEY,"secret":KEY}
    #[arg(long)]
    pub(crate) json: bool,
}

/// `bench`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Octets of a message; repeatable. Default: 16, 1024 and 65536
    #[arg(long, value_name = "OCTETS", value_parser = clap::value_parser!(u32).range(0..=16 << 20))]
    pub(crate) size: Vec<u32>,
    /// How long each figure is measured
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "1s")]
    pub(crate) duration: Duration,
    /// Over a Unix domain socket instead of TCP
    #[arg(long)]
    pub(crate) ipc: bool,
    /// Encrypted with CURVE
    #[arg(long)]
    pub(crate) curve: bool,
    /// Prints one JSON object a figure
    #[arg(long)]
    pub(crate) json: bool,
}

/// `demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Does all patterns over and over, until it is interrupted
    #[arg(long)]
    pub(crate) stay: bool,
    /// Lets the nodes find each other by multicast DNS, and only so, which takes an interface that is up:
    /// the local network sees that they are there. It takes half a minute, since over UDP a
    /// killed worker is not missed at once
    #[arg(long)]
    pub(crate) lan: bool,
    /// Prints one JSON object a pattern
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn under_security_stand_the_keys_alone() {
        let keys = Keys::augment_args(clap::Command::new("keys"));
        let is_key = |arg: &Arg| keys.get_arguments().any(|key| key.get_id() == arg.get_id());
        for verb in Cli::command().get_subcommands() {
            for arg in verb.get_arguments() {
                let heading = arg.get_help_heading();
                // What is not built cannot be shown.
                let id = arg.get_id();
                assert_eq!(heading == Some("Security"), is_key(arg), "{verb} {id}");
            }
        }
    }

    #[test]
    fn all_verbs_print_json_but_those_whose_text_is_for_others_to_read() {
        fn check(verb: &clap::Command) {
            let name = verb.get_name();
            if verb.is_hide_set() || ["completions", "man"].contains(&name) {
                return;
            }
            let has_json = verb.get_arguments().any(|arg| arg.get_id() == "json");
            let has_verbs = verb.has_subcommands();
            assert!(has_json || has_verbs, "{name}");
            verb.get_subcommands().for_each(check);
        }
        Cli::command().get_subcommands().for_each(check);
    }

    #[test]
    fn every_verb_says_what_it_does_and_shows_an_example() {
        for verb in Cli::command()
            .get_subcommands()
            .filter(|verb| !verb.is_hide_set())
        {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            let example = verb.get_after_help().map(ToString::to_string);
            let starts = ["Example", "Examples"];
            let starts = starts.map(|start| format!("{start}: withy {}", verb.get_name()));
            assert!(
                example.is_some_and(|text| starts.iter().any(|start| text.starts_with(start))),
                "{}",
                verb.get_name()
            );
        }
    }
}

//! The keys of a node's configuration: one table, which the file, the environment and the options
//! share.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum as _;
use withy::Node;
use withy::node::queue::QueueName;
use withy::node::{NodeLimits, Seed};
use withy::trust::Name;

use super::door;
use crate::args::Discovery;
use crate::duration;

/// What the environment's variables begin with.
pub(super) const PREFIX: &str = "WITHY_NODE_";

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// As in the file; with two hyphens it is the option.
    pub(super) name: &'static str,
    /// Whether it has any number of values.
    pub(super) many: bool,
    pub(super) form: Form,
    /// What is accepted.
    pub(super) accepted: &'static str,
    /// What holds without it, in words.
    pub(super) default: &'static str,
    /// Says what is wrong with a value.
    pub(super) check: fn(&str) -> Result<(), String>,
}

/// What a value is. A path in a file is from the file's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Path,
    /// `NAME=PATH`, or a name alone.
    NamedPath,
    /// `true` or `false`.
    Flag,
}

pub(super) const LISTEN: &str = "listen";
pub(super) const SEED: &str = "seed";
pub(super) const SEED_FILE: &str = "seed-file";
pub(super) const DISCOVERY: &str = "discovery";
pub(super) const MAX_NODES: &str = "max-nodes";
pub(super) const NETWORK: &str = "network";
pub(super) const IDENTITY: &str = "identity";
pub(super) const STATUS: &str = "status";
pub(super) const KEEP: &str = "keep";
pub(super) const RELAY: &str = "relay";
pub(super) const ZMTP: &str = "zmtp";
pub(super) const ZMTP_SERVE: &str = "zmtp-serve";
pub(super) const ZMTP_PULL: &str = "zmtp-pull";
pub(super) const ZMTP_SECRET_KEY_FILE: &str = "zmtp-secret-key-file";
pub(super) const ZMTP_AUTHORIZED_KEYS: &str = "zmtp-authorized-keys";
pub(super) const ZMTP_PLAIN_USERS: &str = "zmtp-plain-users";
pub(super) const ZMTP_INSECURE: &str = "zmtp-insecure";
pub(super) const ZMTP_TIMEOUT: &str = "zmtp-timeout";

/// The table of the file that ties names to identities. It has keys of its own.
pub(super) const NAMES: &str = "names";

pub(super) const KEYS: &[Key] = &[
    Key {
        name: LISTEN,
        many: true,
        form: Form::Text,
        accepted: "IP:PORT, or IP for port 7100, as in \"192.0.2.7:7100\" or \"[::]:7100\"",
        default: "the loopback, private and link-local addresses of this host, at port 7100",
        check: |text| listen(text).map(drop),
    },
    Key {
        name: SEED,
        many: true,
        form: Form::Text,
        accepted: "HOST:PORT, quic://[ID@]HOST:PORT or tcp://HOST:PORT",
        default: "none",
        check: |text| seed(text).map(drop),
    },
    Key {
        name: SEED_FILE,
        many: false,
        form: Form::Path,
        accepted: "the path of a file with a seed a line",
        default: "none",
        check: path,
    },
    Key {
        name: DISCOVERY,
        many: false,
        form: Form::Text,
        accepted: "\"host\", \"mdns\" or \"off\"",
        default: "mdns",
        check: |text| discovery(text).map(drop),
    },
    Key {
        name: MAX_NODES,
        many: false,
        form: Form::Text,
        accepted: "how many nodes are known at most, this one included: 2 to 4096",
        default: "2048",
        check: |text| max_nodes(text).map(drop),
    },
    Key {
        name: NETWORK,
        many: false,
        form: Form::Text,
        accepted: "the name of a network, as `withy network list` shows it",
        default: "none: identities that are trusted are met",
        check: |text| parse::<Name>(text).map(drop),
    },
    Key {
        name: IDENTITY,
        many: false,
        form: Form::Path,
        accepted: "the path of an identity's file",
        default: "this user's",
        check: path,
    },
    Key {
        name: STATUS,
        many: false,
        form: Form::Text,
        accepted: "IP:PORT, or PORT for one of 127.0.0.1",
        default: "not served",
        check: |text| status(text).map(drop),
    },
    Key {
        name: KEEP,
        many: true,
        form: Form::NamedPath,
        accepted: "QUEUE=FOLDER, or QUEUE to keep it in memory",
        default: "none",
        check: |text| keep(text).map(drop),
    },
    Key {
        name: RELAY,
        many: false,
        form: Form::Flag,
        accepted: "true or false",
        default: "false: connections of others do not lead through this node",
        check: |text| parse::<bool>(text).map(drop),
    },
    Key {
        name: ZMTP,
        many: true,
        form: Form::Text,
        accepted: "tcp://IP:PORT or ipc://PATH, as in \"tcp://127.0.0.1:5555\"",
        default: "no door for ZeroMQ sockets",
        check: |text| door::endpoint(text).map(drop),
    },
    Key {
        name: ZMTP_SERVE,
        many: true,
        form: Form::Text,
        accepted: "NAME=ENDPOINT, as in \"adder=tcp://127.0.0.1:5556\"",
        default: "no ZeroMQ workers",
        check: |text| door::named(text).map(drop),
    },
    Key {
        name: ZMTP_PULL,
        many: true,
        form: Form::Text,
        accepted: "QUEUE=ENDPOINT, as in \"jobs=tcp://127.0.0.1:5557\"",
        default: "no ZeroMQ PULLs",
        check: |text| door::named(text).map(drop),
    },
    Key {
        name: ZMTP_SECRET_KEY_FILE,
        many: false,
        form: Form::Path,
        accepted: "the path of a file with CURVE keys, from `withy keygen -o FILE`",
        default: "no CURVE",
        check: path,
    },
    Key {
        name: ZMTP_AUTHORIZED_KEYS,
        many: false,
        form: Form::Path,
        accepted: "the path of a file with a line `KEY [NAME]` for each CURVE client",
        default: "no CURVE",
        check: path,
    },
    Key {
        name: ZMTP_PLAIN_USERS,
        many: false,
        form: Form::Path,
        accepted: "the path of a file with a line `NAME=PASSWORD` for each PLAIN user",
        default: "no PLAIN",
        check: path,
    },
    Key {
        name: ZMTP_INSECURE,
        many: false,
        form: Form::Flag,
        accepted: "true or false",
        default: "false: PLAIN on this host only",
        check: |text| parse::<bool>(text).map(drop),
    },
    Key {
        name: ZMTP_TIMEOUT,
        many: false,
        form: Form::Text,
        accepted: "a number and a unit, as in \"500ms\" or \"30s\"",
        default: "30s",
        check: |text| duration::parse(text).map(drop),
    },
];

/// The key of a name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

impl Key {
    /// A value as it is written in a file of this folder.
    pub(super) fn in_folder(&self, folder: &Path, text: String) -> String {
        let path = |text: &str| folder.join(text).to_string_lossy().into_owned();
        match (self.form, text.split_once('=')) {
            (Form::Path, _) => path(&text),
            (Form::NamedPath, Some((name, second))) => format!("{name}={}", path(second)),
            _ => text,
        }
    }

    /// Its variable in the environment.
    pub(super) fn variable(&self) -> String {
        let name = self.name.replace('-', "_").to_ascii_uppercase();
        format!("{PREFIX}{name}")
    }
}

pub(super) fn parse<T: FromStr<Err: ToString>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

pub(super) fn seed(text: &str) -> Result<Seed, String> {
    parse(text)
}

pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let ip = text.trim_matches(['[', ']']).parse::<IpAddr>();
    match (text.parse(), ip) {
        (Ok(address), _) => Ok(address),
        (_, Ok(ip)) => Ok(SocketAddr::new(ip, Node::PORT)),
        _ => Err(format!("{text:?} is no IP address with or without a port")),
    }
}

pub(super) fn status(text: &str) -> Result<SocketAddr, String> {
    match (text.parse(), text.parse()) {
        (Ok(address), _) => Ok(address),
        (_, Ok(port)) => Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
        _ => Err(format!("{text:?} is neither IP:PORT nor a port")),
    }
}

pub(super) fn discovery(text: &str) -> Result<Discovery, String> {
    Discovery::from_str(text, false).map_err(|_| format!("{text:?} is no way to find nodes"))
}

pub(super) fn max_nodes(text: &str) -> Result<usize, String> {
    let nodes = parse(text)?;
    match (2..=NodeLimits::MAX_NODES).contains(&nodes) {
        true => Ok(nodes),
        false => Err(format!("{nodes} nodes are too few or too many")),
    }
}

/// A queue to keep, and in which folder, if not in memory.
pub(super) fn keep(text: &str) -> Result<(QueueName, Option<PathBuf>), String> {
    let (name, folder) = match text.split_once('=') {
        Some((name, folder)) => (name, Some(folder)),
        None => (text, None),
    };
    folder.map_or(Ok(()), path)?;
    Ok((parse(name)?, folder.map(PathBuf::from)))
}

fn path(text: &str) -> Result<(), String> {
    match text.is_empty() {
        true => Err("the path is empty".to_owned()),
        false => Ok(()),
    }
}

/// The one of these names that is most like a mistyped one, if any is.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|it| (distance(name, it), it));
    let (far, nearest) = near.min()?;
    (far <= 2.max(nearest.len() / 3)).then_some(nearest)
}

/// How many characters have to be put in, taken out or changed. Both texts are short, or cut off.
fn distance(one: &str, two: &str) -> usize {
    const LONG: usize = 64;
    let two: Vec<char> = two.chars().take(LONG).collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (at, a) in one.chars().take(LONG).enumerate() {
        let mut corner = at;
        let mut left = at + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(&two) {
            let changed = corner + usize::from(a != *b);
            corner = *cell;
            left = changed.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = at + 1;
        }
    }
    row.last().copied().unwrap_or(LONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_that_which_was_meant() {
        let known = || KEYS.iter().map(|key| key.name);
        assert_eq!(nearest("lisen", known()), Some("listen"));
        assert_eq!(nearest("seed_file", known()), Some("seed-file"));
        assert_eq!(nearest("seeds", known()), Some("seed"));
        assert_eq!(nearest("descovry", known()), Some("discovery"));
        assert_eq!(nearest("colour", known()), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), known()), None);
        assert_eq!((distance("abc", "abc"), distance("", "abc")), (0, 3));
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn addresses_have_ports_or_get_the_documented_one() {
        let listened = |text| listen(text).unwrap().to_string();
        assert_eq!(listened("127.0.0.1"), "127.0.0.1:7100");
        assert_eq!(listened("::1"), "[::1]:7100");
        assert_eq!(listened("[::1]"), "[::1]:7100");
        assert_eq!(listened("[::]:9"), "[::]:9");
        assert_eq!(status("9100").unwrap().to_string(), "127.0.0.1:9100");
        assert_eq!(status("[::1]:9100").unwrap().to_string(), "[::1]:9100");
        for bad in ["", "host", "host:1", "127.0.0.1:70000", "-1"] {
            assert!(listen(bad).is_err(), "{bad}");
            assert!(status(bad).is_err(), "{bad}");
        }
    }
}

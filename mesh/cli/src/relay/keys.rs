//! The keys of a node's configuration: one table, which the file, the environment and the options
//! share.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum as _;
use withy::Node;
use withy::node::Seed;
use withy::node::queue::QueueName;
use withy::trust::Name;

use crate::args::Discovery;

/// What the environment's variables begin with.
pub(super) const PREFIX: &str = "WITHY_NODE_";

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// As in the file; with two hyphens it is the option.
    pub(super) name: &'static str,
    /// Whether it has any number of values.
    pub(super) many: bool,
    /// Which part of a value is a path. In the file, that is from the file's folder.
    pub(super) path: Part,
    /// What is accepted.
    pub(super) accepted: &'static str,
    /// What holds without it, in words.
    pub(super) default: &'static str,
    /// Says what is wrong with a value.
    pub(super) check: fn(&str) -> Result<(), String>,
}

/// A part of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    None,
    All,
    /// What follows the first `=`, if anything does.
    Second,
}

pub(super) const LISTEN: &str = "listen";
pub(super) const SEED: &str = "seed";
pub(super) const SEED_FILE: &str = "seed-file";
pub(super) const DISCOVERY: &str = "discovery";
pub(super) const NETWORK: &str = "network";
pub(super) const IDENTITY: &str = "identity";
pub(super) const STATUS: &str = "status";
pub(super) const KEEP: &str = "keep";
pub(super) const RELAY: &str = "relay";

/// The table of the file that ties names to identities. It has keys of its own.
pub(super) const NAMES: &str = "names";

pub(super) const KEYS: &[Key] = &[
    Key {
        name: LISTEN,
        many: true,
        path: Part::None,
        accepted: "IP:PORT, or IP for port 7100, as in \"192.0.2.7:7100\" or \"[::]:7100\"",
        default: "the loopback, private and link-local addresses of this host, at port 7100",
        check: |text| listen(text).map(drop),
    },
    Key {
        name: SEED,
        many: true,
        path: Part::None,
        accepted: "HOST:PORT, quic://[ID@]HOST:PORT or tcp://HOST:PORT",
        default: "none",
        check: |text| seed(text).map(drop),
    },
    Key {
        name: SEED_FILE,
        many: false,
        path: Part::All,
        accepted: "the path of a file with a seed a line",
        default: "none",
        check: path,
    },
    Key {
        name: DISCOVERY,
        many: false,
        path: Part::None,
        accepted: "\"host\", \"mdns\" or \"off\"",
        default: "mdns",
        check: |text| discovery(text).map(drop),
    },
    Key {
        name: NETWORK,
        many: false,
        path: Part::None,
        accepted: "the name of a network, as `withy network list` shows it",
        default: "none: identities that are trusted are met",
        check: |text| parse::<Name>(text).map(drop),
    },
    Key {
        name: IDENTITY,
        many: false,
        path: Part::All,
        accepted: "the path of an identity's file",
        default: "this user's",
        check: path,
    },
    Key {
        name: STATUS,
        many: false,
        path: Part::None,
        accepted: "IP:PORT, or PORT for one of 127.0.0.1",
        default: "not served",
        check: |text| status(text).map(drop),
    },
    Key {
        name: KEEP,
        many: true,
        path: Part::Second,
        accepted: "QUEUE=FOLDER, or QUEUE to keep it in memory",
        default: "none",
        check: |text| keep(text).map(drop),
    },
    Key {
        name: RELAY,
        many: false,
        path: Part::None,
        accepted: "\"on\" or \"off\"; in a file true and false as well",
        default: "off: connections of others do not lead through this node",
        check: |text| relay(text).map(drop),
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
        match (self.path, text.split_once('=')) {
            (Part::All, _) => path(&text),
            (Part::Second, Some((name, second))) => format!("{name}={}", path(second)),
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

pub(super) fn relay(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{text:?} is neither on nor off")),
    }
}

pub(super) fn discovery(text: &str) -> Result<Discovery, String> {
    Discovery::from_str(text, false).map_err(|_| format!("{text:?} is no way to find nodes"))
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

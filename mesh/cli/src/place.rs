//! Where a verb's socket goes, and which words are its messages.
//!
//! With `--bind` or `--connect` every word is a message. Without, the first word is an endpoint to
//! connect to, or, if it has no scheme, a name on the mesh.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use withy::{Endpoint, Message};

use crate::args::Traffic;
use crate::exit::{Failure, Outcome};
use crate::format::Format;

/// Where a socket binds and connects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    pub(crate) bind: Vec<Endpoint>,
    pub(crate) connect: Vec<Endpoint>,
}

impl Endpoints {
    /// Whether there is one that asks for an identity by itself.
    pub(crate) fn ask_for_identity(&self) -> bool {
        let mut all = self.bind.iter().chain(&self.connect);
        all.any(|endpoint| matches!(endpoint, Endpoint::Quic(_)))
    }
}

/// Where a verb goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Where {
    /// To endpoints.
    At(Endpoints),
    /// To whoever has this name on the mesh.
    Named(String),
}

impl Where {
    /// The endpoints; a verb that has no names refuses one.
    pub(crate) fn endpoints(self) -> Outcome<Endpoints> {
        match self {
            Self::At(endpoints) => Ok(endpoints),
            Self::Named(name) => Err(Failure::Usage(format!(
                "{name:?} is no endpoint, and this verb has no names: give --connect ENDPOINT or \
                 --bind ENDPOINT, as in --connect tcp://127.0.0.1:5555"
            ))),
        }
    }
}

impl Where {
    /// The name of an acked queue, if it is one that is wanted.
    pub(crate) fn acked(&self, is_wanted: bool) -> Outcome<Option<&str>> {
        match self {
            Self::Named(name) if is_wanted => Ok(Some(name)),
            Self::At(_) if is_wanted => Err(Failure::usage(
                "--acked is for a NAME: only the mesh has acked queues",
            )),
            _ => Ok(None),
        }
    }
}

/// Sorts the words of a command line into where they go and messages.
pub(crate) fn sort(traffic: &Traffic) -> Outcome<(Where, Vec<Message>)> {
    let mut endpoints = Endpoints {
        bind: endpoints(&traffic.place.bind, to_bind)?,
        connect: endpoints(&traffic.place.connect, to_connect)?,
    };
    let mut words = &traffic.words[..];
    if endpoints.bind.is_empty() && endpoints.connect.is_empty() {
        let (first, rest) = words.split_first().ok_or_else(|| {
            Failure::usage("where to? Give a NAME, --connect ENDPOINT or --bind ENDPOINT, as in --connect tcp://127.0.0.1:5555")
        })?;
        let first = first.to_str().ok_or_else(|| {
            let shown = first.to_string_lossy();
            Failure::Usage(format!(
                "{shown:?} is no endpoint and no name: it is not UTF-8"
            ))
        })?;
        if !first.contains("://") {
            let name = first.to_owned();
            return Ok((Where::Named(name), messages(rest, traffic.format())?));
        }
        endpoints.connect.push(to_connect(first)?);
        words = rest;
    }
    let messages = messages(words, traffic.format())?;
    Ok((Where::At(endpoints), messages))
}

/// Reads messages from arguments.
fn messages(words: &[OsString], format: Format) -> Outcome<Vec<Message>> {
    let read = |(at, word): (usize, &OsString)| {
        format
            .decode_argument(word.as_bytes())
            .map_err(|error| Failure::Usage(format!("message {}: {error}", at + 1)))
    };
    words.iter().enumerate().map(read).collect()
}

/// Reads a prefix or a routing id: octets, escaped as in messages, but TAB has no meaning.
pub(crate) fn octets(word: &OsString, what: &str) -> Outcome<Vec<u8>> {
    if !word.as_bytes().contains(&b'\\') {
        return Ok(word.clone().into_vec());
    }
    let escaped: Vec<u8> = word.as_bytes().to_vec();
    let frames = Format::Lines
        .decode(&escaped)
        .map_err(|error| Failure::Usage(format!("{what}: {error}")))?;
    let frames: Vec<&[u8]> = frames
        .frames()
        .iter()
        .map(|frame| frame.as_slice())
        .collect();
    Ok(frames.join(&b'\t'))
}

fn endpoints(texts: &[String], read: fn(&str) -> Outcome<Endpoint>) -> Outcome<Vec<Endpoint>> {
    texts.iter().map(|text| read(text)).collect()
}

/// Reads an endpoint to bind to.
pub(crate) fn to_bind(text: &str) -> Outcome<Endpoint> {
    let endpoint = parse(text)?;
    match &endpoint {
        Endpoint::Tcp(tcp) if tcp.source.is_some() => Err(unfit(
            &endpoint,
            "has a source address, which only --connect can use",
        )),
        Endpoint::Quic(quic) if quic.peer.is_some() => Err(unfit(
            &endpoint,
            "names who is expected, which only --connect can use",
        )),
        _ => Ok(endpoint),
    }
}

/// Reads an endpoint to connect to.
pub(crate) fn to_connect(text: &str) -> Outcome<Endpoint> {
    let endpoint = parse(text)?;
    let wildcard = match &endpoint {
        Endpoint::Tcp(tcp) => tcp.port == 0 || tcp.host.to_string() == "*",
        Endpoint::Quic(quic) => quic.port == 0 || quic.host.to_string() == "*",
        Endpoint::Ipc(_) => endpoint.to_string() == "ipc://*",
        Endpoint::Inherited(_) => true,
        _ => false,
    };
    match wildcard {
        true => Err(unfit(
            &endpoint,
            "is for --bind; a peer has a host and a port",
        )),
        false => Ok(endpoint),
    }
}

fn parse(text: &str) -> Outcome<Endpoint> {
    let endpoint: Endpoint = text.parse().map_err(Failure::usage)?;
    match endpoint {
        Endpoint::Inproc(_) => Err(unfit(
            &endpoint,
            "stays within one process, where this one is alone: use ipc:// or tcp://",
        )),
        _ => Ok(endpoint),
    }
}

fn unfit(endpoint: &Endpoint, why: &str) -> Failure {
    Failure::Usage(format!("{endpoint} {why}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Verb};

    fn push(line: &[&str]) -> Outcome<(Endpoints, Vec<Message>)> {
        let words = ["withy", "push"].iter().chain(line);
        match Cli::try_parse_from(words).unwrap().verb {
            Verb::Push(work) => {
                let (to, messages) = sort(&work.traffic)?;
                Ok((to.endpoints()?, messages))
            }
            verb => panic!("{verb:?}"),
        }
    }

    #[test]
    fn with_an_option_every_word_is_a_message() {
        let (endpoints, messages) = push(&[
            "--connect",
            "tcp://127.0.0.1:1",
            "tcp://127.0.0.1:2",
            "b\\tc\td",
        ])
        .unwrap();
        assert_eq!(endpoints.connect, ["tcp://127.0.0.1:1".parse().unwrap()]);
        assert_eq!(
            messages,
            [
                Message::from("tcp://127.0.0.1:2"),
                Message::from_iter(["b\tc", "d"])
            ]
        );
        let (endpoints, _) = push(&[
            "--bind",
            "tcp://*:0",
            "--bind",
            "ipc://*",
            "--connect",
            "ipc:///x",
        ])
        .unwrap();
        assert_eq!((endpoints.bind.len(), endpoints.connect.len()), (2, 1));
    }

    #[test]
    fn without_one_the_first_word_is_an_endpoint() {
        let (endpoints, messages) = push(&["tcp://127.0.0.1:1", "a"]).unwrap();
        assert_eq!(endpoints.connect, ["tcp://127.0.0.1:1".parse().unwrap()]);
        assert_eq!(messages, [Message::from("a")]);
    }

    #[test]
    fn everything_else_is_refused_with_the_way_out() {
        let cases: &[(&[&str], &str)] = &[
            (&[], "--connect ENDPOINT"),
            (&["orders"], "has no names"),
            (&["tcp://127.0.0.1"], "invalid endpoint"),
            (&["tcp://*:5555"], "is for --bind"),
            (&["--connect", "tcp://127.0.0.1:*"], "is for --bind"),
            (&["--connect", "ipc://*"], "is for --bind"),
            (&["--connect", "quic://*:5555"], "is for --bind"),
            (
                &[
                    "--bind",
                    "quic://abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwx@[::1]:1",
                ],
                "only --connect",
            ),
            (&["--bind", "inproc://x"], "use ipc:// or tcp://"),
            (
                &["--bind", "tcp://127.0.0.1:1;127.0.0.1:2"],
                "only --connect",
            ),
            (&["--connect", "ipc:///x", "a\\q"], "message 1"),
        ];
        for (line, expected) in cases {
            match push(line) {
                Err(Failure::Usage(text)) => assert!(text.contains(expected), "{text}"),
                other => panic!("{line:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn prefixes_are_octets() {
        assert_eq!(octets(&"a\\x00\tb".into(), "x").unwrap(), b"a\0\tb");
        assert_eq!(octets(&"a\tb".into(), "x").unwrap(), b"a\tb");
        assert!(octets(&"\\q".into(), "x").is_err());
    }
}

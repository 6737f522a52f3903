//! The socket patterns: what a type is stands in its row of [`TABLE`], and how it behaves in files
//! cut by rule, since types share them: sending in turn, to many or by identity, requests, replies,
//! subscriptions.
//!
//! [`Outgoing`] and [`Incoming`] are the two halves of a socket: which pipe a message takes, what
//! its envelope looks like, what happens when there is no room. The driver holds one short lock
//! around each, so that sending and receiving do not meet. Neither half knows links, tasks or time.

use std::fmt;

pub mod incoming;
pub mod outgoing;
pub mod pipe;

pub mod publish;
pub mod reply;
pub mod request;
mod wire;

pub use incoming::Incoming;
pub use outgoing::Outgoing;
pub use pipe::PipeKey;

/// A ZeroMQ socket type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SocketType {
    /// Asks; RFC 28.
    Req,
    /// Answers; RFC 28.
    Rep,
    /// Asks many at once; RFC 28.
    Dealer,
    /// Answers by routing id; RFC 28.
    Router,
    /// Publishes; RFC 29.
    Pub,
    /// Subscribes; RFC 29.
    Sub,
    /// Publishes, and sees the subscriptions; RFC 29.
    XPub,
    /// Subscribes by sending messages; RFC 29.
    XSub,
    /// Hands out work; RFC 30.
    Push,
    /// Takes work; RFC 30.
    Pull,
    /// Talks to exactly one peer; RFC 31.
    Pair,
}

/// How a type chooses the pipes of a message that it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sends {
    /// Never sends.
    Nothing,
    /// To each pipe in turn that has room; waits when none has.
    InTurn,
    /// To the one pipe that there is; waits when it has no room.
    ToOne,
    /// To all pipes that want it.
    Publishes,
    /// To all pipes.
    ToAll,
    /// To the pipe that the first frame names.
    ByIdentity,
    /// To the pipe that the request came from.
    Replies,
}

/// One row: everything about a type that is not code.
#[derive(Debug)]
pub struct Row {
    /// The type.
    pub kind: SocketType,
    /// Its name in READY (RFC 37 §3.4).
    pub name: &'static str,
    /// The types that it talks to.
    pub peers: &'static [SocketType],
    /// How it sends.
    pub sends: Sends,
    /// Whether the application receives messages from it.
    pub receives: bool,
    /// Whether READY carries a routing id.
    pub identity: bool,
}

use SocketType::{Dealer, Pair, Pub, Pull, Push, Rep, Req, Router, Sub, XPub, XSub};

/// Every socket type, in the order of the enum.
pub const TABLE: &[Row] = &[
    Row {
        kind: Req,
        name: "REQ",
        peers: &[Rep, Router],
        sends: Sends::InTurn,
        receives: true,
        identity: true,
    },
    Row {
        kind: Rep,
        name: "REP",
        peers: &[Req, Dealer],
        sends: Sends::Replies,
        receives: true,
        identity: false,
    },
    Row {
        kind: Dealer,
        name: "DEALER",
        peers: &[Rep, Dealer, Router],
        sends: Sends::InTurn,
        receives: true,
        identity: true,
    },
    Row {
        kind: Router,
        name: "ROUTER",
        peers: &[Req, Dealer, Router],
        sends: Sends::ByIdentity,
        receives: true,
        identity: true,
    },
    Row {
        kind: Pub,
        name: "PUB",
        peers: &[Sub, XSub],
        sends: Sends::Publishes,
        receives: false,
        identity: false,
    },
    Row {
        kind: Sub,
        name: "SUB",
        peers: &[Pub, XPub],
        sends: Sends::Nothing,
        receives: true,
        identity: false,
    },
    Row {
        kind: XPub,
        name: "XPUB",
        peers: &[Sub, XSub],
        sends: Sends::Publishes,
        receives: true,
        identity: false,
    },
    Row {
        kind: XSub,
        name: "XSUB",
        peers: &[Pub, XPub],
        sends: Sends::ToAll,
        receives: true,
        identity: false,
    },
    Row {
        kind: Push,
        name: "PUSH",
        peers: &[Pull],
        sends: Sends::InTurn,
        receives: false,
        identity: false,
    },
    Row {
        kind: Pull,
        name: "PULL",
        peers: &[Push],
        sends: Sends::Nothing,
        receives: true,
        identity: false,
    },
    Row {
        kind: Pair,
        name: "PAIR",
        peers: &[Pair],
        sends: Sends::ToOne,
        receives: true,
        identity: false,
    },
];

impl SocketType {
    /// The table's row.
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The name in READY.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The type with this name in READY. Names are compared as they are, as libzmq does it.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        TABLE
            .iter()
            .find(|row| row.name.as_bytes() == name)
            .map(|row| row.kind)
    }

    /// Whether a peer of type `peer` may connect.
    pub fn accepts(self, peer: Self) -> bool {
        self.row().peers.contains(&peer)
    }

    /// Whether READY carries a routing id.
    pub fn announces_identity(self) -> bool {
        self.row().identity
    }
}

impl fmt::Display for SocketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_enum_and_agree_with_each_other() {
        for row in TABLE {
            assert_eq!(row.kind.row().kind, row.kind);
            assert_eq!(SocketType::from_name(row.name.as_bytes()), Some(row.kind));
            for peer in row.peers {
                assert!(peer.accepts(row.kind), "{} and {}", row.name, peer);
            }
        }
    }
}

//! What a node knows about others, and what it tells of them.

use std::time::Duration;

use withy_discovery::membership::State;
use withy_discovery::{Kind, PeerTag, Record};
use withy_proto::trust::{IdentityId, NodeId};

/// Another node, as it is known at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// What it is known by among its neighbours.
    pub tag: PeerTag,
    /// The node.
    pub node: NodeId,
    /// The identity that it says to belong to; a handshake proves it.
    pub identity: IdentityId,
    /// Whether it is there.
    pub presence: Presence,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// What it offers.
    pub offers: Vec<Offered>,
    /// When it said so, in seconds since the Unix epoch, by its own clock.
    pub issued: u64,
    /// How the link for gossip runs, if there is one: the peer's address, the mechanism, the cipher.
    pub link: Option<PeerLink>,
}

/// A link to a peer, over which the nodes gossip. What sockets send has connections of its own, which may
/// run another way: messages within a process do not leave it, and its nodes have a link all the same,
/// since within a process nobody proves who he is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerLink {
    /// What carries it, as the scheme of an endpoint: `ipc` on one host, `quic`, `tcp`, or `relay`. It is
    /// never `inproc`.
    pub transport: &'static str,
    /// The peer's address; with `relay`, `relay:` and the tag of who relays.
    pub address: String,
    /// The mechanism, as greetings name it.
    pub mechanism: &'static str,
    /// The cipher.
    pub cipher: &'static str,
    /// Whether the keys withstand quantum computers.
    pub post_quantum: bool,
    /// How long the peer's last answer took; asked for when the link is made, and every 15 s. `None`
    /// before the first.
    pub round_trip: Option<Duration>,
}

/// Something that a node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offered {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// Whether a node is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Presence {
    /// It is, or nobody noticed otherwise yet.
    Present,
    /// Somebody does not reach it.
    Suspected,
    /// It was seen, and is not trusted: nothing is sent to it.
    Untrusted,
}

impl Peer {
    pub(super) fn new(record: &Record, presence: Presence) -> Self {
        let content = record.content();
        let offers = content.services.iter().map(|service| Offered {
            kind: service.kind,
            name: service.name.to_string(),
        });
        Self {
            tag: record.peer(),
            node: record.node(),
            identity: record.identity(),
            presence,
            addresses: content.addresses.iter().map(ToString::to_string).collect(),
            offers: offers.collect(),
            issued: content.validity.not_before,
            link: None,
        }
    }
}

/// What happened to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// It is known, and was not, or was gone.
    Joined(Box<Peer>),
    /// It offers something else, or is at other addresses.
    Changed(Box<Peer>),
    /// Somebody does not reach it.
    Suspected(PeerTag),
    /// It was suspected, and is there after all.
    Returned(PeerTag),
    /// It said goodbye.
    Left(PeerTag),
    /// It did not answer for too long.
    Died(PeerTag),
    /// A node was seen that is not trusted; told once for each.
    Stranger(Box<Peer>),
    /// A link to it was made, or another one took the place of that which there was: it runs as this says
    /// from now on. The round trip is not known yet; [`Node::peers`](super::Node::peers) has it as soon as
    /// the peer has answered. Of a node that dials this one it is told before
    /// [`Joined`](Self::Joined) where its record comes over the link.
    Linked(PeerTag, Box<PeerLink>),
    /// There is no link to it any more. That says nothing about whether it is there: a node has
    /// links to some of the others only, and changes them.
    Unlinked(PeerTag),
}

impl NodeEvent {
    /// Events that a receiver may fall behind by.
    pub const CAPACITY: usize = 1_024;

    /// What a member's new state is called.
    pub(super) fn of_state(tag: PeerTag, state: State) -> Self {
        match state {
            State::Alive => Self::Returned(tag),
            State::Suspected => Self::Suspected(tag),
            State::Dead => Self::Died(tag),
            State::Left => Self::Left(tag),
        }
    }
}

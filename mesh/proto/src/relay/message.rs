//! What the ends of a leg say before octets flow.
//!
//! ```text
//!  octet 0  version, 1
//!        1  verb
//!           Open     hops (1), target (64), origin (64), visited: count (1), nodes of 32 each, ascending
//!           Line
//!           Fetch    number (8)
//!           Opened
//!           Refused  why (1), visited as in Open
//!           Invite   number (8)
//! ```
//!
//! A party is its identity and its node. After Opened each message is octets of the circuit, and an empty
//! one its end.
//!
//! Invariant: a message has one binary form, of at most [`MAX_MESSAGE`] octets.

use std::collections::BTreeSet;
use std::fmt;

use crate::fields::Fields;
use crate::trust::{IdentityId, NodeId};

const VERSION: u8 = 1;

/// The most relays on the way of a circuit.
pub const MAX_HOPS: u8 = 4;
/// The most relays that one request for a circuit tries, those that it does not lead through included.
pub const MAX_VISITED: usize = 16;
/// The most octets of a message before octets flow.
pub const MAX_MESSAGE: usize = 1_024;
/// The most octets of a circuit in one message.
pub const CHUNK: usize = 32 * 1_024;

/// One end of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Party {
    /// Its identity.
    pub identity: IdentityId,
    /// Its node.
    pub node: NodeId,
}

/// Asks for a circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// How many relays may be on its way from here on, this one included.
    pub hops: u8,
    /// Whom it is to reach.
    pub target: Party,
    /// Who asked first.
    pub origin: Party,
    /// The relays that were asked already: none of them is asked again.
    pub visited: BTreeSet<NodeId>,
}

/// The first message of who comes to a door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A circuit.
    Open(Open),
    /// To be told of circuits that lead to the sender, for as long as the connection is open.
    Line,
    /// The circuit that an invitation told of.
    Fetch(u64),
}

/// What a door says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Octets flow from now on.
    Opened,
    /// There is no circuit. These relays, and the sender, were asked.
    Refused(Why, BTreeSet<NodeId>),
    /// On a line: a circuit of this number waits.
    Invite(u64),
}

/// Why there is no circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Why {
    /// The node does not relay.
    NoRelay,
    /// The sender is not who he says to be, or says something absurd.
    Absurd,
    /// The permissions do not allow it.
    NotPermitted,
    /// It has as many circuits as it may.
    Busy,
    /// The relay is on the way already.
    Loop,
    /// There are too many relays on the way.
    Far,
    /// The target was not reached.
    Unreachable,
}

const WHYS: [(u8, Why, &str); 7] = [
    (1, Why::NoRelay, "the node does not relay"),
    (2, Why::Absurd, "the request is absurd"),
    (3, Why::NotPermitted, "the permissions do not allow it"),
    (4, Why::Busy, "there are as many circuits as there may be"),
    (5, Why::Loop, "the relay is on the way already"),
    (6, Why::Far, "there are too many relays on the way"),
    (7, Why::Unreachable, "no relay reaches the node"),
];

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = WHYS.iter().find(|(_, why, _)| why == self);
        f.pad(known.map_or("", |(_, _, text)| text))
    }
}

/// Why octets are nothing that is said of circuits: a peer that misbehaved, or is of a later version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It is of a version that is not known here.
    #[error("version {found} of what is said of circuits is not supported, only {VERSION}")]
    Version {
        /// The version.
        found: u8,
    },
    /// It is of no kind that belongs here.
    #[error("nothing of kind {found} is said of circuits there")]
    Kind {
        /// The kind.
        found: u8,
    },
    /// It is cut off, too long, or not in its one form.
    #[error("what is said of a circuit is malformed")]
    Malformed,
}

const OPEN: u8 = 1;
const LINE: u8 = 2;
const FETCH: u8 = 3;
const OPENED: u8 = 4;
const REFUSED: u8 = 5;
const INVITE: u8 = 6;

impl Party {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.identity.as_octets());
        out.extend_from_slice(self.node.as_octets());
    }

    fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            identity: IdentityId::from_octets(fields.array()?),
            node: NodeId::from_octets(fields.array()?),
        })
    }
}

impl Ask {
    /// Its binary form. Of more than [`MAX_VISITED`] relays the first are in it.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Open(open) => {
                let mut out = vec![VERSION, OPEN, open.hops];
                open.target.encode(&mut out);
                open.origin.encode(&mut out);
                put_visited(&mut out, &open.visited);
                out
            }
            Self::Line => vec![VERSION, LINE],
            Self::Fetch(number) => numbered(FETCH, *number),
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none, and the connection should be closed.
    pub fn decode(octets: &[u8]) -> Result<Self, MessageError> {
        let (kind, mut fields) = begin(octets)?;
        let ask = match kind {
            OPEN => open(&mut fields).map(Self::Open),
            LINE => Some(Self::Line),
            FETCH => fields.u64().map(Self::Fetch),
            found => return Err(MessageError::Kind { found }),
        };
        end(ask, &fields)
    }
}

impl Reply {
    /// Its binary form. Of more than [`MAX_VISITED`] relays the first are in it.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Opened => vec![VERSION, OPENED],
            Self::Refused(why, visited) => {
                let known = WHYS.iter().find(|(_, known, _)| known == why);
                let number = known.map_or(0, |(number, _, _)| *number);
                let mut out = vec![VERSION, REFUSED, number];
                put_visited(&mut out, visited);
                out
            }
            Self::Invite(number) => numbered(INVITE, *number),
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none, and the connection should be closed.
    pub fn decode(octets: &[u8]) -> Result<Self, MessageError> {
        let (kind, mut fields) = begin(octets)?;
        let reply = match kind {
            OPENED => Some(Self::Opened),
            REFUSED => refused(&mut fields),
            INVITE => fields.u64().map(Self::Invite),
            found => return Err(MessageError::Kind { found }),
        };
        end(reply, &fields)
    }
}

fn begin(octets: &[u8]) -> Result<(u8, Fields<'_>), MessageError> {
    if octets.len() > MAX_MESSAGE {
        return Err(MessageError::Malformed);
    }
    let mut fields = Fields::new(octets);
    match (fields.octet(), fields.octet()) {
        (Some(VERSION), Some(kind)) => Ok((kind, fields)),
        (Some(VERSION) | None, _) => Err(MessageError::Malformed),
        (Some(found), _) => Err(MessageError::Version { found }),
    }
}

fn end<T>(read: Option<T>, fields: &Fields<'_>) -> Result<T, MessageError> {
    let whole = read.filter(|_| fields.is_empty());
    whole.ok_or(MessageError::Malformed)
}

fn open(fields: &mut Fields<'_>) -> Option<Open> {
    let hops = fields.octet().filter(|hops| *hops <= MAX_HOPS)?;
    Some(Open {
        hops,
        target: Party::decode(fields)?,
        origin: Party::decode(fields)?,
        visited: read_visited(fields)?,
    })
}

fn refused(fields: &mut Fields<'_>) -> Option<Reply> {
    let number = fields.octet()?;
    let (_, why, _) = WHYS.iter().find(|(known, _, _)| *known == number)?;
    Some(Reply::Refused(*why, read_visited(fields)?))
}

fn numbered(kind: u8, number: u64) -> Vec<u8> {
    let mut out = vec![VERSION, kind];
    out.extend_from_slice(&number.to_be_bytes());
    out
}

fn put_visited(out: &mut Vec<u8>, visited: &BTreeSet<NodeId>) {
    let count = visited.len().min(MAX_VISITED);
    out.push(u8::try_from(count).expect("there are few"));
    let first = visited.iter().take(count);
    first.for_each(|node| out.extend_from_slice(node.as_octets()));
}

fn read_visited(fields: &mut Fields<'_>) -> Option<BTreeSet<NodeId>> {
    let count = usize::from(fields.octet()?);
    if count > MAX_VISITED {
        return None;
    }
    let mut visited = BTreeSet::new();
    for _ in 0..count {
        let node = NodeId::from_octets(fields.array()?);
        if visited.last().is_some_and(|last| *last >= node) {
            return None;
        }
        visited.insert(node);
    }
    Some(visited)
}

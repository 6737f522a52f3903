//! What a node offers, as its record says it.
//!
//! ```text
//!  octet 0   kind
//!        1   load
//!        2   addresses, a set of bits: bit 0 is the record's first address
//!        4   name: length (1), UTF-8
//!            properties: count (1), each key and value: length (1), octets
//! ```

use withy_proto::SocketType;

use withy_proto::fields::{Fields, put_short};

/// A service: something that others can find by its kind and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What it is.
    pub kind: Kind,
    /// Its name: 1 to [`MAX_NAME`](Self::MAX_NAME) octets without control characters.
    pub name: Box<str>,
    /// How busy it is: 0 is idle, 255 is full. Each change is news for every node of the mesh, so it
    /// should change seldom and in large steps.
    pub load: u8,
    /// Which of the record's addresses it is at: bit 0 is the first. All zeros means all of them.
    pub addresses: u16,
    /// What else there is to know, in ascending order of the keys.
    pub properties: Vec<(Box<str>, Box<[u8]>)>,
}

/// What a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Publishes on the bus; its name is the topic's first level, or a topic.
    Publisher,
    /// Answers requests.
    Service,
    /// Keeps a queue.
    Queue,
    /// Takes work from a queue.
    Pull,
    /// One end of a pair.
    Pair,
    /// Belongs to a group.
    Group,
    /// Relays: leads connections to others that do not reach each other.
    Relay,
    /// A plain socket that is bound under a name.
    Socket(SocketType),
    /// Something that this version does not know, by its number on the wire.
    Other(u8),
}

/// Every kind but the plain sockets, with its number.
const KINDS: [(u8, Kind); 7] = [
    (1, Kind::Publisher),
    (2, Kind::Service),
    (3, Kind::Queue),
    (4, Kind::Pull),
    (5, Kind::Pair),
    (6, Kind::Group),
    (7, Kind::Relay),
];

/// Every plain socket, numbered from [`FIRST_SOCKET`] in this order.
const SOCKETS: [SocketType; 11] = [
    SocketType::Req,
    SocketType::Rep,
    SocketType::Dealer,
    SocketType::Router,
    SocketType::Pub,
    SocketType::Sub,
    SocketType::XPub,
    SocketType::XSub,
    SocketType::Push,
    SocketType::Pull,
    SocketType::Pair,
];

const FIRST_SOCKET: u8 = 16;

impl Kind {
    /// Its number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::Other(number) => number,
            Self::Socket(kind) => {
                let at = SOCKETS.iter().position(|known| *known == kind);
                FIRST_SOCKET + at.and_then(|at| u8::try_from(at).ok()).unwrap_or_default()
            }
            kind => KINDS
                .iter()
                .find(|(_, known)| *known == kind)
                .map_or(0, |(number, _)| *number),
        }
    }

    /// The kind of a number.
    pub fn from_number(number: u8) -> Self {
        let socket = || SOCKETS.get(usize::from(number.checked_sub(FIRST_SOCKET)?));
        let known = KINDS.iter().find(|(known, _)| *known == number);
        match (known, socket()) {
            (Some((_, kind)), _) => *kind,
            (None, Some(kind)) => Self::Socket(*kind),
            (None, None) => Self::Other(number),
        }
    }
}

impl Service {
    /// The longest name, in octets.
    pub const MAX_NAME: usize = 127;
    /// The most properties.
    pub const MAX_PROPERTIES: usize = 8;
    /// The longest key of a property, in octets.
    pub const MAX_KEY: usize = 32;
    /// The longest value of a property, in octets.
    pub const MAX_VALUE: usize = 255;

    /// An idle service without properties, at all addresses of its node.
    pub fn new(kind: Kind, name: &str) -> Self {
        Self {
            kind,
            name: name.into(),
            load: 0,
            addresses: 0,
            properties: Vec::new(),
        }
    }

    /// Whether a text may be a name.
    pub fn is_name(text: &str) -> bool {
        (1..=Self::MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
    }

    /// Whether it keeps to the limits and has one binary form, in a record of so many addresses.
    pub(super) fn is_canonical(&self, addresses: usize) -> bool {
        let property = |(key, value): &(Box<str>, Box<[u8]>)| {
            (1..=Self::MAX_KEY).contains(&key.len())
                && value.len() <= Self::MAX_VALUE
                && key.bytes().all(|octet| octet.is_ascii_graphic())
        };
        Self::is_name(&self.name)
            && Kind::from_number(self.kind.number()) == self.kind
            && u32::from(self.addresses) < 1 << addresses
            && self.properties.len() <= Self::MAX_PROPERTIES
            && self.properties.iter().all(property)
            && self.properties.is_sorted_by(|one, next| one.0 < next.0)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.kind.number(), self.load]);
        out.extend_from_slice(&self.addresses.to_be_bytes());
        put_short(out, self.name.as_bytes());
        out.push(u8::try_from(self.properties.len()).expect("checked to be few"));
        for (key, value) in &self.properties {
            put_short(out, key.as_bytes());
            put_short(out, value);
        }
    }

    pub(super) fn decode(reader: &mut Fields<'_>) -> Option<Self> {
        let mut service = Self {
            kind: Kind::from_number(reader.octet()?),
            load: reader.octet()?,
            addresses: reader.u16()?,
            name: str::from_utf8(reader.short()?).ok()?.into(),
            properties: Vec::new(),
        };
        let count = usize::from(reader.octet()?);
        if count > Self::MAX_PROPERTIES {
            return None;
        }
        for _ in 0..count {
            let key = str::from_utf8(reader.short()?).ok()?;
            let value = reader.short()?;
            service.properties.push((key.into(), value.into()));
        }
        Some(service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_one_kind() {
        for number in 0..=u8::MAX {
            assert_eq!(Kind::from_number(number).number(), number);
        }
        for kind in SOCKETS {
            let kind = Kind::Socket(kind);
            assert_eq!(Kind::from_number(kind.number()), kind);
        }
        assert_eq!(Kind::Group.number(), 6);
        assert_eq!(Kind::Relay.number(), 7);
        assert_eq!(Kind::Socket(SocketType::Pair).number(), 26);
    }
}

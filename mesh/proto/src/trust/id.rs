//! The ids of identities, nodes and networks: ed25519 public keys with one printed form.
//!
//! The form is the 32 octets of the key and three of a checksum, in lower-case base32 (RFC 4648 §6,
//! without padding): 56 letters and digits, one word that a double click selects. The checksum is
//! the beginning of SHA-256 over a string that names the kind and the key, so that an id of one kind
//! is not taken for one of another.
//!
//! An id is a name, not a proof: any 32 octets make one. What is no point of the curve, or one of
//! small order, verifies no signature.
//!
//! Invariant: printing an id and parsing the text gives the same id, and each id has one
//! lower-case text.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use super::base32::{self, Base32Error};
use super::domain;
use crate::crypto::hash;
use crate::crypto::sign::{PUBLIC, SigningKey};

/// The characters of a printed id.
pub const CHARACTERS: usize = 56;

/// The octets of the checksum.
const CHECKSUM: usize = 3;

/// The id of an identity: of a person, a host or a service. Trust and pinning apply to it.
///
/// # Examples
///
/// ```
/// use withy_proto::trust::{IdentityId, NodeId};
///
/// let id = IdentityId::from_octets([7; 32]);
/// let text = id.to_string();
/// assert_eq!(text.len(), 56);
/// assert_eq!(text.to_uppercase().parse(), Ok(id));
///
/// let error = text.parse::<NodeId>().unwrap_err();
/// assert_eq!(error.to_string(), "this is an identity, not a node id");
/// ```
pub type IdentityId = Id<Identity>;

/// The id of a node: of one running process.
pub type NodeId = Id<Node>;

/// The id of a network: the key of the authority that signs its memberships.
pub type NetworkId = Id<Network>;

/// An ed25519 public key of one kind. `Display`, `Debug` and `FromStr` are its printed form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id<K: Kind>([u8; PUBLIC], PhantomData<K>);

/// What an id names. There are three.
pub trait Kind: sealed::Kind {
    /// The kind.
    const KIND: IdKind;
}

/// Makes an [`Id`] an [`IdentityId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {}

/// Makes an [`Id`] a [`NodeId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {}

/// Makes an [`Id`] a [`NetworkId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {}

impl Kind for Identity {
    const KIND: IdKind = IdKind::Identity;
}

impl Kind for Node {
    const KIND: IdKind = IdKind::Node;
}

impl Kind for Network {
    const KIND: IdKind = IdKind::Network;
}

/// The kinds of ids, as errors name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdKind {
    /// [`IdentityId`].
    Identity,
    /// [`NodeId`].
    Node,
    /// [`NetworkId`].
    Network,
}

impl<K: Kind> Id<K> {
    /// The id of a public key.
    pub const fn from_octets(key: [u8; PUBLIC]) -> Self {
        Self(key, PhantomData)
    }

    /// The id of the public key that belongs to a secret key.
    pub fn of(key: &SigningKey) -> Self {
        Self::from_octets(key.public())
    }

    /// The public key.
    pub const fn as_octets(&self) -> &[u8; PUBLIC] {
        &self.0
    }

    /// The first eight characters of the printed form, for logs. They are not unique: whoever
    /// wants to can make an id that begins the same.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }

    fn print(&self) -> [u8; CHARACTERS] {
        let mut octets = [0; PUBLIC + CHECKSUM];
        octets[..PUBLIC].copy_from_slice(&self.0);
        octets[PUBLIC..].copy_from_slice(&K::KIND.checksum(&self.0));
        let mut text = [0; CHARACTERS];
        base32::encode(&octets, &mut text);
        text
    }
}

impl IdKind {
    const ALL: [Self; 3] = [Self::Identity, Self::Node, Self::Network];

    fn checksum(self, key: &[u8; PUBLIC]) -> [u8; CHECKSUM] {
        let domain = match self {
            Self::Identity => domain::IDENTITY_ID,
            Self::Node => domain::NODE_ID,
            Self::Network => domain::NETWORK_ID,
        };
        let [a, b, c, ..] = hash::sha256(&[domain, key]);
        [a, b, c]
    }
}

impl fmt::Display for IdKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "an identity",
            Self::Node => "a node id",
            Self::Network => "a network id",
        })
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(str::from_utf8(&self.print()).expect("base32 is ASCII"))
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<K: Kind> FromStr for Id<K> {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let length = text.chars().count();
        let mut octets = [0; PUBLIC + CHECKSUM];
        if length != CHARACTERS {
            return Err(IdError::Length { length });
        }
        base32::decode(text, &mut octets).map_err(|error| match error {
            Base32Error::Character { at } => IdError::Character { at },
            Base32Error::Length => IdError::Checksum,
        })?;
        let mut fields = crate::fields::Fields::new(&octets);
        let (key, checksum) = (fields.array(), fields.array());
        let (Some(key), Some(checksum)) = (key, checksum) else {
            return Err(IdError::Checksum);
        };
        let fits = |kind: &IdKind| kind.checksum(&key) == checksum;
        if fits(&K::KIND) {
            return Ok(Self::from_octets(key));
        }
        Err(match IdKind::ALL.into_iter().find(fits) {
            Some(found) => IdError::Kind {
                found,
                expected: K::KIND,
            },
            None => IdError::Checksum,
        })
    }
}

/// Why a text is not an id. Local misuse: a typing error, or a part that was not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// It has another length than [`CHARACTERS`].
    #[error("an id has {CHARACTERS} characters, not {length}")]
    Length {
        /// The length in characters.
        length: usize,
    },
    /// A character is neither a letter of a to z nor a digit of 2 to 7.
    #[error("character {} is none of a to z and 2 to 7", at + 1)]
    Character {
        /// Its place, from 0.
        at: usize,
    },
    /// The checksum does not fit: a character is wrong.
    #[error("the id is damaged: its checksum does not fit")]
    Checksum,
    /// It is an id of another kind.
    #[error("this is {found}, not {expected}")]
    Kind {
        /// What it is.
        found: IdKind,
        /// What it should be.
        expected: IdKind,
    },
}

mod sealed {
    pub trait Kind: Copy + Ord + std::hash::Hash + std::fmt::Debug {}
    impl Kind for super::Identity {}
    impl Kind for super::Node {}
    impl Kind for super::Network {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = *b"0123456789abcdefghijklmnopqrstuv";

    fn texts() -> [(IdKind, String); 3] {
        [
            (IdKind::Identity, IdentityId::from_octets(KEY).to_string()),
            (IdKind::Node, NodeId::from_octets(KEY).to_string()),
            (IdKind::Network, NetworkId::from_octets(KEY).to_string()),
        ]
    }

    /// The result of parsing a text as each kind.
    fn parse(text: &str) -> [(IdKind, Result<[u8; 32], IdError>); 3] {
        let identity = text.parse::<IdentityId>().map(|id| *id.as_octets());
        let node = text.parse::<NodeId>().map(|id| *id.as_octets());
        let network = text.parse::<NetworkId>().map(|id| *id.as_octets());
        [
            (IdKind::Identity, identity),
            (IdKind::Node, node),
            (IdKind::Network, network),
        ]
    }

    #[test]
    fn every_kind_parses_as_itself_and_names_itself_to_every_other() {
        for (found, text) in texts() {
            assert_eq!(text.len(), CHARACTERS);
            assert!(text.bytes().all(|c| matches!(c, b'a'..=b'z' | b'2'..=b'7')));
            for text in [text.to_ascii_uppercase(), text] {
                for (expected, parsed) in parse(&text) {
                    match found == expected {
                        true => assert_eq!(parsed, Ok(KEY)),
                        false => assert_eq!(parsed, Err(IdError::Kind { found, expected })),
                    }
                }
            }
        }
        let error = IdError::Kind {
            found: IdKind::Node,
            expected: IdKind::Identity,
        };
        assert_eq!(error.to_string(), "this is a node id, not an identity");
    }

    #[test]
    fn the_form_does_not_change() {
        let [identity, node, network] = texts().map(|(_, text)| text);
        assert_eq!(
            identity,
            "gaytemzugu3doobzmfrggzdfmztwq2lknnwg23tpobyxe43uov3lddhs"
        );
        assert_eq!(
            node,
            "gaytemzugu3doobzmfrggzdfmztwq2lknnwg23tpobyxe43uov3adr44"
        );
        assert_eq!(
            network,
            "gaytemzugu3doobzmfrggzdfmztwq2lknnwg23tpobyxe43uov3kethr"
        );
    }

    #[test]
    fn a_changed_character_anywhere_is_noticed() {
        for (_, text) in texts() {
            for at in 0..CHARACTERS {
                let mut octets = text.clone().into_bytes();
                octets[at] = if octets[at] == b'a' { b'b' } else { b'a' };
                let changed = String::from_utf8(octets).unwrap();
                for (_, parsed) in parse(&changed) {
                    assert_eq!(parsed, Err(IdError::Checksum));
                }
            }
        }
    }

    #[test]
    fn every_other_length_and_alphabet_is_refused() {
        let text = IdentityId::from_octets(KEY).to_string();
        for length in 0..CHARACTERS {
            let cut = text[..length].parse::<IdentityId>();
            assert_eq!(cut, Err(IdError::Length { length }));
        }
        let long = format!("{text}a").parse::<IdentityId>();
        assert_eq!(long, Err(IdError::Length { length: 57 }));
        for wrong in ["0", "1", "8", "9", "=", " ", "-", "\u{e9}"] {
            for at in [0, 9, 55] {
                let mut text = text.clone();
                text.replace_range(at..=at, wrong);
                let parsed = text.parse::<IdentityId>();
                assert_eq!(parsed, Err(IdError::Character { at }), "{wrong}");
            }
        }
        assert!("".parse::<NodeId>().is_err());
    }

    #[test]
    fn ids_print_as_their_form_and_shorten_to_its_beginning() {
        let id = NodeId::from_octets(KEY);
        assert_eq!(format!("{id:?}"), id.to_string());
        assert_eq!(format!("{id:>60}").len(), 60);
        assert_eq!(id.short(), id.to_string()[..8]);
    }
}

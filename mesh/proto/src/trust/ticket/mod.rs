//! Tickets: one line of text that lets its holder join a network.
//!
//! ```text
//!  withy-ticket-1-BASE32        RFC 4648 §6, lower case, no padding; either case is taken
//!
//!  octet  0    1 = invitation, 2 = membership
//!         1    secret of the network
//!        33    length of the name, 1 to 63, and the name
//!         n    1: invitation (157), seed of its ed25519 key (32)
//!              2: last second for joining (u64), membership (156)
//!         m    first four octets of SHA-256 over "withy ticket 1" and all octets before
//! ```
//!
//! A ticket is a secret: who reads it can join, or at least knows the network's secret. Nothing
//! shows one but [`Ticket::expose`]. The checksum finds damage, not forgery; the authority's
//! signature is verified when the ticket is redeemed.
//!
//! Invariant: each ticket has one lower-case text, and parsing it gives the same ticket.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use super::base32::{self, Base32Error};
use super::domain;
use super::id::{IdentityId, NetworkId};
use super::membership::{Invitation, Membership, MembershipError, Proof};
use super::name::Name;
use super::network::{Network, Secret};
use super::validity::{Validity, ValidityError};
use crate::crypto::sign::SigningKey;
use crate::crypto::{Provider, hash};
use crate::fields::Fields;

/// What a ticket begins with.
const PREFIX: &str = "withy-ticket-1-";

/// What tickets of every version begin with.
const ANY_PREFIX: &str = "withy-ticket-";

const CHECKSUM: usize = 4;

/// The octets of the largest ticket, before base32.
const MAX_OCTETS: usize = 1 + Secret::SIZE + 1 + Name::MAX + Invitation::SIZE + 32 + CHECKSUM;

/// What lets its holder join a network. `Debug` does not show its secrets.
#[derive(Clone)]
pub struct Ticket {
    name: Name,
    secret: Secret,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Invitation {
        invitation: Invitation,
        seed: Zeroizing<[u8; 32]>,
    },
    Membership {
        expires: u64,
        membership: Membership,
    },
}

/// What comes out of a ticket.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The network.
    pub network: Network,
    /// What the identity shows its other members.
    pub proof: Proof,
}

impl Ticket {
    /// How long a ticket can be used unless said otherwise, in seconds: a day.
    pub const LIFETIME: u64 = 24 * 60 * 60;

    /// The longest text of a ticket, in characters.
    pub const MAX: usize = PREFIX.len() + base32::characters(MAX_OCTETS);

    /// A ticket for whoever holds it. `key` is the secret half of the invitation's key.
    pub fn with_invitation(
        name: Name,
        secret: Secret,
        invitation: Invitation,
        key: &SigningKey,
    ) -> Self {
        let seed = key.expose_seed();
        let content = Content::Invitation { invitation, seed };
        Self {
            name,
            secret,
            content,
        }
    }

    /// A ticket for one identity, to be used until `expires`.
    pub const fn with_membership(
        name: Name,
        secret: Secret,
        membership: Membership,
        expires: u64,
    ) -> Self {
        let content = Content::Membership {
            expires,
            membership,
        };
        Self {
            name,
            secret,
            content,
        }
    }

    /// The network that it is for.
    pub const fn network(&self) -> NetworkId {
        match &self.content {
            Content::Invitation { invitation, .. } => invitation.network(),
            Content::Membership { membership, .. } => membership.network(),
        }
    }

    /// What people call the network.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The identity that it is for, if it is for one only.
    pub const fn member(&self) -> Option<IdentityId> {
        match &self.content {
            Content::Invitation { .. } => None,
            Content::Membership { membership, .. } => Some(membership.member()),
        }
    }

    /// The number that what it grants is revoked by.
    pub const fn serial(&self) -> u64 {
        match &self.content {
            Content::Invitation { invitation, .. } => invitation.grant().serial,
            Content::Membership { membership, .. } => membership.grant().serial,
        }
    }

    /// The last second, since the Unix epoch, at which it should be used.
    pub const fn expires(&self) -> u64 {
        match &self.content {
            Content::Invitation { invitation, .. } => invitation.grant().validity.not_after,
            Content::Membership { expires, .. } => *expires,
        }
    }

    /// Joins the network as `member`.
    ///
    /// # Errors
    /// The ticket expired, is for another identity, or was not signed by the network's authority.
    pub fn redeem(
        &self,
        provider: Provider,
        member: IdentityId,
        now: u64,
    ) -> Result<Joined, TicketError> {
        let proof: Proof = match &self.content {
            Content::Invitation { invitation, seed } => {
                let key = SigningKey::from_seed(provider, seed);
                invitation.redeem(&key, member).into()
            }
            Content::Membership {
                expires,
                membership,
            } => {
                let until = Validity {
                    not_before: 0,
                    not_after: *expires,
                };
                until.check(now)?;
                (*membership).into()
            }
        };
        let id = self.network();
        proof.verify(provider, id, member, now)?;
        let network = Network {
            id,
            name: self.name.clone(),
            secret: self.secret.clone(),
        };
        Ok(Joined { network, proof })
    }

    /// The text, for a terminal or a file that only its reader can see.
    pub fn expose(&self) -> Zeroizing<String> {
        let octets = self.encode();
        let mut text = vec![0; PREFIX.len() + base32::characters(octets.len())];
        let (prefix, rest) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        base32::encode(&octets, rest);
        Zeroizing::new(String::from_utf8(text).expect("base32 is ASCII"))
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Of its full size at once: a vector that grows leaves copies behind.
        let mut octets = Zeroizing::new(Vec::with_capacity(MAX_OCTETS));
        let name = self.name.as_str().as_bytes();
        octets.push(self.content.kind());
        octets.extend_from_slice(self.secret.expose_octets());
        octets.push(name.len() as u8);
        octets.extend_from_slice(name);
        match &self.content {
            Content::Invitation { invitation, seed } => {
                octets.extend_from_slice(&invitation.encode());
                octets.extend_from_slice(&**seed);
            }
            Content::Membership {
                expires,
                membership,
            } => {
                octets.extend_from_slice(&expires.to_be_bytes());
                octets.extend_from_slice(&membership.encode());
            }
        }
        let checksum = checksum(&octets);
        octets.extend_from_slice(&checksum);
        octets
    }

    fn decode(octets: &[u8]) -> Result<Self, TicketError> {
        let (octets, sum) = octets
            .split_last_chunk::<CHECKSUM>()
            .ok_or(TicketError::Damaged)?;
        if *sum != checksum(octets) {
            return Err(TicketError::Damaged);
        }
        let mut fields = Fields::new(octets);
        let ticket = Self::read(&mut fields).filter(|_| fields.rest().is_empty());
        ticket.ok_or(TicketError::Malformed)
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let kind = fields.octet()?;
        let secret = Secret::from_octets(fields.array()?);
        let length = fields.octet()?;
        let name = str::from_utf8(fields.take(usize::from(length))?).ok()?;
        let name = name.parse().ok()?;
        let content = match kind {
            Content::INVITATION => Content::Invitation {
                invitation: Invitation::read(fields).ok()??,
                seed: Zeroizing::new(fields.array()?),
            },
            Content::MEMBERSHIP => Content::Membership {
                expires: fields.u64()?,
                membership: Membership::read(fields)?,
            },
            _ => return None,
        };
        Some(Self {
            name,
            secret,
            content,
        })
    }
}

impl Content {
    const INVITATION: u8 = 1;
    const MEMBERSHIP: u8 = 2;

    const fn kind(&self) -> u8 {
        match self {
            Self::Invitation { .. } => Self::INVITATION,
            Self::Membership { .. } => Self::MEMBERSHIP,
        }
    }
}

fn checksum(octets: &[u8]) -> [u8; CHECKSUM] {
    let [a, b, c, d, ..] = hash::sha256(&[domain::TICKET, octets]);
    [a, b, c, d]
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("network", &self.network())
            .field("name", &self.name)
            .field("member", &self.member())
            .field("expires", &self.expires())
            .finish_non_exhaustive()
    }
}

/// White space around the text is passed over.
impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let text = text.trim();
        let (prefix, rest) = text
            .split_at_checked(PREFIX.len())
            .ok_or(TicketError::Prefix)?;
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            let family = prefix.get(..ANY_PREFIX.len());
            let newer = family.is_some_and(|it| it.eq_ignore_ascii_case(ANY_PREFIX));
            return Err(match newer {
                true => TicketError::Version,
                false => TicketError::Prefix,
            });
        }
        if text.len() > Self::MAX {
            return Err(TicketError::Length { length: text.len() });
        }
        let mut octets = Zeroizing::new(vec![0; base32::octets(rest.len())]);
        base32::decode(rest, &mut octets).map_err(|error| match error {
            Base32Error::Character { at } => TicketError::Character {
                at: PREFIX.len() + at,
            },
            Base32Error::Length => TicketError::Damaged,
        })?;
        Self::decode(&octets)
    }
}

/// Why a ticket cannot be used. It never shows the ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// The text is something else.
    #[error("this is not a ticket: one begins with {PREFIX}")]
    Prefix,
    /// It is of a version that is not known here; who made it is newer.
    #[error("the ticket is of a version that is not known here")]
    Version,
    /// It is longer than any ticket.
    #[error("a ticket has at most {} characters, not {length}", Ticket::MAX)]
    Length {
        /// The length in octets.
        length: usize,
    },
    /// A character is neither a letter of a to z nor a digit of 2 to 7.
    #[error("character {} of the ticket is none of a to z and 2 to 7", at + 1)]
    Character {
        /// Its place, from 0.
        at: usize,
    },
    /// A part is missing or a character is wrong.
    #[error("the ticket is damaged, or not all of it was copied")]
    Damaged,
    /// It is whole, but nothing that is known here; who made it is newer, or wrong.
    #[error("the ticket is malformed")]
    Malformed,
    /// It cannot be used now.
    #[error("the ticket {0}")]
    Validity(#[from] ValidityError),
    /// It is for another identity.
    #[error("the ticket is for another identity, {member}")]
    Identity {
        /// Whom it is for.
        member: IdentityId,
    },
    /// What it carries does not hold; it was made by somebody else than the network's authority.
    #[error("the ticket does not hold: {0}")]
    Membership(MembershipError),
}

impl From<MembershipError> for TicketError {
    fn from(error: MembershipError) -> Self {
        match error {
            MembershipError::Validity(error) => Self::Validity(error),
            MembershipError::Member { found: member } => Self::Identity { member },
            error => Self::Membership(error),
        }
    }
}

#[cfg(test)]
mod tests;

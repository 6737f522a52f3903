//! What a node says about itself on the local network: as much as fits into the TXT record of DNS-SD.
//!
//! ```text
//!  public:   txtvers=1 p=1 id=NODE by=IDENTITY sv=SERVICES seq=N exp=SECONDS [a4=..] [a6=..] sig=..
//!  private:  txtvers=1 p=1 n=NONCE c=CONTENT [a4=..] [a6=..] mac=..
//!
//!  NODE, IDENTITY   public keys          SERVICES   the digest that the record has
//!  N                of the record        SECONDS    since the Unix epoch, the last one that counts
//!  a4, a6           addresses, ascending: 4 or 16 octets each
//!  sig              by the node over "withy announcement 1" and the text that `Public::text` makes:
//!                   all of this, and the port
//! ```
//!
//! Octets are in base64url without padding, numbers in decimal. A record does not fit, and is not
//! needed: an announcement is a hint that makes a node dial, and the record then comes by gossip. The
//! addresses are in the TXT record as well as in A and AAAA records because a responder sends only
//! those that belong to an interface, and the signature is over all.
//!
//! The private form is in [`private`](Private).
//!
//! Deliberately not here: multicast, and what becomes of an announcement that holds.
//!
//! Invariant: an announcement has one form, of at most [`Announcement::MAX`] octets in strings of at
//! most 255 (RFC 6763 §6), and what is decoded is in it.

mod error;
mod places;
mod private;
#[cfg(test)]
mod tests;
mod txt;

use withy_proto::crypto::Provider;
use withy_proto::crypto::sign::{self, SIGNATURE, SigningKey};
use withy_proto::trust::{CLOCK_SKEW, IdentityId, NodeId, domain};

pub use error::{AnnouncementError, PlacesError};
pub use places::Places;
pub use private::{Opened, Private};

use crate::peer::PeerTag;
use crate::record::Record;
use txt::{Strings, put};

/// The name under which nodes are found (RFC 6763 §7).
pub const SERVICE: &str = "_withy._udp.local.";

/// The version of the protocol that an announced node speaks.
pub const PROTOCOL: u8 = 1;

/// What was announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announcement {
    /// For everybody.
    Public(Public),
    /// For the members of a network.
    Private(Private),
}

/// An announcement for everybody, signed by its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    content: Content,
    signature: [u8; SIGNATURE],
}

/// What an announcement for everybody says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Which node it is about.
    pub node: NodeId,
    /// Whose it is.
    pub identity: IdentityId,
    /// The digest of the services in the node's record.
    pub services: [u8; 8],
    /// The sequence of the node's record.
    pub sequence: u64,
    /// The last second, since the Unix epoch, at which it counts.
    pub expires: u64,
    /// The UDP port at which the node listens.
    pub port: u16,
    /// The addresses at which it listens.
    pub places: Places,
}

impl Announcement {
    /// The octets of the longest TXT record (RFC 6763 §6.2 names 400 as what fits everywhere).
    pub const MAX: usize = 400;

    /// An announcement from a TXT record, and the port from the SRV record next to it; nothing is
    /// verified yet.
    ///
    /// # Errors
    /// The octets are not one announcement in its one form. Whoever sent it misbehaved, or speaks a
    /// later version.
    pub fn decode(octets: &[u8], port: u16) -> Result<Self, AnnouncementError> {
        let mut strings = Strings::new(octets)?;
        let version = strings.number("txtvers")?;
        if version != 1 {
            return Err(AnnouncementError::Version { found: version });
        }
        let protocol = strings.number("p")?;
        if protocol != u64::from(PROTOCOL) {
            return Err(AnnouncementError::Protocol { found: protocol });
        }
        if port == 0 {
            return Err(AnnouncementError::Port);
        }
        let announcement = match strings.has("n") {
            true => Self::Private(Private::decode(&mut strings, port)?),
            false => Self::Public(Public::decode(&mut strings, port)?),
        };
        match strings.is_empty() {
            true => Ok(announcement),
            false => Err(AnnouncementError::Trailing),
        }
    }

    /// The TXT record.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Public(public) => public.encode(),
            Self::Private(private) => private.encode(),
        }
    }

    /// The addresses that it names.
    pub const fn places(&self) -> &Places {
        match self {
            Self::Public(public) => &public.content.places,
            Self::Private(private) => private.places(),
        }
    }
}

impl Content {
    /// What to announce of the node of a record that listens at a port of some addresses.
    pub fn of(record: &Record, port: u16, places: Places) -> Self {
        Self {
            node: record.node(),
            identity: record.identity(),
            services: record.services_digest(),
            sequence: record.content().sequence,
            expires: record.content().validity.not_after,
            port,
            places,
        }
    }

    /// Signs it with the node's key.
    ///
    /// # Errors
    /// There is no port, or it is the key of another node. Local misuse.
    pub fn sign(self, node: &SigningKey) -> Result<Public, AnnouncementError> {
        if self.port == 0 {
            return Err(AnnouncementError::Port);
        }
        if NodeId::of(node) != self.node {
            return Err(AnnouncementError::Forged);
        }
        let signature = node.sign(&[domain::ANNOUNCEMENT, &self.text()]);
        Ok(Public {
            content: self,
            signature,
        })
    }

    /// What the signature is over, after its domain string: version and protocol (1 each), node,
    /// identity (32 each), services, sequence, expiry (8 each), port (2), addresses.
    fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(256);
        text.extend_from_slice(&[1, PROTOCOL]);
        text.extend_from_slice(self.node.as_octets());
        text.extend_from_slice(self.identity.as_octets());
        text.extend_from_slice(&self.services);
        text.extend_from_slice(&self.sequence.to_be_bytes());
        text.extend_from_slice(&self.expires.to_be_bytes());
        text.extend_from_slice(&self.port.to_be_bytes());
        self.places.put_text(&mut text);
        text
    }
}

impl Public {
    /// What it says.
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// What the node is known by.
    pub fn peer(&self) -> PeerTag {
        PeerTag::of(self.content.identity, self.content.node)
    }

    /// Whether it counts at a time in seconds since the Unix epoch.
    ///
    /// # Errors
    /// It does not any more, or for longer than a record may.
    pub const fn check(&self, now: u64) -> Result<(), AnnouncementError> {
        check_expiry(self.content.expires, now)
    }

    /// Whether the node signed it.
    ///
    /// # Errors
    /// It did not. Whoever sent it misbehaved, which need not be the node.
    pub fn verify(&self, provider: Provider) -> Result<(), AnnouncementError> {
        let node = self.content.node.as_octets();
        let parts = [domain::ANNOUNCEMENT, &self.content.text()];
        match sign::verify(provider, node, &parts, &self.signature) {
            true => Ok(()),
            false => Err(AnnouncementError::Forged),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let content = &self.content;
        let mut out = Vec::with_capacity(Announcement::MAX);
        begin(&mut out);
        put(&mut out, "id", &txt::base64(content.node.as_octets()));
        put(&mut out, "by", &txt::base64(content.identity.as_octets()));
        put(&mut out, "sv", &txt::base64(&content.services));
        put(&mut out, "seq", &content.sequence.to_string());
        put(&mut out, "exp", &content.expires.to_string());
        content.places.put(&mut out);
        put(&mut out, "sig", &txt::base64(&self.signature));
        out
    }

    fn decode(strings: &mut Strings<'_>, port: u16) -> Result<Self, AnnouncementError> {
        let content = Content {
            node: NodeId::from_octets(strings.octets("id")?),
            identity: IdentityId::from_octets(strings.octets("by")?),
            services: strings.octets("sv")?,
            sequence: strings.number("seq")?,
            expires: strings.number("exp")?,
            port,
            places: Places::decode(strings)?,
        };
        Ok(Self {
            content,
            signature: strings.octets("sig")?,
        })
    }
}

fn begin(out: &mut Vec<u8>) {
    put(out, "txtvers", "1");
    put(out, "p", &PROTOCOL.to_string());
}

const fn check_expiry(expires: u64, now: u64) -> Result<(), AnnouncementError> {
    if expires.saturating_add(CLOCK_SKEW) < now {
        return Err(AnnouncementError::Expired {
            seconds: now - expires,
        });
    }
    let longest = now.saturating_add(Record::MAX_LIFETIME + CLOCK_SKEW);
    if expires > longest {
        return Err(AnnouncementError::Lifetime {
            seconds: expires - now,
        });
    }
    Ok(())
}

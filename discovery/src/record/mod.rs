//! What a node says about itself: who it is, where it listens, and what it offers.
//!
//! ```text
//!  octet   0    version, 1
//!          1    certificate of the node
//!        178    flags: bit 0, it has public addresses and means it
//!        179    sequence: u64
//!        187    issued, expires: seconds since the Unix epoch, u64
//!        203    host, process: 8 octets each
//!        219    networks: count, 8 octets each, ascending
//!               addresses: count, each as in `address`
//!               services: count, each as in `service`, ascending by kind and name
//!               signature by the node over "withy peer record 1" and all octets before
//! ```
//!
//! A record is a hint. It shows that the holder of the node's key wrote it, and by each of its
//! [`NetworkTag`]s that he knew the secret of a network; whether he is there now, and is trusted, is
//! for the handshake to say. Which network a tag is of, only those see who know the secret too.
//!
//! Invariant: a record has one binary form, of at most [`Record::MAX`] octets, and a [`Record`] is
//! in it.

mod address;
mod error;
mod service;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use withy_proto::crypto::sign::{self, SIGNATURE, SigningKey};
use withy_proto::crypto::{Provider, hash};
use withy_proto::trust::{Certificate, IdentityId, NodeId, Secret, Validity, domain};

pub(crate) use address::reach as reach_of;
pub use address::{Address, Reach};
pub use error::{Part, RecordError};
pub use service::{Kind, Service};

use crate::peer::PeerTag;
use withy_proto::fields::Fields;

const VERSION: u8 = 1;
const PUBLIC: u8 = 1;

/// Tells hosts, or processes, apart: 8 octets that are drawn once for each.
pub type Place = [u8; 8];

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The node's certificate, by its identity.
    pub certificate: Certificate,
    /// Whether it may have addresses that reach beyond a site.
    pub public: bool,
    /// Goes up with each record of the node.
    pub sequence: u64,
    /// When it was issued, and until when it counts.
    pub validity: Validity,
    /// The host that the node is on; loopback addresses and paths are for those on the same one.
    pub host: Place,
    /// The process that the node is in.
    pub process: Place,
    /// Shows that the node knows the secrets of its networks, ascending.
    pub networks: Vec<NetworkTag>,
    /// Where it listens.
    pub addresses: Vec<Address>,
    /// What it offers, ascending by kind and name.
    pub services: Vec<Service>,
}

/// A code by which a node shows that it knows the secret of a network:
/// HMAC-SHA-256(secret, "withy network tag 1" || identity || node)[..8].
///
/// It is of use to no other node, and tells nothing to those who do not know the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkTag([u8; 8]);

impl NetworkTag {
    /// The code of a node in the network with this secret.
    pub fn of(secret: &Secret, identity: IdentityId, node: NodeId) -> Self {
        let parts = [domain::NETWORK_TAG, identity.as_octets(), node.as_octets()];
        let mac = hash::hmac(secret.expose_octets(), &parts);
        let mut tag = [0; 8];
        tag.copy_from_slice(&mac[..8]);
        Self(tag)
    }
}

/// A signed record in its binary form. Two are equal when all of their octets are.
#[derive(Clone)]
pub struct Record {
    content: Content,
    octets: Bytes,
}

impl Content {
    /// Signs the record with the node's key.
    ///
    /// # Errors
    /// A part does not keep to its limits, or another key is certified. Local misuse.
    pub fn sign(mut self, node: &SigningKey) -> Result<Record, RecordError> {
        let key = |service: &Service| (service.kind.number(), service.name.clone());
        self.networks.sort_unstable();
        self.services.sort_by_cached_key(key);
        self.check()?;
        if NodeId::of(node) != self.certificate.node() {
            return Err(RecordError::Forged);
        }
        let mut octets = self.encode();
        let signature = node.sign(&[domain::PEER_RECORD, &octets]);
        octets.extend_from_slice(&signature);
        let length = octets.len();
        if length > Record::MAX {
            return Err(RecordError::Length { length });
        }
        let octets = octets.into();
        Ok(Record {
            content: self,
            octets,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.push(VERSION);
        out.extend_from_slice(&self.certificate.encode());
        out.push(if self.public { PUBLIC } else { 0 });
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.validity.not_before.to_be_bytes());
        out.extend_from_slice(&self.validity.not_after.to_be_bytes());
        out.extend_from_slice(&self.host);
        out.extend_from_slice(&self.process);
        out.push(count(self.networks.len()));
        self.networks.iter().for_each(|tag| out.extend(tag.0));
        out.push(count(self.addresses.len()));
        self.addresses.iter().for_each(|it| it.encode(&mut out));
        self.encode_services(&mut out);
        out
    }

    fn encode_services(&self, out: &mut Vec<u8>) {
        out.push(count(self.services.len()));
        self.services.iter().for_each(|it| it.encode(out));
    }

    /// Whether everything keeps to its limits and is in the one order.
    fn check(&self) -> Result<(), RecordError> {
        let within = |part, count, limit| match count <= limit {
            true => Ok(()),
            false => Err(RecordError::Many { part, count }),
        };
        within(Part::Networks, self.networks.len(), Record::MAX_NETWORKS)?;
        within(Part::Addresses, self.addresses.len(), Record::MAX_ADDRESSES)?;
        within(Part::Services, self.services.len(), Record::MAX_SERVICES)?;
        if !self.networks.is_sorted_by(|one, next| one < next) {
            return Err(RecordError::Order {
                part: Part::Networks,
            });
        }
        for (at, address) in self.addresses.iter().enumerate() {
            match address.reach() {
                None => return Err(RecordError::Address { at }),
                Some(Reach::Public) if !self.public => return Err(RecordError::Public { at }),
                Some(_) if self.addresses[..at].contains(address) => {
                    let part = Part::Addresses;
                    return Err(RecordError::Order { part });
                }
                Some(_) => {}
            }
        }
        let good = |service: &Service| service.is_canonical(self.addresses.len());
        if let Some(at) = self.services.iter().position(|service| !good(service)) {
            return Err(RecordError::Service { at });
        }
        let key = |service: &Service| (service.kind.number(), service.name.clone());
        match self.services.is_sorted_by(|one, next| key(one) < key(next)) {
            true => Ok(()),
            false => Err(RecordError::Order {
                part: Part::Services,
            }),
        }
    }

    fn decode(reader: &mut Fields<'_>) -> Result<Self, RecordError> {
        let cut = RecordError::Malformed;
        let certificate = reader.take(Certificate::SIZE).ok_or(cut)?;
        let certificate = Certificate::decode(certificate)?;
        let flags = reader.octet().ok_or(cut)?;
        if flags & !PUBLIC != 0 {
            return Err(cut);
        }
        let mut content = Self {
            certificate,
            public: flags == PUBLIC,
            sequence: reader.u64().ok_or(cut)?,
            validity: Validity {
                not_before: reader.u64().ok_or(cut)?,
                not_after: reader.u64().ok_or(cut)?,
            },
            host: reader.array().ok_or(cut)?,
            process: reader.array().ok_or(cut)?,
            networks: Vec::new(),
            addresses: Vec::new(),
            services: Vec::new(),
        };
        for _ in 0..few(reader, Part::Networks, Record::MAX_NETWORKS)? {
            let tag = reader.array().map(NetworkTag);
            content.networks.push(tag.ok_or(cut)?);
        }
        for _ in 0..few(reader, Part::Addresses, Record::MAX_ADDRESSES)? {
            let address = Address::decode(reader);
            content.addresses.push(address.ok_or(cut)?);
        }
        for _ in 0..few(reader, Part::Services, Record::MAX_SERVICES)? {
            let service = Service::decode(reader);
            content.services.push(service.ok_or(cut)?);
        }
        content.check()?;
        Ok(content)
    }
}

impl Record {
    /// The octets of the longest record.
    pub const MAX: usize = 8 * 1024;
    /// The most networks that one shows.
    pub const MAX_NETWORKS: usize = 8;
    /// The most addresses of a node.
    pub const MAX_ADDRESSES: usize = 16;
    /// The most services of a node.
    pub const MAX_SERVICES: usize = 64;

    /// How long a record should count, in seconds: an hour. It is issued anew at half of that.
    pub const LIFETIME: u64 = 60 * 60;
    /// The longest that one counts, in seconds: a day.
    pub const MAX_LIFETIME: u64 = 24 * 60 * 60;

    /// A record from its binary form; nothing is verified yet.
    ///
    /// # Errors
    /// The octets are not one record in its one form.
    pub fn decode(octets: &[u8]) -> Result<Self, RecordError> {
        let length = octets.len();
        if length > Self::MAX {
            return Err(RecordError::Length { length });
        }
        let body = length.checked_sub(SIGNATURE);
        let (body, _) = octets.split_at(body.ok_or(RecordError::Malformed)?);
        let mut reader = Fields::new(body);
        match reader.octet() {
            Some(VERSION) => {}
            Some(found) => return Err(RecordError::Version { found }),
            None => return Err(RecordError::Malformed),
        }
        let content = Content::decode(&mut reader)?;
        if !reader.is_empty() {
            return Err(RecordError::Malformed);
        }
        let octets = Bytes::copy_from_slice(octets);
        Ok(Self { content, octets })
    }

    /// Whether the node signed it, the identity certified the node, and both count now, in seconds
    /// since the Unix epoch.
    ///
    /// # Errors
    /// They do not; what costs least is looked at first.
    pub fn verify(&self, provider: Provider, now: u64) -> Result<(), RecordError> {
        let validity = self.content.validity;
        validity.check(now)?;
        let seconds = validity.lifetime();
        if seconds > Self::MAX_LIFETIME {
            return Err(RecordError::Lifetime { seconds });
        }
        self.content.certificate.verify(provider, now)?;
        let (body, signature) = self.octets.split_at(self.octets.len() - SIGNATURE);
        let signature = signature.try_into().map_err(|_| RecordError::Malformed)?;
        let node = self.content.certificate.node();
        let parts = [domain::PEER_RECORD, body];
        match sign::verify(provider, node.as_octets(), &parts, signature) {
            true => Ok(()),
            false => Err(RecordError::Forged),
        }
    }

    /// What it says.
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// The binary form.
    pub const fn octets(&self) -> &Bytes {
        &self.octets
    }

    /// Whose it is.
    pub const fn identity(&self) -> IdentityId {
        self.content.certificate.identity()
    }

    /// Which node it is about.
    pub const fn node(&self) -> NodeId {
        self.content.certificate.node()
    }

    /// What the node is known by.
    pub fn peer(&self) -> PeerTag {
        PeerTag::of(self.identity(), self.node())
    }

    /// The last second, since the Unix epoch, at which it verifies.
    pub fn expires(&self) -> u64 {
        let certificate = self.content.certificate.validity().expires();
        self.content.validity.expires().min(certificate)
    }

    /// The beginning of SHA-256 over the services in their binary form, by which an announcement
    /// says that they changed without listing them.
    pub fn services_digest(&self) -> [u8; 8] {
        let mut services = Vec::new();
        self.content.encode_services(&mut services);
        first_eight(&services)
    }

    /// The beginning of SHA-256 over the whole record.
    pub fn digest(&self) -> [u8; 8] {
        first_eight(&self.octets)
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.octets == other.octets
    }
}

impl Eq for Record {}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.content, f)
    }
}

/// Reads how many of a part there are.
fn few(reader: &mut Fields<'_>, part: Part, limit: usize) -> Result<usize, RecordError> {
    let count = reader.octet().map(usize::from);
    match count.ok_or(RecordError::Malformed)? {
        count if count <= limit => Ok(count),
        count => Err(RecordError::Many { part, count }),
    }
}

fn first_eight(octets: &[u8]) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&hash::sha256(&[octets])[..8]);
    first
}

fn count(count: usize) -> u8 {
    u8::try_from(count).expect("checked to be few")
}

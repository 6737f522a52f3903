//! What neighbours say to each other.
//!
//! ```text
//!  octet   0    version, 1
//!          1    kind, and what it needs, to the end:
//!               1 news     items: what (1: 1 record, 2 update, 3 revocation), length (u16), octets
//!               2 summary  64 digests of buckets, those that are gone left out, and one of the
//!                          revocations: 8 octets each
//!               3 listing  the buckets it is about: a set of 64 bits, bit 0 is the first; entries:
//!                          peer tag (16), sequence (u64), digest (4), incarnation (u32), state (1)
//!               4 want     peer tags, 16 octets each
//!               5 revoked  whether it is an answer (0 or 1); digests, 8 octets each
//!               6 beat     incarnation (u32); whether it asks for an answer (0 or 1)
//! ```
//!
//! A peer is in the bucket of the first six bits of its tag.

use bytes::Bytes;

use crate::membership::{Beat, Update};
use crate::peer::PeerTag;
use crate::record::Record;
use crate::revocation::Revocation;
use withy_proto::fields::Fields;

const VERSION: u8 = 1;

/// How many buckets there are.
pub(crate) const BUCKETS: usize = 64;

/// A message between neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// What the receiver may not know.
    News(Vec<Item>),
    /// What the sender knows, in little.
    Summary(Box<Summary>),
    /// What the sender knows of some buckets.
    Listing {
        /// Which: bit 0 is the first.
        buckets: u64,
        /// All that it knows there.
        entries: Vec<Entry>,
    },
    /// Whose records the sender wants.
    Want(Vec<PeerTag>),
    /// Which revocations the sender knows.
    Revoked {
        /// Whether it answers one, and so wants none back.
        answers: bool,
        /// Their digests.
        digests: Vec<[u8; 8]>,
    },
    /// The sender is there.
    Beat(Beat),
}

/// Something to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A record in its binary form.
    Record(Bytes),
    /// News about a member.
    Update(Update),
    /// A revocation.
    Revocation(Revocation),
}

/// What a node knows, in little.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// A digest for each bucket, of those that are there.
    pub buckets: [u64; BUCKETS],
    /// A digest of all revocations.
    pub revocations: u64,
}

/// What a node knows of a peer, in little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The sequence of its record, 0 without one.
    pub sequence: u64,
    /// The beginning of the record's digest, zeros without one.
    pub digest: [u8; 4],
    /// What is said of the member.
    pub update: Update,
}

/// Octets that are not a message. The neighbour misbehaved; the link closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It is longer than a message may be.
    #[error("gossip of {length} octets is longer than {}", Message::MAX)]
    Length {
        /// Its octets.
        length: usize,
    },
    /// It is of another version.
    #[error("gossip of version {found}; this one knows version 1")]
    Version {
        /// Which.
        found: u8,
    },
    /// It is of a kind that there is not.
    #[error("gossip of unknown kind {found}")]
    Kind {
        /// Which.
        found: u8,
    },
    /// It is cut short, or a field holds what it cannot hold.
    #[error("gossip is malformed")]
    Malformed,
}

impl Item {
    /// The octets before an item's own.
    pub(crate) const HEADER: usize = 3;

    /// The octets of its binary form, header included.
    pub(crate) fn size(&self) -> usize {
        Self::HEADER
            + match self {
                Self::Record(octets) => octets.len(),
                Self::Update(_) => Update::SIZE,
                Self::Revocation(revocation) => revocation.encode().len(),
            }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let (what, octets): (u8, &[u8]) = match self {
            Self::Record(octets) => (1, octets),
            Self::Update(update) => {
                update.encode(&mut body);
                (2, &body)
            }
            Self::Revocation(revocation) => {
                body = revocation.encode();
                (3, &body)
            }
        };
        out.push(what);
        let length = u16::try_from(octets.len()).expect("no item is longer than a message");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(octets);
    }

    fn decode(reader: &mut Fields<'_>) -> Option<Self> {
        let what = reader.octet()?;
        let length = usize::from(reader.u16()?);
        let octets = reader.take(length)?;
        match what {
            1 if length <= Record::MAX => Some(Self::Record(Bytes::copy_from_slice(octets))),
            2 => {
                let mut reader = Fields::new(octets);
                let update = Update::decode(&mut reader)?;
                reader.is_empty().then_some(Self::Update(update))
            }
            3 => Revocation::decode(octets).map(Self::Revocation),
            _ => None,
        }
    }
}

impl Entry {
    const SIZE: usize = Update::SIZE + 8 + 4;

    /// The most of a listing.
    pub(crate) const MAX: usize = (Message::MAX - 2 - 8) / Self::SIZE;

    /// What stands for the entry in a bucket's digest.
    pub(crate) fn stamp(&self) -> u64 {
        let [low, high] = [0, 8].map(|at| {
            let octets = self.update.peer.as_octets()[at..at + 8].try_into();
            u64::from_be_bytes(octets.expect("eight octets"))
        });
        let digest = u64::from(u32::from_be_bytes(self.digest));
        let state = self.update.state as u64;
        let member = u64::from(self.update.incarnation) << 8 | state;
        [high, self.sequence, digest, member]
            .into_iter()
            .fold(low, mix)
    }

    pub(crate) fn bucket(&self) -> usize {
        bucket(self.update.peer)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.update.peer.as_octets());
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.digest);
        out.extend_from_slice(&self.update.incarnation.to_be_bytes());
        out.push(self.update.state as u8);
    }

    fn decode(reader: &mut Fields<'_>) -> Option<Self> {
        let peer: [u8; 16] = reader.array()?;
        let sequence = reader.u64()?;
        let digest = reader.array()?;
        let rest: [u8; 5] = reader.array()?;
        let mut update = [0; Update::SIZE];
        update[..16].copy_from_slice(&peer);
        update[16..].copy_from_slice(&rest);
        Some(Self {
            sequence,
            digest,
            update: Update::decode(&mut Fields::new(&update))?,
        })
    }
}

/// The bucket of a peer.
pub(crate) fn bucket(peer: PeerTag) -> usize {
    usize::from(peer.as_octets()[0] >> 2)
}

/// Mixes a number into a digest (the finaliser of SplitMix64). It need not withstand an attacker:
/// who makes two digests alike hides only what differs between his own neighbours.
pub(crate) fn mix(digest: u64, number: u64) -> u64 {
    let mut z = (digest ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Message {
    /// The octets of the longest message.
    pub const MAX: usize = 16 * 1024;

    /// The octets of news without items.
    pub(crate) const HEADER: usize = 2;

    /// The binary form. Whoever made the message kept it within [`MAX`](Self::MAX).
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION, self.kind()];
        match self {
            Self::News(items) => items.iter().for_each(|item| item.encode(&mut out)),
            Self::Summary(summary) => {
                let digests = summary.buckets.iter().chain([&summary.revocations]);
                digests.for_each(|digest| out.extend_from_slice(&digest.to_be_bytes()));
            }
            Self::Listing { buckets, entries } => {
                out.extend_from_slice(&buckets.to_be_bytes());
                entries.iter().for_each(|entry| entry.encode(&mut out));
            }
            Self::Want(peers) => peers.iter().for_each(|peer| out.extend(peer.as_octets())),
            Self::Revoked { answers, digests } => {
                out.push(u8::from(*answers));
                digests.iter().for_each(|digest| out.extend(digest));
            }
            Self::Beat(beat) => {
                out.extend_from_slice(&beat.incarnation.to_be_bytes());
                out.push(u8::from(beat.asks));
            }
        }
        out.into()
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::News(_) => 1,
            Self::Summary(_) => 2,
            Self::Listing { .. } => 3,
            Self::Want(_) => 4,
            Self::Revoked { .. } => 5,
            Self::Beat(_) => 6,
        }
    }

    /// A message from its binary form.
    ///
    /// # Errors
    /// It is not one.
    pub fn decode(octets: &[u8]) -> Result<Self, MessageError> {
        let length = octets.len();
        if length > Self::MAX {
            return Err(MessageError::Length { length });
        }
        let mut reader = Fields::new(octets);
        let (version, kind) = (reader.octet(), reader.octet());
        match version {
            Some(VERSION) => {}
            Some(found) => return Err(MessageError::Version { found }),
            None => return Err(MessageError::Malformed),
        }
        let found = kind.ok_or(MessageError::Malformed)?;
        if !(1..=6).contains(&found) {
            return Err(MessageError::Kind { found });
        }
        let message = Self::body(found, &mut reader).filter(|_| reader.is_empty());
        message.ok_or(MessageError::Malformed)
    }

    fn body(kind: u8, reader: &mut Fields<'_>) -> Option<Self> {
        Some(match kind {
            1 => Self::News(all(reader, Item::decode)?),
            2 => {
                let mut buckets = [0; BUCKETS];
                for bucket in &mut buckets {
                    *bucket = reader.u64()?;
                }
                let revocations = reader.u64()?;
                Self::Summary(Box::new(Summary {
                    buckets,
                    revocations,
                }))
            }
            3 => {
                let buckets = reader.u64()?;
                let entries = all(reader, Entry::decode)?;
                let named = |entry: &Entry| buckets & 1 << entry.bucket() != 0;
                if !entries.iter().all(named) {
                    return None;
                }
                Self::Listing { buckets, entries }
            }
            4 => Self::Want(all(reader, |it| it.array().map(PeerTag::from_octets))?),
            5 => Self::Revoked {
                answers: flag(reader)?,
                digests: all(reader, Fields::array)?,
            },
            _ => Self::Beat(Beat {
                incarnation: reader.u32()?,
                asks: flag(reader)?,
            }),
        })
    }
}

/// Reads to the end.
fn all<'a, T>(
    reader: &mut Fields<'a>,
    read: impl Fn(&mut Fields<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let mut all = Vec::new();
    while !reader.is_empty() {
        all.push(read(reader)?);
    }
    Some(all)
}

fn flag(reader: &mut Fields<'_>) -> Option<bool> {
    match reader.octet()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

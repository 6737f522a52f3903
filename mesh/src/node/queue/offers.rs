//! Who keeps a queue, as the records of nodes say.
//!
//! The service of a queue has a property with the number of the keeper's epoch and whether there is a
//! store. The node that signed the record is the holder: so an epoch is verified as its record is.
//!
//! Invariant: what is told of a node that is not trusted, or gone, does not count, nor an epoch that no
//! clock can have come to: nobody would be left who could go above it.

use withy_discovery::{Kind, Service, membership};
use withy_proto::queue::{Epoch, QueueName};
use withy_proto::trust::NodeId;

use super::{millis, now};
use crate::event::PeerInfo;
use crate::node::shared::Shared;

/// The property: the number of the epoch, 8 octets, big-endian, and flags.
const EPOCH: &str = "epoch";

/// How far ahead of this node's clock the number of an epoch may be, in milliseconds. Numbers are the
/// clocks of those that claim, or 1 above what they know.
pub(super) const MAX_LEAP: u64 = 24 * 3_600 * 1_000;

const STORED: u8 = 1;
const HELD: u8 = 2;

/// What a node says of a queue that it keeps, or is about to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Said {
    pub(super) epoch: Epoch,
    pub(super) is_stored: bool,
    /// Whether the claim is good. Before, it counts for who would be keeper, too, and nobody else.
    pub(super) is_held: bool,
}

impl Said {
    /// What the record says.
    pub(super) fn service(self, queue: &QueueName) -> Service {
        let number = self.epoch.number().to_be_bytes();
        let flags = u8::from(self.is_stored) * STORED + u8::from(self.is_held) * HELD;
        let value = [&number[..], &[flags]].concat();
        let mut service = Service::new(Kind::Queue, queue.as_str());
        service.properties.push((EPOCH.into(), value.into()));
        service
    }

    fn read(service: &Service, node: NodeId) -> Option<Self> {
        let value = service.properties.iter().find(|(key, _)| **key == *EPOCH);
        let (number, rest) = value?.1.split_first_chunk()?;
        // A later version may say more.
        let flags = rest.first()?;
        Some(Self {
            epoch: Epoch::new(u64::from_be_bytes(*number), node),
            is_stored: flags & STORED != 0,
            is_held: flags & HELD != 0,
        })
    }
}

/// The highest number of an epoch that counts now.
pub(super) fn highest_epoch() -> u64 {
    millis(now()).saturating_add(MAX_LEAP)
}

impl Shared {
    /// Who says to keep a queue, the highest epoch last; this node only if `own`.
    pub(super) fn keepers(&self, queue: &QueueName, own: bool) -> Vec<Said> {
        let state = self.state.lock();
        let discovery = &state.discovery;
        let there = discovery
            .table()
            .instances(Kind::Queue, queue.as_str())
            .filter(|(tag, record)| {
                if *tag == self.own {
                    return own;
                }
                let member = discovery.membership().state(*tag);
                !member.is_some_and(membership::State::is_gone) && self.may_trust(record)
            });
        let mut said: Vec<_> = there
            .filter_map(|(_, record)| {
                let mut services = record.content().services.iter();
                let is = |it: &&Service| it.kind == Kind::Queue && *it.name == *queue.as_str();
                Said::read(services.find(is)?, record.node())
            })
            .collect();
        let limit = highest_epoch();
        said.retain(|said| said.epoch.number() <= limit);
        said.sort();
        said
    }

    /// The node at the other end of a link that leads to a queue. Within a process it is known by its
    /// address, since nothing is proven there.
    pub(super) fn node_at(&self, queue: &QueueName, info: &PeerInfo) -> Option<NodeId> {
        if let Some(proven) = &info.proven {
            return Some(proven.shown.node);
        }
        let tag = info.address.strip_prefix("inproc:withy-node-")?;
        let state = self.state.lock();
        let mut there = state
            .discovery
            .table()
            .instances(Kind::Queue, queue.as_str());
        let found = there.find(|(known, _)| known.to_string() == tag);
        found.map(|(_, record)| record.node())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_record_says_is_read_again() {
        let node = NodeId::from_octets([3; 32]);
        let queue = "jobs".parse().unwrap();
        for (is_stored, is_held) in [(false, true), (true, false)] {
            let said = Said {
                epoch: Epoch::new(1 << 40, node),
                is_stored,
                is_held,
            };
            assert_eq!(Said::read(&said.service(&queue), node), Some(said));
        }
        let mut service = Service::new(Kind::Queue, "jobs");
        assert_eq!(Said::read(&service, node), None);
        for value in [&[0; 8][..], &[0; 7], &[]] {
            service.properties = vec![(EPOCH.into(), value.into())];
            assert_eq!(Said::read(&service, node), None);
        }
    }
}

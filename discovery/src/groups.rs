//! The groups that a node belongs to: join, leave, shout and whisper (RFC 36).
//!
//! A group is a service of the kind [`Kind::Group`], so that joins and leaves travel with records,
//! and the table knows who is in which group. What is shouted goes to all others in a group, what is
//! whispered to one node; carrying it is for the caller.
//!
//! Invariant: a record has room for all groups of a node.

use std::collections::BTreeSet;

use crate::peer::PeerTag;
use crate::record::{Kind, Service};
use crate::table::Table;

/// The groups of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups(BTreeSet<Box<str>>);

/// Why a group is not joined. Local misuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// It is no name.
    #[error(
        "a group has a name of 1 to {} octets without control characters",
        Service::MAX_NAME
    )]
    Name,
    /// The node is in as many groups as it can be.
    #[error("a node is in at most {} groups", Groups::MAX)]
    Full,
}

impl Groups {
    /// The most groups of a node.
    pub const MAX: usize = 32;

    /// Joins a group; whether it was not in it before, and has to say so in a new record.
    ///
    /// # Errors
    /// It is no name, or there are too many.
    pub fn join(&mut self, name: &str) -> Result<bool, GroupError> {
        if !Service::is_name(name) {
            return Err(GroupError::Name);
        }
        if self.0.len() >= Self::MAX && !self.0.contains(name) {
            return Err(GroupError::Full);
        }
        Ok(self.0.insert(name.into()))
    }

    /// Leaves a group; whether it was in it, and has to say so in a new record.
    pub fn leave(&mut self, name: &str) -> bool {
        self.0.remove(name)
    }

    /// The groups, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> + '_ {
        self.0.iter().map(AsRef::as_ref)
    }

    /// What the record says of them.
    pub fn services(&self) -> impl Iterator<Item = Service> + '_ {
        self.names().map(|name| Service::new(Kind::Group, name))
    }
}

/// Who hears what is shouted into a group: all that are in it, this node aside.
pub fn shout<'a>(table: &'a Table, name: &str) -> impl Iterator<Item = PeerTag> + 'a {
    let members = table.instances(Kind::Group, name).map(|(peer, _)| peer);
    members.filter(|peer| *peer != table.own())
}

/// Whether a node is known, so that one can whisper to it.
pub fn hears_whispers(table: &Table, peer: PeerTag) -> bool {
    peer != table.own() && table.record(peer).is_some()
}

#[cfg(test)]
mod tests {
    use withy_proto::crypto::Provider;

    use super::*;
    use crate::record::Record;
    use crate::table::{Limits, Origin};
    use crate::testing::{NOW, content, key};

    fn record(node: u8, sequence: u64, groups: &Groups) -> Record {
        let mut content = content(1, node);
        content.sequence = sequence;
        content.services.extend(groups.services());
        content.sign(&key(node)).unwrap()
    }

    #[test]
    fn who_joined_hears_shouts_until_it_leaves() {
        let (mut ours, mut theirs) = (Groups::default(), Groups::default());
        assert_eq!(ours.join("chat"), Ok(true));
        assert_eq!(ours.join("chat"), Ok(false));
        theirs.join("chat").unwrap();
        theirs.join("other").unwrap();
        let own = record(1, 1, &ours);
        let mut table = Table::new(Provider::Real, Limits::default(), Vec::new(), own);
        let joined = record(2, 1, &theirs);
        let peer = joined.peer();
        assert!(!hears_whispers(&table, peer));
        table.learn(joined.octets(), Origin::Host, NOW).unwrap();
        assert!(shout(&table, "chat").eq([peer]));
        assert!(shout(&table, "other").eq([peer]));
        assert!(hears_whispers(&table, peer) && !hears_whispers(&table, table.own()));
        assert!(theirs.leave("chat") && !theirs.leave("chat"));
        let left = record(2, 2, &theirs);
        table.learn(left.octets(), Origin::Host, NOW).unwrap();
        assert_eq!(shout(&table, "chat").count(), 0);
        assert_eq!(table.instances(Kind::Group, "chat").count(), 1);
    }

    #[test]
    fn groups_have_names_and_are_few() {
        let mut groups = Groups::default();
        for name in ["", "a\n", &"x".repeat(128)] {
            assert_eq!(groups.join(name), Err(GroupError::Name));
        }
        for number in 0..Groups::MAX {
            groups.join(&number.to_string()).unwrap();
        }
        assert_eq!(groups.join("more"), Err(GroupError::Full));
        assert_eq!(groups.join("0"), Ok(false));
        record(1, 1, &groups);
    }
}

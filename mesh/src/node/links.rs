//! The links over which nodes gossip: which peer is at the end of which.
//!
//! Two nodes that dial each other end with one link: that which the node with the lower tag made, on
//! both sides. Of several that one node made, the last stays. What is one too many stays open for
//! [`GRACE`]: the other side may not know yet, and have sent something over it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use withy_discovery::PeerTag;
use withy_proto::pattern::PipeKey;

use super::peer::PeerLink;
use crate::event::PeerInfo;

/// How long a link stays that is one too many.
const GRACE: Duration = Duration::from_secs(1);

/// The links that are open.
#[derive(Debug, Default)]
pub(super) struct Links {
    open: BTreeMap<PeerTag, (PipeKey, Arc<PeerInfo>)>,
    /// Who is at the end of each pipe, those that are one too many included: what they bring counts.
    tags: BTreeMap<PipeKey, PeerTag>,
    /// Since when links are one too many.
    spare: BTreeMap<PipeKey, Duration>,
    /// Those that one side gave up on purpose, and since when.
    given_up: BTreeMap<PeerTag, Duration>,
    /// Those to whom a link is being made.
    pub(super) dialled: BTreeSet<PeerTag>,
}

/// What changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) up: Vec<PeerTag>,
    /// The pipes that are the link to somebody from now on.
    pub(super) chosen: Vec<PipeKey>,
    /// And whether that was meant.
    pub(super) down: Vec<(PeerTag, bool)>,
    /// Links that were one too many for long enough.
    pub(super) spare: Vec<PipeKey>,
}

/// Who is at the other end, if he proved it.
pub(super) fn tag_of(info: &PeerInfo) -> Option<PeerTag> {
    let shown = &info.proven.as_ref()?.shown;
    Some(PeerTag::of(shown.identity, shown.node))
}

impl Links {
    /// Takes in which links the socket has now, in the order in which they were made.
    pub(super) fn settle(
        &mut self,
        own: PeerTag,
        now: impl IntoIterator<Item = (PipeKey, Arc<PeerInfo>)>,
        time: Duration,
    ) -> Changes {
        let mut changes = Changes::default();
        let mut spare = Vec::new();
        self.tags.clear();
        let mut open: BTreeMap<PeerTag, (PipeKey, Arc<PeerInfo>)> = BTreeMap::new();
        for (key, info) in now {
            let Some(tag) = tag_of(&info).filter(|tag| *tag != own) else {
                spare.push(key);
                continue;
            };
            self.tags.insert(key, tag);
            // The lower one's links are those that it accepted nowhere.
            let is_lower = |info: &PeerInfo| info.accepted == (tag < own);
            match open.get(&tag) {
                Some((_, known)) if is_lower(known) && !is_lower(&info) => spare.push(key),
                _ => {
                    let before = open.insert(tag, (key, info));
                    spare.extend(before.map(|(key, _)| key));
                }
            }
        }
        let gone = self.open.keys().filter(|tag| !open.contains_key(tag));
        let given_up = &mut self.given_up;
        changes.down = gone
            .map(|tag| (*tag, given_up.remove(tag).is_some()))
            .collect();
        for (tag, since) in &self.given_up {
            let late = *since + GRACE <= time;
            changes
                .spare
                .extend(open.get(tag).filter(|_| late).map(|(key, _)| *key));
        }
        let new = open.keys().filter(|tag| !self.open.contains_key(tag));
        changes.up = new.copied().collect();
        let known = |tag| self.open.get(tag).map(|(key, _)| *key);
        let chosen = open
            .iter()
            .filter(|(tag, (key, _))| known(*tag) != Some(*key));
        changes.chosen = chosen.map(|(_, (key, _))| *key).collect();
        self.open = open;
        self.spare.retain(|key, _| spare.contains(key));
        for key in spare {
            if *self.spare.entry(key).or_insert(time) + GRACE <= time {
                changes.spare.push(key);
            }
        }
        changes
    }

    /// Notes that the link to a peer is given up on purpose, and says which it is: if the other side does
    /// not close it within [`GRACE`], this one does.
    pub(super) fn give_up(&mut self, tag: PeerTag, time: Duration) -> Option<PipeKey> {
        let key = self.key(tag)?;
        self.given_up.entry(tag).or_insert(time);
        Some(key)
    }

    /// Whether the link to a peer is about to close.
    pub(super) fn is_given_up(&self, tag: PeerTag) -> bool {
        self.given_up.contains_key(&tag)
    }

    /// Whether this side made the link to a peer.
    pub(super) fn is_made(&self, tag: PeerTag) -> bool {
        self.open.get(&tag).is_some_and(|(_, info)| !info.accepted)
    }

    /// Whether some link is to be closed after a while.
    pub(super) fn is_restless(&self) -> bool {
        !self.spare.is_empty() || !self.given_up.is_empty()
    }

    /// To how many peers there is a link.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Over which pipe a peer is reached.
    pub(super) fn key(&self, tag: PeerTag) -> Option<PipeKey> {
        self.open.get(&tag).map(|(key, _)| *key)
    }

    /// Who is at the end of a pipe.
    pub(super) fn tag(&self, key: PipeKey) -> Option<PeerTag> {
        self.tags.get(&key).copied()
    }

    /// How the link to a peer runs.
    pub(super) fn of(&self, tag: PeerTag) -> Option<PeerLink> {
        let (_, info) = self.open.get(&tag)?;
        let proven = info.proven.as_ref()?;
        Some(PeerLink {
            transport: info.transport,
            address: info.address.clone(),
            mechanism: info.mechanism,
            cipher: proven.suite.name(),
            post_quantum: proven.post_quantum,
            round_trip: None,
        })
    }
}

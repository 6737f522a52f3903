//! Who does not know whom, and what a trace of it needs.

use super::world::{Node, World};
use crate::engine::Discovery;
use crate::gossip::BUCKETS;
use crate::membership::Update;
use crate::peer::PeerTag;

/// How many gaps are explained; of a mesh that is far from done, more would say the same.
const EXPLAINED: usize = 8;

impl World {
    /// Who does not know whom though it reaches it, or knows whom that is not there.
    pub(super) fn gaps(&self) -> Vec<(PeerTag, PeerTag)> {
        let mut gaps = Vec::new();
        for (peer, node) in &self.nodes {
            let known = node.discovery.table().peers().map(|(it, _)| it);
            let mut known = known.peekable();
            let reached = |other: &Node| !self.split || node.side == other.side;
            for (other, _) in self.nodes.iter().filter(|(_, other)| reached(other)) {
                while let Some(gone) = known.next_if(|it| it < other) {
                    gaps.push((*peer, gone));
                }
                if known.next_if_eq(other).is_none() {
                    gaps.push((*peer, *other));
                }
            }
            gaps.extend(known.map(|gone| (*peer, gone)));
        }
        gaps
    }

    /// How many pairs of nodes that reach each other do not know each other, or know somebody who is
    /// not there.
    pub(super) fn missing(&self) -> usize {
        self.gaps().len()
    }

    /// The gaps, and why they are there.
    pub(super) fn explain(&self) -> String {
        let gaps = self.gaps();
        let why = |(at, of): &(PeerTag, PeerTag)| self.why(*at, *of);
        let why: String = gaps.iter().take(EXPLAINED).map(why).collect();
        format!("{} pairs do not know each other{why}", gaps.len())
    }

    fn why(&self, at: PeerTag, of: PeerTag) -> String {
        let ours = &self.nodes[&at].discovery;
        let is = match self.nodes.get(&of) {
            Some(node) => format!("is there, {}", self.said(&node.discovery, of)),
            None => format!(
                "ended {:?} ago",
                self.ended.get(&of).map(|it| self.now - *it)
            ),
        };
        let knowing = |node: &&Node| node.discovery.table().record(of).is_some();
        let knowing = self.nodes.values().filter(knowing).count();
        let mut why = format!(
            "\n{of} {is}, known by {knowing} of {} nodes\n  {at} has {}; its gossip {:?}",
            self.nodes.len(),
            self.said(ours, of),
            ours.gossip().counters(),
        );
        for link in ours.gossip().links() {
            let (state, linked) = (ours.membership().state(link), self.linked(at, link));
            why += &format!("\n    neighbour {link}, {state:?}, linked: {linked}; ");
            why += &match self.nodes.get(&link) {
                Some(node) => self.between(ours, &node.discovery, of),
                None => "not there".to_owned(),
            };
        }
        why
    }

    /// What a node says of another.
    fn said(&self, at: &Discovery, of: PeerTag) -> String {
        let said = at.membership().said().find(|it| it.peer == of);
        let record = at.table().version(of).map(|(sequence, _)| sequence);
        let said = said.map(
            |Update {
                 incarnation, state, ..
             }| (state, incarnation),
        );
        format!("state and incarnation {said:?}, record {record:?}")
    }

    /// What a neighbour could say of another, and how much else differs.
    fn between(&self, ours: &Discovery, theirs: &Discovery, of: PeerTag) -> String {
        let said = self.said(theirs, of);
        let [ours, theirs] = [ours, theirs].map(|it| it.summary().buckets);
        let differing = ours.iter().zip(theirs).filter(|(a, b)| **a != *b).count();
        format!("{said}; {differing} of {BUCKETS} buckets differ")
    }
}

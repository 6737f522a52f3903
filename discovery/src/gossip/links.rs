//! With whom to gossip: which links to open, and which to close.
//!
//! Each node wants a link to its two neighbours on the ring of all tags, and to a few others that it
//! chooses at random. Nodes that know the same peers are connected by the ring, whatever chance does;
//! those at random make ways short, and connect nodes that know different peers.
//!
//! ```text
//!  ring neighbour without link      open one
//!  fewer than WANTED                open one to a random peer
//!  more than the most               close a random one that is not to a ring neighbour
//!  every now and then               close one such, so that another takes its place
//! ```

use std::collections::BTreeSet;

use withy_proto::crypto::Randomness;

use crate::peer::PeerTag;

/// The most links for gossip, by default.
pub(crate) const MAX: usize = 8;

/// Beneath how many a node opens one by itself, if it may have so many; others open the rest.
const WANTED: usize = 5;

/// Beneath how many a node opens one by itself that has at most `max`.
pub(crate) fn wanted(max: usize) -> usize {
    WANTED.min(max)
}

/// What to do about links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Open one.
    Open(PeerTag),
    /// Close one.
    Close(PeerTag),
}

/// What to do, given who is there and to whom there are links, or will be soon, of which there are to be
/// at most `max`. `mixes` says that it is time for another link.
pub(crate) fn plan(
    max: usize,
    own: PeerTag,
    there: &BTreeSet<PeerTag>,
    links: &BTreeSet<PeerTag>,
    mixes: bool,
    random: &mut dyn Randomness,
) -> Vec<Step> {
    let ring = ring(own, there);
    let missing = ring.iter().filter(|peer| !links.contains(peer));
    let mut steps: Vec<_> = missing.map(|peer| Step::Open(*peer)).collect();
    let mut others: Vec<_> = links
        .iter()
        .filter(|it| !ring.contains(it))
        .copied()
        .collect();
    let count = links.len() + steps.len();
    let wanted = wanted(max);
    let surplus = count.saturating_sub(max) + usize::from(mixes && count > wanted);
    for _ in 0..surplus.min(others.len()) {
        steps.push(Step::Close(take(&mut others, random)));
    }
    let mut strangers: Vec<_> = there
        .difference(links)
        .filter(|it| !ring.contains(it))
        .copied()
        .collect();
    for _ in count..wanted.min(count + strangers.len()) {
        steps.push(Step::Open(take(&mut strangers, random)));
    }
    steps
}

/// The neighbours on the ring: the next one and the one before.
pub(super) fn ring(own: PeerTag, there: &BTreeSet<PeerTag>) -> BTreeSet<PeerTag> {
    let next = there
        .range(own..)
        .find(|it| **it != own)
        .or_else(|| there.first());
    let before = there.range(..own).next_back().or_else(|| there.last());
    let neighbours = [next, before].into_iter().flatten().copied();
    neighbours.filter(|it| *it != own).collect()
}

/// Takes a random one out.
///
/// # Panics
/// There is none.
fn take(among: &mut Vec<PeerTag>, random: &mut dyn Randomness) -> PeerTag {
    let count = among.len() as u64;
    let at = usize::try_from(random.next_u64() % count).expect("less than the length");
    among.swap_remove(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use withy_proto::crypto::Seeded;

    fn peers(count: u16) -> Vec<PeerTag> {
        let mut random = Seeded::new(7);
        let mut peer = |_| {
            let mut octets = [0; PeerTag::SIZE];
            random.fill(&mut octets);
            PeerTag::from_octets(octets)
        };
        (0..count).map(&mut peer).collect()
    }

    /// Every node plans by turns until nobody has anything to do.
    #[test]
    fn all_nodes_are_connected_by_few_links() {
        for (count, max) in [(2, 8), (3, 8), (5, 8), (30, 8), (200, 8), (30, 3), (60, 20)] {
            let peers = peers(count);
            let mut links: BTreeSet<(PeerTag, PeerTag)> = BTreeSet::new();
            let mut random = Seeded::new(u64::from(count));
            let pair = |a: PeerTag, b: PeerTag| (a.min(b), a.max(b));
            for round in 0..60 {
                let mut done = true;
                for own in &peers {
                    let there = peers.iter().filter(|it| *it != own).copied().collect();
                    let mine = links_of(&links, *own);
                    for step in plan(max, *own, &there, &mine, round % 20 == 19, &mut random) {
                        done = false;
                        match step {
                            Step::Open(peer) => assert!(links.insert(pair(*own, peer))),
                            Step::Close(peer) => assert!(links.remove(&pair(*own, peer))),
                        }
                    }
                }
                assert!(round < 40 || connected(&peers, &links));
                assert!(
                    round != 18 || done || count > 5,
                    "{count} nodes are not at rest"
                );
            }
            for own in &peers {
                let mine = links_of(&links, *own).len();
                assert!(mine <= max + 2, "{mine} links");
                assert!(mine >= usize::from(count - 1).min(3), "{mine} links");
            }
        }
    }

    fn links_of(links: &BTreeSet<(PeerTag, PeerTag)>, own: PeerTag) -> BTreeSet<PeerTag> {
        let other = |(a, b): &(PeerTag, PeerTag)| match own {
            _ if *a == own => Some(*b),
            _ if *b == own => Some(*a),
            _ => None,
        };
        links.iter().filter_map(other).collect()
    }

    fn connected(peers: &[PeerTag], links: &BTreeSet<(PeerTag, PeerTag)>) -> bool {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![peers[0]]);
        while let Some(peer) = todo.pop() {
            if seen.insert(peer) {
                todo.extend(links_of(links, peer));
            }
        }
        seen.len() == peers.len()
    }

    #[test]
    fn a_node_alone_has_nothing_to_do() {
        let own = peers(1)[0];
        let nobody = BTreeSet::new();
        assert_eq!(
            plan(MAX, own, &nobody, &nobody, true, &mut Seeded::new(1)),
            []
        );
    }
}

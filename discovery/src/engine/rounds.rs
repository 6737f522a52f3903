//! The rounds in which two neighbours find out what they know apart.
//!
//! A summary is about those that are there, and a listing about those that are gone as well. Who is
//! taken for gone by one and is there for the other makes their summaries differ, and the listing settles
//! it. But of those that are gone two nodes need not know the same: one may have come later, or
//! forgotten them. In a summary they would make the two differ for as long as graves are kept, and
//! listings that are cut at the size of a message would be about such differences, each second.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Discovery, Time};
use crate::gossip::{BUCKETS, Entry, Item, Message, Summary, bucket, mix};
use crate::membership::Update;
use crate::peer::PeerTag;
use crate::record::Record;

/// The most listings that answer one summary: as much as goes out over a link in a second. Who comes
/// into a large mesh differs in all buckets until it knows nearly all.
const MAX_LISTINGS: usize = 4;

/// The most records that are wanted at once.
const MAX_WANTED: usize = 256;

impl Discovery {
    /// Sends a neighbour a summary of what is known.
    pub(super) fn begin_round(&mut self, peer: PeerTag) {
        let summary = Box::new(self.summarize());
        self.gossip.say(peer, &Message::Summary(summary));
    }

    /// What is known of a peer of which that is said.
    fn entry(&self, update: Update) -> Entry {
        let version = self.table.version(update.peer);
        let (sequence, digest) = version.unwrap_or_default();
        Entry {
            sequence,
            digest,
            update,
        }
    }

    /// What is known of all peers in some buckets.
    fn entries(&self, buckets: u64) -> impl Iterator<Item = Entry> + '_ {
        let named = move |it: &Update| buckets & 1 << bucket(it.peer) != 0;
        let said = self.membership.said().filter(named);
        said.map(|update| self.entry(update))
    }

    /// The [summary](Self::summary), which is made anew when something changed: neighbours that know the
    /// same compare it each second.
    fn summarize(&mut self) -> Summary {
        let known = self.gossip.revocations().len();
        let changes = (
            self.membership.alterations(),
            self.table.alterations(),
            known,
        );
        if self.summarized.as_ref().is_none_or(|it| it.0 != changes) {
            self.summarized = Some((changes, Box::new(self.summary())));
        }
        let (_, summary) = self.summarized.as_ref().expect("it was made");
        debug_assert_eq!(**summary, self.summary());
        (**summary).clone()
    }

    /// What is known of those that are there, in little.
    pub(super) fn summary(&self) -> Summary {
        let mut buckets = [0; BUCKETS];
        for update in self.membership.said().filter(|it| !it.state.is_gone()) {
            buckets[bucket(update.peer)] ^= self.entry(update).stamp();
        }
        let known = self.gossip.revocations().keys();
        let revocations = known.fold(0, |sum, digest| mix(sum, u64::from_be_bytes(*digest)));
        Summary {
            buckets,
            revocations,
        }
    }

    /// Lists what differs from a neighbour's summary.
    pub(super) fn compare(&mut self, from: PeerTag, theirs: &Summary) {
        let ours = self.summarize();
        if ours.revocations != theirs.revocations {
            self.list_revocations(from, false);
        }
        let differs = |at: &usize| ours.buckets[*at] != theirs.buckets[*at];
        let mut differing: Vec<_> = (0..BUCKETS).filter(differs).collect();
        if differing.is_empty() {
            return;
        }
        // Not the same ones first each time: not all may fit.
        let start = self.part(Duration::from_secs(1)).subsec_millis() as usize;
        let count = differing.len();
        differing.rotate_left(start % count);
        let mut sizes = [0; BUCKETS];
        let said = self.membership.said();
        said.for_each(|update| sizes[bucket(update.peer)] += 1);
        let mut listings = [(0_u64, Entry::MAX); MAX_LISTINGS];
        for at in differing {
            let fits = |listing: &&mut (u64, usize)| sizes[at] <= listing.1;
            if let Some((buckets, room)) = listings.iter_mut().find(fits) {
                *room -= sizes[at];
                *buckets |= 1 << at;
            }
        }
        for (buckets, _) in listings.into_iter().filter(|it| it.0 != 0) {
            let entries = self.entries(buckets).collect();
            let listing = Message::Listing { buckets, entries };
            self.gossip.say(from, &listing);
        }
    }

    /// Sends what a neighbour lacks in some buckets, and asks for what this node lacks.
    pub(super) fn reconcile(&mut self, from: PeerTag, buckets: u64, theirs: &[Entry], time: Time) {
        let now = time.monotonic;
        let ours = self.entries(buckets);
        let mut ours: BTreeMap<_, _> = ours.map(|entry| (entry.update.peer, entry)).collect();
        let mut wanted = BTreeSet::new();
        for entry in theirs {
            let peer = entry.update.peer;
            debug_assert!(buckets & 1 << bucket(peer) != 0, "checked when it was read");
            match ours.remove(&peer) {
                Some(own) => self.settle_entry(from, &own, entry, &mut wanted, now),
                // Those that are gone and were never known are of no use.
                None if entry.update.state.is_gone() => {}
                None => {
                    wanted.insert(peer);
                }
            }
        }
        for own in ours.into_values().filter(|own| !own.update.state.is_gone()) {
            self.send_record(from, own.update.peer);
        }
        let wanted: Vec<_> = wanted.into_iter().take(MAX_WANTED).collect();
        if !wanted.is_empty() {
            self.gossip.say(from, &Message::Want(wanted));
        }
    }

    /// Settles what two neighbours know of one peer.
    fn settle_entry(
        &mut self,
        from: PeerTag,
        ours: &Entry,
        theirs: &Entry,
        wanted: &mut BTreeSet<PeerTag>,
        now: Duration,
    ) {
        let peer = ours.update.peer;
        let rank = |entry: &Entry| (entry.update.incarnation, entry.update.state);
        if rank(theirs) > rank(ours) {
            self.membership.handle_update(from, theirs.update, now);
        } else if rank(theirs) < rank(ours) {
            self.gossip.send(from, Item::Update(ours.update));
        }
        if ours.update.state.is_gone() || theirs.update.state.is_gone() {
            return;
        }
        let version = |entry: &Entry| (entry.sequence, entry.digest);
        if version(theirs) == version(ours) {
            return;
        }
        if theirs.sequence >= ours.sequence && peer != self.table.own() {
            wanted.insert(peer);
        }
        if ours.sequence >= theirs.sequence {
            self.send_record(from, peer);
        }
    }

    fn send_record(&mut self, to: PeerTag, peer: PeerTag) {
        if let Some(octets) = self.table.record(peer).map(Record::octets) {
            self.gossip.send(to, Item::Record(octets.clone()));
        }
    }

    /// Sends the records that a neighbour wants.
    pub(super) fn answer(&mut self, from: PeerTag, peers: &[PeerTag]) {
        for peer in peers.iter().take(MAX_WANTED) {
            self.send_record(from, *peer);
        }
    }

    fn list_revocations(&mut self, to: PeerTag, answers: bool) {
        let digests = self.gossip.revocations().keys().copied().collect();
        self.gossip.say(to, &Message::Revoked { answers, digests });
    }

    /// Sends the revocations that a neighbour does not know, and asks for those that it knows.
    pub(super) fn complete(&mut self, from: PeerTag, answers: bool, digests: &[[u8; 8]]) {
        let theirs: BTreeSet<_> = digests.iter().collect();
        let ours = self.gossip.revocations();
        let lacks = theirs.iter().any(|digest| !ours.contains_key(*digest));
        let missing = ours.iter().filter(|(digest, _)| !theirs.contains(digest));
        let missing: Vec<_> = missing.map(|(_, revocation)| *revocation).collect();
        if lacks && !answers {
            self.list_revocations(from, true);
        }
        for revocation in missing {
            self.gossip.send(from, Item::Revocation(revocation));
        }
    }
}

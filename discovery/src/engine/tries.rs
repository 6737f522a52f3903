//! The dials that hints cause.

use super::{Action, Discovery, Event, Time};
use crate::dials::Wait;
use crate::gossip::links;
use crate::hints::{Hint, HintCounters, HintRefusal, Hinted, Reading};
use crate::membership::State;
use crate::peer::PeerTag;
use crate::table::Origin;

impl Discovery {
    /// Takes in something that may be worth a dial, which [`Action::Try`] asks for when it is, now or
    /// later.
    ///
    /// # Errors
    /// It is refused, and counted.
    pub fn hint(&mut self, hint: Hint, origin: Origin, time: Time) -> Result<Hinted, HintRefusal> {
        let reading = self.hints.read(hint, time.unix);
        let peer = reading.as_ref().ok().map(|reading| reading.tag);
        let outcome = reading.and_then(|reading| self.judge(reading, origin, time));
        if self.hints.count(&outcome, time.monotonic) {
            self.tell(Event::Forged { peer, origin });
        }
        if matches!(outcome, Ok(Hinted::New | Hinted::Newer)) {
            self.try_waiting(time);
        }
        outcome
    }

    fn judge(
        &mut self,
        reading: Reading,
        origin: Origin,
        time: Time,
    ) -> Result<Hinted, HintRefusal> {
        let peer = reading.tag;
        if peer == self.table.own() {
            return Err(HintRefusal::Ourselves);
        }
        if self.membership.state(peer) == Some(State::Left) {
            return Err(HintRefusal::Gone);
        }
        if self.needs_no_dial(peer, reading.sequence) || self.hints.has(&reading) {
            return Ok(Hinted::Known);
        }
        self.hints.verify(&reading, self.provider, time.monotonic)?;
        self.hints.keep(reading, origin)
    }

    /// Whether a hint about a record with this sequence leads to nobody new.
    fn needs_no_dial(&self, peer: PeerTag, sequence: Option<u64>) -> bool {
        let Some(sequence) = sequence else {
            return false;
        };
        let known = self.table.version(peer);
        self.gossip.links().any(|link| link == peer)
            || known.is_some_and(|(known, _)| known >= sequence)
    }

    /// The dial that an [`Action::Try`] asked for came to an end. `met` says whether who was expected
    /// is there; call [`link_up`](Self::link_up) as well if so.
    pub fn try_ended(&mut self, tag: PeerTag, met: bool, time: Time) {
        if self.hints.is_under_way(tag) {
            self.dials.end(tag, met, time.monotonic);
        }
        self.hints.end(tag, met);
        // Who was met tells of others first.
        if !met {
            self.try_waiting(time);
        }
    }

    /// Forgets what an instance announced, which says that it leaves. Anybody can say so: who is
    /// linked or in the table stays.
    pub fn retract(&mut self, instance: &str) {
        self.hints.retract(instance);
    }

    /// What became of hints.
    pub const fn hint_counters(&self) -> &HintCounters {
        self.hints.counters()
    }

    /// How many hints wait.
    pub fn hints_waiting(&self) -> usize {
        self.hints.len()
    }

    /// Begins the dials that are due: now and then one if there are links enough, through which most of
    /// those that are announced become known.
    pub(super) fn try_waiting(&mut self, time: Time) {
        let wanted = links::wanted(self.gossip.most_links());
        let links = self.gossip.links().count();
        for (tag, origin) in self.hints.due(time) {
            let early = time.monotonic < self.next_try;
            if links >= wanted && early {
                return;
            }
            let multicast = matches!(origin, Origin::Mdns(_));
            let under_way = self.hints.by_multicast();
            // Who was heard by multicast hears of this node as well: for each one that is dialled another
            // one dials.
            if multicast && links + 2 * under_way >= wanted && early {
                continue;
            }
            // What anybody on the local network can cause leaves half of the dials to others.
            let half = (self.dials.limits().at_once / 2).max(1);
            if multicast && under_way >= half {
                continue;
            }
            // Its record may have come by gossip meanwhile.
            if self.needs_no_dial(tag, self.hints.sequence(tag)) {
                self.hints.forget(tag);
                continue;
            }
            // An action that is lost would stay under way for ever.
            if self.actions.len() >= Self::MAX_WAITING {
                return;
            }
            match self.dials.start(tag, origin, time.monotonic) {
                Ok(()) => {
                    if let Some(attempt) = self.hints.start(tag) {
                        self.act(Action::Try(Box::new(attempt)));
                        self.next_try = time.monotonic + Self::PLAN;
                    }
                }
                Err(Wait::Until(until)) => self.hints.put_off(tag, until),
                Err(Wait::Ended) => {}
            }
        }
    }
}

//! Who gets a circuit: the decision of a door, and its quotas.
//!
//! ```text
//!  Open ── sender is not origin, nor a relay that was asked ──> Absurd
//!       ── target is this node ── room? ──> Here, else Busy
//!       ── no relay ──> NoRelay    not allowed ──> NotPermitted    asked before ──> Loop
//!       ── no hops left, or too many were asked ──> Far
//!       ── quotas ──> Onward, else Busy
//! ```
//!
//! Invariant: what is admitted counts until [`Admission::ended`] is told, and no quota is passed.

use std::collections::BTreeMap;

use super::message::{MAX_VISITED, Open, Party, Why};
use crate::trust::IdentityId;

/// How many circuits there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// That lead on from here, in all. Default 1,024. One identity that is not the relay's own asks for half
    /// of them at most.
    pub circuits: usize,
    /// Of these, those of one origin. Default 256.
    pub per_origin: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            circuits: 1_024,
            per_origin: 256,
        }
    }
}

/// What the door of a node leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door {
    /// Whose it is.
    pub own: Party,
    /// To others as well, if it relays.
    pub relays: Option<Limits>,
    /// How many circuits may end here. One identity that is not the node's own brings half of them at most.
    pub ends: usize,
}

/// Where an admitted circuit leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Course {
    /// It ends here.
    Here,
    /// To the target, or through another relay that may use so many hops.
    Onward {
        /// How many.
        hops: u8,
    },
}

/// How often what happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Circuits that lead on from here now, those that are being made included.
    pub relaying: usize,
    /// Circuits that end here now and that others made.
    pub ending: usize,
    /// Requests that were admitted.
    pub admitted: u64,
    /// Requests that were refused, by why.
    pub refused: BTreeMap<Why, u64>,
}

/// Decides on requests for circuits.
#[derive(Debug)]
pub struct Admission {
    door: Door,
    onward: Quota,
    here: Quota,
    admitted: u64,
    refused: BTreeMap<Why, u64>,
}

/// The circuits of one kind.
#[derive(Debug, Default)]
struct Quota {
    all: usize,
    origins: BTreeMap<Party, usize>,
    senders: BTreeMap<IdentityId, usize>,
}

impl Admission {
    /// A door without circuits.
    pub fn new(door: Door) -> Self {
        Self {
            door,
            onward: Quota::default(),
            here: Quota::default(),
            admitted: 0,
            refused: BTreeMap::new(),
        }
    }

    /// Decides on the request of a sender that proved who it is. `permitted` says what the permissions say
    /// of relaying for him.
    ///
    /// # Errors
    /// It is refused, and counted.
    pub fn ask(&mut self, sender: Party, open: &Open, permitted: bool) -> Result<Course, Why> {
        let decided = self.judge(sender, open, permitted);
        match &decided {
            Ok(course) => {
                self.admitted += 1;
                self.quota(*course).add(sender.identity, open.origin);
            }
            Err(why) => self.refused(*why),
        }
        decided
    }

    fn judge(&self, sender: Party, open: &Open, permitted: bool) -> Result<Course, Why> {
        let own = self.door.own;
        let is_honest = match open.visited.is_empty() {
            true => open.origin == sender,
            false => open.visited.contains(&sender.node),
        };
        if !is_honest || open.origin == open.target || open.origin == own {
            return Err(Why::Absurd);
        }
        if open.target == own {
            let fits = self
                .here
                .fits(sender.identity, own.identity, self.door.ends);
            return fits.then_some(Course::Here).ok_or(Why::Busy);
        }
        let limits = self.door.relays.ok_or(Why::NoRelay)?;
        if !permitted {
            return Err(Why::NotPermitted);
        }
        if open.visited.contains(&own.node) {
            return Err(Why::Loop);
        }
        let hops = open.hops.checked_sub(1).ok_or(Why::Far)?;
        if open.visited.len() >= MAX_VISITED {
            return Err(Why::Far);
        }
        let of_origin = self.onward.origins.get(&open.origin).copied();
        let fits = self
            .onward
            .fits(sender.identity, own.identity, limits.circuits);
        match fits && of_origin.unwrap_or_default() < limits.per_origin {
            true => Ok(Course::Onward { hops }),
            false => Err(Why::Busy),
        }
    }

    /// Counts a refusal that was decided elsewhere: of a circuit that was admitted, and led nowhere.
    pub fn refused(&mut self, why: Why) {
        *self.refused.entry(why).or_default() += 1;
    }

    /// What was admitted has ended, or came to nothing.
    pub fn ended(&mut self, course: Course, sender: Party, origin: Party) {
        self.quota(course).take(sender.identity, origin);
    }

    const fn quota(&mut self, course: Course) -> &mut Quota {
        match course {
            Course::Here => &mut self.here,
            Course::Onward { .. } => &mut self.onward,
        }
    }

    /// How often what happened.
    pub fn counters(&self) -> Counters {
        Counters {
            relaying: self.onward.all,
            ending: self.here.all,
            admitted: self.admitted,
            refused: self.refused.clone(),
        }
    }
}

impl Quota {
    /// Whether there is room for another of a sender.
    fn fits(&self, sender: IdentityId, own: IdentityId, all: usize) -> bool {
        let of_sender = self.senders.get(&sender).copied().unwrap_or_default();
        self.all < all && (sender == own || of_sender < all.div_ceil(2))
    }

    fn add(&mut self, sender: IdentityId, origin: Party) {
        self.all += 1;
        *self.senders.entry(sender).or_default() += 1;
        *self.origins.entry(origin).or_default() += 1;
    }

    fn take(&mut self, sender: IdentityId, origin: Party) {
        self.all = self.all.saturating_sub(1);
        take_one(&mut self.senders, &sender);
        take_one(&mut self.origins, &origin);
    }
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

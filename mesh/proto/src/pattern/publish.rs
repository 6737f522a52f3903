//! PUB and XPUB: who wants what (RFC 29), by prefixes or, on the topic bus, by filters.
//!
//! What a peer SUBSCRIBEs to repeatedly it wants once, and one CANCEL ends it, as libzmq's
//! subscribers expect. CANCEL without SUBSCRIBE is ignored and counted. What an
//! XPUB's application hears of them is decided here too; manual mode hears everything and decides,
//! and what a peer asked for is kept beside what it was granted, until it leaves.

use std::collections::BTreeMap;

use slab::Slab;

use crate::bus::{Filter, FilterTree, TopicError};
use crate::routing::trie::{Change, Limits, Repeats, Trie, TrieError};

/// What a subscription says of the topics that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Matching {
    /// What they begin with (RFC 29).
    #[default]
    Prefixes,
    /// A [`Filter`] that chooses them. Both ends have to know it.
    Filters,
}

/// A SUBSCRIBE or CANCEL that closes its peer's connection. Nothing changed; the peer is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The peer is over a limit.
    #[error(transparent)]
    Limit(#[from] TrieError),
    /// What the peer wants is no filter.
    #[error("the peer's filter breaks a rule: {0}")]
    Filter(#[from] TopicError),
}

/// What an XPUB reports to its application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verbose {
    /// The first SUBSCRIBE and the last CANCEL of a topic over all peers.
    #[default]
    Changes,
    /// Every SUBSCRIBE, and the last CANCEL (libzmq: XPUB_VERBOSE).
    Subscriptions,
    /// Everything, and each topic of a peer that leaves (libzmq: XPUB_VERBOSER).
    All,
}

/// What a SUBSCRIBE or CANCEL did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscribed {
    /// A topic that nobody had wanted, or nobody wants any more: report it.
    Changed,
    /// Others want it too.
    Counted,
    /// CANCEL without SUBSCRIBE, or a peer that is gone.
    Ignored,
}

/// What was subscribed to, and by whom.
#[derive(Debug)]
enum Wanted {
    Prefixes(Trie),
    Filters(FilterTree),
}

impl Wanted {
    fn new(matching: Matching, limits: Limits) -> Self {
        match matching {
            Matching::Prefixes => Self::Prefixes(Trie::new(limits, Repeats::Merged)),
            Matching::Filters => Self::Filters(FilterTree::new(limits, Repeats::Merged)),
        }
    }

    fn subscribe(&mut self, pipe: u32, topic: &[u8]) -> Result<Change, SubscribeError> {
        Ok(match self {
            Self::Prefixes(trie) => trie.subscribe(topic, pipe)?,
            Self::Filters(tree) => tree.subscribe(&Filter::try_from(topic)?, pipe)?,
        })
    }

    fn cancel(&mut self, pipe: u32, topic: &[u8]) -> Result<Option<Change>, SubscribeError> {
        Ok(match self {
            Self::Prefixes(trie) => trie.cancel(topic, pipe),
            Self::Filters(tree) => tree.cancel(&Filter::try_from(topic)?, pipe),
        })
    }

    fn remove(&mut self, pipe: u32, cancelled: &mut impl FnMut(&[u8])) {
        match self {
            Self::Prefixes(trie) => trie.remove(pipe, cancelled),
            Self::Filters(tree) => tree.remove(pipe, cancelled),
        }
    }

    fn remove_reporting_all(&mut self, pipe: u32, held: &mut impl FnMut(&[u8])) {
        match self {
            Self::Prefixes(trie) => trie.remove_reporting_all(pipe, held),
            Self::Filters(tree) => tree.remove_reporting_all(pipe, held),
        }
    }
}

/// A scope whose subscribers are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScopeKey(usize);

/// Who wants something of a scope, kept up with each subscription: asked anew of all filters, the answer
/// would cost whoever waits for it more the more of them there are.
#[derive(Debug)]
struct Scope {
    filter: Filter,
    /// By peer: how many of its filters may choose something of the scope.
    wanted: BTreeMap<u32, usize>,
}

impl Scope {
    fn change(&mut self, pipe: u32, filter: &Filter, add: bool) {
        if !self.filter.overlaps(filter) {
            return;
        }
        if add {
            *self.wanted.entry(pipe).or_default() += 1;
        } else if let Some(filters) = self.wanted.get_mut(&pipe) {
            *filters -= 1;
            if *filters == 0 {
                self.wanted.remove(&pipe);
            }
        }
    }
}

/// The subscriptions of all peers.
#[derive(Debug)]
pub struct Publishing {
    /// From the first SUBSCRIBE on, since few sockets get one.
    wanted: Option<Box<Wanted>>,
    /// The scopes that are counted. Boxed, since few sockets have any.
    scopes: Option<Box<Slab<Scope>>>,
    /// In manual mode: what the peers asked for.
    asked: Option<Box<Wanted>>,
    matching: Matching,
    verbose: Verbose,
    limits: Limits,
    ignored: u64,
}

impl Publishing {
    pub(crate) fn new(matching: Matching, max_subscriptions: usize, max_topic: usize) -> Self {
        let limits = Limits {
            subscriptions: max_subscriptions,
            prefix: max_topic,
            ..Limits::default()
        };
        Self {
            wanted: None,
            scopes: None,
            asked: None,
            matching,
            verbose: Verbose::default(),
            limits,
            ignored: 0,
        }
    }

    pub(crate) fn report(&mut self, verbose: Verbose, manual: bool) {
        self.verbose = verbose;
        self.asked = manual.then(|| Box::new(Wanted::new(self.matching, self.limits)));
    }

    /// A SUBSCRIBE or CANCEL in manual mode, which the application decides on.
    pub(crate) fn ask(&mut self, pipe: u32, topic: &[u8], add: bool) -> Result<(), SubscribeError> {
        if let Some(asked) = &mut self.asked {
            if add {
                asked.subscribe(pipe, topic)?;
            } else {
                asked.cancel(pipe, topic)?;
            }
        }
        Ok(())
    }

    pub(crate) fn change(
        &mut self,
        pipe: u32,
        topic: &[u8],
        add: bool,
    ) -> Result<Subscribed, SubscribeError> {
        let new = || Box::new(Wanted::new(self.matching, self.limits));
        let wanted = self.wanted.get_or_insert_with(new);
        let changed = if add {
            Some(wanted.subscribe(pipe, topic)?)
        } else {
            wanted.cancel(pipe, topic)?
        };
        if let (Some(scopes), Some(Change::Prefix | Change::Subscriber)) =
            (&mut self.scopes, changed)
            && let Ok(filter) = Filter::try_from(topic)
        {
            let scopes = scopes.iter_mut();
            scopes.for_each(|(_, scope)| scope.change(pipe, &filter, add));
        }
        Ok(match changed {
            Some(Change::Prefix) => Subscribed::Changed,
            Some(Change::Subscriber | Change::Repeat) => Subscribed::Counted,
            None => {
                self.ignored += 1;
                Subscribed::Ignored
            }
        })
    }

    /// Lets a peer go, and says which topics the application hears of.
    pub(crate) fn remove(&mut self, pipe: u32, cancelled: &mut impl FnMut(&[u8])) {
        for (_, scope) in self.scopes.iter_mut().flat_map(|scopes| scopes.iter_mut()) {
            scope.wanted.remove(&pipe);
        }
        if let Some(asked) = &mut self.asked {
            asked.remove_reporting_all(pipe, cancelled);
        }
        let Some(wanted) = &mut self.wanted else {
            return;
        };
        if self.asked.is_some() {
            wanted.remove(pipe, &mut |_| {});
        } else if self.verbose == Verbose::All {
            wanted.remove_reporting_all(pipe, cancelled);
        } else {
            wanted.remove(pipe, cancelled);
        }
    }

    #[inline]
    pub(crate) fn matches(&mut self, topic: &[u8], each: &mut impl FnMut(u32)) {
        match self.wanted.as_deref_mut() {
            Some(Wanted::Prefixes(trie)) => trie.matches(topic, each),
            Some(Wanted::Filters(tree)) => tree.matches_octets(topic, each),
            None => {}
        }
    }

    /// Counts from now on who wants something of a scope, until [`end_scope`](Self::end_scope). Takes time
    /// in proportion to all subscriptions, once, and to the scopes with each subscription afterwards. Of
    /// [`Matching::Prefixes`] nobody is counted.
    pub fn begin_scope(&mut self, filter: Filter) -> ScopeKey {
        let mut scope = Scope {
            filter,
            wanted: BTreeMap::new(),
        };
        if let Some(Wanted::Filters(tree)) = self.wanted.as_deref() {
            tree.each(&mut |pipe, filter| {
                if let Ok(filter) = Filter::try_from(filter) {
                    scope.change(pipe, &filter, true);
                }
            });
        }
        ScopeKey(self.scopes.get_or_insert_default().insert(scope))
    }

    /// How many peers want something of a scope.
    pub fn scope_subscribers(&self, key: ScopeKey) -> usize {
        let scopes = self.scopes.as_ref();
        let scope = scopes.and_then(|scopes| scopes.get(key.0));
        scope.map_or(0, |scope| scope.wanted.len())
    }

    /// Counts no more for a scope.
    pub fn end_scope(&mut self, key: ScopeKey) {
        if let Some(scopes) = &mut self.scopes {
            scopes.try_remove(key.0);
            if scopes.is_empty() {
                self.scopes = None;
            }
        }
    }

    /// CANCELs without SUBSCRIBE so far.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Subscriptions of all peers.
    pub fn subscriptions(&self) -> usize {
        match self.wanted.as_deref() {
            Some(Wanted::Prefixes(trie)) => trie.len(),
            Some(Wanted::Filters(tree)) => tree.len(),
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Randomness as _, Seeded};

    /// Scopes that are begun at any time count what looking at every filter would.
    #[test]
    fn scopes_count_who_wants_something_of_them() {
        let filters = ["a/b", "a/+", "#", "+/b", "c", "c/#", "$a/b", "a/b/c"];
        let filter = |at: usize| -> Filter { filters[at].parse().unwrap() };
        for seed in 0..40 {
            let mut random = Seeded::new(seed);
            let mut below = |limit: usize| random.next_u64() as usize % limit;
            let mut publishing = Publishing::new(Matching::Filters, 100, 100);
            let mut list = std::collections::BTreeSet::new();
            let mut scopes = Vec::new();
            for _ in 0..200 {
                let (pipe, at) = (below(4) as u32, below(filters.len()));
                match below(9) {
                    0..=3 => {
                        let topic = filters[at].as_bytes();
                        publishing.change(pipe, topic, true).unwrap();
                        list.insert((pipe, at));
                    }
                    4..=5 => {
                        let topic = filters[at].as_bytes();
                        publishing.change(pipe, topic, false).unwrap();
                        list.remove(&(pipe, at));
                    }
                    6 => {
                        publishing.remove(pipe, &mut |_| {});
                        list.retain(|(other, _)| *other != pipe);
                    }
                    7 => scopes.push((publishing.begin_scope(filter(at)), at)),
                    _ if !scopes.is_empty() => {
                        let (key, _) = scopes.swap_remove(below(scopes.len()));
                        publishing.end_scope(key);
                    }
                    _ => {}
                }
                for (key, scope) in &scopes {
                    let wants = |it: &&(u32, usize)| filter(it.1).overlaps(&filter(*scope));
                    let wanting = list.iter().filter(wants).map(|it| it.0);
                    let count = wanting.collect::<std::collections::BTreeSet<_>>().len();
                    assert_eq!(publishing.scope_subscribers(*key), count);
                }
            }
        }
    }
}

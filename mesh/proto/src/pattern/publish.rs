//! PUB and XPUB: who wants what (RFC 29), by prefixes or, on the topic bus, by filters.
//!
//! What a peer SUBSCRIBEs to repeatedly it wants once, and one CANCEL ends it, as libzmq's
//! subscribers expect. CANCEL without SUBSCRIBE is ignored and counted. What an
//! XPUB's application hears of them is decided here too; manual mode hears everything and decides,
//! and what a peer asked for is kept beside what it was granted, until it leaves.

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

/// The subscriptions of all peers.
#[derive(Debug)]
pub struct Publishing {
    wanted: Wanted,
    /// In manual mode: what the peers asked for. Boxed, since few sockets are in it.
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
            wanted: Wanted::new(matching, limits),
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
        let changed = if add {
            Some(self.wanted.subscribe(pipe, topic)?)
        } else {
            self.wanted.cancel(pipe, topic)?
        };
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
        if let Some(asked) = &mut self.asked {
            asked.remove_reporting_all(pipe, cancelled);
            self.wanted.remove(pipe, &mut |_| {});
        } else if self.verbose == Verbose::All {
            self.wanted.remove_reporting_all(pipe, cancelled);
        } else {
            self.wanted.remove(pipe, cancelled);
        }
    }

    #[inline]
    pub(crate) fn matches(&mut self, topic: &[u8], each: &mut impl FnMut(u32)) {
        match &mut self.wanted {
            Wanted::Prefixes(trie) => trie.matches(topic, each),
            Wanted::Filters(tree) => tree.matches_octets(topic, each),
        }
    }

    /// CANCELs without SUBSCRIBE so far.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Subscriptions of all peers.
    pub fn subscriptions(&self) -> usize {
        match &self.wanted {
            Wanted::Prefixes(trie) => trie.len(),
            Wanted::Filters(tree) => tree.len(),
        }
    }
}

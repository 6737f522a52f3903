//! PUB and XPUB: who wants what (RFC 29).
//!
//! What a peer SUBSCRIBEs to repeatedly it wants once, and one CANCEL ends it, as libzmq's
//! subscribers expect. CANCEL without SUBSCRIBE is ignored and counted. What an
//! XPUB's application hears of them is decided here too; manual mode hears everything and decides,
//! and what a peer asked for is kept beside what it was granted, until it leaves.

use crate::routing::trie::{Change, Limits, Repeats, Trie, TrieError};

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

/// The subscriptions of all peers.
#[derive(Debug)]
pub struct Publishing {
    trie: Trie,
    /// In manual mode: what the peers asked for.
    asked: Option<Trie>,
    verbose: Verbose,
    limits: Limits,
    ignored: u64,
}

impl Publishing {
    pub(crate) fn new(max_subscriptions: usize, max_topic: usize) -> Self {
        let limits = Limits {
            subscriptions: max_subscriptions,
            prefix: max_topic,
            ..Limits::default()
        };
        Self {
            trie: Trie::new(limits, Repeats::Merged),
            asked: None,
            verbose: Verbose::default(),
            limits,
            ignored: 0,
        }
    }

    pub(crate) fn report(&mut self, verbose: Verbose, manual: bool) {
        self.verbose = verbose;
        self.asked = manual.then(|| Trie::new(self.limits, Repeats::Merged));
    }

    /// A SUBSCRIBE or CANCEL in manual mode, which the application decides on.
    pub(crate) fn ask(&mut self, pipe: u32, topic: &[u8], add: bool) -> Result<(), TrieError> {
        if let Some(asked) = &mut self.asked {
            if add {
                asked.subscribe(topic, pipe)?;
            } else {
                asked.cancel(topic, pipe);
            }
        }
        Ok(())
    }

    pub(crate) fn change(
        &mut self,
        pipe: u32,
        topic: &[u8],
        add: bool,
    ) -> Result<Subscribed, TrieError> {
        let changed = if add {
            Some(self.trie.subscribe(topic, pipe)?)
        } else {
            self.trie.cancel(topic, pipe)
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
            self.trie.remove(pipe, &mut |_| {});
        } else if self.verbose == Verbose::All {
            self.trie.remove_reporting_all(pipe, cancelled);
        } else {
            self.trie.remove(pipe, cancelled);
        }
    }

    #[inline]
    pub(crate) fn matches(&mut self, topic: &[u8], each: &mut impl FnMut(u32)) {
        self.trie.matches(topic, each);
    }

    /// CANCELs without SUBSCRIBE so far.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Subscriptions of all peers.
    pub fn subscriptions(&self) -> usize {
        self.trie.len()
    }
}

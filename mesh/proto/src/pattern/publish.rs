//! PUB and XPUB: who wants what (RFC 29).
//!
//! What a peer SUBSCRIBEs to repeatedly it wants once, and one CANCEL ends it, as libzmq's
//! subscribers expect. CANCEL without SUBSCRIBE is ignored and counted. What an
//! XPUB's application hears of them is decided here too; manual mode hears everything and decides.

use crate::routing::trie::{Change, Limits, Repeats, Trie, TrieError};

/// What an XPUB reports to its application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verbose {
    /// The first SUBSCRIBE and the last CANCEL of a topic over all peers.
    #[default]
    Changes,
    /// Every SUBSCRIBE, and the last CANCEL (libzmq: XPUB_VERBOSE).
    Subscriptions,
    /// Everything (libzmq: XPUB_VERBOSER).
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
    ignored: u64,
}

impl Publishing {
    pub(crate) fn new(max_subscriptions: usize, max_topic: usize) -> Self {
        Self {
            trie: Trie::new(
                Limits {
                    subscriptions: max_subscriptions,
                    prefix: max_topic,
                    ..Limits::default()
                },
                Repeats::Merged,
            ),
            ignored: 0,
        }
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

    pub(crate) fn remove(&mut self, pipe: u32, cancelled: &mut impl FnMut(&[u8])) {
        self.trie.remove(pipe, cancelled);
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

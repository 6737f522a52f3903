//! Subscriptions: our own, and those of peers, into the publisher's trie and to an XPUB's
//! application.

use std::sync::atomic::Ordering::Relaxed;

use withy_proto::bus::Filter;
use withy_proto::pattern::PipeKey;
use withy_proto::pattern::publish::{ScopeKey, Subscribed, Verbose};
use withy_proto::{Frame, Message, SocketType};

use super::core::{Core, Receiving, Sending};
use crate::event::Reason;

impl Core {
    /// Subscribes, or takes that back: in this side's filter and at the peers.
    pub(crate) fn subscribe(&self, topic: &[u8], add: bool) {
        let mut receiving = self.receiving.lock();
        receiving.inc.filter(topic, add);
        let mut sending = self.sending.lock();
        // Only now: both sets count, and are to see all callers in the same order.
        drop(receiving);
        sending.out.subscribe(topic, add);
        self.after_send(sending);
    }

    /// A peer subscribes or takes it back.
    pub(crate) fn peer_subscribed(
        &self,
        receiving: &mut Receiving,
        key: PipeKey,
        topic: &Frame,
        add: bool,
    ) {
        let xpub = &self.options.xpub;
        if add && !self.may_subscribe(key, topic) {
            return;
        }
        if self.kind == SocketType::XPub && xpub.manual {
            let asked = self.sending.lock().out.asked(key, topic, add);
            return match asked {
                Ok(()) => self.notice(receiving, key, report(topic, add)),
                Err(error) => self.close_link(key, Reason::Subscriptions(error.to_string())),
            };
        }
        match self.apply_subscription(key, topic, add) {
            Ok(subscribed) => {
                let reports = match (xpub.verbose, subscribed) {
                    (_, Subscribed::Ignored) => false,
                    (_, Subscribed::Changed) | (Verbose::All, _) => true,
                    (Verbose::Subscriptions, Subscribed::Counted) => add,
                    (Verbose::Changes, Subscribed::Counted) => false,
                };
                if self.kind == SocketType::XPub && reports {
                    self.notice(receiving, key, report(topic, add));
                }
            }
            Err(reason) => self.close_link(key, Reason::Subscriptions(reason)),
        }
    }

    /// Whether a peer may subscribe to something; if not, that is counted and logged.
    fn may_subscribe(&self, key: PipeKey, filter: &[u8]) -> bool {
        let Some(guard) = &self.options.guard else {
            return true;
        };
        let peer = self.peer(key);
        let proven = peer.as_ref().and_then(|peer| peer.proven.as_ref());
        let permitted = guard.may_subscribe(proven.map(|proven| &proven.shown), filter);
        if !permitted {
            self.counters.denied.fetch_add(1, Relaxed);
            let filter = filter.escape_ascii().take(64).map(char::from);
            let filter: String = filter.collect();
            let address = peer.as_ref().map(|peer| &peer.address);
            tracing::warn!(?address, filter, "a peer may not subscribe to this");
        }
        permitted
    }

    /// Changes the publisher's trie.
    pub(crate) fn apply_subscription(
        &self,
        key: PipeKey,
        topic: &[u8],
        add: bool,
    ) -> Result<Subscribed, String> {
        let mut sending = self.sending.lock();
        let subscribed = sending
            .out
            .subscribed(key, topic, add)
            .map_err(|error| error.to_string())?;
        self.count_subscriptions(&mut sending);
        Ok(subscribed)
    }

    /// How many peers want a topic.
    pub(crate) fn subscribers(&self, topic: &[u8]) -> usize {
        self.sending.lock().out.subscribers(topic)
    }

    /// Counts from now on how many peers want something of a scope.
    pub(crate) fn begin_scope(&self, scope: Filter) -> ScopeKey {
        self.sending.lock().out.publishing().begin_scope(scope)
    }

    /// How many peers want something of a scope.
    pub(crate) fn scope_subscribers(&self, key: ScopeKey) -> usize {
        self.sending.lock().out.publishing().scope_subscribers(key)
    }

    /// Counts no more for a scope.
    pub(crate) fn end_scope(&self, key: ScopeKey) {
        self.sending.lock().out.publishing().end_scope(key);
    }

    /// Tells those that wait for subscribers how many subscriptions there are.
    pub(crate) fn count_subscriptions(&self, sending: &mut Sending) {
        let now = sending.out.publishing().subscriptions();
        self.subscriptions
            .change(|known| std::mem::replace(known, now) != now);
    }

    /// A peer is gone: an XPUB's application hears of its topics.
    pub(crate) fn report_cancelled(
        &self,
        receiving: &mut Receiving,
        key: PipeKey,
        cancelled: Vec<Frame>,
    ) {
        if self.kind != SocketType::XPub || cancelled.is_empty() {
            return;
        }
        for topic in cancelled {
            self.notice(receiving, key, report(&topic, false));
        }
        self.ready.notify();
    }
}

/// A subscription as an XPUB's application reads it (RFC 29): one octet, then the topic.
fn report(topic: &[u8], add: bool) -> Message {
    Message::from([&[u8::from(add)], topic].concat())
}

#[cfg(all(test, not(withy_loom)))]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn both_sets_of_a_subscriber_see_changes_in_one_order() {
        let core = Core::new(SocketType::Sub, Default::default());
        let start = Barrier::new(3);
        let done = Barrier::new(3);
        let rounds = 5_000;
        std::thread::scope(|scope| {
            for add in [true, false] {
                let (core, start, done) = (&core, &start, &done);
                scope.spawn(move || {
                    for _ in 0..rounds {
                        start.wait();
                        core.subscribe(b"topic", add);
                        done.wait();
                    }
                });
            }
            let mut differs = 0;
            for _ in 0..rounds {
                start.wait();
                done.wait();
                let here = core.receiving.lock().inc.filter(b"topic", false);
                let there = core.sending.lock().out.subscribe(b"topic", false);
                differs += u32::from(here != there);
            }
            assert_eq!(differs, 0);
        });
    }
}

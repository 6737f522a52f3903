//! Subscriptions of peers: into the publisher's trie, and to an XPUB's application.

use withy_proto::pattern::PipeKey;
use withy_proto::pattern::publish::{Subscribed, Verbose};
use withy_proto::routing::trie::TrieError;
use withy_proto::{Frame, Message, SocketType};

use super::core::{Core, Receiving};
use crate::event::Reason;

impl Core {
    /// A peer subscribes or takes it back.
    pub(crate) fn peer_subscribed(
        &self,
        receiving: &mut Receiving,
        key: PipeKey,
        topic: &Frame,
        add: bool,
    ) {
        let xpub = &self.options.xpub;
        if self.kind == SocketType::XPub && xpub.manual {
            let (octets, limit) = (topic.len(), self.options.send.max_topic);
            if add && octets > limit {
                let error = TrieError::TooLong { octets, limit };
                return self.close_link(key, Reason::Subscriptions(error.to_string()));
            }
            self.notice(receiving, key, report(topic, add));
            return;
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
        let subscriptions = sending.out.publishing().subscriptions();
        drop(sending);
        self.subscriptions
            .send_if_modified(|known| std::mem::replace(known, subscriptions) != subscriptions);
        Ok(subscribed)
    }

    /// The last subscriber of some topics is gone: an XPUB's application hears of it.
    pub(crate) fn report_cancelled(&self, key: PipeKey, cancelled: Vec<Frame>) {
        if self.kind != SocketType::XPub || self.options.xpub.manual || cancelled.is_empty() {
            return;
        }
        let mut receiving = self.receiving.lock();
        for topic in cancelled {
            self.notice(&mut receiving, key, report(&topic, false));
        }
        self.ready.notify();
    }
}

/// A subscription as an XPUB's application reads it (RFC 29): one octet, then the topic.
fn report(topic: &[u8], add: bool) -> Message {
    Message::from([&[u8::from(add)], topic].concat())
}

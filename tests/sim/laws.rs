//! What must hold, at every step and at the end.
//!
//! - A message arrives whole, as it was, and once: [`content::read`](crate::content::read),
//!   [`Ledger::delivered`].
//! - What goes down one link arrives in the order in which it was sent: [`Ledger::decoded`].
//! - What was accepted has left by a link, waits, or was counted as dropped, and PUSH, DEALER, PAIR
//!   drop nothing: [`conserved`].
//! - A publisher sends to those who subscribed, and drops as its policy says: [`published`].
//! - What waits is bounded: [`bounded`].
//! - Once faults stop, everything drains, and every request was answered: [`settled`].

use std::collections::{BTreeMap, BTreeSet};

use withy_proto::SocketType;
use withy_proto::pattern::outgoing::{Overflow, SendCounts};

use crate::content::{Id, LARGEST};
use crate::link::Link;
use crate::node::{Node, Side};
use crate::scenario::Role;

/// Headers and commands beside the messages.
const BESIDE: usize = 4 * 1024;

/// What arrived where.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Receiver, its life if it may have the message in each, and the message; replies apart.
    seen: BTreeSet<(usize, u32, Id, bool)>,
    /// The last message of each link and direction that went there at first.
    last: BTreeMap<(usize, usize), u32>,
    pub(crate) delivered: u64,
}

impl Ledger {
    /// A message came off a link, at `node`; `origin` is its sender.
    pub(crate) fn decoded(&mut self, node: usize, link: usize, id: Id, origin: &Node, reply: bool) {
        if reply || origin.life != id.life {
            return;
        }
        let publishes = origin.publishes();
        if !publishes && origin.assigned.get(&id) != Some(&Some(link)) {
            // It was taken back from another link, or waited in the backlog.
            return;
        }
        let last = self.last.insert((link, node), id.number);
        assert!(
            last.is_none_or(|last| last < id.number),
            "{id:?} arrived on link {link} after {last:?}"
        );
    }

    /// An application got a message.
    pub(crate) fn delivered(&mut self, node: usize, receiver: &Node, id: Id, reply: bool) {
        let scope = if receiver.subscribes() {
            (node, receiver.life)
        } else {
            (usize::MAX, 0)
        };
        assert!(
            self.seen.insert((scope.0, scope.1, id, reply)),
            "{id:?} was delivered twice"
        );
        self.delivered += 1;
    }
}

/// Nothing vanishes between the application and the links.
pub(crate) fn conserved(node: &Node) {
    let counts = node.out.counts();
    let waiting = node.out.queued() as u64;
    if matches!(
        node.spec.kind,
        SocketType::Push | SocketType::Dealer | SocketType::Pair
    ) {
        assert_eq!(counts.dropped, 0, "{} dropped", node.spec.kind);
        assert_eq!(
            node.accepted,
            node.gone + waiting,
            "accepted by a {}, and gone or waiting",
            node.spec.kind
        );
    } else {
        assert_eq!(
            counts.sent,
            node.gone + node.dropped_later + waiting,
            "sent by a {}, and gone, dropped or waiting",
            node.spec.kind
        );
    }
}

/// What a publisher did with one message for `wanted` subscribers. Returns how many it dropped
/// that it had sent before.
pub(crate) fn published(node: &Node, wanted: usize, before: SendCounts) -> u64 {
    let counts = node.out.counts();
    let sent = counts.sent - before.sent;
    let dropped = counts.dropped - before.dropped;
    let missed = (wanted as u64).checked_sub(sent).expect("none too many");
    if node.spec.send.conflate {
        assert_eq!(missed, 0, "conflated");
        return dropped;
    }
    match node.spec.send.overflow {
        Overflow::DropNewest | Overflow::Disconnect => assert_eq!(dropped, missed),
        Overflow::DropOldest => assert!(dropped >= missed),
        Overflow::Block => assert_eq!((dropped, missed), (0, 0)),
    }
    dropped - missed
}

/// The high-water marks hold.
pub(crate) fn bounded(node: &mut Node) {
    let keys: Vec<_> = node.ups().map(|(_, up)| up.key).collect();
    let (send, receive) = (node.spec.send.high_water_mark, node.spec.receive);
    // An answer is as large as its question.
    let largest = match node.spec.role {
        Role::Answers => LARGEST,
        _ => node.largest,
    };
    for key in &keys {
        assert!(node.out.waiting(*key) <= send.messages, "messages to send");
        assert!(
            node.out.waiting_size(*key) < send.octets + largest + BESIDE,
            "octets to send"
        );
        let held = node.inc.decoder(*key).map_or(0, |decoder| decoder.held());
        assert!(held <= 2 * LARGEST + 256 * 1024, "{held} octets undecoded");
    }
    assert!(
        node.inc.queued() <= receive.messages * keys.len(),
        "messages to receive"
    );
}

/// Whether both ends of each link know the same: what went down came off, and what is subscribed
/// to is known to be wanted. Heartbeats go on for ever.
pub(crate) fn agree(nodes: &[Node], links: &[Link]) -> bool {
    let mut up = links.iter().enumerate().filter(|(_, link)| link.up);
    up.all(|(number, link)| {
        let [dialer, listener] = link.ends;
        let ends = [(dialer, listener), (listener, dialer)];
        let known = ends.into_iter().all(|(one, other)| {
            let (publisher, subscriber) = (&nodes[one], &nodes[other]);
            match publisher.sides.get(&number) {
                Some(Side::Up(up)) if publisher.publishes() => {
                    up.wants.iter().eq(subscriber.filters.keys())
                }
                _ => true,
            }
        });
        known && link.gone == link.decoded
    })
}

/// All is over: nothing waits, and nobody was forgotten.
pub(crate) fn settled(nodes: &[Node], links: &[Link]) {
    for node in nodes {
        conserved(node);
        assert!(node.is_done() && node.requests.is_empty());
        if node.spec.kind == SocketType::Req && node.spec.role == Role::Asks {
            assert!(node.answered, "the last request was not answered");
        }
    }
    for (number, link) in links.iter().enumerate() {
        for end in 0..2 {
            assert!(
                link.decoded[end] <= link.gone[end],
                "more came off link {number} than went down"
            );
        }
    }
}

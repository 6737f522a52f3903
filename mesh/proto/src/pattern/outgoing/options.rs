//! How a socket sends: its options.

use crate::pattern::pipe::HighWaterMark;
use crate::pattern::publish::Matching;

/// What a publisher does with a message for a subscriber that has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The subscriber misses this message. As libzmq does it.
    #[default]
    DropNewest,
    /// The subscriber misses the oldest message that waits for it.
    DropOldest,
    /// The publisher waits until all subscribers have room (libzmq: XPUB_NODROP).
    Block,
    /// The subscriber is disconnected.
    Disconnect,
}

/// To whom a socket that sends in turn gives the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// Each peer in turn.
    #[default]
    RoundRobin,
    /// The peer for which the fewest messages wait, in turn among equals.
    LeastLoaded,
}

/// How a socket sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendOptions {
    /// How much may wait for one peer.
    pub high_water_mark: HighWaterMark,
    /// Keep only the newest message for each peer, whatever the high-water mark. Default off.
    pub conflate: bool,
    /// Accept messages only while a peer is connected (libzmq: IMMEDIATE). Default off: they wait
    /// for a connection that is being made.
    pub immediate: bool,
    /// Default [`Balance::RoundRobin`].
    pub balance: Balance,
    /// Default [`Overflow::DropNewest`].
    pub overflow: Overflow,
    /// What subscriptions are, those of peers and our own. Default [`Matching::Prefixes`].
    pub matching: Matching,
    /// A publisher sends to those that did *not* subscribe (libzmq: INVERT_MATCHING).
    pub invert_matching: bool,
    /// A ROUTER reports messages for unknown peers, and waits for room at known ones (libzmq:
    /// ROUTER_MANDATORY). Default on; off drops and counts both.
    pub mandatory: bool,
    /// A ROUTER gives a routing id to whoever claims it last (libzmq: ROUTER_HANDOVER). Default
    /// off: only to the same authenticated key, or when the old connection is silent.
    pub handover: bool,
    /// Subscriptions of one peer. Default 100,000.
    pub max_subscriptions: usize,
    /// The longest topic or filter of a subscription in octets. Default 64 KiB.
    pub max_topic: usize,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self {
            high_water_mark: HighWaterMark::default(),
            conflate: false,
            immediate: false,
            balance: Balance::default(),
            overflow: Overflow::default(),
            matching: Matching::default(),
            invert_matching: false,
            mandatory: true,
            handover: false,
            max_subscriptions: 100_000,
            max_topic: 64 * 1024,
        }
    }
}

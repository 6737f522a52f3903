//! The counters of a node in the text format of Prometheus (exposition format 0.0.4).
//!
//! Names have the unit at their end, and counters end in `_total`. No label has an identity or an
//! address, nor a name but those of the queues that this node was told to keep: there are as many
//! series with a thousand peers as with one.

use std::fmt::Write as _;

use withy::node::queue::QueueStats;
use withy::node::{DoorStats, Kind, MulticastState, NodeStats, QueueKeeper, ZmtpDoor};

/// Writes one family after the other.
struct Text(String);

impl Text {
    /// A family, with the samples of its label.
    fn family<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (value, count) in samples {
            let _ = match label {
                "" => writeln!(self.0, "{name} {count}"),
                _ => writeln!(self.0, "{name}{{{label}=\"{value}\"}} {count}"),
            };
        }
    }

    fn counter(&mut self, name: &str, help: &str, count: u64) {
        self.family(name, "counter", help, "", [("", count)]);
    }

    fn gauge(&mut self, name: &str, help: &str, level: u64) {
        self.family(name, "gauge", help, "", [("", level)]);
    }
}

/// All of them.
pub(super) fn text(
    stats: &NodeStats,
    ready: bool,
    kept: &[QueueKeeper],
    open: Option<&ZmtpDoor>,
) -> String {
    let mut text = Text(String::with_capacity(8 * 1024));
    levels(&mut text, stats, ready);
    records(&mut text, stats);
    traffic(&mut text, stats);
    queues(&mut text, kept);
    if let Some(open) = open {
        door(&mut text, &open.stats());
    }
    text.0
}

/// A family with a sample for each queue: its name, what it is, its help, the sample.
type OfQueue = (
    &'static str,
    &'static str,
    &'static str,
    fn(&QueueStats) -> u64,
);

const OF_QUEUES: &[OfQueue] = &[
    (
        "withy_queue_messages",
        "gauge",
        "Messages that are neither acked nor dead.",
        |stats| stats.messages as u64,
    ),
    (
        "withy_queue_bytes",
        "gauge",
        "Their octets, as limits count them.",
        |stats| stats.octets as u64,
    ),
    (
        "withy_queue_open",
        "gauge",
        "Jobs that are with workers.",
        |stats| stats.open as u64,
    ),
    (
        "withy_queue_dead_letters",
        "gauge",
        "Dead letters that nobody took.",
        |stats| stats.dead as u64,
    ),
    (
        "withy_queue_store_failing",
        "gauge",
        "1 if the store takes nothing.",
        |stats| u64::from(stats.trouble.is_some()),
    ),
    (
        "withy_queue_queued_total",
        "counter",
        "Messages that were queued.",
        |stats| stats.counts.queued,
    ),
    (
        "withy_queue_refused_total",
        "counter",
        "Messages that were refused.",
        |stats| stats.counts.refused,
    ),
    (
        "withy_queue_delivered_total",
        "counter",
        "Deliveries.",
        |stats| stats.counts.delivered,
    ),
    (
        "withy_queue_redelivered_total",
        "counter",
        "Deliveries that may have been made before.",
        |stats| stats.counts.redelivered,
    ),
    (
        "withy_queue_acked_total",
        "counter",
        "Messages that were acked.",
        |stats| stats.counts.acked,
    ),
    (
        "withy_queue_peers_let_go_total",
        "counter",
        "Peers that may not do what they did, broke the rules, or left too much unread.",
        |stats| stats.denied + stats.misused + stats.unread,
    ),
];

fn queues(text: &mut Text, kept: &[QueueKeeper]) {
    if kept.is_empty() {
        return;
    }
    let held = |keeper: &QueueKeeper| u64::from(keeper.held().is_some());
    let samples = kept.iter().map(|it| (it.name().as_str(), held(it)));
    let help = "1 if this node keeps the queue now, 0 if another one does.";
    text.family("withy_queue_held", "gauge", help, "queue", samples);
    let stats: Vec<_> = kept
        .iter()
        .map(|it| (it.name().as_str(), it.stats()))
        .collect();
    for (name, kind, help, sample) in OF_QUEUES {
        let samples = stats.iter().map(|(queue, stats)| (*queue, sample(stats)));
        text.family(name, kind, help, "queue", samples);
    }
}

fn levels(text: &mut Text, stats: &NodeStats, ready: bool) {
    let version = env!("CARGO_PKG_VERSION");
    let help = "The version that runs.";
    text.family("withy_build_info", "gauge", help, "version", [(version, 1)]);
    text.gauge(
        "withy_ready",
        "1 if the node can be used.",
        u64::from(ready),
    );
    text.family(
        "withy_peers",
        "gauge",
        "Other nodes that are known.",
        "presence",
        [
            ("present", stats.present as u64),
            ("suspected", stats.suspected as u64),
            ("untrusted", stats.untrusted as u64),
        ],
    );
    text.gauge(
        "withy_links",
        "Links over which the node gossips.",
        stats.links as u64,
    );
    let of = |kind| (crate::node::kind(kind), names(stats, kind));
    let mut offered: Vec<_> = [
        Kind::Publisher,
        Kind::Service,
        Kind::Queue,
        Kind::Pull,
        Kind::Pair,
        Kind::Group,
        Kind::Relay,
    ]
    .map(of)
    .to_vec();
    let sockets = |kind: &Kind| matches!(kind, Kind::Socket(_));
    let others = stats.names.iter().filter(|(kind, _)| sockets(kind));
    offered.push(("socket", others.map(|(_, count)| *count as u64).sum()));
    let help = "Different names that trusted nodes offer.";
    text.family("withy_names", "gauge", help, "kind", offered);
    if let Some(multicast) = &stats.multicast {
        let working = matches!(multicast.state, MulticastState::Working);
        text.gauge(
            "withy_multicast_working",
            "1 if the node hears its own multicast.",
            u64::from(working),
        );
        let counters = multicast.counters;
        text.family(
            "withy_multicast_events_total",
            "counter",
            "What multicast DNS did and heard.",
            "event",
            [
                ("heard", counters.heard),
                ("invalid", counters.invalid),
                ("elsewhere", counters.elsewhere),
                ("skipped", counters.skipped),
                ("announced", counters.announced),
                ("replaced", counters.replaced),
                ("resubscribed", counters.resubscribed),
            ],
        );
    }
}

fn names(stats: &NodeStats, kind: Kind) -> u64 {
    stats.names.get(&kind).map_or(0, |count| *count as u64)
}

fn records(text: &mut Text, stats: &NodeStats) {
    let records = &stats.records;
    text.counter(
        "withy_records_learnt_total",
        "Records that said something new.",
        records.learnt,
    );
    text.counter(
        "withy_records_expired_total",
        "Nodes that left because nobody renewed their record.",
        records.expired,
    );
    text.family(
        "withy_records_refused_total",
        "counter",
        "Records that were refused.",
        "reason",
        [
            ("invalid", records.invalid),
            ("ourselves", records.ourselves),
            ("foreign", records.foreign),
            ("elsewhere", records.elsewhere),
            ("gone", records.gone),
            ("over_quota", records.over_quota),
            ("full", records.full),
            ("conflict", records.conflicts),
        ],
    );
    let hints = &stats.hints;
    text.counter(
        "withy_hints_kept_total",
        "Hints that waited for a dial.",
        hints.kept,
    );
    text.family(
        "withy_hints_refused_total",
        "counter",
        "Hints that were refused.",
        "reason",
        [
            ("invalid", hints.invalid),
            ("forged", hints.forged),
            ("ourselves", hints.ourselves),
            ("foreign", hints.foreign),
            ("elsewhere", hints.elsewhere),
            ("gone", hints.gone),
            ("crowded", hints.crowded),
        ],
    );
    let members = &stats.members;
    text.family(
        "withy_members_changed_total",
        "counter",
        "What became of members.",
        "state",
        [
            ("suspected", members.suspected),
            ("died", members.died),
            ("left", members.left),
            ("revived", members.revived),
        ],
    );
}

fn traffic(text: &mut Text, stats: &NodeStats) {
    let gossip = &stats.gossip;
    text.family(
        "withy_gossip_messages_total",
        "counter",
        "Messages of gossip.",
        "direction",
        [("sent", gossip.sent), ("received", gossip.received)],
    );
    text.family(
        "withy_gossip_bytes_total",
        "counter",
        "Octets of gossip.",
        "direction",
        [
            ("sent", gossip.octets_sent),
            ("received", gossip.octets_received),
        ],
    );
    text.family(
        "withy_gossip_refused_total",
        "counter",
        "Messages and items of gossip that were not taken.",
        "reason",
        [
            ("over_quota", gossip.over_quota),
            ("invalid", gossip.invalid),
            ("no_room", gossip.dropped),
            ("forged", gossip.forged),
            ("full", gossip.full),
        ],
    );
    let relay = &stats.relay;
    text.family(
        "withy_relay_circuits",
        "gauge",
        "Circuits of others that lead through this node, or end here.",
        "course",
        [
            ("onward", relay.relaying as u64),
            ("here", relay.ending as u64),
        ],
    );
    text.counter(
        "withy_relay_bytes_total",
        "Octets of others that this node carried on.",
        relay.octets,
    );
    text.counter(
        "withy_relay_refused_total",
        "Requests for circuits that were refused.",
        relay.refused.values().sum(),
    );
    text.counter(
        "withy_dials_total",
        "Attempts to open a link for gossip.",
        stats.dials,
    );
    text.counter(
        "withy_dials_failed_total",
        "Of these, those that met nobody, or somebody else.",
        stats.dials_failed,
    );
    let control = &stats.control;
    text.counter(
        "withy_connections_total",
        "Connections of the socket that listens.",
        control.connections,
    );
    text.counter(
        "withy_handshakes_failed_total",
        "Handshakes that failed, both ways.",
        control.handshakes_failed,
    );
    text.counter(
        "withy_connections_refused_total",
        "Connections that found no place, or came to nothing.",
        control.refused,
    );
    text.counter(
        "withy_protocol_errors_total",
        "Connections that were closed since the peer broke the protocol or a limit.",
        control.protocol_errors,
    );
    text.counter(
        "withy_bus_messages_total",
        "Messages for subscribers.",
        stats.bus.sent,
    );
    text.counter(
        "withy_bus_dropped_total",
        "Messages that a subscriber had no room for.",
        stats.bus.dropped,
    );
}

/// What comes through the door for ZeroMQ sockets.
fn door(text: &mut Text, stats: &DoorStats) {
    text.family(
        "withy_zmtp_peers",
        "gauge",
        "ZeroMQ sockets that are connected.",
        "what",
        [
            ("subscriber", stats.subscribers),
            ("publisher", stats.publishers),
            ("caller", stats.callers),
            ("pusher", stats.pushers),
            ("worker", stats.workers),
            ("taker", stats.takers),
        ],
    );
    text.gauge(
        "withy_zmtp_subscriptions",
        "Prefixes that ZeroMQ subscribers want.",
        stats.subscriptions,
    );
    text.gauge(
        "withy_zmtp_filters",
        "Filters on the bus that these come down to.",
        stats.filters as u64,
    );
    text.gauge(
        "withy_zmtp_waiting",
        "Messages that wait for who takes them from their queue.",
        stats.waiting as u64,
    );
    text.family(
        "withy_zmtp_messages_total",
        "counter",
        "Messages that came through the door.",
        "what",
        [
            ("sent", stats.sent),
            ("published", stats.published),
            ("pushed", stats.pushed),
            ("taken", stats.taken),
        ],
    );
    text.family(
        "withy_zmtp_requests_total",
        "counter",
        "Requests that came through the door, those that failed among the asked ones.",
        "what",
        [
            ("asked", stats.requests),
            ("failed", stats.failed),
            ("served", stats.served),
        ],
    );
    text.family(
        "withy_zmtp_lost_total",
        "counter",
        "Messages, requests and subscriptions that came to nothing.",
        "reason",
        [
            ("malformed", stats.malformed),
            ("denied", stats.denied),
            ("overflowed", stats.overflowed),
            ("undelivered", stats.undelivered),
            ("slow_subscriber", stats.dropped),
        ],
    );
    text.family(
        "withy_zmtp_connections_lost_total",
        "counter",
        "Connections of ZeroMQ sockets that came to nothing, or were closed.",
        "reason",
        [
            ("handshake", stats.handshakes_failed),
            ("no_place", stats.refused),
            ("protocol", stats.protocol_errors),
        ],
    );
}

//! The mesh, as a node sees it that joins for some seconds: runtime directory, multicast, clock, and who
//! is there.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use withy::Node;
use withy::node::{MulticastState, NodeError, Peer, Presence};

use super::Report;
use crate::args::{Discovery, Doctor};
use crate::exit::Outcome;
use crate::node;

/// How often multicast is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long other nodes are waited for at least.
const PEERS: Duration = Duration::from_secs(1);
/// How far a clock may be off without a word.
const SKEW: u64 = 60;
/// A time that has passed since this program was written, in seconds since the Unix epoch.
const PAST: u64 = 1_760_000_000;
/// The most untrusted identities that are listed.
const MAX_LISTED: usize = 16;

/// Joins, if the files are usable, and looks around.
pub(super) async fn check(report: &mut Report, options: &Doctor, is_usable: bool) -> Outcome {
    let is_set = clock_of_its_own(report, now())?;
    if !is_usable {
        let remedy = "mend what failed above first";
        return report.warn("mesh", "no node was made to look around", remedy);
    }
    let mesh = &options.mesh;
    let mut builder = node::builder(&options.keys, mesh.discovery, &mesh.seed)?;
    if let Some(port) = options.mdns_port {
        builder = builder.mdns_port(port);
    }
    let node = match builder.build().await {
        Ok(node) => node,
        Err(error @ (NodeError::Host(_) | NodeError::Directory { .. })) => {
            let remedy =
                "chmod 700 it if it is yours, else set XDG_RUNTIME_DIR to a folder of yours";
            return report.fail("runtime", error, remedy);
        }
        Err(error) => {
            let remedy = "`withy peers` shows whether it is still so";
            return report.fail("mesh", error, remedy);
        }
    };
    let checked = look(report, options, &node, is_set).await;
    node.close(node::LEAVE).await;
    checked
}

async fn look(report: &mut Report, options: &Doctor, node: &Node, is_set: bool) -> Outcome {
    let addresses = node.addresses();
    let socket = addresses.iter().find_map(|it| it.strip_prefix("ipc://"));
    match socket.and_then(|path| path.rsplit_once('/')) {
        Some((directory, _)) => report.ok("runtime", directory)?,
        None => report.ok("runtime", "not used")?,
    }
    let start = Instant::now();
    multicast(report, options, node).await?;
    tokio::time::sleep_until(start + PEERS.min(options.wait)).await;
    let peers = node.peers();
    if is_set {
        clock(report, &peers)?;
    }
    nodes(report, options, &peers)
}

async fn multicast(report: &mut Report, options: &Doctor, node: &Node) -> Outcome {
    if options.mesh.discovery != Discovery::Mdns {
        return report.ok("multicast", "not asked for: see --discovery");
    }
    let until = Instant::now() + options.wait;
    let state = loop {
        let state = node.stats().multicast.map(|multicast| multicast.state);
        let undecided = match &state {
            None => true,
            Some(state) => matches!(state, MulticastState::Starting | MulticastState::Listening),
        };
        if !undecided || Instant::now() >= until {
            break state;
        }
        tokio::time::sleep(LOOK).await;
    };
    let seeds = "where multicast does not reach, --seed HOST:PORT names a `withy node`";
    let finding = match state {
        Some(MulticastState::Working) => {
            return report.ok("multicast", "this node hears its own announcement");
        }
        Some(MulticastState::Unheard) => "something swallows it: a node does not hear itself",
        Some(MulticastState::NoInterface) => "no interface of this host or its site is up",
        Some(MulticastState::Flooded) => "somebody floods UDP 5353",
        Some(MulticastState::Failed(error)) => {
            let finding = format!("it does not run: {error}");
            return report.warn("multicast", finding, seeds);
        }
        _ => "it could not be told in time",
    };
    let remedy = format!("let UDP 5353 in, and in a container use the host's network; {seeds}");
    report.warn("multicast", finding, remedy)
}

/// Whether the clock was set at all.
fn clock_of_its_own(report: &mut Report, now: u64) -> Outcome<bool> {
    let is_set = now >= PAST;
    if !is_set {
        let finding = "it is years behind: what others signed is not valid yet";
        report.fail("clock", finding, "set it, and keep it with NTP")?;
    }
    Ok(is_set)
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// Compares the clock with what others signed, which cannot be of the future.
fn clock(report: &mut Report, peers: &[Peer]) -> Outcome {
    let signed = peers.iter().map(|peer| (peer.issued, peer.identity));
    match ahead(now(), signed) {
        Some((ahead, identity)) => report.warn(
            "clock",
            format_args!(
                "{identity} signed its record {ahead} s from now: this clock is behind, or that one ahead"
            ),
            "keep both with NTP; more than 5m apart, they do not meet",
        ),
        None if peers.is_empty() => report.ok("clock", "no other node to compare it with"),
        None => report.ok(
            "clock",
            format_args!("no record of {} nodes contradicts it", peers.len()),
        ),
    }
}

/// The one of those who signed, and when, that is furthest in the future, and by how many seconds, if
/// that is worth a word.
fn ahead<T>(now: u64, signed: impl Iterator<Item = (u64, T)>) -> Option<(u64, T)> {
    let ahead = signed.map(|(at, who)| (at.saturating_sub(now), who));
    let ahead = ahead.filter(|(ahead, _)| *ahead > SKEW);
    ahead.max_by_key(|(ahead, _)| *ahead)
}

fn nodes(report: &mut Report, options: &Doctor, peers: &[Peer]) -> Outcome {
    let (strangers, known): (Vec<_>, Vec<_>) = peers
        .iter()
        .partition(|it| it.presence == Presence::Untrusted);
    report.ok("nodes", format_args!("trusted: {}", known.len()))?;
    let strangers: BTreeSet<_> = strangers.iter().map(|peer| peer.identity).collect();
    for identity in strangers.iter().take(MAX_LISTED) {
        let finding = format!("{identity} is not trusted");
        let remedy = match &options.keys.network {
            None => format!("if you know who that is: `withy trust {identity}`"),
            Some(name) => format!("if it belongs to the network: `withy network invite {name}`"),
        };
        report.warn("nodes", finding, remedy)?;
    }
    match strangers.len().checked_sub(MAX_LISTED) {
        None | Some(0) => Ok(()),
        Some(more) => report.warn(
            "nodes",
            format_args!("{more} more are not trusted"),
            "`withy peers` lists them",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_is_told_by_what_others_signed() {
        let now = 2 * PAST;
        let found = |signed: &[(u64, &'static str)]| ahead(now, signed.iter().copied());
        assert_eq!(found(&[]), None);
        // Those of the past say nothing, and a minute is little.
        assert_eq!(
            found(&[(0, "a"), (now - 3_600, "b"), (now + SKEW, "c")]),
            None
        );
        let signed = [(now + 90, "a"), (now + 400, "b"), (now + 61, "c")];
        assert_eq!(found(&signed), Some((400, "b")));
    }

    #[test]
    fn a_clock_that_was_never_set_fails() {
        let mut report = Report {
            json: true,
            failed: 0,
        };
        assert!(clock_of_its_own(&mut report, PAST).unwrap());
        assert_eq!(report.failed, 0);
        assert!(!clock_of_its_own(&mut report, PAST - 1).unwrap());
        assert!(!clock_of_its_own(&mut report, 0).unwrap());
        assert_eq!(report.failed, 2);
    }
}

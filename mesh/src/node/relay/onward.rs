//! How a relay leads a circuit on: over the target's line, to the target, or to another relay.
//!
//! Invariant: no relay is asked twice for one request, whoever asked it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;
use withy_discovery::PeerTag;
use withy_proto::relay::{Ask, MAX_VISITED, Open, Reply, Why};
use withy_proto::trust::NodeId;

use super::leg::Leg;
use super::{FETCH, MAX_WAITING, PATIENCE, Relaying, tag_of};
use crate::node::shared::Shared;

/// Why a circuit leads nowhere, and which relays were asked.
type Nowhere = (Why, BTreeSet<NodeId>);

/// Leads a circuit on. The leg that is found has said that the circuit is open.
pub(super) async fn lead(shared: &Arc<Shared>, open: &Open, hops: u8) -> Result<Leg, Nowhere> {
    let mut visited = open.visited.clone();
    visited.insert(shared.identity.node());
    let target = tag_of(&open.target);
    let asking = |visited: &BTreeSet<NodeId>| Open {
        hops,
        visited: visited.clone(),
        ..open.clone()
    };
    if let Some(leg) = reach(shared, target).await
        && let Ok(leg) = ask(leg, asking(&visited)).await
    {
        return Ok(leg);
    }
    let relays = {
        let state = shared.state.lock();
        let table = state.discovery.table();
        let node = |tag: PeerTag| Some((tag, table.record(tag)?.node()));
        let relays = shared.relays(&state.discovery, &state.links);
        relays.into_iter().filter_map(node).collect::<Vec<_>>()
    };
    let mut far = false;
    for (tag, node) in relays {
        if tag == target || visited.contains(&node) {
            continue;
        }
        if hops == 0 || visited.len() >= MAX_VISITED {
            far = true;
            break;
        }
        let asked = match reach(shared, tag).await {
            Some(leg) => ask(leg, asking(&visited)).await,
            None => Err(None),
        };
        visited.insert(node);
        match asked {
            Ok(leg) => return Ok(leg),
            Err(Some((why, more))) => {
                far |= why == Why::Far;
                visited.extend(more);
            }
            Err(None) => {}
        }
    }
    let why = if far { Why::Far } else { Why::Unreachable };
    Err((why, visited))
}

/// A leg to a node: it comes and fetches it, or is gone to.
async fn reach(shared: &Arc<Shared>, tag: PeerTag) -> Option<Leg> {
    match invite(&shared.relaying, tag).await {
        Some(leg) => Some(leg),
        None => shared.leg_to(tag).await,
    }
}

/// Asks over a leg; the error is what was said, if anything was.
async fn ask(leg: Leg, open: Open) -> Result<Leg, Option<Nowhere>> {
    let patience = PATIENCE * (u32::from(open.hops) + 1);
    match leg.ask(&Ask::Open(open), patience).await {
        Ok(Reply::Opened) => Ok(leg),
        Ok(Reply::Refused(why, visited)) => Err(Some((why, visited))),
        _ => Err(None),
    }
}

/// Lets somebody who has a line to here fetch a leg.
pub(super) async fn invite(relaying: &Relaying, whom: PeerTag) -> Option<Leg> {
    let (number, fetched) = {
        let mut open = relaying.open.lock();
        let (_, line) = open.lines.get(&whom)?;
        let line = line.clone();
        if open.waiting.len() >= MAX_WAITING {
            return None;
        }
        open.next += 1;
        let number = open.next;
        line.try_send(number).ok()?;
        let (fetch, fetched) = oneshot::channel();
        open.waiting.insert(number, (whom, fetch));
        (number, fetched)
    };
    let waiting = Waiting { relaying, number };
    let fetched = tokio::time::timeout(FETCH, fetched).await;
    drop(waiting);
    fetched.ok()?.ok()
}

/// An invitation, for as long as it may be followed.
struct Waiting<'a> {
    relaying: &'a Relaying,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.relaying.open.lock().waiting.remove(&self.number);
    }
}

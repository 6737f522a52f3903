//! The lines of a node to relays: over them it hears of circuits that lead to it and comes to fetch them,
//! wherever it may be dialled from.
//!
//! Invariant: there are at most [`LINES`], one to each relay, and a relay that is not reached is left alone
//! for longer each time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use withy_discovery::PeerTag;
use withy_proto::Endpoint;
use withy_proto::peer::{Backoff, Reconnect};
use withy_proto::relay::{Ask, Reply};

use super::leg::Mute;
use super::{GREETING, LINES, door, way};
use crate::driver::handshake::OsRandomness;
use crate::node::shared::Shared;

/// Circuits that one relay may let this node fetch at a time.
const FETCHING: usize = 64;

/// How long a relay is left alone that was not reached.
const PAUSES: Reconnect = Reconnect {
    enabled: true,
    initial: Duration::from_millis(500),
    max: Duration::from_secs(30),
};

/// Keeps lines until the node is closed.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut lines = JoinSet::new();
    let mut under_way: BTreeMap<PeerTag, Backoff> = BTreeMap::new();
    let mut resting: BTreeMap<PeerTag, (Instant, Backoff)> = BTreeMap::new();
    loop {
        let relays = {
            let state = shared.state.lock();
            shared.relays(&state.discovery, &state.links)
        };
        resting.retain(|relay, _| relays.contains(relay));
        let now = Instant::now();
        for relay in relays {
            if under_way.len() >= LINES {
                break;
            }
            let rests = resting.get(&relay).is_some_and(|it| it.0 > now);
            if rests || under_way.contains_key(&relay) {
                continue;
            }
            let backoff = resting.remove(&relay).map(|it| it.1);
            under_way.insert(relay, backoff.unwrap_or_else(|| Backoff::new(PAUSES)));
            let shared = Arc::clone(&shared);
            lines.spawn(async move { (relay, listen(&shared, relay).await) });
        }
        let next = resting.values().map(|it| it.0).min();
        let wakes = async {
            match next.filter(|_| under_way.len() < LINES) {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.relaying.changed.notified() => {}
            () = wakes => {}
            Some(ended) = lines.join_next() => {
                let Ok((relay, was_up)) = ended else {
                    continue;
                };
                let mut backoff = under_way.remove(&relay).unwrap_or_else(|| Backoff::new(PAUSES));
                if was_up {
                    backoff.reset();
                }
                let pause = backoff.next(&mut OsRandomness);
                resting.insert(relay, (Instant::now() + pause, backoff));
            }
        }
    }
}

/// Listens to a relay until the line is cut; whether there was one.
async fn listen(shared: &Arc<Shared>, relay: PeerTag) -> bool {
    let Some(leg) = shared.leg_to(relay).await else {
        return false;
    };
    match leg.ask(&Ask::Line, GREETING).await {
        Ok(Reply::Opened) => {}
        Ok(_) | Err(Mute::Gone) => return false,
        Err(Mute::Malformed(error)) => {
            shared.relaying.offence(leg.peer(), &error);
            return false;
        }
    }
    let _up = Up::new(
        shared,
        relay,
        way(leg.peer().transport, &leg.peer().address),
    );
    let mut fetching = JoinSet::new();
    loop {
        let said = tokio::select! {
            said = leg.next() => said,
            Some(_) = fetching.join_next() => continue,
        };
        match said.filter(|octets| !octets.is_empty()) {
            None => break,
            Some(octets) => match Reply::decode(&octets) {
                Ok(Reply::Invite(number)) if fetching.len() < FETCHING => {
                    let shared = Arc::clone(shared);
                    fetching.spawn(async move { fetch(&shared, relay, number).await });
                }
                // The relay notices that nobody comes.
                Ok(Reply::Invite(_)) => {}
                _ => {
                    shared
                        .relaying
                        .offence(leg.peer(), &"a line tells of circuits only");
                    break;
                }
            },
        }
    }
    true
}

/// Fetches a circuit, which then is as one that came to the door.
async fn fetch(shared: &Arc<Shared>, relay: PeerTag, number: u64) {
    let Some(leg) = shared.leg_to(relay).await else {
        return;
    };
    if !leg.say(Ask::Fetch(number).encode()).await {
        return;
    }
    if let Ok(Ask::Open(open)) = leg.asked(GREETING).await {
        // It outlives the line.
        let serving = Arc::clone(shared);
        shared.spawn(async move {
            tokio::select! {
                () = door::opened(&serving, leg, open) => {}
                () = serving.stop.cancelled() => {}
            }
        });
    }
}

/// A line that is up, for as long as it is.
struct Up<'a> {
    shared: &'a Arc<Shared>,
    relay: PeerTag,
}

impl<'a> Up<'a> {
    fn new(shared: &'a Arc<Shared>, relay: PeerTag, way: Option<Endpoint>) -> Self {
        shared.relaying.open.lock().relays.insert(relay, way);
        shared.relays_changed(&mut shared.state.lock());
        Self { shared, relay }
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        let relaying = &self.shared.relaying;
        relaying.open.lock().relays.remove(&self.relay);
        self.shared.relays_changed(&mut self.shared.state.lock());
    }
}

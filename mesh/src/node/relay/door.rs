//! The door of a node: who comes gets a socket of his own, and says what he wants.
//!
//! ```text
//!  Open ── admitted? ── Here ─────> the listener takes the connection that runs over it
//!                       Onward ───> another leg, and both are joined
//!  Line ──────────────────────────> is told of circuits, if this node relays
//!  Fetch ─────────────────────────> becomes the leg that somebody waits for
//! ```
//!
//! Invariant: there are at most [`MAX_GUESTS`] of them, and whoever says nothing that belongs here leaves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use withy_proto::relay::{Ask, Course, Open, Party, Reply, Why};

use super::circuits::link_over;
use super::leg::{self, Leg, Mute};
use super::{DOOR, GREETING, MAX_GUESTS, MAX_LINES, Relaying, Through, carry, onward, tag_of};
use crate::driver::resources::{self, Guard};
use crate::node::shared::Shared;
use crate::trust::Shown;

/// Lets everybody in who proved who he is: what he may do depends on what he asks.
#[derive(Debug)]
struct Proven;

impl Guard for Proven {
    fn admits(&self, shown: Option<&Shown>) -> bool {
        shown.is_some()
    }

    fn may_subscribe(&self, _: Option<&Shown>, _: &[u8]) -> bool {
        false
    }
}

/// One at the door, for as long as he is there.
struct Guest(Arc<Shared>);

impl Guest {
    fn new(shared: &Arc<Shared>) -> Option<Self> {
        let guests = &shared.relaying.guests;
        let counted = guests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |guests| {
            (guests < MAX_GUESTS).then_some(guests + 1)
        });
        counted.ok().map(|_| Self(Arc::clone(shared)))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.relaying.guests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Opens the door.
pub(super) fn open(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    let door = move || {
        let shared = weak.upgrade().filter(|shared| !shared.is_closed())?;
        let guest = Guest::new(&shared)?;
        let socket = leg::socket(&shared);
        let core = Arc::clone(socket.core());
        let serving = Arc::clone(&shared);
        shared.spawn(async move {
            let _guest = guest;
            let served = async {
                if let Some(leg) = Leg::accept(&serving, socket, GREETING).await {
                    serve(&serving, leg).await;
                }
            };
            tokio::select! {
                () = served => {}
                () = serving.stop.cancelled() => {}
            }
        });
        Some(core)
    };
    let named =
        shared
            .resources
            .insert_door(DOOR, resources::Door(Arc::new(door)), Arc::new(Proven));
    debug_assert!(named.is_ok(), "it is the first resource of the node");
}

/// Does what somebody wants who came.
async fn serve(shared: &Arc<Shared>, leg: Leg) {
    let relaying = &shared.relaying;
    match leg.asked(GREETING).await {
        Ok(Ask::Open(open)) => opened(shared, leg, open).await,
        Ok(Ask::Line) => line(shared, leg).await,
        Ok(Ask::Fetch(number)) => {
            let mut open = relaying.open.lock();
            let from = tag_of(&leg.party());
            // Whoever guesses the number of somebody else's circuit takes nothing away.
            let ours = open.waiting.get(&number).is_some_and(|it| it.0 == from);
            let waits = ours.then(|| open.waiting.remove(&number)).flatten();
            drop(open);
            match waits {
                Some((_, waits)) => drop(waits.send(leg)),
                // He was too slow, or invites himself.
                None => tracing::debug!(peer = %from, "nothing waits to be fetched"),
            }
        }
        // Who tries whether this node is reached says nothing.
        Err(Mute::Gone) => {}
        Err(Mute::Malformed(error)) => relaying.offence(leg.peer(), &error),
    }
}

/// A circuit that was admitted, for as long as it counts.
struct Admitted<'a> {
    relaying: &'a Relaying,
    course: Course,
    sender: Party,
    origin: Party,
    /// Under which it is listed, if it leads through here.
    number: Option<u64>,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.relaying.open.lock().through.remove(&number);
        }
        let mut admission = self.relaying.admission.lock();
        admission.ended(self.course, self.sender, self.origin);
    }
}

/// Does what a request for a circuit says.
pub(super) async fn opened(shared: &Arc<Shared>, leg: Leg, open: Open) {
    let relaying = &shared.relaying;
    let sender = leg.party();
    let permitted = shared.may_relay(leg.shown(), open.target.identity);
    let decided = relaying.admission.lock().ask(sender, &open, permitted);
    let course = match decided {
        Ok(course) => course,
        Err(why) => {
            tracing::debug!(origin = %open.origin.node, %why, "a circuit is refused");
            let mut visited = open.visited;
            visited.insert(shared.identity.node());
            let _ = leg.say(Reply::Refused(why, visited).encode()).await;
            return leg.end().await;
        }
    };
    let mut admitted = Admitted {
        relaying,
        course,
        sender,
        origin: open.origin,
        number: None,
    };
    match course {
        Course::Here => ends_here(shared, leg, admitted).await,
        Course::Onward { hops } => {
            let stop = shared.stop.child_token();
            admitted.number = Some(relaying.through(Through {
                sender: *leg.shown(),
                target: open.target.identity,
                stop: stop.clone(),
            }));
            let found = tokio::select! {
                found = onward::lead(shared, &open, hops) => found,
                () = leg.gone() => return,
                () = stop.cancelled() => return,
            };
            match found {
                Ok(other) => {
                    if leg.say(Reply::Opened.encode()).await {
                        tracing::info!(
                            origin = %open.origin.node, target = %open.target.node, "relays"
                        );
                        let idle = relaying.relay.unwrap_or_default().idle;
                        carry::join(relaying, leg, other, idle, &stop).await;
                    }
                }
                Err((why, visited)) => {
                    relaying.admission.lock().refused(why);
                    let _ = leg.say(Reply::Refused(why, visited).encode()).await;
                    leg.end().await;
                }
            }
        }
    }
}

/// The listener takes the connection that runs over a leg.
async fn ends_here(shared: &Arc<Shared>, leg: Leg, admitted: Admitted<'_>) {
    if !leg.say(Reply::Opened.encode()).await {
        return;
    }
    let relay = tag_of(&leg.party());
    let Ok(endpoint) = format!("relay://{relay}").parse() else {
        return;
    };
    let (connected, far) = link_over(relay);
    shared.control().take(connected, &endpoint);
    // Beside the tasks of the node: what its sockets send last goes this way.
    let carrying = shared
        .relaying
        .carrying
        .track_future(carry::carry(leg, far));
    shared.runtime.spawn(carrying).await.ok();
    drop(admitted);
}

/// Tells somebody of circuits that lead to him, for as long as he listens.
async fn line(shared: &Arc<Shared>, leg: Leg) {
    let relaying = &shared.relaying;
    let whom = tag_of(&leg.party());
    let (tell, mut told) = mpsc::channel(64);
    let kept = relaying.relay.is_some().then(|| {
        let mut open = relaying.open.lock();
        let is_room = open.lines.len() < MAX_LINES || open.lines.contains_key(&whom);
        is_room.then(|| {
            open.next += 1;
            let number = open.next;
            open.lines.insert(whom, (number, tell));
            number
        })
    });
    let number = match kept {
        Some(Some(number)) => number,
        refused => {
            let why = refused.map_or(Why::NoRelay, |_| Why::Busy);
            relaying.admission.lock().refused(why);
            let _ = leg
                .say(Reply::Refused(why, Default::default()).encode())
                .await;
            return leg.end().await;
        }
    };
    let _line = Line {
        relaying,
        whom,
        number,
    };
    if !leg.say(Reply::Opened.encode()).await {
        return;
    }
    loop {
        tokio::select! {
            invited = told.recv() => match invited {
                Some(number) => {
                    if !leg.say(Reply::Invite(number).encode()).await {
                        return;
                    }
                }
                // He has a newer one.
                None => return leg.end().await,
            },
            said = leg.next() => {
                if said.is_some_and(|octets| !octets.is_empty()) {
                    relaying.offence(leg.peer(), &"a line is for listening");
                }
                return;
            }
        }
    }
}

/// A line, for as long as it is listed.
struct Line<'a> {
    relaying: &'a Relaying,
    whom: withy_discovery::PeerTag,
    number: u64,
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let mut open = self.relaying.open.lock();
        if open
            .lines
            .get(&self.whom)
            .is_some_and(|it| it.0 == self.number)
        {
            open.lines.remove(&self.whom);
            // Nobody comes for what waits for him.
            open.waiting.retain(|_, (whom, _)| *whom != self.whom);
        }
    }
}

impl Relaying {
    fn through(&self, circuit: Through) -> u64 {
        let mut open = self.open.lock();
        open.next += 1;
        let number = open.next;
        open.through.insert(number, circuit);
        number
    }
}

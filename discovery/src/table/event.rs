//! What changed in the table, in order.

use std::collections::VecDeque;

use super::limits::Conflict;
use crate::peer::PeerTag;
use crate::record::{Kind, Record, Service};

/// One node's service of a kind and a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// Whose it is.
    pub peer: PeerTag,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: Box<str>,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A node is known.
    Known(PeerTag),
    /// A node is not known any more; its services vanished before.
    Forgotten(PeerTag),
    /// A service is there.
    Appeared(Instance),
    /// The load, the properties or the addresses of a service changed.
    Changed(Instance),
    /// A service is gone.
    Vanished(Instance),
    /// A pinned name is used by another identity; told once for each name.
    Conflict(Conflict),
    /// Some events were dropped, since nobody took them: look at the whole table.
    Lagged,
}

/// Events that nobody took yet.
#[derive(Debug, Default)]
pub(super) struct Events {
    waiting: VecDeque<Event>,
    lagged: bool,
}

impl Events {
    /// Keeps an event, or says that there is no room.
    #[must_use]
    pub(super) fn push(&mut self, event: Event, limit: usize) -> bool {
        let room = self.waiting.len() < limit;
        match room {
            true => self.waiting.push_back(event),
            false => self.lagged = true,
        }
        room
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        let lagged = || std::mem::take(&mut self.lagged).then_some(Event::Lagged);
        self.waiting.pop_front().or_else(lagged)
    }
}

/// What differs between two records of a node, either of which may be missing.
pub(super) fn difference(peer: PeerTag, old: Option<&Record>, new: Option<&Record>) -> Vec<Event> {
    let mut events = Vec::new();
    let instance = |service: &Service| Instance {
        peer,
        kind: service.kind,
        name: service.name.clone(),
    };
    let services = |record: Option<&Record>| record.map_or(&[][..], services_of).to_vec();
    let (before, after) = (services(old), services(new));
    let find = |among: &[Service], service: &Service| {
        let same = |it: &&Service| it.kind == service.kind && it.name == service.name;
        among.iter().find(same).cloned()
    };
    if old.is_none() {
        events.push(Event::Known(peer));
    }
    let gone = before.iter().filter(|it| find(&after, it).is_none());
    events.extend(gone.map(|service| Event::Vanished(instance(service))));
    let moved = old.map(addresses_of) != new.map(addresses_of);
    for service in &after {
        match find(&before, service) {
            None => events.push(Event::Appeared(instance(service))),
            Some(old) if moved || old != *service => {
                events.push(Event::Changed(instance(service)));
            }
            Some(_) => {}
        }
    }
    if new.is_none() {
        events.push(Event::Forgotten(peer));
    }
    events
}

fn services_of(record: &Record) -> &[Service] {
    &record.content().services
}

fn addresses_of(record: &Record) -> &[crate::record::Address] {
    &record.content().addresses
}

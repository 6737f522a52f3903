//! SUBs and XSUBs: what the bus has of the topics that begin as they want.
//!
//! Each principal has an XPUB, which filters by prefix for each of its peers; what goes there is what the
//! principal may subscribe to, whatever its peers ask for.
//!
//! Invariant: the bus is asked for what some prefix of some peer may choose, and for nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use withy_proto::bus::{Filter, Publication};
use withy_proto::{Message, SocketType};

use super::counts::DoorStats;
use super::hall::{Hall, Offence};
use super::widen::widen;
use super::{MAX_PRINCIPALS, MAX_SUBSCRIPTIONS};
use crate::driver::core::Core;
use crate::event::HandshakeFailure;
use crate::node::bus::tap::Tap;
use crate::socket::Owner;
use crate::trust::{Principal, Verb};

#[derive(Debug)]
pub(super) struct Subscribers {
    hall: Arc<Hall>,
    tap: Tap,
    desks: Mutex<Desks>,
}

#[derive(Debug, Default)]
struct Desks {
    of: BTreeMap<Principal, Arc<Desk>>,
    /// What those that are gone have sent and dropped.
    sent: u64,
    dropped: u64,
    protocol_errors: u64,
}

/// What one principal's peers are served at.
#[derive(Debug)]
struct Desk {
    whom: Principal,
    socket: Owner,
    /// The prefixes, and what the bus is asked for because of each.
    wanted: Mutex<BTreeMap<Vec<u8>, Option<Filter>>>,
}

impl Subscribers {
    pub(super) fn new(hall: &Arc<Hall>) -> Arc<Self> {
        let subscribers = Arc::new(Self {
            hall: Arc::clone(hall),
            tap: Tap::new(&hall.node),
            desks: Mutex::default(),
        });
        hall.spawn(Arc::clone(&subscribers).hand_out());
        hall.spawn(Arc::clone(&subscribers).follow_permissions());
        subscribers
    }

    /// The socket for the peers of a principal.
    pub(super) fn host_of(
        self: &Arc<Self>,
        whom: Principal,
    ) -> Result<Arc<Core>, HandshakeFailure> {
        let mut desks = self.desks.lock();
        if let Some(desk) = desks.of.get(&whom) {
            return Ok(Arc::clone(desk.socket.core()));
        }
        if desks.of.len() >= MAX_PRINCIPALS {
            self.clear(&mut desks);
        }
        if desks.of.len() >= MAX_PRINCIPALS {
            return Err(HandshakeFailure::TooManyConnections(MAX_PRINCIPALS));
        }
        let shared = self.hall.node.shared();
        let mut options = shared.options();
        options.send.max_subscriptions = MAX_SUBSCRIPTIONS;
        let socket = self.hall.socket(SocketType::XPub, options);
        let core = Arc::clone(socket.core());
        let desk = Arc::new(Desk {
            whom: whom.clone(),
            socket,
            wanted: Mutex::default(),
        });
        let subscribers = Arc::clone(self);
        let served = Arc::clone(&desk);
        self.hall
            .spawn(async move { subscribers.serve(&served).await });
        desks.of.insert(whom, desk);
        Ok(core)
    }

    /// Lets go of desks that nobody is at.
    fn clear(&self, desks: &mut Desks) {
        let idle = |_: &Principal, desk: &mut Arc<Desk>| desk.socket.stats().peers == 0;
        let gone: Vec<_> = desks.of.extract_if(.., idle).collect();
        for (_, desk) in gone {
            let stats = desk.socket.stats();
            desks.sent += stats.sent;
            desks.dropped += stats.dropped;
            desks.protocol_errors += stats.protocol_errors;
            // Its task ends, and takes its filters back.
            desk.socket.core().start_closing();
        }
    }

    /// Follows what the peers of a desk want.
    async fn serve(&self, desk: &Desk) {
        while let Ok(report) = desk.socket.recv().await {
            let report = report.first();
            match report.split_first() {
                Some((0, prefix)) => self.cancelled(desk, prefix),
                Some((_, prefix)) => self.wanted(desk, prefix),
                None => {}
            }
        }
        for filter in std::mem::take(&mut *desk.wanted.lock()).into_values() {
            filter.iter().for_each(|filter| self.tap.remove(filter));
        }
    }

    fn wanted(&self, desk: &Desk, prefix: &[u8]) {
        let shown = || {
            prefix
                .escape_ascii()
                .take(64)
                .map(char::from)
                .collect::<String>()
        };
        let widened = widen(prefix);
        let filter = widened.clone().filter(|it| self.may_want(&desk.whom, it));
        let whom = || Some(desk.whom.clone());
        match (&widened, &filter) {
            (None, _) => {
                let what = format!("no topic begins with {:?}", shown());
                self.hall.offended(whom(), Offence::Malformed, what);
            }
            (Some(_), None) => {
                let what = format!("no permission to subscribe to {:?}", shown());
                self.hall.offended(whom(), Offence::Denied, what);
            }
            (_, Some(filter)) => self.tap.add(filter),
        }
        let before = desk.wanted.lock().insert(prefix.to_vec(), filter);
        before.flatten().iter().for_each(|it| self.tap.remove(it));
    }

    fn cancelled(&self, desk: &Desk, prefix: &[u8]) {
        let before = desk.wanted.lock().remove(prefix);
        let filter = before.flatten();
        filter.iter().for_each(|filter| self.tap.remove(filter));
    }

    fn may_want(&self, whom: &Principal, filter: &Filter) -> bool {
        let permissions = self.hall.permissions();
        permissions.is_none_or(|rules| rules.allow_some(whom, Verb::Subscribe, filter))
    }

    /// Hands out what comes from the bus.
    async fn hand_out(self: Arc<Self>) {
        while let Ok(Publication { topic, body, .. }) = self.tap.recv().await {
            let permissions = self.hall.permissions();
            let text = topic.as_str();
            let desks: Vec<_> = {
                let desks = self.desks.lock();
                let may = |desk: &&Arc<Desk>| {
                    let rules = permissions.as_ref();
                    rules.is_none_or(|it| it.allow(&desk.whom, Verb::Subscribe, text))
                };
                desks.of.values().filter(may).map(Arc::clone).collect()
            };
            let message = Message::from_frames(vec![topic.into_frame(), body]);
            for desk in desks {
                // It waits for nobody: who has no room misses it, which the socket counts.
                let _ = desk.socket.try_send(message.clone());
            }
        }
    }

    /// Asks the bus for what may be had as the permissions are now.
    async fn follow_permissions(self: Arc<Self>) {
        let mut changes = self.hall.node.shared().trust.changes();
        while changes.changed().await.is_ok() {
            let desks: Vec<_> = self.desks.lock().of.values().cloned().collect();
            for desk in desks {
                let mut wanted = desk.wanted.lock();
                for (prefix, before) in wanted.iter_mut() {
                    let now = widen(prefix).filter(|it| self.may_want(&desk.whom, it));
                    match (&before, &now) {
                        (None, Some(filter)) => self.tap.add(filter),
                        (Some(filter), None) => self.tap.remove(filter),
                        _ => {}
                    }
                    *before = now;
                }
            }
        }
    }

    /// Different filters that the bus is asked for.
    pub(super) fn filters(&self) -> usize {
        self.tap.filters()
    }

    pub(super) fn count(&self, into: &mut DoorStats) {
        let desks = self.desks.lock();
        into.sent += desks.sent;
        into.dropped += desks.dropped;
        into.protocol_errors += desks.protocol_errors;
        for desk in desks.of.values() {
            let stats = desk.socket.stats();
            into.subscribers += stats.peers;
            into.subscriptions += stats.subscriptions;
            into.sent += stats.sent;
            into.dropped += stats.dropped;
            into.protocol_errors += stats.protocol_errors;
        }
        into.denied += self.tap.stats().denied;
    }

    pub(super) fn sockets(&self) -> Vec<Owner> {
        let desks = self.desks.lock();
        desks.of.values().map(|desk| desk.socket.clone()).collect()
    }
}

//! One subscriber whose filters come and go.
//!
//! All filters share a socket with one connection to each publisher, so that a message that several of
//! them choose comes once.
//!
//! Invariant: the publishers that are connected are those that may have something that is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use withy_proto::SocketType;
use withy_proto::bus::{Filter, Publication};
use withy_proto::pattern::publish::Matching;

use super::subscriber::Reader;
use crate::error::ReceiveError;
use crate::node::Node;
use crate::node::guard::Permitted;
use crate::node::interest::{Interest, Wants};
use crate::stats::Stats;

/// The filters by which publishers are chosen. With more, all are connected, and still send only what is
/// wanted.
const MAX_CHOSEN: usize = 64;

/// The subscriber.
#[derive(Debug)]
pub(in crate::node) struct Tap {
    reader: Reader,
    /// How many want what a filter chooses.
    wanted: Mutex<BTreeMap<Filter, usize>>,
    interest: Interest,
    _node: Node,
}

impl Tap {
    /// One that wants nothing yet.
    pub(in crate::node) fn new(node: &Node) -> Self {
        let shared = node.shared();
        let mut options = shared.options();
        options.send.matching = Matching::Filters;
        options.remember_departed = true;
        let socket = shared.socket(SocketType::Sub, options);
        shared.close_with_node(socket.core());
        let wants = Wants::Several(BTreeSet::new());
        let permitted = Permitted::to_offer(shared.identity.id(), &shared.trust, &wants);
        let interest = shared.want(wants, socket.core());
        let permitted = Arc::new(permitted);
        Self {
            reader: Reader { socket, permitted },
            wanted: Mutex::default(),
            interest,
            _node: node.clone(),
        }
    }

    /// Wants what a filter chooses, once more.
    pub(in crate::node) fn add(&self, filter: &Filter) {
        let mut wanted = self.wanted.lock();
        let count = wanted.entry(filter.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.reader
                .socket
                .core()
                .subscribe(filter.as_octets(), true);
            self.look(&wanted);
        }
    }

    /// Takes that back once.
    pub(in crate::node) fn remove(&self, filter: &Filter) {
        let mut wanted = self.wanted.lock();
        let Some(count) = wanted.get_mut(filter) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            wanted.remove(filter);
            self.reader
                .socket
                .core()
                .subscribe(filter.as_octets(), false);
            self.look(&wanted);
        }
    }

    /// Connects to those who may have something that is wanted, and lets others go.
    fn look(&self, wanted: &BTreeMap<Filter, usize>) {
        let chosen = match wanted.len() > MAX_CHOSEN {
            true => BTreeSet::from([Filter::all()]),
            false => wanted.keys().cloned().collect(),
        };
        self.interest.change(Wants::Several(chosen));
    }

    /// How many different filters there are.
    pub(in crate::node) fn filters(&self) -> usize {
        self.wanted.lock().len()
    }

    /// Receives the next message, of the publishers in turn.
    ///
    /// # Errors
    /// The node is closed.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call took no message.
    pub(in crate::node) async fn recv(&self) -> Result<Publication, ReceiveError> {
        loop {
            let received = self.reader.socket.recv_from().await?;
            if let Some(publication) = self.reader.read(received) {
                return Ok(publication);
            }
        }
    }

    /// The counters of its socket.
    pub(in crate::node) fn stats(&self) -> Stats {
        self.reader.socket.stats()
    }
}

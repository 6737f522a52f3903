//! Links in the other direction than the connection: who was dialled opens them to who dialled, if he
//! listens.
//!
//! ```text
//!  A dialled B                             B would dial A's listener at P
//!    connection that B accepted <---------- "WQ" 1 BACK, the address and port P
//!    A's listener at P -------------------> 0
//! ```
//!
//! Two nodes that dial each other need one connection, then, and one handshake. A peer that listens
//! nowhere allows no such links, and one that does not listen at that port refuses them: who wants one
//! dials after all.
//!
//! Invariant: a link in this direction reaches a listener with the node key that the connection proved, at
//! the address and port that were to be dialled.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::lease::{Lease, WeakLease};
use super::wire::Wire;
use crate::options::Secret;
use crate::{AcceptError, Connected};

/// Listeners and accepted connections that are remembered for a node key each, at most: one with more than
/// so many connections to one peer dials.
const MOST: usize = 16;

/// How long a peer has to take a link over a connection that is there, before it is dialled: it may be gone,
/// and another have its place.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

type Takers = mpsc::Sender<Result<Connected, AcceptError>>;

/// What is remembered as long as it lives.
type Known<K, T> = LazyLock<Mutex<HashMap<K, Vec<Weak<T>>>>>;

static LISTENERS: Known<Own, Listening> = LazyLock::new(Mutex::default);

/// By the key that the peer proved.
static ACCEPTED: Known<(Own, [u8; 32]), Accepted> = LazyLock::new(Mutex::default);

/// A node of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Own {
    runtime: Id,
    key: [u8; 32],
}

impl Own {
    /// That with this key, on the runtime of the caller.
    pub(super) fn here(key: [u8; 32]) -> Self {
        let runtime = Handle::current().id();
        Self { runtime, key }
    }
}

/// A listener, for as long as this lives.
#[derive(Debug)]
pub(super) struct Listening {
    at: SocketAddr,
    takers: mpsc::WeakSender<Result<Connected, AcceptError>>,
}

impl Listening {
    pub(super) fn enter(own: Own, at: SocketAddr, takers: &Takers) -> Arc<Self> {
        let listening = Arc::new(Self {
            at,
            takers: takers.downgrade(),
        });
        remember(&mut LISTENERS.lock(), own, &listening);
        listening
    }

    fn is_at(&self, address: &[u8]) -> bool {
        let ours = self.at;
        let everywhere =
            ours.ip().is_unspecified() && address.ends_with(&ours.port().to_be_bytes());
        everywhere || encode(ours) == address
    }
}

/// Whether a node listens anywhere.
pub(super) fn listens(own: Own) -> bool {
    let all = LISTENERS.lock();
    let listeners = all.get(&own).into_iter().flatten();
    listeners.into_iter().any(|it| it.strong_count() > 0)
}

/// Octets of an address with its port.
pub(super) const ADDRESS: usize = 18;

/// An address as a link that is opened back names it: as one of IPv6, and the port.
pub(super) fn encode(address: SocketAddr) -> [u8; ADDRESS] {
    let mut octets = [0; ADDRESS];
    let ip = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    octets[..16].copy_from_slice(&ip.octets());
    octets[16..].copy_from_slice(&address.port().to_be_bytes());
    octets
}

/// Who takes links that are for a node's listener at an address.
pub(super) fn takers(own: Own, address: &[u8]) -> Option<Takers> {
    let all = LISTENERS.lock();
    let mut listeners = all.get(&own)?.iter().filter_map(Weak::upgrade);
    listeners.find(|it| it.is_at(address))?.takers.upgrade()
}

/// A connection that a peer dialled, for as long as this lives.
#[derive(Debug)]
pub(super) struct Accepted {
    wire: Wire,
    lease: WeakLease,
}

impl Accepted {
    pub(super) fn enter(own: Own, wire: Wire, lease: &Lease) -> Arc<Self> {
        let key = (own, wire.proven.key);
        let lease = lease.downgrade();
        let accepted = Arc::new(Self { wire, lease });
        remember(&mut ACCEPTED.lock(), key, &accepted);
        accepted
    }

    /// Whether it leads to that host, in that network.
    fn leads_to(&self, ip: IpAddr, network: Option<&Secret>) -> bool {
        let connection = &self.wire.connection;
        let theirs = connection.remote_address().ip().to_canonical();
        theirs == ip.to_canonical()
            && self.wire.proven.network.as_ref() == network
            && connection.close_reason().is_none()
    }
}

/// Opens a link to a peer's listener over a connection that it made to this node, if there is one.
///
/// # Cancel safety
/// Cancel-safe: the peer may see a link that ends.
pub(super) async fn link(
    own: Own,
    peer: [u8; 32],
    to: SocketAddr,
    network: Option<&Secret>,
) -> Option<Connected> {
    let accepted = {
        let all = ACCEPTED.lock();
        let mut accepted = all.get(&(own, peer))?.iter().filter_map(Weak::upgrade);
        accepted.find(|it| it.leads_to(to.ip(), network))?
    };
    let lease = accepted.lease.upgrade()?;
    let opened = timeout(PATIENCE, accepted.wire.open_back(lease, to)).await;
    opened.ok()?.ok().flatten()
}

/// Remembers something beside what is left of its kind.
fn remember<K: Eq + std::hash::Hash, T>(all: &mut HashMap<K, Vec<Weak<T>>>, key: K, new: &Arc<T>) {
    let same = all.entry(key).or_default();
    same.retain(|it| it.strong_count() > 0);
    if same.len() < MOST {
        same.push(Arc::downgrade(new));
    }
    // Those of others that are gone, now and then.
    if all.len().is_power_of_two() {
        all.retain(|_, same| same.iter().any(|it| it.strong_count() > 0));
    }
}

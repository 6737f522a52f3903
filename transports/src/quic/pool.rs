//! The connections that this process has dialled: one for each pair of nodes, as far as it can be
//! known before the peer's key is.
//!
//! Dials with the same node key, network and expectation, to the same address, on the same runtime,
//! share a connection, and while it is being made they share that attempt and its failure. The
//! first one's options hold for all. A connection stays for [`spare`](QuicOptions::spare) after its last
//! link. Only when the peer allows no more links on it, or does not answer there, is there another.
//!
//! Invariant: a connection that has ended is not in the pool.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};
use tokio::time::timeout;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::crypto::tag;

use super::back::{self, Own, PATIENCE};
use super::dialling::{self, Dialler};
use super::endpoint::{self, Grant};
use super::lease::{Lease, WeakLease};
use super::tag::shown;
use super::tls;
use super::wire::{Stays, Wire};
use crate::options::QuicOptions;
use crate::{Connected, QuicError};

static POOL: LazyLock<Mutex<HashMap<Key, Arc<Slot>>>> = LazyLock::new(Mutex::default);

/// What dials must have in common to share a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    runtime: Id,
    remote: SocketAddr,
    dialler: Dialler,
    expected: Option<[u8; 32]>,
    classical: bool,
    /// Counts the connections that are full before this one.
    number: usize,
}

#[derive(Debug, Default)]
struct Slot {
    /// Held by the dial that makes the connection.
    made: tokio::sync::Mutex<Option<Made>>,
    /// How the last attempt failed, and how many did.
    failed: Mutex<(u64, Option<QuicError>)>,
}

#[derive(Debug)]
struct Made {
    wire: Wire,
    lease: WeakLease,
}

/// Opens a link to `remote`, over a connection that exists or a new one.
///
/// # Cancel safety
///
/// Cancel safe: another dial that waited for the same connection makes it.
pub(super) async fn dial(
    node: SigningKey,
    remote: SocketAddr,
    options: QuicOptions,
) -> Result<Connected, QuicError> {
    let mut key = Key {
        runtime: Handle::current().id(),
        remote,
        dialler: Dialler {
            node: node.public(),
            network: tag::make(shown(&options.networks), u64::MAX, [0; 8]),
        },
        expected: options.expected_key,
        classical: options.allow_classical,
        number: 0,
    };
    if let Some(peer) = options.expected_key.or(options.likely_key)
        && !POOL.lock().contains_key(&key)
    {
        let own = Own::here(key.dialler.node);
        let network = options.networks.first();
        if let Some(connected) = back::link(own, peer, remote, network).await {
            return Ok(connected);
        }
    }
    loop {
        if let Some(connected) = link(key.clone(), &node, &options).await? {
            return Ok(connected);
        }
        key.number += 1;
    }
}

/// Opens a link over one connection; `None` if the peer allows no more on it, or does not answer.
async fn link(
    key: Key,
    node: &SigningKey,
    options: &QuicOptions,
) -> Result<Option<Connected>, QuicError> {
    let vacancy = Vacancy::of(key);
    let (wire, lease, fresh) = reach(&vacancy, node, options).await?;
    if fresh {
        return wire.open(lease, true).await;
    }
    // A connection that was there may have been lost without our knowing; a peer that is slow acknowledges.
    let heard = || wire.connection.stats().frame_rx.acks;
    let before = heard();
    let mut opening = pin!(wire.open(lease, false));
    let opened = match timeout(PATIENCE, &mut opening).await {
        Ok(opened) => opened,
        Err(_) if heard() == before => return Ok(None),
        Err(_) => opening.await,
    };
    match opened {
        Err(_) if wire.connection.close_reason().is_some() => {
            let (wire, lease, fresh) = reach(&vacancy, node, options).await?;
            wire.open(lease, fresh).await
        }
        opened => opened,
    }
}

/// The connection of a slot, made if there is none, and whether it was made.
async fn reach(
    vacancy: &Vacancy,
    node: &SigningKey,
    options: &QuicOptions,
) -> Result<(Wire, Lease, bool), QuicError> {
    let slot = &vacancy.slot;
    let before = slot.failed.lock().0;
    let mut made = slot.made.lock().await;
    let lives = |made: &Made| {
        let lease = made.lease.upgrade().filter(|lease| !lease.is_void());
        let lease = lease.filter(|_| made.wire.connection.close_reason().is_none());
        lease.map(|lease| (made.wire.clone(), lease, false))
    };
    if let Some(living) = made.as_ref().and_then(lives) {
        return Ok(living);
    }
    *made = None;
    if let (count, Some(error)) = &*slot.failed.lock()
        && *count != before
    {
        return Err(error.clone());
    }
    match connect(vacancy, node, options).await {
        Ok((wire, lease)) => {
            *made = Some(Made {
                wire: wire.clone(),
                lease: lease.downgrade(),
            });
            Ok((wire, lease, true))
        }
        Err(error) => {
            let mut failed = slot.failed.lock();
            *failed = (failed.0 + 1, Some(error.clone()));
            Err(error)
        }
    }
}

async fn connect(
    vacancy: &Vacancy,
    node: &SigningKey,
    options: &QuicOptions,
) -> Result<(Wire, Lease), QuicError> {
    let remote = vacancy.key.remote;
    let lost = |error: rustls::Error| QuicError::Lost(error.to_string());
    let tls = tls::client(node, options.expected_key, options.allow_classical).map_err(lost)?;
    let own = Own::here(vacancy.key.dialler.node);
    // A node that listens lets the peer open links back to it.
    let listens = back::listens(own);
    let config = endpoint::client(tls, remote, options, listens);
    let dialled = dialling::connect(&config, remote, options, vacancy.key.dialler)?;
    let bound = dialled.bound;
    let connection = dialled.finish().await?;
    let proven = tls::proven(&connection).ok_or(QuicError::NoCommonProtocol)?;
    let network = options.networks.first().cloned();
    let proven = tls::Proven { network, ..proven };
    let grant = Grant::new(options, listens);
    let (linger, ended) = (options.linger, vacancy.again());
    let stays = Stays::Spare(options.spare);
    let (wire, lease) = Wire::new(connection, proven, bound, grant, linger, stays, ended);
    if listens {
        let limit = options.handshake_timeout;
        tokio::spawn(wire.clone().serve_back(lease.downgrade(), own, limit));
    }
    Ok((wire, lease))
}

/// A use of a slot, which leaves the pool with its last use.
struct Vacancy {
    key: Key,
    slot: Arc<Slot>,
}

impl Vacancy {
    fn of(key: Key) -> Self {
        let slot = Arc::clone(POOL.lock().entry(key.clone()).or_default());
        Self { key, slot }
    }

    /// One more use.
    fn again(&self) -> Self {
        Self {
            key: self.key.clone(),
            slot: Arc::clone(&self.slot),
        }
    }
}

impl Drop for Vacancy {
    fn drop(&mut self) {
        let mut pool = POOL.lock();
        // Ours must be gone before the lock is, or two that leave at once would each see the other.
        let slot = std::mem::take(&mut self.slot);
        // The pool's and ours.
        if Arc::strong_count(&slot) == 2 {
            pool.remove(&self.key);
        }
        drop(slot);
        drop(pool);
    }
}

#[cfg(test)]
pub(super) fn is_unused(remote: SocketAddr) -> bool {
    POOL.lock().keys().all(|key| key.remote != remote)
}

/// The connections to an address that were made, and have a lease, the latest last.
#[cfg(test)]
pub(super) fn connections(remote: SocketAddr) -> Vec<quinn::Connection> {
    let pool = POOL.lock();
    let slots = pool.iter().filter(|(key, _)| key.remote == remote);
    let mut slots: Vec<_> = slots.collect();
    slots.sort_unstable_by_key(|(key, _)| key.number);
    let made = |(_, slot): (_, &Arc<Slot>)| {
        let made = slot.made.try_lock().ok()?;
        let made = made
            .as_ref()
            .filter(|made| made.lease.upgrade().is_some())?;
        Some(made.wire.connection.clone())
    };
    slots.into_iter().filter_map(made).collect()
}

//! The addresses of this host come and go, and a node that is to be found listens at those that there
//! are.
//!
//! The system is asked every [`LOOK`]; who is on the local network hears of it by multicast DNS, which looks
//! for itself, and everybody else by the node's record.
//!
//! Invariant: without being told so, a node listens at no public address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use withy_discovery::{Address, Record};
use withy_proto::Endpoint;
use withy_proto::trust::{IdentityId, NodeId};

use super::listen;
use super::shared::Shared;
use crate::driver::core::Core;
use crate::event::Reason;

/// How often the system is asked.
const LOOK: Duration = Duration::from_secs(2);

/// Ends the connections that a socket made to a node at addresses which are none of its ways any more: it
/// may take as long to notice that as for anybody who falls silent.
pub(super) fn leave_old(core: &Core, to: (IdentityId, NodeId), ways: &[Endpoint]) {
    for (key, peer) in core.links() {
        let network = ["quic", "tcp"].contains(&peer.transport);
        if !network || peer.accepted || peer.meant.as_deref() != Some(&to) {
            continue;
        }
        let at = format!("{}://{}", peer.transport, peer.address);
        if !ways.iter().any(|way| way.to_string() == at) {
            core.close_link(key, Reason::Moved);
        }
    }
}

/// The addresses of this host at which a node listens.
#[derive(Debug)]
pub(super) struct Followed {
    /// Where it listens besides: within the process, on this host, and where it was told.
    others: Vec<Address>,
    bound: BTreeMap<IpAddr, Vec<Address>>,
    /// Those at which it cannot listen, which is logged once.
    refused: BTreeSet<IpAddr>,
    /// The port that it has, if it can.
    port: Option<u16>,
    /// Whether it takes another one where somebody has that.
    any_port: bool,
}

impl Followed {
    /// Follows the addresses of this host, of which these are those of now.
    pub(super) fn new(
        others: &[Address],
        bound: &[Address],
        port: Option<u16>,
        any_port: bool,
    ) -> Self {
        let mut by_ip: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for address in bound {
            if let Some(ip) = address.ip() {
                by_ip.entry(ip).or_default().push(address.clone());
            }
        }
        Self {
            others: others.to_vec(),
            bound: by_ip,
            refused: BTreeSet::new(),
            port,
            any_port,
        }
    }

    /// Where the node listens now.
    pub(super) fn all(&self) -> Vec<Address> {
        let mut all = self.others.clone();
        all.extend(self.bound.values().flatten().cloned());
        all.truncate(Record::MAX_ADDRESSES);
        all
    }

    /// Follows them until the node is closed.
    pub(super) async fn run(mut self, shared: Arc<Shared>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shared.stop.cancelled() => return,
                _ = look.tick() => {}
            }
            if self.look(&shared).await {
                let mut state = shared.state.lock();
                state.offers.addresses = self.all();
                state.offers.changed = true;
                drop(state);
                shared.work.notify_one();
            }
        }
    }

    /// Listens at what is new, and no more at what is gone; whether anything was.
    async fn look(&mut self, shared: &Shared) -> bool {
        let now: BTreeSet<_> = listen::site().into_iter().collect();
        self.refused.retain(|ip| now.contains(ip));
        let gone: Vec<_> = self
            .bound
            .extract_if(.., |ip, _| !now.contains(ip))
            .collect();
        for (ip, addresses) in &gone {
            tracing::info!(%ip, "an address is gone");
            for address in addresses {
                // The listener may have broken by itself.
                if let Ok(endpoint) = address.to_string().parse() {
                    let _ = shared.control.unbind(&endpoint);
                }
            }
        }
        let told = |ip: &IpAddr| self.others.iter().any(|it| it.ip() == Some(*ip));
        let new: Vec<_> = now
            .into_iter()
            .filter(|ip| !self.bound.contains_key(ip) && !told(ip))
            .collect();
        let mut changed = !gone.is_empty();
        for ip in new {
            changed |= self.listen(shared, ip).await;
        }
        changed
    }

    /// Listens at a new address; whether it could.
    async fn listen(&mut self, shared: &Shared, ip: IpAddr) -> bool {
        let port = self.port.unwrap_or(0);
        let bound = match listen::at(&shared.control, ip, port).await {
            Err(_) if self.any_port && port != 0 => listen::at(&shared.control, ip, 0).await,
            bound => bound,
        };
        match bound {
            Ok(addresses) => {
                tracing::info!(%ip, "listening at a new address");
                self.refused.remove(&ip);
                self.bound.insert(ip, addresses);
                true
            }
            // An address may be there before it can be used, as those of IPv6 are for some seconds.
            Err(error) => {
                if self.refused.insert(ip) {
                    tracing::warn!(%ip, %error, "not listening there");
                }
                false
            }
        }
    }
}

//! The ways through relays, as those who dial take them.

use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use withy_discovery::PeerTag;
use withy_proto::mechanism::party::Expected;
use withy_proto::relay::{Ask, MAX_HOPS, Open, Reply};
use withy_proto::{Endpoint, crypto::Randomness as _};
use withy_transports::{Connected, Far, Peer, memory_link};

use super::leg::{Leg, Mute};
use super::{DIAL, NoCircuit, PATIENCE, carry, onward, party};
use crate::driver::handshake::OsRandomness;
use crate::node::shared::Shared;

/// The ways through relays of a node. It keeps no node alive.
#[derive(Debug, Clone, Default)]
pub(crate) struct Circuits(Arc<OnceLock<Weak<Shared>>>);

impl Circuits {
    /// Those of this node, from now on.
    pub(crate) fn of(&self, shared: &Arc<Shared>) {
        let _ = self.0.set(Arc::downgrade(shared));
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        self.0.get()?.upgrade().filter(|shared| !shared.is_closed())
    }

    /// Makes a link to a node through a relay, which is named by its tag.
    ///
    /// Boxed, since it dials as those do who call it.
    pub(crate) fn open<'a>(
        &'a self,
        relay: &'a str,
        to: Option<Expected>,
    ) -> Pin<Box<dyn Future<Output = Result<Connected, NoCircuit>> + Send + 'a>> {
        Box::pin(self.open_circuit(relay, to))
    }

    async fn open_circuit(
        &self,
        relay: &str,
        to: Option<Expected>,
    ) -> Result<Connected, NoCircuit> {
        let shared = self.shared().ok_or(NoCircuit::Unknown)?;
        let Some(Expected::Node(identity, node)) = to else {
            return Err(NoCircuit::Unknown);
        };
        let named = |tag: &PeerTag| tag.to_string() == relay;
        let tag = match named(&shared.own) {
            true => shared.own,
            false => {
                let state = shared.state.lock();
                let relays = shared.relays(&state.discovery, &state.links);
                relays.into_iter().find(named).ok_or(NoCircuit::Unknown)?
            }
        };
        let relay = || relay.to_owned();
        // It is never closed.
        let _opening = shared.relaying.opening.acquire().await;
        let leg = match tag == shared.own {
            true => onward::invite(&shared.relaying, PeerTag::of(identity, node)).await,
            false => shared.leg_to(tag).await,
        };
        let leg = leg.ok_or_else(|| NoCircuit::NotReached(relay()))?;
        let open = Ask::Open(Open {
            hops: MAX_HOPS,
            target: party(identity, node),
            origin: shared.party(),
            visited: Default::default(),
        });
        let patience = PATIENCE * (u32::from(MAX_HOPS) + 1);
        match leg.ask(&open, patience).await {
            Ok(Reply::Opened) => {}
            Ok(Reply::Refused(why, _)) => {
                let relay = relay();
                return Err(NoCircuit::Refused { relay, why });
            }
            Ok(Reply::Invite(_)) | Err(Mute::Gone) => return Err(NoCircuit::Silent(relay())),
            Err(Mute::Malformed(error)) => {
                let relay = relay();
                return Err(NoCircuit::Malformed { relay, error });
            }
        }
        let (connected, far) = link_over(tag);
        // Beside the tasks of the node: what its sockets send last goes this way.
        let carrying = shared
            .relaying
            .carrying
            .track_future(carry::carry(leg, far));
        shared.runtime.spawn(carrying);
        Ok(connected)
    }

    /// Waits until direct ways are to be tried again.
    pub(crate) async fn pause(&self) {
        let again = self.shared().map_or(Duration::MAX, |it| it.relaying.again);
        let half = again / 2;
        let part = (OsRandomness.next_u64() % 1_024) as u32;
        tokio::time::sleep(half + half * part / 1_024).await;
    }

    /// Whether some of these ways leads to a node now.
    pub(crate) async fn reaches(&self, ways: Vec<Endpoint>, to: Option<Expected>) -> bool {
        let Some(shared) = self.shared() else {
            return false;
        };
        Leg::dial(&shared, ways, to, DIAL).await.is_some()
    }
}

/// A link that a leg to a relay carries, and its far end.
pub(super) fn link_over(relay: PeerTag) -> (Connected, Far) {
    let (link, far) = memory_link();
    let peer = Peer {
        address: format!("relay:{relay}"),
        ..Peer::default()
    };
    let connected = Connected {
        link,
        local: String::new(),
        peer,
    };
    (connected, far)
}

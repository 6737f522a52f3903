//! Where a trust writes down what has to outlast it: a home, and the network in it that alone counts.
//!
//! Invariant: of the writes that peers bring about one runs at a time, however many wait; whose
//! handshake ends leaves the queue. They wait for a lock that other programs may hold, on a thread of
//! which there are not many.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use withy_proto::trust::{By, IdentityId, Membership, Name, NetworkId, Shown, Standing, Why};

use crate::home::{Home, HomeError};
use crate::identity;

/// The most confirmations that are remembered.
const MAX_RECENT: usize = 64;
/// For how long the same confirmation answers who asks again.
const RECENT: Duration = Duration::from_secs(60);

/// A home, and the network in it that alone counts. A clone is the same.
#[derive(Debug, Clone)]
pub(super) struct Place {
    home: Home,
    network: Option<Name>,
    turn: Arc<Semaphore>,
    recent: Arc<Mutex<VecDeque<Confirmed>>>,
}

/// Who was confirmed, by what it showed.
#[derive(Debug)]
struct Confirmed {
    at: Instant,
    who: (IdentityId, Standing),
    membership: Membership,
}

impl Place {
    pub(super) fn new(home: Home, network: Option<Name>) -> Self {
        Self {
            home,
            network,
            turn: Arc::new(Semaphore::new(1)),
            recent: Arc::default(),
        }
    }

    /// The home, and the network in it that alone counts.
    pub(super) fn network(&self) -> Option<(&Home, &Name)> {
        Some((&self.home, self.network.as_ref()?))
    }

    /// Pins a name to who answered there first.
    pub(super) async fn pin(&self, name: &str, identity: IdentityId) -> Result<(), String> {
        let (home, name) = (self.home.clone(), name.to_owned());
        let turn = self.turn().await;
        let pin = move || {
            let _turn = turn;
            home.pin(&name, identity)
        };
        written("its first use cannot be noted", pin).await
    }

    /// What confirms a member, where that is due and the network was made here; `why` it is trusted.
    pub(super) async fn confirm(
        &self,
        why: Why,
        shown: &Shown,
    ) -> Result<Option<Membership>, String> {
        let (Some(network), Some(standing)) = (&self.network, shown.standing) else {
            return Ok(None);
        };
        if !standing.is_due(identity::now()) {
            return Ok(None);
        }
        // Only who came by an invitation for one has to be the one.
        let must = matches!(
            (why, standing.by),
            (Why::Network(_), By::Invitation { single_use: true })
        );
        let failed = match must {
            true => "the use of its invitation cannot be noted",
            false => "its membership cannot be confirmed",
        };
        let who = (shown.identity, standing);
        if let Some(membership) = self.recall(&who) {
            return Ok(Some(membership));
        }
        let turn = self.turn().await;
        // Another handshake of the same may have had its turn meanwhile.
        if let Some(membership) = self.recall(&who) {
            return Ok(Some(membership));
        }
        let (place, network, shown) = (self.clone(), network.clone(), *shown);
        let confirm = move || {
            let _turn = turn;
            let confirmed = place.home.confirm(&network, &shown)?;
            if let Some(membership) = confirmed {
                place.remember(who, membership);
            }
            Ok(confirmed)
        };
        match written(failed, confirm).await {
            Err(_) if !must => Ok(None),
            confirmed => confirmed,
        }
    }

    /// Keeps what confirms our own membership. It needs no turn, since it comes once for each that the
    /// authority signed, and is done even if the handshake ends meanwhile.
    pub(super) async fn keep(&self, network: NetworkId, octets: Vec<u8>) -> Result<(), String> {
        let Some(name) = self.network.clone() else {
            return Ok(());
        };
        let home = self.home.clone();
        let keep = move || home.keep(&name, network, &octets);
        written("what confirms our membership cannot be kept", keep).await
    }

    /// Waits for a turn to write, and has it until this is dropped: by the thread that writes, which
    /// nobody can call off.
    async fn turn(&self) -> OwnedSemaphorePermit {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        turn.expect("the semaphore is never closed")
    }

    fn recall(&self, who: &(IdentityId, Standing)) -> Option<Membership> {
        let mut recent = self.recent.lock();
        recent.retain(|confirmed| confirmed.at.elapsed() < RECENT);
        let mut known = recent.iter();
        known.find_map(|confirmed| (confirmed.who == *who).then_some(confirmed.membership))
    }

    fn remember(&self, who: (IdentityId, Standing), membership: Membership) {
        let mut recent = self.recent.lock();
        if recent.len() == MAX_RECENT {
            recent.pop_front();
        }
        let at = Instant::now();
        recent.push_back(Confirmed {
            at,
            who,
            membership,
        });
    }
}

/// Reads and writes files, away from the sockets' threads. Returns why the peer is not trusted where
/// that fails; `failed` says what.
async fn written<T: Send + 'static>(
    failed: &'static str,
    write: impl FnOnce() -> Result<T, HomeError> + Send + 'static,
) -> Result<T, String> {
    let error = match tokio::task::spawn_blocking(write).await {
        Ok(Ok(result)) => return Ok(result),
        // These two are the peer's affair; of files it hears nothing.
        Ok(Err(error @ (HomeError::Claim(_) | HomeError::Pin(_)))) => {
            return Err(format!("not trusted: {error}"));
        }
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(error, "{failed}");
    Err(format!("not trusted: {failed}"))
}

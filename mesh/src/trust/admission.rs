//! Whether peers may stay, and what is written down before they may: first uses, and what networks
//! confirm.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use withy_proto::crypto::Provider;
use withy_proto::trust::{
    ConfirmationError, IdentityId, Membership, NetworkId, Shown, Verdict, Why,
};

use super::{State, Trust};
use crate::identity;

/// The longest wait for the end of a membership before the clock is looked at again: it may have
/// been set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

impl Trust {
    /// Whether a peer that proved who it is may stay, and if not, why; `name` is what it was reached
    /// by. What has to be noted for later is written before. Returns what the peer is to be told: its
    /// membership, where that is to be confirmed or renewed here.
    pub(crate) async fn admit(
        &self,
        us: IdentityId,
        shown: &Shown,
        name: Option<&str>,
    ) -> Result<Option<Membership>, String> {
        let verdict = self.judge(us, shown, name, identity::now());
        let confirmed = self.note(verdict, shown, name).await?;
        let now = identity::now();
        let mut state = self.0.state.write();
        let purpose = state.purpose;
        match state.policy.admit(us, shown, purpose, name, now) {
            Verdict::Trusted(_) => Ok(confirmed),
            verdict => Err(verdict.to_string()),
        }
    }

    /// Whether a peer would be admitted, of which nothing is noted yet.
    pub(crate) fn judge(
        &self,
        us: IdentityId,
        shown: &Shown,
        name: Option<&str>,
        now: u64,
    ) -> Verdict {
        let State {
            policy, purpose, ..
        } = &*self.0.state.read();
        policy.judge(us, shown, *purpose, name, now)
    }

    /// Writes down what trusting a peer changes, where there is a home.
    async fn note(
        &self,
        verdict: Verdict,
        shown: &Shown,
        name: Option<&str>,
    ) -> Result<Option<Membership>, String> {
        match (verdict, name, &self.0.home) {
            (Verdict::Trusted(Why::FirstUse), Some(name), Some(place)) => {
                place.pin(name, shown.identity).await.map(|()| None)
            }
            (Verdict::Trusted(why), _, Some(place)) => place.confirm(why, shown).await,
            _ => Ok(None),
        }
    }

    /// Takes what a peer that was met in a network says confirms our membership in it, and keeps it
    /// in place of the proof that it confirms. What does not confirm it is ignored.
    pub(crate) async fn confirmed(&self, network: NetworkId, octets: Vec<u8>) {
        let Some(old) = self.proof(network) else {
            return;
        };
        let membership = match old.confirmed_by(Provider::Real, &octets, identity::now()) {
            Ok(membership) => membership,
            Err(error @ ConfirmationError::NotLater) => {
                tracing::debug!(%network, %error, "nothing new of our membership");
                return;
            }
            Err(error) => {
                tracing::warn!(%network, %error, "what a peer says of our membership is ignored");
                return;
            }
        };
        {
            let mut state = self.0.state.write();
            let mut proofs = state.memberships.iter_mut();
            match proofs.find(|(id, proof)| (*id, *proof) == (network, old)) {
                Some((_, proof)) => *proof = membership.into(),
                // It was left, joined anew, or confirmed by another connection.
                None => return,
            }
        }
        let days = membership.grant().validity.lifetime() / (24 * 60 * 60);
        tracing::info!(%network, days, "our membership is confirmed");
        if let Some(place) = &self.0.home {
            // It holds in memory, and what failed is logged.
            let _ = place.keep(network, octets).await;
        }
    }

    /// Waits until a peer that was admitted is trusted no longer, and says why: something changed, or
    /// the membership ended that alone speaks for it. That its certificate ends meanwhile is no
    /// reason: a connection proves who is there for as long as it lasts.
    ///
    /// Each connection waits for this, and has memory for little more than what it is woken by: `name`
    /// says anew each time by what the peer was reached.
    pub(crate) fn lost<'a>(
        &'a self,
        us: IdentityId,
        shown: &'a Shown,
        name: impl Fn() -> Option<String> + Send + 'a,
    ) -> impl Future<Output = Verdict> + Send + 'a {
        let mut changes = self.changes();
        async move {
            loop {
                let verdict = self.judge_again(us, shown, name().as_deref());
                if !verdict.is_trusted() {
                    return verdict;
                }
                tokio::select! {
                    // The sender lives as long as we do.
                    _ = changes.changed() => {}
                    () = end_of_membership(shown) => {}
                }
            }
        }
    }

    fn judge_again(&self, us: IdentityId, shown: &Shown, name: Option<&str>) -> Verdict {
        let mut shown = *shown;
        shown.certified_until = u64::MAX;
        self.judge(us, &shown, name, identity::now())
    }
}

#[cfg(test)]
impl Trust {
    /// Why an identity outside of networks is trusted, if it is.
    pub(crate) fn why(&self, identity: IdentityId) -> Option<Why> {
        let now = identity::now();
        let credentials = withy_proto::trust::Credentials {
            certificate: identity::Identity::ephemeral().certificate(now),
            proof: None,
        };
        let mut shown = credentials.verify(Provider::Real, None, now).ok()?;
        shown.identity = identity;
        let us = IdentityId::from_octets([0xff; 32]);
        match self.judge(us, &shown, None, now) {
            Verdict::Trusted(why) => Some(why),
            Verdict::Untrusted { .. } => None,
        }
    }
}

/// Waits for the end of the membership that alone speaks for a peer, or for a while of it; for ever where
/// there is none, or it is over. Boxed, since most peers have none, and each connection waits.
fn end_of_membership(shown: &Shown) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let left = shown.standing.and_then(|standing| {
        let end = Duration::from_secs(standing.expires().saturating_add(1));
        end.checked_sub(identity::since_epoch())
    });
    match left {
        Some(left) => Box::pin(tokio::time::sleep(left.min(LOOK_AGAIN))),
        // Of no size: nothing is allocated.
        None => Box::pin(pending()),
    }
}

//! What an authority confirms, and what is kept of it.
//!
//! Where the network was made, members that came by an invitation are confirmed, and memberships
//! renewed; that an invitation for a single use is used by one identity is enforced there, too. Whoever
//! is confirmed keeps the membership in place of the invitation. How it gets there is the handshake's.

use withy_proto::crypto::Provider;
use withy_proto::trust::{
    Authority, Grant, Joined, Membership, Name, NetworkId, Proof, Shown, Standing, Validity,
};

use super::file;
use super::networks::print_authority;
use super::{Home, HomeError};
use crate::identity::now;

impl Home {
    /// As [`network`](Self::network), where the network was made here with a membership of our own
    /// that is renewed in time.
    pub(crate) fn current(&self, name: &Name) -> Result<Joined, HomeError> {
        let joined = self.network(name)?;
        let due = |proof: &Proof| Standing::from(proof).is_due(now());
        if !due(&joined.proof) || !self.is_authority(name) {
            return Ok(joined);
        }
        let renew = || {
            let _lock = self.lock()?;
            let mut joined = self.network(name)?;
            let (authority, _) = self.authority(name)?;
            if due(&joined.proof) && authority.network().id == joined.network.id {
                let validity = Validity::starting(now(), Authority::MEMBERSHIP_LIFETIME);
                let (member, grant) = (joined.proof.member(), joined.proof.grant());
                let membership = authority.membership(member, Grant { validity, ..grant });
                joined.proof = membership.into();
                self.write_network(name, &joined)?;
            }
            Ok::<_, HomeError>(joined)
        };
        Ok(renew().unwrap_or_else(|error| {
            tracing::warn!(%error, "our own membership is not renewed");
            joined
        }))
    }

    /// What the network has to say to a member that shows itself, where it was made here; nothing
    /// else where.
    ///
    /// # Errors
    /// Another identity used the invitation, or its use cannot be noted.
    pub(crate) fn confirm(
        &self,
        name: &Name,
        shown: &Shown,
    ) -> Result<Option<Membership>, HomeError> {
        if !self.is_authority(name) {
            return Ok(None);
        }
        let _lock = self.lock()?;
        let (authority, mut used) = self.authority(name)?;
        let before = used.clone();
        let membership = authority.confirm(shown, &mut used, now())?;
        if used != before {
            let path = self.authority_path(name);
            file::replace(&path, &print_authority(&authority, &used))
                .map_err(|source| HomeError::Write { path, source })?;
        }
        Ok(membership)
    }

    /// Keeps what confirms the proof of a network that was joined, if it still does: the network may
    /// have been left or joined anew.
    pub(crate) fn keep(
        &self,
        name: &Name,
        id: NetworkId,
        confirmation: &[u8],
    ) -> Result<(), HomeError> {
        let _lock = self.lock()?;
        let mut joined = self.network(name)?;
        let confirmed = (joined.proof).confirmed_by(Provider::Real, confirmation, now());
        match confirmed {
            Ok(membership) if joined.network.id == id => {
                joined.proof = membership.into();
                self.write_network(name, &joined)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

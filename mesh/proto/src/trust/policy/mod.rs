//! Who is trusted, for what, and why: the one place that decides.
//!
//! ```text
//!  revoked identity or serial        untrusted, whatever else holds
//!  certificate expired               untrusted
//!  name pinned to another identity   untrusted, loudly
//!  our own identity                  trusted
//!  accepted identity                 trusted
//!  member of one of our networks     trusted, with the role that the purpose needs, until its
//!                                    membership ends
//!  name pinned to this identity      trusted for messages
//!  first use of a name               trusted for messages, when first use is on, and pinned
//!  anybody                           trusted for messages, when insecure is on
//!  else                              untrusted
//! ```
//!
//! Deliberately not here: proving who the peer is ([`Credentials::verify`] and the handshake),
//! reading files, and closing sessions. Whoever keeps sessions open compares
//! [`Policy::generation`] and judges again when it changed.
//!
//! Invariant: first use and insecure never let a peer run code or carry traffic, and all tables
//! are bounded.
//!
//! [`Credentials::verify`]: super::Credentials::verify

mod verdict;

pub use verdict::{Purpose, Reason, Verdict, Why};

use std::collections::{BTreeMap, BTreeSet};

use super::allow_list::{AllowList, Full};
use super::credentials::Shown;
use super::id::{IdentityId, NetworkId};
use super::name::Name;
use super::network::{JoinError, Network};

/// Whom a node trusts. The default trusts nodes of the same identity, and nobody else.
///
/// # Examples
///
/// ```
/// use withy_proto::crypto::Provider;
/// use withy_proto::crypto::keys::PublicKey;
/// use withy_proto::crypto::sign::SigningKey;
/// use withy_proto::trust::{
///     Certificate, Credentials, IdentityId, NodeId, Policy, Purpose, Validity,
/// };
///
/// let now = 1_800_000_000;
/// let [us, ada, node] = [1, 2, 3].map(|seed| SigningKey::from_seed(Provider::Real, &[seed; 32]));
/// let noise = PublicKey::from_octets([4; 32]);
/// let validity = Validity::starting(now, Certificate::LIFETIME);
/// let certificate = Certificate::issue(&ada, NodeId::of(&node), noise, validity);
/// let credentials = Credentials { certificate, proof: None };
/// let shown = credentials.verify(Provider::Real, None, now)?;
///
/// let us = IdentityId::of(&us);
/// let mut trust = Policy::default();
/// let verdict = trust.judge(us, &shown, Purpose::Messages, None, now);
/// assert_eq!(verdict.to_string(), "not trusted: the identity was not accepted");
/// trust.accept(shown.identity, None)?;
/// assert!(trust.judge(us, &shown, Purpose::Messages, None, now).is_trusted());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Policy {
    accepted: AllowList,
    listed: AllowList,
    networks: BTreeMap<NetworkId, Network>,
    pinned: BTreeMap<Box<str>, IdentityId>,
    revoked: BTreeSet<IdentityId>,
    revoked_serials: BTreeSet<(NetworkId, u64)>,
    first_use: bool,
    insecure: bool,
    generation: u64,
}

impl Policy {
    /// The most networks that a node belongs to.
    pub const MAX_NETWORKS: usize = 64;
    /// The most names that are pinned.
    pub const MAX_PINNED: usize = 65_536;
    /// The longest name that is pinned, in octets. It holds an endpoint.
    pub const MAX_PINNED_NAME: usize = 255;
    /// The most identities, and the most serials, that are revoked.
    pub const MAX_REVOKED: usize = 65_536;

    /// What a peer is to us.
    ///
    /// `us` is our own identity; `name` is what the peer was reached by, for first use. A peer that
    /// is trusted on [first use](Why::FirstUse) is to be pinned, as [`admit`](Self::admit) does.
    pub fn judge(
        &self,
        us: IdentityId,
        shown: &Shown,
        purpose: Purpose,
        name: Option<&str>,
        now: u64,
    ) -> Verdict {
        if let Some(reason) = self.refused_at_once(shown, name, now) {
            return Verdict::Untrusted { reason };
        }
        if shown.identity == us {
            return Verdict::Trusted(Why::SameIdentity);
        }
        if self.is_accepted(&shown.identity) {
            return Verdict::Trusted(Why::Accepted);
        }
        let reason = match self.as_member(shown, purpose, now) {
            Some(Ok(network)) => return Verdict::Trusted(Why::Network(network)),
            Some(Err(reason)) => Some(reason),
            None => None,
        };
        match self.weakly(name) {
            Some(why) if !purpose.is_strict() => Verdict::Trusted(why),
            weakly => Verdict::Untrusted {
                reason: match (reason, weakly) {
                    (Some(reason), _) => reason,
                    (None, Some(why)) => Reason::TooWeak { why, purpose },
                    (None, None) => Reason::Unknown,
                },
            },
        }
    }

    /// Whether a member of one of our networks is trusted as such: in which, or why not.
    fn as_member(
        &self,
        shown: &Shown,
        purpose: Purpose,
        now: u64,
    ) -> Option<Result<NetworkId, Reason>> {
        let standing = shown.standing?;
        let (network, role) = (standing.network, purpose.role());
        if !self.networks.contains_key(&network) {
            None
        } else if now > standing.expires() {
            Some(Err(Reason::Ended { network }))
        } else if !standing.grant.roles.contains(role) {
            Some(Err(Reason::Role { network, role }))
        } else {
            Some(Ok(network))
        }
    }

    /// What a peer is to us, with its name pinned when this is its first use.
    pub fn admit(
        &mut self,
        us: IdentityId,
        shown: &Shown,
        purpose: Purpose,
        name: Option<&str>,
        now: u64,
    ) -> Verdict {
        let verdict = self.judge(us, shown, purpose, name, now);
        if verdict != Verdict::Trusted(Why::FirstUse) {
            return verdict;
        }
        match name.map(|name| self.pin(name, shown.identity)) {
            Some(Ok(())) => verdict,
            _ => Verdict::Untrusted {
                reason: Reason::NotPinned,
            },
        }
    }

    /// What refuses a peer, whatever else speaks for it.
    fn refused_at_once(&self, shown: &Shown, name: Option<&str>, now: u64) -> Option<Reason> {
        let identity = shown.identity;
        if self.revoked.contains(&identity) {
            return Some(Reason::Revoked);
        }
        if let Some(standing) = shown.standing {
            let (network, serial) = (standing.network, standing.grant.serial);
            if self.revoked_serials.contains(&(network, serial)) {
                return Some(Reason::RevokedSerial { network, serial });
            }
        }
        if now > shown.certified_until {
            return Some(Reason::Expired);
        }
        match self.pinned.get(name?) {
            Some(pinned) if *pinned != identity => Some(Reason::Changed {
                pinned: *pinned,
                found: identity,
            }),
            _ => None,
        }
    }

    /// What speaks for a stranger, enough for messages and no more. A pin to another identity was
    /// refused before.
    fn weakly(&self, name: Option<&str>) -> Option<Why> {
        match name {
            Some(name) if self.pinned.contains_key(name) => Some(Why::Pinned),
            Some(_) if self.first_use => Some(Why::FirstUse),
            _ => self.insecure.then_some(Why::Insecure),
        }
    }

    /// Accepts an identity for all purposes, under a name.
    ///
    /// # Errors
    /// The list is full.
    pub fn accept(&mut self, identity: IdentityId, name: Option<Name>) -> Result<(), Full> {
        self.accepted.insert(identity, name)?;
        self.changed();
        Ok(())
    }

    /// Takes back [`accept`](Self::accept); an identity of the allow-list stays.
    pub fn forget(&mut self, identity: &IdentityId) {
        if self.accepted.remove(identity) {
            self.changed();
        }
    }

    /// Replaces the identities that were accepted by a list, those of a file that was read again.
    pub fn set_allow_list(&mut self, list: AllowList) {
        if self.listed != list {
            self.listed = list;
            self.changed();
        }
    }

    /// Whether an identity was accepted, one by one or by the list.
    pub fn is_accepted(&self, identity: &IdentityId) -> bool {
        self.accepted.contains(identity) || self.listed.contains(identity)
    }

    /// What an accepted identity is called.
    pub fn name(&self, identity: &IdentityId) -> Option<&Name> {
        let accepted = self.accepted.name(identity);
        accepted.or_else(|| self.listed.name(identity))
    }

    /// Trusts the members of a network, by their roles.
    ///
    /// # Errors
    /// There are [`MAX_NETWORKS`](Self::MAX_NETWORKS) others, or one of them has the same secret.
    pub fn join(&mut self, network: Network) -> Result<(), JoinError> {
        self.networks()
            .try_for_each(|other| network.beside(other))?;
        let known = self.networks.contains_key(&network.id);
        room(self.networks.len(), Self::MAX_NETWORKS, known)?;
        self.networks.insert(network.id, network);
        self.changed();
        Ok(())
    }

    /// No longer trusts the members of a network.
    pub fn leave(&mut self, network: &NetworkId) {
        if self.networks.remove(network).is_some() {
            self.changed();
        }
    }

    /// The networks whose members are trusted.
    pub fn networks(&self) -> impl Iterator<Item = &Network> + '_ {
        self.networks.values()
    }

    /// One of these networks.
    pub fn network(&self, id: &NetworkId) -> Option<&Network> {
        self.networks.get(id)
    }

    /// Whether a name that was never used is pinned to the first identity that answers. Off by
    /// default.
    pub fn set_first_use(&mut self, on: bool) {
        if self.first_use != on {
            self.first_use = on;
            self.changed();
        }
    }

    /// Whether anybody is trusted for messages. Off by default.
    pub fn set_insecure(&mut self, on: bool) {
        if self.insecure != on {
            self.insecure = on;
            self.changed();
        }
    }

    /// Pins a name to an identity.
    ///
    /// # Errors
    /// The name is pinned to another identity, or too long, or there are
    /// [`MAX_PINNED`](Self::MAX_PINNED) others.
    pub fn pin(&mut self, name: &str, identity: IdentityId) -> Result<(), PinError> {
        let length = name.len();
        if !(1..=Self::MAX_PINNED_NAME).contains(&length) {
            return Err(PinError::Name { length });
        }
        match self.pinned.get(name) {
            Some(pinned) if *pinned == identity => return Ok(()),
            Some(pinned) => return Err(PinError::Changed { pinned: *pinned }),
            None => room(self.pinned.len(), Self::MAX_PINNED, false)?,
        }
        self.pinned.insert(name.into(), identity);
        self.changed();
        Ok(())
    }

    /// Lets a name be used by another identity.
    pub fn unpin(&mut self, name: &str) {
        if self.pinned.remove(name).is_some() {
            self.changed();
        }
    }

    /// All names that are pinned, and to whom.
    pub fn pinned(&self) -> impl Iterator<Item = (&str, IdentityId)> + '_ {
        self.pinned.iter().map(|(name, id)| (&**name, *id))
    }

    /// Never trusts an identity, whatever else says so: our own, too.
    ///
    /// # Errors
    /// There are [`MAX_REVOKED`](Self::MAX_REVOKED) others.
    pub fn revoke(&mut self, identity: IdentityId) -> Result<(), Full> {
        let known = self.revoked.contains(&identity);
        room(self.revoked.len(), Self::MAX_REVOKED, known)?;
        if self.revoked.insert(identity) {
            self.changed();
        }
        Ok(())
    }

    /// Never trusts whoever shows the membership or invitation of this serial.
    ///
    /// # Errors
    /// There are [`MAX_REVOKED`](Self::MAX_REVOKED) others.
    pub fn revoke_serial(&mut self, network: NetworkId, serial: u64) -> Result<(), Full> {
        let entry = (network, serial);
        let known = self.revoked_serials.contains(&entry);
        room(self.revoked_serials.len(), Self::MAX_REVOKED, known)?;
        if self.revoked_serials.insert(entry) {
            self.changed();
        }
        Ok(())
    }

    /// Takes back [`revoke`](Self::revoke).
    pub fn reinstate(&mut self, identity: &IdentityId) {
        if self.revoked.remove(identity) {
            self.changed();
        }
    }

    /// Takes back [`revoke_serial`](Self::revoke_serial).
    pub fn reinstate_serial(&mut self, network: NetworkId, serial: u64) {
        if self.revoked_serials.remove(&(network, serial)) {
            self.changed();
        }
    }

    /// All revoked identities.
    pub fn revoked(&self) -> impl Iterator<Item = IdentityId> + '_ {
        self.revoked.iter().copied()
    }

    /// All revoked serials.
    pub fn revoked_serials(&self) -> impl Iterator<Item = (NetworkId, u64)> + '_ {
        self.revoked_serials.iter().copied()
    }

    /// A number that grows with every change that a verdict may depend on.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    const fn changed(&mut self) {
        self.generation += 1;
    }
}

fn room(length: usize, most: usize, known: bool) -> Result<(), Full> {
    match known || length < most {
        true => Ok(()),
        false => Err(Full { most }),
    }
}

/// Why a name is not pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// It is empty or too long. Local misuse.
    #[error(
        "a pinned name has 1 to {} octets, not {length}",
        Policy::MAX_PINNED_NAME
    )]
    Name {
        /// The length in octets.
        length: usize,
    },
    /// It is pinned to another identity: the peer changed its key, or is somebody else.
    #[error("the name is pinned to another identity, {pinned}")]
    Changed {
        /// That identity.
        pinned: IdentityId,
    },
    /// There is no more room.
    #[error(transparent)]
    Full(#[from] Full),
}

#[cfg(test)]
mod tests;

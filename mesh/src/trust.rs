//! Whom a node trusts. It may change while sockets use it.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::RwLock;
use withy_proto::mechanism::noise::{OPEN, Realm};
use withy_proto::mechanism::zap::Decision;
use withy_proto::trust::{Certificate, Credentials, IdentityId, Shown};
use zeroize::Zeroizing;

/// Whom a node trusts: nodes of its own identity, and identities that were accepted.
///
/// A clone is the same: what is accepted or revoked holds for all sockets that were given it.
#[derive(Debug, Clone, Default)]
pub struct Trust(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    accepted: BTreeSet<IdentityId>,
}

impl Trust {
    /// Trust in nodes of the same identity only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts an identity from now on.
    pub fn accept(&self, identity: IdentityId) {
        self.0.write().accepted.insert(identity);
    }

    /// Where peers may be met.
    pub(crate) fn realms(&self, certificate: Certificate) -> Vec<Realm> {
        vec![Realm {
            network: None,
            secret: Zeroizing::new(OPEN),
            credentials: Credentials {
                certificate,
                proof: None,
            },
        }]
    }

    /// Whether a peer that proved who it is may stay.
    pub(crate) fn judge(&self, us: IdentityId, shown: &Shown) -> Decision {
        if shown.identity == us || self.0.read().accepted.contains(&shown.identity) {
            return Decision::accept(shown.identity.to_string());
        }
        Decision::deny(format!("the identity {} is not trusted", shown.identity))
    }
}

//! Whom a node trusts. It may change while sockets use it.
//!
//! Deciding is the core's: [`withy_proto::trust`]. Here are what sockets share of it, the proofs of
//! membership that they show, and the word that goes round when something changed.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;
use withy_proto::mechanism::party::{OPEN, Realm};
use withy_proto::trust::{Certificate, Credentials, Policy, Proof, Shown};
use zeroize::Zeroizing;

pub use withy_proto::trust::{
    AllowList, Full, IdentityId, Joined, Name, Network, NetworkId, NodeId, PinError, Purpose,
    Roles, Ticket, TicketError, Verdict, Why,
};

use crate::identity;

/// Whom a node trusts. The default are the nodes of its own identity, and nobody else.
///
/// A clone is the same: what is accepted or revoked holds at once for all sockets that were given
/// it, connections that are open included.
///
/// A socket whose trust has networks meets peers in these only, and shows itself as a member; others
/// get no answer of it. It dials in the network that was joined first.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use withy::{Identity, Pull, Push, Trust};
///
/// let (ours, theirs) = (Identity::ephemeral(), Identity::ephemeral());
/// let (trust, their_trust) = (Trust::new(), Trust::new());
/// trust.accept(theirs.id())?;
/// their_trust.accept(ours.id())?;
///
/// let pull = Pull::builder().identity(&ours).trust(&trust).build()?;
/// let endpoint = pull.bind_to("tcp://127.0.0.1:*").await?;
/// let push = Push::builder().identity(&theirs).trust(&their_trust).build()?;
/// push.connect_to(endpoint)?;
/// push.send("from a friend").await?;
/// assert_eq!(pull.recv().await?.first(), "from a friend");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Trust(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: RwLock<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    policy: Policy,
    /// In the order in which they were joined.
    memberships: Vec<(NetworkId, Proof)>,
}

impl Default for Trust {
    fn default() -> Self {
        Self(Arc::new(Inner {
            state: RwLock::default(),
            changed: watch::Sender::new(()),
        }))
    }
}

impl Trust {
    /// Trust in nodes of the same identity only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts an identity from now on, for everything.
    ///
    /// # Errors
    /// There are too many.
    pub fn accept(&self, identity: IdentityId) -> Result<(), Full> {
        self.change(|state| state.policy.accept(identity, None))
    }

    /// Trusts an accepted identity no longer. Its connections close, unless something else speaks
    /// for it.
    pub fn forget(&self, identity: &IdentityId) {
        self.change(|state| state.policy.forget(identity));
    }

    /// Trusts an identity never more, whatever else speaks for it. Its connections close.
    ///
    /// # Errors
    /// There are too many.
    pub fn revoke(&self, identity: IdentityId) -> Result<(), Full> {
        self.change(|state| state.policy.revoke(identity))
    }

    /// Ends what a membership or an invitation grants, by its serial.
    ///
    /// # Errors
    /// There are too many.
    pub fn revoke_serial(&self, network: NetworkId, serial: u64) -> Result<(), Full> {
        self.change(|state| state.policy.revoke_serial(network, serial))
    }

    /// Meets peers in a network, with what redeeming a ticket gave.
    ///
    /// # Errors
    /// There are too many networks.
    pub fn join(&self, joined: Joined) -> Result<(), Full> {
        let Joined { network, proof } = joined;
        let id = network.id;
        self.change(|state| {
            state.policy.join(network)?;
            state.memberships.retain(|(known, _)| *known != id);
            state.memberships.push((id, proof));
            Ok(())
        })
    }

    /// Leaves a network. Connections to its members close, unless something else speaks for them.
    pub fn leave(&self, network: &NetworkId) {
        self.change(|state| {
            state.policy.leave(network);
            state.memberships.retain(|(known, _)| known != network);
        });
    }

    /// Trusts whoever answers first at an endpoint that is connected to, for messages only, and
    /// nobody else there from then on. Default off.
    pub fn set_first_use(&self, on: bool) {
        self.change(|state| state.policy.set_first_use(on));
    }

    /// Trusts anybody who proves any identity, for messages only. Default off.
    pub fn set_insecure(&self, on: bool) {
        self.change(|state| state.policy.set_insecure(on));
    }

    /// Trusts the identities of a list for everything, in place of those of the last list.
    pub fn set_allow_list(&self, list: AllowList) {
        self.change(|state| state.policy.set_allow_list(list));
    }

    /// Ties the name of an endpoint to an identity: another one is refused there.
    ///
    /// # Errors
    /// It is tied to another, is too long, or there are too many.
    pub fn pin(&self, name: &str, identity: IdentityId) -> Result<(), PinError> {
        self.change(|state| state.policy.pin(name, identity))
    }

    /// The names that are tied to identities, by hand or on first use.
    pub fn pinned(&self) -> Vec<(String, IdentityId)> {
        let state = self.0.state.read();
        let pinned = state.policy.pinned();
        pinned.map(|(name, id)| (name.to_owned(), id)).collect()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.0.state.write());
        self.0.changed.send_replace(());
        result
    }

    /// The secrets of the networks in which peers may be met; none where there are none.
    pub(crate) fn secrets(&self) -> Vec<Zeroizing<[u8; 32]>> {
        let state = self.0.state.read();
        let networks = state.memberships.iter();
        networks
            .filter_map(|(id, _)| state.policy.network(id))
            .map(|network| Zeroizing::new(*network.secret.expose_octets()))
            .collect()
    }

    /// Where peers may be met, and what is shown there.
    pub(crate) fn realms(&self, certificate: Certificate) -> Vec<Realm> {
        let state = self.0.state.read();
        let realms: Vec<Realm> = state
            .memberships
            .iter()
            .filter_map(|(id, proof)| {
                let network = state.policy.network(id)?;
                Some(Realm {
                    network: Some(*id),
                    secret: Zeroizing::new(*network.secret.expose_octets()),
                    credentials: Credentials {
                        certificate,
                        proof: Some(*proof),
                    },
                })
            })
            .collect();
        if !realms.is_empty() {
            return realms;
        }
        vec![Realm {
            network: None,
            secret: Zeroizing::new(OPEN),
            credentials: Credentials {
                certificate,
                proof: None,
            },
        }]
    }

    /// Whether a peer that proved who it is may stay; `name` is what it was reached by.
    pub(crate) fn admit(&self, us: IdentityId, shown: &Shown, name: Option<&str>) -> Verdict {
        let mut state = self.0.state.write();
        let now = identity::now();
        state.policy.admit(us, shown, Purpose::Messages, name, now)
    }

    /// Waits until a peer that was admitted is trusted no longer, and says why. That its certificate
    /// ends meanwhile is no reason: a connection proves who is there for as long as it lasts.
    pub(crate) async fn lost(&self, us: IdentityId, shown: &Shown, name: Option<&str>) -> Verdict {
        let mut changes = self.0.changed.subscribe();
        loop {
            let verdict = {
                let state = self.0.state.read();
                let now = identity::now().min(shown.expires);
                state.policy.judge(us, shown, Purpose::Messages, name, now)
            };
            if !verdict.is_trusted() {
                return verdict;
            }
            // The sender lives as long as we do.
            let _ = changes.changed().await;
        }
    }
}

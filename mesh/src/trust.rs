//! Whom a node trusts. It may change while sockets use it.
//!
//! Deciding is the core's: [`withy_proto::trust`]. Here are what sockets share of it, the proofs of
//! membership that they show, and the word that goes round when something changed. What a user's
//! files say of it is in [`home`](crate::home).

mod admission;
mod place;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::RwLock;
use tokio::sync::watch;
use withy_proto::crypto::Provider;
use withy_proto::mechanism::party::Realm;
use withy_proto::trust::network::Secret;
use withy_proto::trust::{Certificate, Credentials, Policy};
use zeroize::Zeroizing;

pub use withy_proto::trust::roles::RolesError;
pub use withy_proto::trust::{
    AllowList, By, Full, Grant, IdError, IdentityId, JoinError, Joined, Membership, Name,
    NameError, Network, NetworkId, NodeId, Permissions, PermissionsError, PinError, Principal,
    Proof, Purpose, Roles, Shown, Standing, Terms, Ticket, TicketError, Verb, Verdict, Who, Why,
};

use crate::driver::handshake::OsRandomness;
use crate::home::follow::Followed;
use crate::home::{Home, HomeError, Revoked};
use crate::identity;
use place::Place;

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
pub struct Trust(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    state: RwLock<State>,
    changed: watch::Sender<()>,
    /// How often it changed.
    generation: AtomicU64,
    /// Whether there are permissions: each message asks, and most nodes have none.
    has_permissions: AtomicBool,
    /// Where first uses are noted.
    home: Option<Place>,
}

#[derive(Debug)]
struct State {
    policy: Policy,
    purpose: Purpose,
    /// In the order in which they were joined.
    memberships: Vec<(NetworkId, Proof)>,
    /// Whether peers are met in networks only, even where there is none.
    confined: bool,
    /// What those who are trusted may do; everything where there are none.
    permissions: Option<Arc<Permissions>>,
}

impl Default for Trust {
    fn default() -> Self {
        Self::with(None)
    }
}

impl Trust {
    /// Trust in nodes of the same identity only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trust as the files of a home say: identities that were accepted or revoked, and endpoints
    /// that were pinned. It is in no network.
    ///
    /// The files are read again when they change, by a thread that looks at them more than once a
    /// second for as long as a handle of this trust lives; a file that became malformed keeps its
    /// last good content in force and is logged. Names that are pinned on first use are written
    /// down before their connections open. What else this trust is told is not written, and holds
    /// for it alone.
    ///
    /// # Errors
    /// A file cannot be read, or is malformed.
    pub fn open(home: &Home) -> Result<Self, HomeError> {
        Self::follow(home, None)
    }

    /// As [`open`](Self::open), with the user's home.
    ///
    /// # Errors
    /// As [`open`](Self::open), or there is no home directory.
    pub fn open_default() -> Result<Self, HomeError> {
        Self::open(&Home::of_user()?)
    }

    /// As [`open`](Self::open), and in one network of the home: peers are met there only. When the
    /// home leaves the network, they are met no longer.
    ///
    /// On the host that made the network, an invitation for a single use lets one identity in, the
    /// first that used it; members that came by an invitation, or more than half of whose membership
    /// is over, are given a lasting one when they connect. On theirs, it is written down.
    ///
    /// # Errors
    /// As [`open`](Self::open), the network is unknown, or the membership of it is not valid now.
    pub fn open_in(home: &Home, network: &Name) -> Result<Self, HomeError> {
        let Joined {
            network: known,
            proof,
        } = home.current(network)?;
        proof
            .verify(Provider::Real, known.id, proof.member(), identity::now())
            .map_err(|error| HomeError::Membership {
                name: network.clone(),
                error,
            })?;
        Self::follow(home, Some(network))
    }

    /// That of sockets that were given none. Nobody can change it, so that they share it.
    pub(crate) fn shared() -> Self {
        static SHARED: LazyLock<Trust> = LazyLock::new(Trust::new);
        SHARED.clone()
    }

    fn follow(home: &Home, network: Option<&Name>) -> Result<Self, HomeError> {
        let trust = Self::with(Some(Place::new(home.clone(), network.cloned())));
        Followed::open(home, network, &trust)?.start(&trust)?;
        Ok(trust)
    }

    fn with(home: Option<Place>) -> Self {
        Self(Arc::new(Inner {
            state: RwLock::new(State {
                policy: Policy::default(),
                purpose: Purpose::Messages,
                memberships: Vec::new(),
                confined: false,
                permissions: None,
            }),
            changed: watch::Sender::new(()),
            generation: AtomicU64::new(0),
            has_permissions: AtomicBool::new(false),
            home,
        }))
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
    /// There are too many networks, or another one of them has the same secret: who made it could
    /// not be told from a member of the first, and would be shown our membership.
    pub fn join(&self, joined: Joined) -> Result<(), JoinError> {
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

    /// What the connections are for. Default [`Purpose::Messages`]. For all else, such as carrying
    /// the traffic of others, first use, pins and `insecure` are too weak, and members of a network
    /// need the role.
    pub fn set_purpose(&self, purpose: Purpose) {
        self.change(|state| state.purpose = purpose);
    }

    /// Trusts the identities of a list for everything, in place of those of the last list.
    pub fn set_allow_list(&self, list: AllowList) {
        self.change(|state| state.policy.set_allow_list(list));
    }

    /// Allows those who are trusted what these permissions say, and nothing else, on the nodes that use
    /// this trust; with `None` everything. Nodes of the same identity may do everything in any case.
    /// What is open and allowed no longer closes. Sockets without a name on the mesh know no
    /// permissions.
    pub fn set_permissions(&self, permissions: Option<Permissions>) {
        self.change(|state| {
            let has = permissions.is_some();
            self.0.has_permissions.store(has, Ordering::Release);
            state.permissions = permissions.map(Arc::new);
        });
    }

    /// Whether there are permissions, without a lock.
    #[inline]
    pub(crate) fn has_permissions(&self) -> bool {
        self.0.has_permissions.load(Ordering::Acquire)
    }

    /// What those who are trusted may do.
    pub(crate) fn permissions(&self) -> Option<Arc<Permissions>> {
        self.0.state.read().permissions.clone()
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

    /// Meets peers in this network only, or in none.
    pub(crate) fn confine(&self, to: Option<Joined>) -> Result<(), JoinError> {
        self.change(|state| {
            let State {
                policy,
                memberships,
                confined,
                ..
            } = state;
            *confined = true;
            for (id, _) in memberships.drain(..) {
                if to.as_ref().is_none_or(|to| to.network.id != id) {
                    policy.leave(&id);
                }
            }
            if let Some(Joined { network, proof }) = to {
                let id = network.id;
                policy.join(network)?;
                memberships.push((id, proof));
            }
            Ok(())
        })
    }

    /// Takes back what was revoked and is no more, and revokes what is new.
    pub(crate) fn replace_revoked(&self, old: &Revoked, new: &Revoked) -> Result<(), Full> {
        self.change(|State { policy, .. }| {
            for identity in new.identities.difference(&old.identities) {
                policy.revoke(*identity)?;
            }
            for (network, serial) in new.serials.difference(&old.serials) {
                policy.revoke_serial(*network, *serial)?;
            }
            for identity in old.identities.difference(&new.identities) {
                policy.reinstate(identity);
            }
            for (network, serial) in old.serials.difference(&new.serials) {
                policy.reinstate_serial(*network, *serial);
            }
            Ok(())
        })
    }

    /// Unpins what was pinned and is no more, and pins what is new.
    pub(crate) fn replace_pinned(
        &self,
        old: &BTreeMap<String, IdentityId>,
        new: &BTreeMap<String, IdentityId>,
    ) -> Result<(), PinError> {
        self.change(|State { policy, .. }| {
            let gone = old.iter().filter(|(name, id)| new.get(*name) != Some(*id));
            for (name, _) in gone {
                policy.unpin(name);
            }
            new.iter().try_for_each(|(name, id)| policy.pin(name, *id))
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = {
            let mut state = self.0.state.write();
            // Under the lock: who sees the new number does not find the old state.
            self.0.generation.fetch_add(1, Ordering::Release);
            change(&mut state)
        };
        self.0.changed.send_replace(());
        result
    }

    /// Another number after each change.
    pub(crate) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Whether peers are met in networks.
    pub(crate) fn has_networks(&self) -> bool {
        let state = self.0.state.read();
        let mut known = state.memberships.iter();
        known.any(|(id, _)| state.policy.network(id).is_some())
    }

    /// What we show in a network.
    fn proof(&self, network: NetworkId) -> Option<Proof> {
        let state = self.0.state.read();
        let mut known = state.memberships.iter();
        known.find_map(|(id, proof)| (*id == network).then_some(*proof))
    }

    /// Tells of each change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// The secrets of the networks in which peers may be met; none where there are none.
    pub(crate) fn secrets(&self) -> Vec<Zeroizing<[u8; 32]>> {
        let state = self.0.state.read();
        let networks = state.memberships.iter();
        let secrets: Vec<_> = networks
            .filter_map(|(id, _)| state.policy.network(id))
            .map(|network| Zeroizing::new(*network.secret.expose_octets()))
            .collect();
        if !secrets.is_empty() || !state.confined {
            return secrets;
        }
        // None at all would be an open door: of the network that was left, this is one that nobody
        // has.
        let secret = Secret::generate(&mut OsRandomness);
        vec![Zeroizing::new(*secret.expose_octets())]
    }

    /// The networks in which peers are met.
    pub(crate) fn networks(&self) -> Vec<Network> {
        let state = self.0.state.read();
        let known = state.memberships.iter();
        let networks = known.filter_map(|(id, _)| state.policy.network(id));
        networks.cloned().collect()
    }

    /// Whether nodes of an identity may be trusted outside of networks, by itself.
    pub(crate) fn may_accept(&self, us: IdentityId, identity: IdentityId) -> bool {
        let state = self.0.state.read();
        let policy = &state.policy;
        let known = identity == us || policy.is_accepted(&identity);
        known && !policy.revoked().any(|revoked| revoked == identity)
    }

    /// The home of the network in which peers are met, if there is one.
    pub(crate) fn home_of_network(&self) -> Option<(Home, Name)> {
        let (home, name) = self.0.home.as_ref()?.network()?;
        Some((home.clone(), name.clone()))
    }

    /// Whether an identity was revoked.
    pub(crate) fn is_revoked(&self, identity: &IdentityId) -> bool {
        let state = self.0.state.read();
        state.policy.revoked().any(|revoked| revoked == *identity)
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
        if !realms.is_empty() || state.confined {
            return realms;
        }
        vec![Realm::open(certificate)]
    }
}

//! A node with options.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use withy_discovery::host::{self, Host};
use withy_discovery::{Config, Discovery, PeerTag, Record};
use withy_proto::SocketType;
use withy_proto::crypto::{Provider, Randomness as _};
use withy_proto::trust::Name;

use super::engine::Engine;
use super::error::NodeError;
use super::offer::Offers;
use super::peer::NodeEvent;
use super::shared::{Shared, State, options};
use super::{Node, listen, place};
use crate::driver::handshake::OsRandomness;
use crate::driver::resources::Resources;
use crate::home::Home;
use crate::identity::Identity;
use crate::socket::Owner;
use crate::trust::Trust;

/// Collects the options of a [`Node`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct NodeBuilder {
    home: Option<Home>,
    identity: Option<Identity>,
    trust: Option<Trust>,
    network: Option<Name>,
    runtime: Option<PathBuf>,
    off_host: bool,
    lan: bool,
    listen: Vec<SocketAddr>,
    /// Of tests: the node counts as one of another process.
    #[cfg(test)]
    pub(super) apart: bool,
}

impl NodeBuilder {
    /// Where identity, networks and trust are kept. Default: the user's home.
    pub fn home(mut self, home: &Home) -> Self {
        self.home = Some(home.clone());
        self
    }

    /// Whose node this is. Default: the identity of the home, of which each node is another one.
    pub fn identity(mut self, identity: &Identity) -> Self {
        self.identity = Some(identity.clone());
        self
    }

    /// Whom this node trusts. Default: whom the home says, which is followed when it changes.
    pub fn trust(mut self, trust: &Trust) -> Self {
        self.trust = Some(trust.clone());
        self
    }

    /// Meets the members of this network of the home, and nobody else. Without effect where
    /// [`trust`](Self::trust) is given.
    pub fn network(mut self, network: &Name) -> Self {
        self.network = Some(network.clone());
        self
    }

    /// The directory in which the nodes of this user find each other on this host. Default:
    /// `withy` in `$XDG_RUNTIME_DIR`, else `withy-UID` in the directory for temporary files. It is made
    /// with mode 0700, and refused if others may use it.
    pub fn runtime_directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.runtime = Some(path.into());
        self
    }

    /// Neither looks for other nodes on this host nor lets them find it.
    pub fn without_host(mut self) -> Self {
        self.off_host = true;
        self
    }

    /// Listens at the loopback, private and link-local addresses of this host too, at free ports,
    /// over QUIC and over TCP. Default off.
    pub fn lan(mut self, lan: bool) -> Self {
        self.lan = lan;
        self
    }

    /// Listens at this address too, over QUIC and over TCP; port 0 is a free one.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen.push(address);
        self
    }

    /// Makes the node: it listens, and looks for others from now on.
    ///
    /// # Errors
    /// There is no identity, the home or the runtime directory cannot be used, an address is taken, or
    /// there is no tokio runtime.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call leaves nothing behind.
    pub async fn build(self) -> Result<Node, NodeError> {
        let runtime = Handle::try_current().map_err(|_| NodeError::NoRuntime)?;
        let home = || match &self.home {
            Some(home) => Ok(home.clone()),
            None => Home::of_user(),
        };
        let identity = match &self.identity {
            Some(identity) => identity.clone(),
            None => home()?.identity()?,
        };
        let trust = match (&self.trust, &self.network) {
            (Some(trust), _) => trust.clone(),
            (None, Some(network)) => Trust::open_in(&home()?, network)?,
            (None, None) => Trust::open(&home()?)?,
        };
        let own = PeerTag::of(identity.id(), identity.node());
        let directory = self.runtime.unwrap_or_else(Host::default_directory);
        let directory = (!self.off_host).then_some(directory);
        if let Some(directory) = &directory {
            host::make(directory)?;
        }
        let resources = Arc::new(Resources::default());
        let mut control = options(&identity, &trust);
        control.resources = Some(Arc::clone(&resources));
        let control = Owner::new(SocketType::Dealer, control);
        let mut addresses = listen::near(&control, own, directory.as_deref()).await?;
        let site = self.lan.then(listen::site).unwrap_or_default();
        let site = site.into_iter().map(|ip| SocketAddr::new(ip, 0));
        for address in self.listen.iter().copied().chain(site) {
            addresses.extend(listen::at(&control, address.ip(), address.port()).await?);
        }
        addresses.truncate(Record::MAX_ADDRESSES);

        let process = place::process();
        #[cfg(test)]
        let process = if self.apart { place::random() } else { process };
        let place = directory.as_deref().map_or(process, place::host);
        let mut offers = Offers::new(place, process);
        offers.addresses = addresses;
        let record = offers.sign(&identity, &trust)?;
        let source = match &directory {
            Some(directory) => Some(Host::open(directory, &record)?),
            None => None,
        };
        let config = Config {
            networks: trust.networks(),
            ..Config::default()
        };
        let seed = OsRandomness.next_u64();
        let (dial_failed, failures) = tokio::sync::mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            own,
            host: place,
            process,
            runtime,
            resources,
            control,
            state: Mutex::new(State {
                discovery: Discovery::new(Provider::Real, config, record, seed),
                offers,
                interests: Default::default(),
                links: Default::default(),
                strangers: Default::default(),
            }),
            bus: Default::default(),
            work: Notify::new(),
            dial_failed,
            known: watch::Sender::new(0),
            events: broadcast::Sender::new(NodeEvent::CAPACITY),
            started: Instant::now(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            identity,
            trust,
        });
        let engine = Engine::new(Arc::clone(&shared), source, failures);
        shared.spawn(engine.run());
        Ok(Node::over(shared))
    }
}

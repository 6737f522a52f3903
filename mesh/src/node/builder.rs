//! A node with options.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use withy_discovery::file::SeedFile;
use withy_discovery::fixed::{Fixed, Seed, SeedError};
use withy_discovery::host::{self, Host};
use withy_discovery::mdns::Mdns;
use withy_discovery::{Config, Discovery, Kind, PeerTag, Record, Service};
use withy_proto::SocketType;
use withy_proto::crypto::{Provider, Randomness as _};
use withy_proto::relay::Party;
use withy_proto::trust::{IdentityId, Name};

use super::addresses::Followed;
use super::bus::history::History;
use super::engine::Engine;
use super::error::NodeError;
use super::limits::NodeLimits;
use super::offer::Offers;
use super::peer::NodeEvent;
use super::relay::{self, Circuits, Relay, Relaying};
use super::shared::{Shared, State, options};
use super::sources::Sources;
use super::{Node, listen, place};
use crate::driver::handshake::OsRandomness;
use crate::driver::resources::Resources;
use crate::home::Home;
use crate::identity::Identity;
use crate::socket::Owner;
use crate::trust::Trust;

/// How often the links for gossip are tried, beside the heartbeats of gossip itself.
const HEARTBEAT: Duration = Duration::from_secs(15);

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
    mdns_port: Option<u16>,
    listen: Vec<SocketAddr>,
    site: Site,
    names: Vec<(String, IdentityId)>,
    seeds: Fixed,
    seed_file: Option<PathBuf>,
    history: Option<History>,
    relay: Option<Relay>,
    limits: NodeLimits,
    direct_again: Option<Duration>,
    /// Of tests: the node counts as one of another process.
    #[cfg(test)]
    pub(super) apart: bool,
}

/// Where a node listens at the addresses of this host that reach no further than its site.
#[derive(Debug, Clone, Copy, Default)]
enum Site {
    /// At free ports, if it is to be found by multicast.
    #[default]
    IfFound,
    /// At this port.
    At(u16),
    /// Nowhere.
    Nowhere,
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

    /// Finds the nodes of the local network by multicast DNS, and is found by them: it listens at the
    /// loopback, private and link-local addresses of this host, at free ports, over QUIC and over TCP, and
    /// follows these addresses as they come and go.
    /// Members of a network are found by each other only, and by nobody else. Default off.
    pub fn lan(mut self) -> Self {
        self.lan = true;
        self
    }

    /// The port of multicast DNS, in place of 5353: for tests, which are among themselves there.
    #[doc(hidden)]
    pub fn mdns_port(mut self, port: u16) -> Self {
        self.mdns_port = Some(port);
        self
    }

    /// An address of a node through which others are found, where multicast does not reach.
    ///
    /// # Errors
    /// There are too many.
    pub fn seed(mut self, seed: Seed) -> Result<Self, SeedError> {
        self.seeds.add(seed)?;
        Ok(self)
    }

    /// A file with such addresses, one a line, which is read again when it changes.
    pub fn seed_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.seed_file = Some(path.into());
        self
    }

    /// Listens at the loopback, private and link-local addresses of this host at this port, over QUIC
    /// and over TCP, whether it is to be found by multicast or not, and follows these addresses as they
    /// come and go. If somebody has the port at one of them now, there is no node.
    pub fn near_port(mut self, port: u16) -> Self {
        self.site = Site::At(port);
        self
    }

    /// Listens at no address of the network besides those of [`listen`](Self::listen), even if it is to
    /// be found by multicast: announced is the port of the first of them that other hosts reach.
    pub fn without_near(mut self) -> Self {
        self.site = Site::Nowhere;
        self
    }

    /// Only this identity may offer something under this name: what others say of it is refused, as far
    /// as this node is concerned, and counted.
    pub fn name(mut self, name: impl Into<String>, identity: IdentityId) -> Self {
        self.names.push((name.into(), identity));
        self
    }

    /// Listens at this address too, over QUIC and over TCP; port 0 is a free one, and an address that
    /// stands for all is each of those that the host has now, public ones included.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen.push(address);
        self
    }

    /// Keeps something of what this node publishes, for those who
    /// [join late](Node::late_subscriber). Default: nothing.
    pub fn history(mut self, history: History) -> Self {
        self.history = Some(history);
        self
    }

    /// Relays for the nodes that it trusts: connections of those that do not reach each other lead through
    /// this one, which sees who talks to whom, and how much, and nothing else. Its permissions say for
    /// whom, by the verb `relay`. Default: it does not.
    ///
    /// ```no_run
    /// # async fn relay() -> Result<(), withy::node::NodeError> {
    /// use withy::node::Relay;
    ///
    /// let relay = Relay { circuits: 64, ..Relay::default() };
    /// let node = withy::Node::builder().relay(relay).build().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn relay(mut self, relay: Relay) -> Self {
        self.relay = Some(relay);
        self
    }

    /// What the node knows of others at most, and what it does to find them. What makes no sense fails in
    /// [`build`](Self::build).
    pub fn limits(mut self, limits: NodeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// How often it is tried at most whether a peer that a relay leads to is reached directly; half of that
    /// at least. For tests, in place of a minute.
    #[doc(hidden)]
    pub fn direct_again(mut self, span: Duration) -> Self {
        self.direct_again = Some(span);
        self
    }

    /// Makes the node: it listens, and looks for others from now on.
    ///
    /// # Errors
    /// There is no identity, the home or the runtime directory cannot be used, an address is taken, a
    /// limit makes no sense, or there is no tokio runtime.
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call leaves nothing behind.
    pub async fn build(self) -> Result<Node, NodeError> {
        let runtime = Handle::try_current().map_err(|_| NodeError::NoRuntime)?;
        self.limits.check()?;
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
        let changes = trust.changes();
        let own = PeerTag::of(identity.id(), identity.node());
        let directory = self.runtime.unwrap_or_else(Host::default_directory);
        let directory = (!self.off_host).then_some(directory);
        if let Some(directory) = &directory {
            host::make(directory)?;
        }
        let resources = Arc::new(Resources::default());
        let mut control = options(&identity, &trust);
        control.hosts = Some(Arc::clone(&resources) as _);
        let circuits = Circuits::default();
        control.circuits = Some(circuits.clone());
        control.remember_departed = true;
        // The engine does nothing else.
        control.attended = true;
        // Members are watched by the beats of gossip; this is for links to those that are none.
        control.heartbeat.interval = HEARTBEAT;
        control.heartbeat.timeout = 3 * HEARTBEAT;
        let control = Owner::new(SocketType::Dealer, control);
        let mut addresses = listen::near(&control, own, directory.as_deref()).await?;
        for address in &self.listen {
            addresses.extend(listen::told(&control, *address).await?);
        }
        let mut sources = Sources::new(self.seeds);
        sources.file = self.seed_file.as_deref().map(SeedFile::new);
        let mut followed = None;
        match self.site {
            Site::At(port) => {
                let site = listen::at_site_port(&control, port).await?;
                followed = Some(Followed::new(&addresses, &site, Some(port), false));
                addresses.extend(site);
                // What comes later has this port, too.
                let later = (port != 0).then_some(port);
                sources.port = listen::announced(&addresses).or(later);
            }
            Site::IfFound if self.lan => {
                let (site, port) = listen::at_site(&control).await;
                followed = Some(Followed::new(&addresses, &site, port, true));
                addresses.extend(site);
                sources.port = port;
            }
            Site::Nowhere => sources.port = listen::announced(&addresses),
            Site::IfFound => {}
        }
        if self.lan {
            let randomness = Box::new(OsRandomness);
            let mdns = Mdns::new_with_port(self.mdns_port.unwrap_or(Mdns::PORT), randomness);
            match mdns {
                Ok(mdns) => sources.use_mdns(mdns),
                Err(error) => tracing::warn!(%error, "no multicast DNS"),
            }
        }
        addresses.truncate(Record::MAX_ADDRESSES);

        let process = place::process();
        #[cfg(test)]
        let process = if self.apart { place::random() } else { process };
        let place = directory.as_deref().map_or(process, place::host);
        let mut offers = Offers::new(place, process);
        offers.addresses = addresses;
        if self.relay.is_some() {
            offers.announce(Service::new(Kind::Relay, relay::NAME));
        }
        // The engine announces it.
        offers.changed = sources.mdns.is_some();
        let record = offers.sign(&identity, &trust)?;
        if let Some(directory) = &directory {
            sources.use_host(Host::open(directory, &record)?);
        }
        let config = Config {
            networks: trust.networks(),
            ..self.limits.config()
        };
        let seed = OsRandomness.next_u64();
        let mut discovery = Discovery::new(Provider::Real, config, record, seed);
        for (name, identity) in &self.names {
            discovery.table_mut().pin(name, *identity);
        }
        let (say_dialled, dialled) = tokio::sync::mpsc::unbounded_channel();
        let party = Party {
            identity: identity.id(),
            node: identity.node(),
        };
        let shared = Arc::new(Shared {
            own,
            host: place,
            process,
            runtime,
            resources,
            control,
            state: Mutex::new(State {
                discovery,
                offers,
                interests: Default::default(),
                links: Default::default(),
                strangers: Default::default(),
                multicast: None,
            }),
            verdicts: Default::default(),
            bus: Default::default(),
            history: self.history,
            max_strangers: self.limits.strangers,
            relaying: Relaying::new(party, self.relay, self.direct_again),
            work: Notify::new(),
            dialled: say_dialled,
            dials: Default::default(),
            dials_failed: Default::default(),
            known: watch::Sender::new(0),
            events: broadcast::Sender::new(NodeEvent::CAPACITY),
            started: Instant::now(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            identity,
            trust,
        });
        circuits.of(&shared);
        relay::start(&shared);
        let engine = Engine::new(Arc::clone(&shared), sources, changes, dialled);
        shared.spawn(engine.run());
        if let Some(followed) = followed {
            shared.spawn(followed.run(Arc::clone(&shared)));
        }
        Ok(Node::over(shared))
    }
}

//! A door with options.

use std::sync::Arc;
use std::time::Duration;

use withy_proto::crypto::keys::KeyPair;
use withy_proto::endpoint::EndpointError;
use withy_proto::{Endpoint, SocketType};

use super::callers::Callers;
use super::entrance::Entrance;
use super::error::DoorError;
use super::hall::{Hall, Proves};
use super::pushers::Pushers;
use super::subscribers::Subscribers;
use super::takers::Takers;
use super::workers::Workers;
use super::{Open, ZmtpDoor, publishers};
use crate::auth::Authenticator;
use crate::node::Node;
use crate::options::Options;
use crate::security::{Mechanism, Security};

/// What a door is opened with. It is made by [`ZmtpDoor::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ZmtpDoorBuilder {
    node: Node,
    listen: Vec<Result<Endpoint, EndpointError>>,
    serve: Vec<(String, Result<Endpoint, EndpointError>)>,
    pull: Vec<(String, Result<Endpoint, EndpointError>)>,
    proves: Proves,
    mechanism: Mechanism,
    authenticator: Option<Arc<dyn Authenticator>>,
    insecure: bool,
    within: Duration,
}

/// An endpoint, from whatever is one.
fn endpoint<E>(endpoint: E) -> Result<Endpoint, EndpointError>
where
    E: TryInto<Endpoint>,
    E::Error: Into<EndpointError>,
{
    endpoint.try_into().map_err(Into::into)
}

impl ZmtpDoorBuilder {
    pub(super) fn new(node: &Node) -> Self {
        Self {
            node: node.clone(),
            listen: Vec::new(),
            serve: Vec::new(),
            pull: Vec::new(),
            proves: Proves::Nothing,
            mechanism: Mechanism::Null,
            authenticator: None,
            insecure: false,
            within: ZmtpDoor::WITHIN,
        }
    }

    /// Listens for SUB, XSUB, PUB, XPUB, REQ, DEALER and PUSH at an endpoint, with tcp:// or ipc://; more
    /// than one may be named.
    pub fn listen<E>(mut self, at: E) -> Self
    where
        E: TryInto<Endpoint>,
        E::Error: Into<EndpointError>,
    {
        self.listen.push(endpoint(at));
        self
    }

    /// Listens for the workers of a service, REP and DEALER, at an endpoint of its own.
    pub fn serve<E>(mut self, name: impl Into<String>, at: E) -> Self
    where
        E: TryInto<Endpoint>,
        E::Error: Into<EndpointError>,
    {
        self.serve.push((name.into(), endpoint(at)));
        self
    }

    /// Listens for those who take from a queue, PULL, at an endpoint of its own.
    pub fn pull<E>(mut self, queue: impl Into<String>, at: E) -> Self
    where
        E: TryInto<Endpoint>,
        E::Error: Into<EndpointError>,
    {
        self.pull.push((queue.into(), endpoint(at)));
        self
    }

    /// Peers prove a key with CURVE, and this side `keys`; `clients` says who is let in.
    pub fn curve(mut self, keys: KeyPair, clients: impl Authenticator + 'static) -> Self {
        self.proves = Proves::Key;
        let keys = Box::new(keys);
        self.mechanism = Mechanism::CurveServer { keys };
        self.authenticator = Some(Arc::new(clients));
        self
    }

    /// Peers show a name and a password with PLAIN; `users` says who is let in.
    pub fn plain(mut self, users: impl Authenticator + 'static) -> Self {
        self.proves = Proves::User;
        self.mechanism = Mechanism::PlainServer;
        self.authenticator = Some(Arc::new(users));
        self
    }

    /// PLAIN may be used from other hosts, though everybody on the way reads passwords and messages.
    pub fn insecure(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// How long a request waits for its reply. Default [`ZmtpDoor::WITHIN`].
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Opens the door.
    ///
    /// # Errors
    /// See [`DoorError`].
    ///
    /// # Cancel safety
    /// Cancel-safe: a cancelled call leaves nothing behind.
    pub async fn open(self) -> Result<ZmtpDoor, DoorError> {
        let (serve, pull) = (named(&self.serve)?, named(&self.pull)?);
        let listen = self.listen.iter().cloned();
        let listen = listen.collect::<Result<Vec<_>, _>>()?;
        if listen.is_empty() && serve.is_empty() && pull.is_empty() {
            return Err(DoorError::NoEndpoint);
        }
        let named = serve.iter().chain(&pull).map(|(_, endpoint)| endpoint);
        for endpoint in listen.iter().chain(named) {
            self.check(endpoint)?;
        }
        let hall = Arc::new(Hall::new(&self.node, self.proves, self.within));
        // Whatever goes wrong from here on, its tasks end.
        let on_failure = hall.stop.clone().drop_guard();
        let subscribers = Subscribers::new(&hall);
        let publishers = publishers::open(&hall)?;
        let callers = Callers::open(&hall);
        let pushers = Pushers::open(&hall);
        let mut options = self.options();
        options.hosts = Some(Arc::new(Entrance {
            hall: Arc::clone(&hall),
            subscribers: Arc::clone(&subscribers),
            publishers: Arc::clone(publishers.core()),
            callers: Arc::clone(callers.socket().core()),
            pushers: Arc::clone(pushers.socket().core()),
        }));
        let entrance = hall.socket(SocketType::Router, options);
        let mut endpoints = Vec::new();
        for endpoint in listen {
            endpoints.push(entrance.bind(Ok(endpoint)).await?);
        }
        let mut workers = Vec::new();
        for (name, endpoint) in serve {
            let opened = Workers::open(&hall, &name, self.options())?;
            opened.socket().bind(Ok(endpoint)).await?;
            workers.push(opened);
        }
        let mut takers = Vec::new();
        for (name, endpoint) in pull {
            let opened = Takers::open(&hall, &name, self.options())?;
            opened.socket().bind(Ok(endpoint)).await?;
            takers.push(opened);
        }
        on_failure.disarm();
        Ok(ZmtpDoor(Arc::new(Open {
            hall,
            entrance,
            subscribers,
            publishers,
            callers,
            pushers,
            workers,
            takers,
            endpoints,
        })))
    }

    fn check(&self, endpoint: &Endpoint) -> Result<(), DoorError> {
        if !matches!(endpoint, Endpoint::Tcp(_) | Endpoint::Ipc(_)) {
            return Err(DoorError::Scheme(endpoint.clone()));
        }
        match self.proves {
            _ if endpoint.is_local() => Ok(()),
            Proves::Nothing => Err(DoorError::Open(endpoint.clone())),
            Proves::User if !self.insecure => Err(DoorError::Clear(endpoint.clone())),
            Proves::User | Proves::Key => Ok(()),
        }
    }

    /// The options of a socket that listens.
    fn options(&self) -> Options {
        Options {
            security: Security {
                mechanism: self.mechanism.clone(),
                authenticator: self.authenticator.clone(),
                trust: self.node.shared().trust.clone(),
                insecure: self.insecure,
                ..Security::default()
            },
            ..Options::default()
        }
    }
}

type Named = Vec<(String, Endpoint)>;

/// The names with their endpoints, each once.
fn named(all: &[(String, Result<Endpoint, EndpointError>)]) -> Result<Named, DoorError> {
    let mut named = Named::new();
    for (name, endpoint) in all {
        if named.iter().any(|(known, _)| known == name) {
            return Err(DoorError::Twice(name.clone()));
        }
        named.push((name.clone(), endpoint.clone()?));
    }
    Ok(named)
}

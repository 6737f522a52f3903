//! Where a node hears of others: its host, the local network, and what was configured.
//!
//! Each source is asked now and then; what blocks runs on a thread of its own. None that fails is a
//! reason to stop: the others go on, and it is asked again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use withy_discovery::file::SeedFile;
use withy_discovery::fixed::Fixed;
use withy_discovery::host::{Host, Source as _};
use withy_discovery::mdns::{Audience, Found, Mdns, Speaker, State};
use withy_discovery::{Hint, Origin, Record};

use super::shared::Shared;
use super::stats::Multicast;
use crate::home::file::Stamp;

/// How often the sources are asked while there is something new, or one of them may tell of much.
const OFTEN: Duration = Duration::from_millis(250);

/// How often they are asked when nothing was new for a while: who comes looks for himself, and his
/// record comes by gossip.
const RARELY: Duration = Duration::from_secs(2);

/// The sources of a node.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) host: Option<Host>,
    pub(super) mdns: Option<Mdns>,
    /// The UDP port that is announced.
    pub(super) port: Option<u16>,
    pub(super) seeds: Arc<Fixed>,
    pub(super) file: Option<SeedFile>,
    /// Seeds whose names were looked up.
    resolved: UnboundedReceiver<Hint>,
    resolver: UnboundedSender<Hint>,
    /// How multicast went when that was last said.
    said: State,
    /// The file with what the network took back, when it was last read.
    revoked: Option<Stamp>,
    /// How long they are left alone.
    pause: Duration,
}

impl Sources {
    pub(super) fn new(seeds: Fixed) -> Self {
        let (resolver, resolved) = unbounded_channel();
        Self {
            host: None,
            mdns: None,
            port: None,
            seeds: Arc::new(seeds),
            file: None,
            resolved,
            resolver,
            said: State::default(),
            revoked: None,
            pause: OFTEN,
        }
    }

    /// Takes in what is new, and says after how long to look again.
    pub(super) fn look(&mut self, shared: &Shared) -> Duration {
        self.pause = match self.mdns {
            Some(_) => OFTEN,
            None => (self.pause * 2).min(RARELY),
        };
        match self.host.as_mut().map(Host::poll) {
            Some(Ok(found)) => {
                if !found.is_empty() {
                    self.pause = OFTEN;
                }
                let learn = |octets: Vec<u8>| shared.learn(&octets, Origin::Host);
                found.into_iter().for_each(learn);
            }
            Some(Err(error)) => tracing::warn!(%error, "the runtime directory is unreadable"),
            None => {}
        }
        self.look_around(shared);
        self.look_at_revoked(shared);
        match self.file.as_mut().map(SeedFile::poll) {
            Some(Ok(true)) => self.seek(shared),
            Some(Err(error)) => tracing::warn!(%error, "the file of seeds is not used as it is"),
            _ => {}
        }
        self.pause
    }

    /// Takes in what the network took back, as the home says.
    fn look_at_revoked(&mut self, shared: &Shared) {
        let Some((home, name)) = shared.trust.home_of_network() else {
            return;
        };
        let stamp = Stamp::of(&home.revocations_path(&name)).ok();
        if stamp.is_none() || stamp == self.revoked {
            return;
        }
        self.revoked = stamp;
        match home.revocations(&name) {
            Ok(all) => {
                let mut state = shared.state.lock();
                all.into_iter().for_each(|it| state.discovery.revoke(it));
                drop(state);
                shared.work.notify_one();
            }
            Err(error) => tracing::warn!(%error, "what the network took back is not known"),
        }
    }

    /// Takes in what was heard on the local network.
    fn look_around(&mut self, shared: &Shared) {
        let Some(mdns) = &self.mdns else {
            return;
        };
        let state = mdns.state();
        shared.state.lock().multicast = Some(Multicast {
            state: state.clone(),
            counters: mdns.counters(),
        });
        if state != self.said {
            match &state {
                State::Working | State::Listening => tracing::info!(?state, "multicast DNS"),
                _ => tracing::warn!(?state, "multicast DNS"),
            }
            self.said = state;
        }
        for found in mdns.poll() {
            match found {
                Found::Hint(hint, origin) => shared.hint(hint, origin),
                Found::Gone(instance) => shared.state.lock().discovery.retract(&instance),
            }
        }
    }

    /// The next seed whose name was looked up.
    pub(super) async fn resolved(&mut self) -> Option<Hint> {
        self.resolved.recv().await
    }

    /// Looks up all seeds, on a thread of its own.
    pub(super) fn seek(&self, shared: &Shared) {
        let mut all = vec![Arc::clone(&self.seeds)];
        all.extend(self.file.iter().map(|file| Arc::new(file.fixed().clone())));
        if all.iter().all(|seeds| seeds.seeds().is_empty()) {
            return;
        }
        let found = self.resolver.clone();
        shared.runtime.spawn_blocking(move || {
            for (seed, hint) in all.iter().flat_map(|seeds| seeds.resolve()) {
                match hint {
                    // Nobody takes it once the node has left.
                    Ok(hint) => drop(found.send(hint)),
                    Err(error) => tracing::warn!(%seed, %error, "a seed is not reached"),
                }
            }
        });
    }

    /// Shows others the record of this node.
    pub(super) fn publish(&self, shared: &Shared, record: &Record) {
        if let Some(Err(error)) = self.host.as_ref().map(|host| host.publish(record)) {
            tracing::warn!(%error, "the record of this node is not in the runtime directory");
        }
        if let (Some(mdns), Some(port)) = (&self.mdns, self.port) {
            let networks = shared.trust.networks();
            let secrets = networks.into_iter().map(|network| network.secret);
            let secrets: Vec<_> = secrets.take(Mdns::MAX_NETWORKS).collect();
            mdns.announce(Speaker {
                key: shared.identity.node_key().clone(),
                record: record.clone(),
                port,
                audience: match secrets.is_empty() {
                    true => Audience::Everybody,
                    false => Audience::Members(secrets),
                },
            });
        }
    }
}

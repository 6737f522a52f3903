//! Where a node hears of others: its host, the local network, and what was configured.
//!
//! The host and the local network say when they have something; each source is also asked now and then.
//! What blocks runs on a thread of its own. None that fails is a reason to stop: the others go on, and it
//! is asked again.
//!
//! Invariant: however often a source stirs, it is asked [`MOST`] times a second on the long run.

use std::future::pending;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use withy_discovery::file::SeedFile;
use withy_discovery::fixed::Fixed;
use withy_discovery::host::{Host, Source as _};
use withy_discovery::mdns::{Audience, Found, Mdns, Speaker, State};
use withy_discovery::{Hint, Origin, Record};
use withy_proto::rate::{Bucket, RateLimit};

use super::shared::Shared;
use super::stats::Multicast;
use crate::home::file::Stamp;

/// How often the sources are asked while there is something new, if one of them does not say so.
const OFTEN: Duration = Duration::from_millis(250);

/// How often they are asked when nothing was new for a while: who comes looks for himself, and his
/// record comes by gossip.
const RARELY: Duration = Duration::from_secs(2);

/// How often they are asked if each says by itself that it has something.
const SELDOM: Duration = Duration::from_secs(15);

/// How often they are asked within a second because they stir. What comes beyond waits for its turn.
const MOST: u32 = 32;

/// How much of that may be used at once.
const BURST: Duration = Duration::from_secs(1);

/// The sources of a node.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) host: Option<Host>,
    pub(super) mdns: Option<Mdns>,
    /// The host has something.
    stirs: Option<AsyncFd<OwnedFd>>,
    /// So has the local network.
    heard: Arc<Notify>,
    /// One of them has, and was not asked yet.
    stirred: bool,
    asked: Bucket,
    started: Instant,
    /// The UDP port that is announced.
    pub(super) port: Option<u16>,
    pub(super) seeds: Arc<Fixed>,
    pub(super) file: Option<SeedFile>,
    /// What is wrong with it, as was said.
    file_trouble: Option<String>,
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
            stirs: None,
            heard: Arc::default(),
            stirred: false,
            asked: Bucket::new(RateLimit {
                messages: Some(MOST),
                octets: None,
            }),
            started: Instant::now(),
            port: None,
            seeds: Arc::new(seeds),
            file: None,
            file_trouble: None,
            resolved,
            resolver,
            said: State::default(),
            revoked: None,
            pause: OFTEN,
        }
    }

    /// Uses the runtime directory.
    pub(super) fn use_host(&mut self, host: Host) {
        let stirs = host.stirs().map(watched);
        self.stirs = match stirs {
            Some(Ok(stirs)) => Some(stirs),
            _ => {
                tracing::info!("the runtime directory is not watched, but looked at now and then");
                None
            }
        };
        self.host = Some(host);
    }

    /// Uses multicast DNS.
    pub(super) fn use_mdns(&mut self, mdns: Mdns) {
        let heard = Arc::clone(&self.heard);
        mdns.call(move || heard.notify_one());
        self.mdns = Some(mdns);
    }

    /// Takes in what is new, and says after how long to look again.
    pub(super) fn look(&mut self, shared: &Shared) -> Duration {
        self.stirred = false;
        self.asked.charge(1, 0, self.started.elapsed());
        let most = match self.must_be_asked(shared) {
            true => RARELY,
            false => SELDOM,
        };
        self.pause = (self.pause * 2).min(most);
        match self.host.as_mut().map(Host::poll) {
            Some(Ok(found)) => {
                if !found.is_empty() && self.stirs.is_none() {
                    self.pause = OFTEN;
                }
                let learn = |octets: Vec<u8>| shared.learn(&octets, Origin::Host);
                found.into_iter().for_each(learn);
            }
            Some(Err(error)) => tracing::warn!(%error, "the runtime directory is unreadable"),
            None => {}
        }
        // Else nothing is told any more.
        if !self.host.as_ref().is_some_and(Host::is_watched) {
            self.stirs = None;
        }
        self.look_around(shared);
        self.look_at_revoked(shared);
        match self.file.as_mut().map(SeedFile::poll) {
            Some(Ok(changed)) => {
                self.file_trouble = None;
                if changed {
                    self.seek(shared);
                }
            }
            Some(Err(error)) => {
                // Of a file that cannot be read this comes again and again.
                let trouble = Some(error.to_string());
                if self.file_trouble != trouble {
                    tracing::warn!(%error, "the file of seeds is not used as it is");
                    self.file_trouble = trouble;
                }
            }
            None => {}
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

    /// Whether one of them does not say by itself that it has something.
    fn must_be_asked(&self, shared: &Shared) -> bool {
        self.host.is_some() && self.stirs.is_none()
            || self.file.is_some()
            // How it goes is told, and what it counts is not.
            || self.mdns.is_some()
            || shared.trust.home_of_network().is_some()
    }

    /// The next seed whose name was looked up; without one, it is time to [`look`](Self::look).
    ///
    /// # Cancel safety
    /// Cancel-safe.
    pub(super) async fn news(&mut self) -> Option<Hint> {
        if !self.stirred {
            tokio::select! {
                hint = self.resolved.recv() => return hint,
                () = self.heard.notified() => {}
                () = readable(self.stirs.as_ref()) => {}
            }
            self.stirred = true;
        }
        let rest = self.asked.rest(self.started.elapsed());
        tokio::time::sleep(rest.unwrap_or_default().saturating_sub(BURST)).await;
        None
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

#[expect(
    deprecated,
    reason = "its unsafe successor asks for what an owned descriptor has: it stays open, and the same"
)]
fn watched(from: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(from, Interest::READABLE)
}

/// Waits until something can be read, for ever if there is nothing to read from.
async fn readable(from: Option<&AsyncFd<OwnedFd>>) {
    let Some(from) = from else {
        return pending().await;
    };
    match from.readable().await {
        // It is read until nothing is left.
        Ok(mut ready) => ready.clear_ready(),
        // The runtime ends.
        Err(_) => pending().await,
    }
}

#[cfg(test)]
mod tests;

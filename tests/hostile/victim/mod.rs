//! The socket under attack, and what it says about its offenders.

mod config;
mod good;
mod inbox;
mod kinds;
mod panics;
mod record;
mod siege;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use withy::event::HandshakeFailure;
use withy::{AnySocket, Endpoint, KeyPair, Reason, Rep, SocketType, Stats};
use withy_tests::raw::{self, Peer};

use crate::log;
use config::patiently;
use inbox::{Inbox, answer};
use kinds::receives;
use panics::{panics, watch_for_panics};
use record::Record;

pub(crate) use config::{Config, HANDSHAKE, SEED, USER};
pub(crate) use inbox::NOTED;
pub(crate) use kinds::{SHARED, counterpart};
pub(crate) use record::Verdict;
pub(crate) use siege::{siege, siege_alone, sieges, within};

/// Offenders at a time: fewer than `max_handshakes`, and when all of them are refused in one moment,
/// the monitor does not fall behind.
pub(crate) const CROWD: usize = 200;

/// How soon an offender must be gone, and reported.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// The socket under attack.
pub(crate) struct Victim {
    pub(crate) socket: AnySocket,
    pub(crate) endpoint: Endpoint,
    config: Config,
    record: Arc<Record>,
    inbox: Arc<Inbox>,
    tags: AtomicU64,
    /// Endpoints whose log lines are about offenders.
    logged: Mutex<Vec<String>>,
}

impl Victim {
    pub(crate) async fn new(config: Config) -> Self {
        watch_for_panics();
        let inbox = Arc::new(Inbox::default());
        let (socket, rep) = if config.kind == SocketType::Rep {
            let rep = config.apply(Rep::builder()).build().unwrap();
            (AnySocket::from(rep.clone()), Some(rep))
        } else {
            let builder = AnySocket::builder(config.kind)
                .max_subscriptions(config.max_subscriptions)
                .max_topic(config.max_topic);
            (config.apply(builder).build().unwrap(), None)
        };
        if config.kind == SocketType::Sub {
            socket.subscribe("", true);
        }
        let record = Arc::new(Record::default());
        tokio::spawn(Arc::clone(&record).keep(socket.monitor()));
        let endpoint = socket.bind_to("tcp://127.0.0.1:0").await.unwrap();
        log::listen(&endpoint.to_string());
        let logged = Mutex::new(vec![endpoint.to_string()]);
        match rep {
            Some(rep) => drop(tokio::spawn(answer(rep))),
            None if receives(config.kind) => {
                let (inbox, socket) = (Arc::clone(&inbox), socket.clone());
                tokio::spawn(async move { inbox.serve(&socket).await });
            }
            None => {}
        }
        Self {
            socket,
            endpoint,
            config,
            record,
            inbox,
            tags: AtomicU64::new(0),
            logged,
        }
    }

    pub(crate) fn kind(&self) -> SocketType {
        self.config.kind
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.config.plain
    }

    /// The keys of a CURVE server.
    pub(crate) fn keys(&self) -> &KeyPair {
        self.config.keys.as_ref().unwrap()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn mechanism(&self) -> &'static str {
        self.config.mechanism()
    }

    /// How often a message of this text came, which begins with [`NOTED`].
    pub(crate) fn noted(&self, text: &[u8]) -> u64 {
        assert!(text.starts_with(NOTED));
        let noted = self.inbox.noted.lock().unwrap();
        noted.get(text).copied().unwrap_or_default()
    }

    /// Messages that a ROUTER had for a peer without room.
    pub(crate) fn unsendable(&self) -> u64 {
        self.inbox.unsendable.load(Ordering::Relaxed)
    }

    pub(crate) fn stats(&self) -> Stats {
        self.socket.stats()
    }

    /// Connects to a hostile server, too.
    pub(crate) fn connect(&self, endpoint: &str) {
        log::listen(endpoint);
        self.logged.lock().unwrap().push(endpoint.to_owned());
        self.socket.connect_to(endpoint).unwrap();
    }

    /// A link, and nothing said yet.
    pub(crate) async fn link(&self) -> Peer {
        Peer::connect(&self.endpoint.to_string()).await.unwrap()
    }

    /// An offender that shook hands as a peer should.
    pub(crate) async fn peer(&self) -> Peer {
        let mut peer = self.link().await;
        peer.handshake(counterpart(self.kind()).name())
            .await
            .unwrap();
        peer
    }

    /// The socket must close this link and report why the handshake failed.
    pub(crate) async fn refuses(&self, peer: Peer) -> HandshakeFailure {
        self.failure(&self.gone(peer).await).await
    }

    /// Why the handshake of the peer at an address failed.
    pub(crate) async fn failure(&self, address: &str) -> HandshakeFailure {
        match self.verdict(address).await {
            Verdict::Failed(failure) => failure,
            Verdict::Lost(reason) => panic!("it was a peer: {reason}"),
        }
    }

    /// The socket must close this connection and report why.
    pub(crate) async fn closes(&self, peer: Peer) -> Reason {
        self.loss(&self.gone(peer).await).await
    }

    /// Why the connection of the peer at an address ended.
    pub(crate) async fn loss(&self, address: &str) -> Reason {
        match self.verdict(address).await {
            Verdict::Lost(reason) => reason,
            Verdict::Failed(failure) => panic!("it never was a peer: {failure}"),
        }
    }

    /// The socket must close this link, whatever the reason.
    pub(crate) async fn judges(&self, peer: Peer) -> Verdict {
        let address = self.gone(peer).await;
        self.verdict(&address).await
    }

    /// The socket must close this link; returns the address of its peer.
    async fn gone(&self, mut peer: Peer) -> String {
        let address = peer.address().unwrap();
        if let Err(error) = peer.expect_close(patiently(DEADLINE)).await {
            panic!("{} keeps an offender: {error}", self.kind());
        }
        address
    }

    /// What the socket reports about the peer at an address.
    pub(crate) async fn verdict(&self, address: &str) -> Verdict {
        let reported = async {
            loop {
                let changed = self.record.changed.notified();
                if let Some(verdict) = self.record.verdicts.lock().unwrap().remove(address) {
                    return verdict;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(patiently(DEADLINE), reported).await {
            Ok(verdict) => verdict,
            Err(_) => panic!("{} reports nothing about {address}", self.kind()),
        }
    }

    /// The socket must not have closed this connection: it answers a PING there.
    pub(crate) async fn keeps(&self, peer: &mut Peer) {
        let ping = raw::command("PING", b"\0\0still there?");
        if let Err(error) = peer.send(&ping).await {
            panic!("{} closed a peer: {error}", self.kind());
        }
        loop {
            match peer.frame().await {
                Ok(frame) if frame.command() == Some((b"PONG", b"still there?")) => return,
                Ok(_) => {}
                Err(error) => panic!("{} closed a peer: {error}", self.kind()),
            }
        }
    }

    /// No good peer was lost, every counter agrees with the events, nothing panicked, and the
    /// socket closes.
    pub(crate) async fn acquit(self) {
        let Self {
            socket,
            record,
            logged,
            ..
        } = self;
        let stats = socket.stats();
        let seen = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!(seen(&record.missed), 0, "the monitor fell behind");
        assert_eq!(seen(&record.good_lost), 0, "a good peer was lost");
        assert_eq!(stats.handshakes_failed, seen(&record.failed));
        assert_eq!(stats.protocol_errors, seen(&record.broke_rules));
        let logged = logged.into_inner().unwrap();
        assert_eq!(
            logged
                .iter()
                .map(|endpoint| log::warnings(endpoint))
                .sum::<u64>(),
            seen(&record.failed) + seen(&record.broke_rules),
            "one line for each offence"
        );
        within(10, socket.close()).await;
        let panics = panics().clone();
        assert!(panics.is_empty(), "{panics:?}");
    }
}

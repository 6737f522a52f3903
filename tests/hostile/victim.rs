//! The socket under attack: its good peers, and what it says about its offenders.

use std::cell::Cell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::panic;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use withy::auth::{AuthRequest, Authenticator, Credentials, Deciding, Decision};
use withy::event::HandshakeFailure;
use withy::options::ConnectionLimits;
use withy::socket::Socket;
use withy::{
    AnySocket, Builder, Endpoint, EventKind, Identity, KeyPair, Message, Monitor, Reason, Rep, Req,
    SendError, SocketType, Stats, generate_key_pair,
};
use withy_tests::raw::{self, Peer};

use crate::{log, memory};

/// Offenders at a time: fewer than `max_handshakes`, and when all of them are refused in one moment,
/// the monitor does not fall behind.
pub(crate) const CROWD: usize = 200;

/// How soon an offender must be gone, and reported.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);
/// The handshake deadline of a socket under attack.
pub(crate) const HANDSHAKE: Duration = Duration::from_millis(500);
/// Messages that a good peer exchanges during an attack.
const EXCHANGED: u64 = 1_000;
/// Messages on their way at a time: fewer than any high-water mark.
const WINDOW: u64 = 100;
/// In place of a number: a publisher's subscriber is there.
const PROBE: u64 = u64::MAX;

/// The types that a peer can attack while good peers are connected.
pub(crate) const SHARED: [SocketType; 6] = [
    SocketType::Pull,
    SocketType::Rep,
    SocketType::Router,
    SocketType::Dealer,
    SocketType::Pub,
    SocketType::Sub,
];

/// The type and the limits of a socket under attack.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) kind: SocketType,
    /// The keys of a CURVE server.
    pub(crate) keys: Option<KeyPair>,
    /// A PLAIN server, which knows one user.
    pub(crate) plain: bool,
    /// A node of the identity of [`SEED`].
    pub(crate) noise: bool,
    pub(crate) max_handshakes: usize,
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_message_size: usize,
    pub(crate) max_parts: usize,
    pub(crate) max_subscriptions: usize,
    pub(crate) max_topic: usize,
}

impl Config {
    /// Whose good peers get through though the attack leaves little of the machine.
    pub(crate) fn patient(kind: SocketType) -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            ..Self::new(kind)
        }
    }

    pub(crate) fn new(kind: SocketType) -> Self {
        Self {
            kind,
            keys: None,
            plain: false,
            noise: false,
            max_handshakes: 1_024,
            handshake_timeout: HANDSHAKE,
            max_message_size: 64 << 20,
            max_parts: 1_024,
            max_subscriptions: 100_000,
            max_topic: 64 << 10,
        }
    }

    /// A CURVE server that takes every client.
    pub(crate) fn curve(kind: SocketType) -> Self {
        Self {
            keys: Some(generate_key_pair()),
            ..Self::new(kind)
        }
    }

    /// A PLAIN server that takes [`USER`].
    pub(crate) fn plain(kind: SocketType) -> Self {
        Self {
            plain: true,
            ..Self::new(kind)
        }
    }

    /// With NOISE, among nodes of one identity.
    pub(crate) fn noise(kind: SocketType) -> Self {
        Self {
            noise: true,
            ..Self::new(kind)
        }
    }

    /// The name in its greeting.
    pub(crate) fn mechanism(&self) -> &'static str {
        match self {
            Self { keys: Some(_), .. } => "CURVE",
            Self { plain: true, .. } => "PLAIN",
            Self { noise: true, .. } => "NOISE",
            _ => "NULL",
        }
    }

    fn apply<S: Socket>(&self, mut builder: Builder<S>) -> Builder<S> {
        if self.noise {
            builder = builder.identity(&Identity::from_seed(&SEED));
        } else if let Some(keys) = &self.keys {
            builder = builder.curve_server(keys.clone()).allow_any_client();
        } else if self.plain {
            builder = builder.plain_server().authenticator(OneUser);
        }
        builder
            .connection_limits(ConnectionLimits {
                max_handshakes: self.max_handshakes,
                handshake_timeout: self.handshake_timeout,
                ..ConnectionLimits::default()
            })
            .max_message_size(self.max_message_size)
            .max_parts(self.max_parts)
    }
}

/// The identity of a socket with NOISE, and of its good peers.
pub(crate) const SEED: [u8; 32] = *b"the identity that is under siege";

/// How the text of messages begins that are [counted](Victim::noted).
pub(crate) const NOTED: &[u8] = b"noted: ";

/// The user whom a PLAIN server knows, and the password.
pub(crate) const USER: (&str, &str) = ("ada", "secret");

#[derive(Debug)]
struct OneUser;

impl Authenticator for OneUser {
    fn authenticate<'a>(&'a self, request: &'a AuthRequest) -> Deciding<'a> {
        Box::pin(async move {
            match &request.credentials {
                Credentials::Plain { username, password }
                    if username == USER.0.as_bytes() && password == USER.1.as_bytes() =>
                {
                    Decision::accept(USER.0)
                }
                _ => Decision::deny("another user"),
            }
        })
    }
}

/// What became of an offender.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It never was a peer.
    Failed(HandshakeFailure),
    /// It was a peer.
    Lost(Reason),
}

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

/// A peer that keeps the rules.
pub(crate) struct Good {
    tag: u64,
    socket: GoodSocket,
    /// The numbers that the victim received from it.
    numbers: tokio::sync::Mutex<mpsc::UnboundedReceiver<u64>>,
}

enum GoodSocket {
    Req(Req),
    Any(AnySocket),
}

/// What the victim's monitor said.
#[derive(Default)]
struct Record {
    verdicts: Mutex<HashMap<String, Verdict>>,
    changed: Notify,
    failed: AtomicU64,
    broke_rules: AtomicU64,
    good_lost: AtomicU64,
    missed: AtomicU64,
}

/// Who waits for the messages of which good peer.
#[derive(Default)]
struct Inbox {
    numbers: Mutex<HashMap<u64, mpsc::UnboundedSender<u64>>>,
    /// Messages that a peer of a ROUTER had no room for.
    unsendable: AtomicU64,
    /// How often each text came that begins with [`NOTED`].
    noted: Mutex<HashMap<Vec<u8>, u64>>,
}

/// Attacks a socket while good peers use it: the attack is repeated for as long as they take.
pub(crate) async fn siege(config: Config, attack: impl AsyncFn(&Victim)) {
    let _shared = memory::shared().await;
    siege_alone(config, attack).await;
}

/// As [`siege`], for a test that has [`memory::Growth`] to itself.
pub(crate) async fn siege_alone(config: Config, attack: impl AsyncFn(&Victim)) {
    let victim = Victim::new(config).await;
    let before = victim.good();
    victim.exchange(&before, 1).await;
    let over = Cell::new(false);
    let peace = async {
        victim.exchange(&before, EXCHANGED).await;
        let mut before = Some(before);
        if victim.config.kind == SocketType::Pair {
            // There is one place only.
            before.take().unwrap().close().await;
        }
        let during = victim.good();
        victim.exchange(&during, EXCHANGED).await;
        over.set(true);
        (before, during)
    };
    let war = async {
        loop {
            attack(&victim).await;
            if over.get() {
                return;
            }
        }
    };
    let ((before, during), ()) = within(60, async { tokio::join!(peace, war) }).await;
    within(20, async {
        if let Some(before) = &before {
            victim.exchange(before, WINDOW).await;
        }
        victim.exchange(&during, WINDOW).await;
    })
    .await;
    victim.acquit().await;
}

/// Attacks several sockets at the same time, for attacks that mostly wait.
pub(crate) async fn sieges(
    configs: impl IntoIterator<Item = Config>,
    attack: impl AsyncFn(&Victim),
) {
    let mut all: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
    for config in configs {
        all.push(Box::pin(siege(config, &attack)));
    }
    poll_fn(|cx| {
        all.retain_mut(|siege| siege.as_mut().poll(cx).is_pending());
        if all.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Runs a future that must be over within so many seconds.
pub(crate) async fn within<T>(seconds: u64, what: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(seconds), what).await {
        Ok(value) => value,
        Err(_) => panic!("not over within {seconds} s"),
    }
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

    // Offenders.

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
        if let Err(error) = peer.expect_close(DEADLINE).await {
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
        match tokio::time::timeout(DEADLINE, reported).await {
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

    // Good peers.

    /// A good peer, which starts to connect.
    pub(crate) fn good(&self) -> Good {
        let tag = self.tags.fetch_add(1, Ordering::Relaxed);
        let (numbers, receiver) = mpsc::unbounded_channel();
        self.inbox.numbers.lock().unwrap().insert(tag, numbers);
        let socket = if self.kind() == SocketType::Rep {
            let req = self.client(Req::builder()).build().unwrap();
            req.connect_to(self.endpoint.clone()).unwrap();
            GoodSocket::Req(req)
        } else {
            let kind = counterpart(self.kind());
            let socket = self.client(AnySocket::builder(kind)).build().unwrap();
            if kind == SocketType::Sub {
                socket.subscribe(tag.to_be_bytes(), true);
            }
            socket.connect_to(self.endpoint.clone()).unwrap();
            GoodSocket::Any(socket)
        };
        Good {
            tag,
            socket,
            numbers: tokio::sync::Mutex::new(receiver),
        }
    }

    fn client<S: Socket>(&self, builder: Builder<S>) -> Builder<S> {
        match &self.config.keys {
            _ if self.config.noise => builder.identity(&Identity::from_seed(&SEED)),
            Some(keys) => builder.curve_client(generate_key_pair(), keys.public()),
            None if self.config.plain => builder.plain_client(USER.0, USER.1),
            None => builder,
        }
    }

    /// Exchanges so many messages with a good peer: all of them arrive, in order.
    pub(crate) async fn exchange(&self, good: &Good, count: u64) {
        let tag = good.tag;
        let socket = match &good.socket {
            GoodSocket::Req(req) => {
                // Many at a time, as for the other types.
                for first in (0..count).step_by(WINDOW as usize) {
                    let mut window = JoinSet::new();
                    for n in first..(first + WINDOW).min(count) {
                        let req = req.clone();
                        window.spawn(async move {
                            let reply = req.request(numbered(tag, n)).await.unwrap();
                            assert_eq!(parse(&reply), Some((tag, n)));
                        });
                    }
                    window.join_all().await;
                }
                return;
            }
            GoodSocket::Any(socket) => socket,
        };
        match self.kind() {
            SocketType::Pub | SocketType::XPub => self.probe(good, socket).await,
            SocketType::Sub => socket.wait_subscribed(1).await.unwrap(),
            _ => {}
        }
        let mut numbers = good.numbers.lock().await;
        let mut next = 0;
        while next < count {
            let window = next..(next + WINDOW).min(count);
            next = window.end;
            for n in window.clone() {
                let from = if publishes(self.kind()) {
                    &self.socket
                } else {
                    socket
                };
                from.send(numbered(tag, n)).await.unwrap();
            }
            for n in window {
                let came = match self.kind() {
                    SocketType::Pub | SocketType::XPub | SocketType::Router => {
                        after_probes(socket, tag).await
                    }
                    _ => numbers.recv().await.unwrap(),
                };
                assert_eq!(came, n, "{} and peer {tag}", self.kind());
            }
        }
    }

    /// Publishes to a subscriber until its subscription is known.
    async fn probe(&self, good: &Good, socket: &AnySocket) {
        loop {
            self.socket.send(numbered(good.tag, PROBE)).await.unwrap();
            let came = socket.recv_timeout(Duration::from_millis(20)).await;
            if came.is_ok() {
                return;
            }
        }
    }

    // The end.

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

impl Good {
    /// Leaves.
    pub(crate) async fn close(self) {
        match self.socket {
            GoodSocket::Req(req) => req.close().await,
            GoodSocket::Any(socket) => socket.close().await,
        };
    }
}

impl Record {
    async fn keep(self: Arc<Self>, mut monitor: Monitor) {
        while let Some(event) = monitor.next().await {
            self.missed.store(monitor.missed(), Ordering::Relaxed);
            let (address, verdict) = match event.kind {
                EventKind::HandshakeFailed { address, reason } => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    (address, Verdict::Failed(reason))
                }
                EventKind::Disconnected { peer, reason } => {
                    if matches!(reason, Reason::Protocol(_) | Reason::Subscriptions(_)) {
                        self.broke_rules.fetch_add(1, Ordering::Relaxed);
                    }
                    // A good peer leaves by itself, when it is closed.
                    if peer.withy && !matches!(reason, Reason::PeerClosed | Reason::Closed) {
                        self.good_lost.fetch_add(1, Ordering::Relaxed);
                    }
                    (peer.address.clone(), Verdict::Lost(reason))
                }
                _ => continue,
            };
            self.verdicts.lock().unwrap().insert(address, verdict);
            self.changed.notify_waiters();
        }
    }
}

impl Inbox {
    /// Receives for the good peers; a ROUTER sends everything back.
    async fn serve(&self, socket: &AnySocket) {
        while let Ok(message) = socket.recv().await {
            let text = message.frames().last().map_or(&[][..], |text| text);
            if text.starts_with(NOTED) {
                *self.noted.lock().unwrap().entry(text.to_vec()).or_default() += 1;
            }
            if socket.kind() == SocketType::Router {
                // An offender may be gone, or not read: a server does not wait for one peer.
                if let Err(SendError::Full(_)) = socket.try_send(message) {
                    self.unsendable.fetch_add(1, Ordering::Relaxed);
                }
            } else if let Some((tag, n)) = parse(&message)
                && let Some(numbers) = self.numbers.lock().unwrap().get(&tag)
            {
                let _ = numbers.send(n);
            }
        }
    }
}

async fn answer(rep: Rep) {
    while let Ok(mut request) = rep.recv().await {
        let message = request.take_message();
        let _ = request.reply(message).await;
    }
}

async fn after_probes(socket: &AnySocket, tag: u64) -> u64 {
    loop {
        let message = socket.recv().await.unwrap();
        let (from, n) = parse(&message).unwrap();
        assert_eq!(from, tag);
        if n != PROBE {
            return n;
        }
    }
}

fn numbered(tag: u64, n: u64) -> Message {
    [tag.to_be_bytes(), n.to_be_bytes()].into_iter().collect()
}

fn parse(message: &Message) -> Option<(u64, u64)> {
    let number = |at| {
        Some(u64::from_be_bytes(
            message.part(at)?.as_slice().try_into().ok()?,
        ))
    };
    (message.len() == 2).then_some((number(0)?, number(1)?))
}

/// The type that a peer of a type has.
pub(crate) fn counterpart(kind: SocketType) -> SocketType {
    match kind {
        SocketType::Pull => SocketType::Push,
        SocketType::Push => SocketType::Pull,
        SocketType::Rep => SocketType::Req,
        SocketType::Router => SocketType::Dealer,
        SocketType::Pub | SocketType::XPub => SocketType::Sub,
        SocketType::Sub => SocketType::Pub,
        other => other,
    }
}

fn publishes(kind: SocketType) -> bool {
    matches!(kind, SocketType::Pub | SocketType::XPub)
}

fn receives(kind: SocketType) -> bool {
    !matches!(kind, SocketType::Pub | SocketType::Push)
}

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn panics() -> std::sync::MutexGuard<'static, Vec<String>> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes panics outside of the tests: a task that panics takes nobody along who would tell.
fn watch_for_panics() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if panic
                .location()
                .is_none_or(|place| !place.file().starts_with("tests/"))
            {
                panics().push(panic.to_string());
            }
            default(panic);
        }));
    });
}

//! QUIC under attack by peers that have a node's key of their own: with a tag that was not made for
//! them, with other mechanisms, without anybody's trust; and networks that come and go.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::io::ReadBuf;
use withy::event::{AcceptError, AcceptFailure, HandshakeFailure};
use withy::options::ConnectionLimits;
use withy::trust::{Joined, Terms};
use withy::{Endpoint, EventKind, Home, Identity, Monitor, Pull, Push, Trust};
use withy_proto::crypto::Provider;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::mechanism::party::{OPEN, Realm};
use withy_proto::mechanism::quic::{NAME, Proof, Quic};
use withy_proto::mechanism::{Handshake, HandshakeError, Local};
use withy_proto::trust::{Certificate, NodeId, Validity};
use withy_proto::zmtp::ConnectionError;
use withy_proto::zmtp::connection::{Extensions, local_metadata};
use withy_proto::zmtp::greeting::{self, GreetingError};
use withy_tests::{by_hand, raw};
use withy_transports::{
    ByteReader, ByteWriter, Connected, DialOptions, Link, ListenOptions, Listener, Proven, Refused,
    Secret,
};

use crate::client::GREETING;
use crate::memory;
use crate::victim::{SEED, within};

/// The seed of an offender's node.
const NODE: [u8; 32] = [0x0f; 32];

/// A link over which a test says what it wants.
struct Raw {
    reader: ByteReader,
    writer: ByteWriter,
    /// The address that it has on our side.
    local: String,
    proven: Proven,
}

impl Raw {
    /// Dials with the tag of a network, or of none.
    async fn dial(endpoint: &Endpoint, tag: Option<[u8; 32]>) -> Self {
        // Each connection that is made has a socket of its own, by which it is told from others.
        static SOCKETS: AtomicU32 = AtomicU32::new(1 << 20);
        let mut options = DialOptions::default();
        options.quic.socket_buffer = SOCKETS.fetch_add(1, Ordering::Relaxed);
        options.quic.node_key = Some(SigningKey::from_seed(Provider::Real, &NODE));
        options.quic.networks.extend(tag.map(Secret::from));
        let connected = withy_transports::dial(endpoint, &options).await;
        Self::new(connected.unwrap())
    }

    /// Listens for dials with the tag of a network, or of none.
    async fn listen(tag: Option<[u8; 32]>) -> Listener {
        let mut options = ListenOptions::default();
        options.quic.node_key = Some(SigningKey::from_seed(Provider::Real, &NODE));
        options.quic.networks.extend(tag.map(Secret::from));
        let endpoint = "quic://127.0.0.1:*".parse().unwrap();
        withy_transports::listen(&endpoint, &options).await.unwrap()
    }

    fn new(connected: Connected) -> Self {
        let Link::Bytes(reader, writer) = connected.link else {
            panic!("a link of messages");
        };
        Self {
            reader,
            writer,
            local: connected.local,
            proven: connected.peer.proven.unwrap(),
        }
    }

    /// Writes, as far as the peer still listens.
    async fn say(&self, mut octets: &[u8]) {
        while !octets.is_empty() {
            match self.writer.try_write(octets) {
                Ok(written) => octets = &octets[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let _ = poll_fn(|cx| self.writer.poll_write_ready(cx)).await;
                }
                Err(_) => return,
            }
        }
    }

    /// Writes until nothing more is taken, and returns how much was.
    fn fill(&self) -> usize {
        std::iter::from_fn(|| self.writer.try_write(&[0; 4_096]).ok()).sum()
    }

    /// What the peer says, up to so many octets or its end.
    async fn hear(&mut self, most: usize) -> Vec<u8> {
        let mut heard = Vec::new();
        while heard.len() < most {
            let mut octets = vec![0; most - heard.len()];
            let read = within(
                10,
                poll_fn(|cx| {
                    let mut buffer = ReadBuf::new(&mut octets);
                    let polled = self.reader.poll_read(cx, &mut buffer);
                    polled.map_ok(|()| buffer.filled().len())
                }),
            );
            match read.await {
                Ok(read @ 1..) => heard.extend_from_slice(&octets[..read]),
                _ => break,
            }
        }
        heard
    }

    /// Our side of the mechanism, as a node of an identity in the network of a secret.
    fn mechanism(&self, identity: &[u8; 32], secret: [u8; 32], accepting: bool) -> Quic {
        let kind = if accepting {
            withy::SocketType::Pull
        } else {
            withy::SocketType::Push
        };
        let local = Local {
            metadata: local_metadata(kind, b"", Extensions::default()),
            domain: String::new(),
            authenticate: false,
            accepting,
        };
        let mut settings = by_hand::settings(identity, withy::generate_key_pair());
        let node = SigningKey::from_seed(Provider::Real, &NODE);
        let certificate = Certificate::issue(
            &SigningKey::from_seed(Provider::Real, identity),
            NodeId::of(&node),
            settings.keys.public(),
            Validity::starting(settings.now, Certificate::LIFETIME),
        );
        let mut realm = Realm::open(certificate);
        realm.secret = secret.into();
        settings.realms = vec![realm];
        let proof = Proof {
            node: self.proven.key,
            post_quantum: true,
            binding: self.proven.binding,
        };
        Quic::new(local, settings, Provider::Real, proof)
    }
}

/// A greeting as a side would say it.
fn greeting_of(quic: &Quic, accepting: bool) -> [u8; GREETING] {
    greeting::encode(NAME, accepting, quic.filler())
}

/// A home with a network, and what it has of that.
fn network(folder: &tempfile::TempDir, name: &str) -> (Home, Joined) {
    let home = Home::at(folder.path().join(name));
    let name = name.parse().unwrap();
    home.create_network(&name).unwrap();
    let joined = home.network(&name).unwrap();
    (home, joined)
}

/// The next failure of a handshake.
async fn failure(monitor: &mut Monitor) -> HandshakeFailure {
    let failed = async {
        loop {
            let event = monitor.next().await.unwrap();
            if let EventKind::HandshakeFailed { reason, .. } = event.kind {
                return reason;
            }
        }
    };
    within(10, failed).await
}

fn handshake_error(failure: HandshakeFailure) -> HandshakeError {
    match failure {
        HandshakeFailure::Protocol(ConnectionError::Handshake(error)) => error,
        failure => panic!("{failure}"),
    }
}

/// Who has a tag that a member made, and not the secret, is shown no more than a greeting, which says
/// nothing of whose node it is. On either side.
#[tokio::test]
async fn a_tag_of_the_network_alone_opens_no_session() {
    let _shared = memory::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let (home, joined) = network(&folder, "garden");
    let identity = home.identity().unwrap();
    let secret = *joined.network.secret.expose_octets();
    let trust = Trust::new();
    trust.join(joined).unwrap();

    let pull = Pull::builder().identity(&identity).trust(&trust);
    let pull = pull.build().unwrap();
    let mut monitor = pull.monitor();
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    for wrong in [OPEN, [7; 32]] {
        let mut raw = Raw::dial(&endpoint, Some(secret)).await;
        let ours = raw.mechanism(&SEED, wrong, false);
        raw.say(&greeting_of(&ours, false)).await;
        let error = handshake_error(failure(&mut monitor).await);
        assert_eq!(error, HandshakeError::Network);
        assert_eq!(raw.hear(10_000).await.len(), GREETING);
    }
    // With the secret there is a WELCOME.
    let mut raw = Raw::dial(&endpoint, Some(secret)).await;
    let ours = raw.mechanism(&SEED, secret, false);
    raw.say(&greeting_of(&ours, false)).await;
    let heard = raw.hear(GREETING + 9 + 8).await;
    assert!(heard.ends_with(b"\x07WELCOME"), "{heard:02x?}");
    pull.close().await;

    let push = Push::builder().identity(&identity).trust(&trust);
    let push = push.build().unwrap();
    let mut monitor = push.monitor();
    let mut listener = Raw::listen(Some(secret)).await;
    push.connect_to(listener.endpoint().clone()).unwrap();
    for wrong in [OPEN, [7; 32]] {
        let mut raw = Raw::new(within(10, listener.accept()).await.unwrap());
        let ours = raw.mechanism(&SEED, wrong, true);
        raw.say(&greeting_of(&ours, true)).await;
        let error = handshake_error(failure(&mut monitor).await);
        assert_eq!(error, HandshakeError::Network);
        assert_eq!(raw.hear(10_000).await.len(), GREETING);
    }
    push.close().await;
}

/// A network counts from the moment that it is joined, and until it is left, at listeners that were
/// there before and for dials that come later.
#[tokio::test]
async fn networks_that_are_joined_and_left_count_at_once() {
    let _shared = memory::shared().await;
    let folder = tempfile::tempdir().unwrap();
    let (home, joined) = network(&folder, "garden");
    let (id, name) = (joined.network.id, joined.network.name.clone());
    let trust = Trust::new();
    let identity = home.identity().unwrap();
    let pull = Pull::builder().identity(&identity).trust(&trust);
    let pull = pull.build().unwrap();
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    // A member whose dials fail until the listener has joined.
    let theirs = Home::at(folder.path().join("theirs"));
    let ticket = home.invite(&name, Terms::default(), None).unwrap();
    theirs.join(&ticket, None).unwrap();
    let their_trust = Trust::open_in(&theirs, &name).unwrap();
    let member = || {
        let push = Push::builder().identity(&theirs.identity().unwrap());
        let push = push
            .trust(&their_trust)
            .dial_options(hasty())
            .build()
            .unwrap();
        push.connect_to(endpoint.clone()).unwrap();
        push
    };
    let waiting = member();
    no_answer(&mut waiting.monitor()).await;

    trust.join(joined.clone()).unwrap();
    waiting.send("joined").await.unwrap();
    assert_eq!(within(10, pull.recv()).await.unwrap().first(), "joined");
    // Who is in no network is a stranger now.
    let stranger = Push::builder().identity(&identity).dial_options(hasty());
    let stranger = stranger.build().unwrap();
    stranger.connect_to(endpoint.clone()).unwrap();
    no_answer(&mut stranger.monitor()).await;

    let mut ends = pull.monitor();
    trust.leave(&id);
    // It had its session by the network.
    within(10, async {
        while !matches!(
            ends.next().await.unwrap().kind,
            EventKind::Disconnected { .. }
        ) {}
    })
    .await;
    stranger.send("left").await.unwrap();
    assert_eq!(within(10, pull.recv()).await.unwrap().first(), "left");
    let late = member();
    no_answer(&mut late.monitor()).await;
    assert_eq!((late.stats().peers, waiting.stats().peers), (0, 0));

    // What is dialled shows what holds then: the trust of our own dials is the same.
    let push = Push::builder().identity(&identity).trust(&trust);
    let push = push.build().unwrap();
    let listening = Pull::builder().identity(&theirs.identity().unwrap());
    let listening = listening.trust(&their_trust).build().unwrap();
    let there = listening.bind_to("quic://127.0.0.1:*").await.unwrap();
    trust.join(joined).unwrap();
    push.connect_to(there).unwrap();
    push.send("dialled").await.unwrap();
    assert_eq!(
        within(10, listening.recv()).await.unwrap().first(),
        "dialled"
    );
}

/// Whoever has a node's key and nothing else to say keeps a connection no longer than its handshakes may
/// take, and what finds no place is counted.
#[tokio::test]
async fn peers_that_say_nothing_are_closed_and_those_without_a_place_are_counted() {
    const LIMIT: Duration = Duration::from_millis(500);
    let _shared = memory::shared().await;
    let mut listening = ListenOptions::default();
    listening.quic.handshake_timeout = LIMIT;
    listening.quic.admission_timeout = Duration::ZERO;
    listening.quic.max_connections = 1;
    let identity = Identity::from_seed(&SEED);
    let pull = Pull::builder()
        .identity(&identity)
        .listen_options(listening);
    let pull = pull.connection_limits(ConnectionLimits {
        handshake_timeout: LIMIT,
        ..ConnectionLimits::default()
    });
    let pull = pull.build().unwrap();
    let mut monitor = pull.monitor();
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    let begin = Instant::now();
    let mut raw = Raw::dial(&endpoint, None).await;
    raw.hear(10_000).await;
    let refused = refused(&mut monitor).await;
    assert!(begin.elapsed() >= 2 * LIMIT);
    assert_eq!((refused.given_up, refused.newcomers), (1, 0));
    assert_eq!(pull.stats().refused, 1);

    let push = Push::builder().identity(&identity).build().unwrap();
    push.connect_to(endpoint.clone()).unwrap();
    push.send("in").await.unwrap();
    assert_eq!(within(10, pull.recv()).await.unwrap().first(), "in");
    // Of another node, or it would share the connection.
    let other = Identity::from_seed(&[9; 32]);
    let late = Push::builder().identity(&other).dial_options(hasty());
    let late = late.build().unwrap();
    late.connect_to(endpoint).unwrap();
    let refused = self::refused(&mut monitor).await;
    assert!(refused.newcomers > 0);
    assert_eq!((pull.stats().peers, push.stats().peers), (1, 1));
    assert!(pull.stats().refused > 1);
}

/// What a listener refused, once it tells.
async fn refused(monitor: &mut Monitor) -> Refused {
    let refused = async {
        loop {
            let event = monitor.next().await.unwrap();
            if let EventKind::AcceptFailed { reason } = event.kind
                && let AcceptFailure::Link(error) = reason
                && let AcceptError::Refused(refused) = *error
            {
                return refused;
            }
        }
    };
    within(10, refused).await
}

/// How long a dial waits here that is to get no answer.
const SHORT: Duration = Duration::from_millis(300);

fn hasty() -> DialOptions {
    let mut options = DialOptions::default();
    options.connect_timeout = SHORT;
    options
}

/// Waits until a dial failed since nobody answered.
async fn no_answer(monitor: &mut Monitor) {
    let failed = async {
        loop {
            let event = monitor.next().await.unwrap();
            if let EventKind::DialFailed { reason, .. } = event.kind {
                return reason.to_string();
            }
        }
    };
    let reason = within(10, failed).await;
    assert!(reason.contains("no answer"), "{reason}");
}

/// Only the mechanism of the link is spoken on it: no other one, in no version, on neither side.
#[tokio::test]
async fn other_mechanisms_are_refused_on_a_link_of_quic() {
    let _shared = memory::shared().await;
    let identity = Identity::from_seed(&SEED);
    let pull = Pull::builder().identity(&identity).build().unwrap();
    let mut accepting = pull.monitor();
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    let push = Push::builder().identity(&identity).build().unwrap();
    let mut dialling = push.monitor();
    let mut listener = Raw::listen(None).await;
    push.connect_to(listener.endpoint().clone()).unwrap();
    for name in ["NULL", "PLAIN", "CURVE", "NOISE", "quic", "QUIC2", ""] {
        for (minor, we_bind) in [(0, true), (1, true), (0, false), (1, false)] {
            let (mut raw, monitor) = match we_bind {
                true => (Raw::dial(&endpoint, None).await, &mut accepting),
                false => {
                    let accepted = within(10, listener.accept()).await;
                    (Raw::new(accepted.unwrap()), &mut dialling)
                }
            };
            let mut theirs = raw::greeting(minor, name, !we_bind);
            let said = raw.mechanism(&SEED, OPEN, !we_bind).filler();
            theirs[GREETING - said.len()..].copy_from_slice(&said);
            let ready = raw::ready(&[("Socket-Type", b"PUSH")]);
            raw.say(&[&theirs[..], &ready].concat()).await;
            let failure = failure(monitor).await;
            let HandshakeFailure::Protocol(ConnectionError::Greeting(error)) = failure else {
                panic!("{failure} for {name} of 3.{minor}");
            };
            let (ours, theirs) = (NAME.to_owned(), name.to_owned());
            assert_eq!(error, GreetingError::Mechanism { ours, theirs });
            assert!(raw.hear(10_000).await.len() <= GREETING);
        }
    }
    assert_eq!(pull.stats().peers + push.stats().peers, 0);
}

/// Whoever proves a node's key and an identity that nobody trusts gets no more than before: its
/// connection keeps the limits of strangers.
#[tokio::test]
async fn peers_that_are_not_trusted_keep_the_limits_of_strangers() {
    let _shared = memory::shared().await;
    let pull = Pull::builder().identity(&Identity::from_seed(&SEED));
    let pull = pull
        .connection_limits(ConnectionLimits {
            handshake_timeout: Duration::from_secs(60),
            ..ConnectionLimits::default()
        })
        .build()
        .unwrap();
    let mut monitor = pull.monitor();
    let endpoint = pull.bind_to("quic://127.0.0.1:*").await.unwrap();
    // More links than strangers may open go over another connection.
    let links_of_one = async || {
        let mut links = Vec::new();
        loop {
            let raw = Raw::dial(&endpoint, None).await;
            links.push(raw);
            if links[0].local != links[links.len() - 1].local || links.len() > 64 {
                return links;
            }
        }
    };
    for (identity, trusted) in [([9; 32], false), (SEED, true)] {
        let mut raw = Raw::dial(&endpoint, None).await;
        let mut ours = raw.mechanism(&identity, OPEN, false);
        let shaken = shake(&mut raw, &mut ours).await;
        assert_eq!(shaken.is_ok(), trusted);
        if !trusted {
            let error = handshake_error(failure(&mut monitor).await);
            assert!(matches!(
                error,
                HandshakeError::RefusedByUs { status: 400, .. }
            ));
        }
        let links = links_of_one().await;
        // The last one is of another connection.
        let written = links.iter().rev().skip(1).map(Raw::fill).sum::<usize>();
        match trusted {
            false => {
                assert!(links.len() <= 8 + 1, "{} links", links.len());
                assert!(written <= 64 << 10, "{written} octets");
            }
            true => {
                assert!(links.len() > 64);
                assert!(written > 256 << 10, "{written} octets");
            }
        }
        drop((raw, links));
    }
}

/// Our side of the handshake, as far as the peer goes along.
async fn shake(raw: &mut Raw, ours: &mut Quic) -> Result<(), HandshakeError> {
    let mut randomness = withy_proto::crypto::Seeded::new(1);
    let said = greeting_of(ours, false);
    raw.say(&said).await;
    let theirs = raw.hear(GREETING).await;
    ours.handle_greetings(&said, &theirs.try_into().unwrap())?;
    while !ours.is_complete() {
        let flags = raw.hear(1).await;
        let size = raw
            .hear(if flags[0] & raw::LONG == 0 { 1 } else { 8 })
            .await;
        let size = size
            .iter()
            .fold(0, |size, octet| size << 8 | usize::from(*octet));
        ours.handle_command(&raw.hear(size).await)?;
        while let Some(body) = ours.next_command(&mut randomness) {
            let long = if body.len() > 255 { raw::LONG } else { 0 };
            raw.say(&raw::frame(raw::COMMAND | long, &body)).await;
        }
    }
    Ok(())
}

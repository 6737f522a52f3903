//! Handshakes between sides that the options cannot make: classical ones, and other programs.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use withy_proto::crypto::Provider;
use withy_proto::crypto::sign::SigningKey;

use super::endpoint::{self, Grant, Serving};
use super::error::{DONE, NOBODY_LISTENS, UNKNOWN_LINK};
use super::listener::Accepting;
use super::tls::{self, SERVER_NAME};
use super::{QuicError, hybrid, pool};
use crate::options::QuicOptions;
use crate::{AcceptError, ByteReader, Connected, Link, Proven};

/// Far longer than a handshake takes.
const PATIENCE: Duration = Duration::from_secs(5);

fn key(octet: u8) -> SigningKey {
    SigningKey::from_seed(Provider::Real, &[octet; 32])
}

/// Knows no post-quantum key agreement.
fn classical() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![hybrid::X25519],
        ..ring::default_provider()
    })
}

/// Knows nothing else.
fn post_quantum() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![hybrid::X25519_MLKEM768],
        ..ring::default_provider()
    })
}

fn proven(connected: &Connected) -> &Proven {
    connected.peer.proven.as_ref().unwrap()
}

fn options(allow_classical: bool) -> QuicOptions {
    QuicOptions {
        allow_classical,
        ..QuicOptions::default()
    }
}

fn listening(options: &QuicOptions) -> Accepting {
    let address = ([127, 0, 0, 1], 0).into();
    Accepting::begin(address, &key(1), options, false, 16).unwrap()
}

/// Dials with another provider than ours; the connection must be held until it is not needed.
async fn dialled(
    provider: Arc<CryptoProvider>,
    accepting: &Accepting,
) -> Result<quinn::Connection, QuicError> {
    let tls = tls::client_of(provider, &key(2), None).unwrap();
    dialled_with(tls, accepting.local_addr().unwrap()).await
}

async fn dialled_with(
    tls: rustls::ClientConfig,
    remote: SocketAddr,
) -> Result<quinn::Connection, QuicError> {
    let tls = tls.try_into().unwrap();
    let options = options(false);
    let endpoint = endpoint::dialling(remote, &options).unwrap();
    let config = endpoint::client(tls, remote, &options, false);
    let connection = endpoint.connect_with(config, remote, SERVER_NAME)?.await?;
    Ok(connection)
}

#[tokio::test]
async fn a_classical_dial_is_refused_by_default_and_both_sides_know_why() {
    let mut accepting = listening(&options(false));
    let error = dialled(classical(), &accepting).await.unwrap_err();
    assert_eq!(error, QuicError::NoCommonKeyAgreement);
    assert!(error.is_permanent());
    match accepting.accept().await.unwrap_err() {
        AcceptError::Handshake { source, .. } => {
            assert_eq!(source, QuicError::NoCommonKeyAgreement);
        }
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_classical_listener_is_refused_by_default_and_taken_where_it_is_allowed() {
    let quic = options(false);
    let tls = tls::server_of(classical(), &key(1)).unwrap();
    let tls = tls.try_into().unwrap();
    let serving = Serving::new(tls, &quic);
    let address = ([127, 0, 0, 1], 0).into();
    let (endpoint, _guard) = endpoint::listening(address, &serving, &quic, false).unwrap();
    let remote = endpoint.local_addr().unwrap();
    let (links, mut linked) = mpsc::channel::<Result<Connected, AcceptError>>(4);
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let Ok(connection) = incoming.await else {
                continue;
            };
            let proven = tls::proven(&connection).unwrap();
            let limit = quic.handshake_timeout;
            let grant = Grant::new(&quic, true);
            let (wire, lease) = super::wire::Wire::new(
                connection,
                proven,
                remote,
                grant,
                quic.linger,
                super::wire::Stays::Spare(quic.spare),
                (),
            );
            tokio::spawn(wire.serve(lease, links.clone(), limit));
        }
    });
    let error = pool::dial(key(2), remote, options(false)).await;
    assert_eq!(error.unwrap_err(), QuicError::NoCommonKeyAgreement);
    let ours = pool::dial(key(2), remote, options(true)).await.unwrap();
    let theirs = linked.recv().await.unwrap().unwrap();
    assert!(!proven(&ours).post_quantum && !proven(&theirs).post_quantum);
    assert_eq!(proven(&ours).key, key(1).public());
}

#[tokio::test]
async fn the_mtu_of_loopback_takes_one_probe() {
    let accepting = listening(&options(false));
    let connection = dialled(post_quantum(), &accepting).await.unwrap();
    let found = async {
        while connection.stats().path.current_mtu < 6_500 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, found).await.unwrap();
    assert_eq!(connection.stats().path.sent_plpmtud_probes, 1);
}

/// Shows something else in place of a node's raw key.
#[derive(Debug, Clone)]
struct Shown {
    what: Option<Arc<CertifiedKey>>,
    raw: bool,
}

impl Shown {
    /// Of the key of a seed: its certificate's place is taken by other octets.
    fn other(tls: &rustls::ClientConfig, raw: bool, change: impl Fn(&mut Vec<u8>)) -> Self {
        let own = tls.client_auth_cert_resolver.resolve(&[], &[]).unwrap();
        let mut octets = own.cert[0].to_vec();
        change(&mut octets);
        let shown = CertifiedKey::new(vec![octets.into()], Arc::clone(&own.key));
        let what = Some(Arc::new(shown));
        Self { what, raw }
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.what.clone()
    }

    fn only_raw_public_keys(&self) -> bool {
        self.raw
    }

    fn has_certs(&self) -> bool {
        self.what.is_some()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.what.clone()
    }

    fn only_raw_public_keys(&self) -> bool {
        self.raw
    }
}

/// Nothing, a certificate of the type that others use, and raw keys of other kinds: X25519 (RFC 8410),
/// one that is cut short, and one with something behind.
fn shown() -> Vec<(&'static str, Shown)> {
    let tls = tls::client_of(post_quantum(), &key(2), None).unwrap();
    let nothing = Shown {
        what: None,
        raw: true,
    };
    vec![
        ("nothing", nothing),
        ("a certificate", Shown::other(&tls, false, |_| ())),
        (
            "X25519",
            Shown::other(&tls, true, |octets| octets[8] = 0x6e),
        ),
        (
            "cut",
            Shown::other(&tls, true, |octets| octets.truncate(43)),
        ),
        ("longer", Shown::other(&tls, true, |octets| octets.push(0))),
    ]
}

#[tokio::test]
async fn only_raw_node_keys_are_taken_of_who_dials() {
    let mut accepting = listening(&options(false));
    let remote = accepting.local_addr().unwrap();
    for (what, shown) in shown() {
        let mut tls = tls::client_of(post_quantum(), &key(2), None).unwrap();
        tls.client_auth_cert_resolver = Arc::new(shown);
        // The side that dials may be done before it is judged.
        let dialled = dialled_with(tls, remote).await;
        match timeout(PATIENCE, accepting.accept()).await {
            Ok(Err(AcceptError::Handshake { .. })) => {}
            other => panic!("{what}: {other:?}"),
        }
        if let Ok(connection) = dialled {
            connection.closed().await;
        }
    }
}

#[tokio::test]
async fn only_raw_node_keys_are_taken_of_who_listens() {
    let quic = options(false);
    for (what, shown) in shown() {
        let mut tls = tls::server_of(post_quantum(), &key(2)).unwrap();
        tls.cert_resolver = Arc::new(shown);
        let serving = Serving::new(tls.try_into().unwrap(), &quic);
        let address = ([127, 0, 0, 1], 0).into();
        let listening = endpoint::listening(address, &serving, &quic, false);
        let (endpoint, _guard) = listening.unwrap();
        let remote = endpoint.local_addr().unwrap();
        let answering = async { endpoint.accept().await.unwrap().await };
        let (dialled, answered) = tokio::join!(
            timeout(PATIENCE, pool::dial(key(1), remote, quic.clone())),
            answering,
        );
        // Taken, it would wait for somebody to take its link.
        assert!(matches!(dialled, Ok(Err(_))) && answered.is_err(), "{what}");
    }
}

#[tokio::test]
async fn two_sides_that_allow_classical_still_agree_on_the_hybrid() {
    let mut accepting = listening(&options(true));
    let remote = accepting.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(
        pool::dial(key(2), remote, options(true)),
        accepting.accept()
    );
    assert!(proven(&ours.unwrap()).post_quantum && proven(&theirs.unwrap()).post_quantum);
}

#[tokio::test]
async fn dials_at_once_share_one_attempt_and_its_failure() {
    let mute = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    mute.set_nonblocking(true).unwrap();
    let remote = mute.local_addr().unwrap();
    let mut hasty = options(false);
    hasty.idle_timeout = Duration::from_millis(300);
    let dials: Vec<_> = (0..8)
        .map(|_| tokio::spawn(pool::dial(key(3), remote, hasty.clone())))
        .collect();
    for dial in dials {
        assert_eq!(dial.await.unwrap().unwrap_err(), QuicError::Timeout);
    }
    let mut ids = std::collections::HashSet::new();
    let mut datagram = [0; 2_048];
    while let Ok(length) = mute.recv(&mut datagram) {
        assert!(length > 26);
        ids.insert(datagram[6..26].to_vec());
    }
    assert_eq!(ids.len(), 1, "one handshake was begun");
    assert!(pool::is_unused(remote));
}

#[tokio::test]
async fn a_dial_that_gives_up_leaves_the_attempt_to_another() {
    let mut accepting = listening(&options(false));
    let remote = accepting.local_addr().unwrap();
    let mut gives_up = Box::pin(pool::dial(key(4), remote, options(false)));
    let polled = poll_fn(|cx| std::task::Poll::Ready(gives_up.as_mut().poll(cx).is_pending()));
    assert!(polled.await);
    let other = tokio::spawn(pool::dial(key(4), remote, options(false)));
    tokio::task::yield_now().await;
    drop(gives_up);
    let accepted = async {
        loop {
            if let Ok(theirs) = accepting.accept().await {
                return theirs;
            }
        }
    };
    let (ours, theirs) = tokio::join!(other, accepted);
    assert_eq!(ours.unwrap().unwrap().local, theirs.peer.address);
}

#[tokio::test]
async fn a_lost_connection_leaves_the_pool() {
    let mut accepting = listening(&options(false));
    let remote = accepting.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(
        pool::dial(key(5), remote, options(false)),
        accepting.accept()
    );
    let (ours, _theirs) = (ours.unwrap(), theirs.unwrap());
    for connection in pool::connections(remote) {
        connection.close(9_u32.into(), b"");
    }
    let (again, _theirs) = tokio::join!(
        pool::dial(key(5), remote, options(false)),
        accepting.accept()
    );
    assert_ne!(proven(&ours).binding, proven(&again.unwrap()).binding);
}

/// A link that was dialled with these options and admitted at both ends, and its connection.
async fn admitted(
    accepting: &mut Accepting,
    remote: SocketAddr,
    key: SigningKey,
    options: &QuicOptions,
) -> ((Connected, Connected), quinn::Connection) {
    let dial = || pool::dial(key.clone(), remote, options.clone());
    let (ours, theirs) = tokio::join!(dial(), accepting.accept());
    let both = (ours.unwrap(), theirs.unwrap());
    for side in [&both.0, &both.1] {
        let Link::Bytes(ByteReader::Quic(reader), _) = &side.link else {
            unreachable!("{side:?}");
        };
        reader.admit();
    }
    // Until another link is there, the connection's keeper has seen it.
    let (ours, theirs) = tokio::join!(dial(), accepting.accept());
    assert!(ours.is_ok() && theirs.is_ok());
    (both, pool::connections(remote).pop().unwrap())
}

#[tokio::test]
async fn a_spare_connection_is_there_for_the_next_dial_and_ends_after_its_time() {
    let mut accepting = listening(&options(false));
    let spare = |millis| QuicOptions {
        spare: Duration::from_millis(millis),
        ..options(false)
    };
    let remote = accepting.local_addr().unwrap();
    let (link, connection) = admitted(&mut accepting, remote, key(6), &spare(60_000)).await;
    drop(link);
    let closed = timeout(Duration::from_millis(300), connection.closed()).await;
    assert!(closed.is_err(), "{closed:?}");
    let (_link, again) = admitted(&mut accepting, remote, key(6), &spare(60_000)).await;
    assert_eq!(connection.stable_id(), again.stable_id());

    let mut accepting = listening(&options(false));
    let remote = accepting.local_addr().unwrap();
    let (link, connection) = admitted(&mut accepting, remote, key(6), &spare(200)).await;
    let shut = Instant::now();
    drop(link);
    timeout(PATIENCE, connection.closed()).await.unwrap();
    assert!(shut.elapsed() >= Duration::from_millis(200));
}

/// Leads one dialling socket to whoever `to` names at the moment, and nobody else to it.
async fn leads_to(to: Arc<Mutex<SocketAddr>>) -> SocketAddr {
    let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = near.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut there, mut back) = ([0; 65_536], [0; 65_536]);
        let mut dialler = address;
        loop {
            tokio::select! {
                read = near.recv_from(&mut there) => {
                    let (length, from) = read.unwrap();
                    dialler = from;
                    let to = *to.lock();
                    far.send_to(&there[..length], to).await.unwrap();
                }
                read = far.recv_from(&mut back) => {
                    let (length, from) = read.unwrap();
                    if from != *to.lock() {
                        continue;
                    }
                    near.send_to(&back[..length], dialler).await.unwrap();
                }
            }
        }
    });
    address
}

/// Its peer went without a word, and another is at its address.
#[tokio::test]
async fn a_spare_connection_that_is_dead_does_not_stop_a_dial() {
    let (mut before, mut after) = (listening(&options(false)), listening(&options(false)));
    let to = Arc::new(Mutex::new(before.local_addr().unwrap()));
    let remote = leads_to(Arc::clone(&to)).await;
    let spare = QuicOptions {
        spare: PATIENCE,
        ..options(false)
    };
    let (link, connection) = admitted(&mut before, remote, key(7), &spare).await;
    drop(link);
    *to.lock() = after.local_addr().unwrap();
    let again = admitted(&mut after, remote, key(7), &spare);
    let (_link, again) = timeout(PATIENCE, again).await.unwrap();
    assert_ne!(connection.stable_id(), again.stable_id());
}

#[tokio::test]
async fn a_connection_without_an_admitted_link_is_not_spare() {
    let mut accepting = listening(&options(false));
    let remote = accepting.local_addr().unwrap();
    let spare = QuicOptions {
        spare: Duration::from_secs(60),
        ..options(false)
    };
    let dial = pool::dial(key(8), remote, spare);
    let both = tokio::join!(dial, accepting.accept());
    let connection = pool::connections(remote).remove(0);
    drop(both);
    timeout(PATIENCE, connection.closed()).await.unwrap();
}

/// It is slow, not dead: another connection would wait as long.
#[tokio::test]
async fn a_listener_that_is_behind_gets_no_second_connection() {
    let address = ([127, 0, 0, 1], 0).into();
    let mut accepting = Accepting::begin(address, &key(1), &options(false), false, 4).unwrap();
    let remote = accepting.local_addr().unwrap();
    let dial = || pool::dial(key(9), remote, options(false));
    let mut links = Vec::new();
    for _ in 0..4 {
        links.push(dial().await.unwrap());
    }
    let mut late = Box::pin(dial());
    assert!(timeout(PATIENCE / 2, &mut late).await.is_err());
    assert_eq!(pool::connections(remote).len(), 1);
    let (late, accepted) = tokio::join!(late, accepting.accept());
    assert!(late.is_ok() && accepted.is_ok());
    assert_eq!(pool::connections(remote).len(), 1);
}

/// The dial that makes a connection does not wait for the answer to its link: it comes before the first
/// octets, or something else in its place.
#[tokio::test]
async fn an_answer_that_is_none_breaks_the_link() {
    let quic = options(false);
    for what in ["refused", "unknown", "wrong", "ended", "lost"] {
        let serving = Serving::new(tls::server(&key(2), false).unwrap(), &quic);
        let address = ([127, 0, 0, 1], 0).into();
        let listening = endpoint::listening(address, &serving, &quic, false);
        let (endpoint, _guard) = listening.unwrap();
        let remote = endpoint.local_addr().unwrap();
        let answering = async {
            let connection = endpoint.accept().await.unwrap().await.unwrap();
            let (mut send, mut receive) = connection.accept_bi().await.unwrap();
            receive.read_exact(&mut [0; 4]).await.unwrap();
            match what {
                "refused" => send.reset(NOBODY_LISTENS).unwrap(),
                "unknown" => send.reset(UNKNOWN_LINK).unwrap(),
                "wrong" => send.write_all(&[7]).await.unwrap(),
                "ended" => send.finish().unwrap(),
                _ => connection.close(DONE, b""),
            }
            (connection, send, receive)
        };
        let reading = async {
            let dialled = pool::dial(key(1), remote, quic.clone()).await;
            let Link::Bytes(ByteReader::Quic(mut reader), _writer) = dialled.unwrap().link else {
                unreachable!("it is a link of QUIC");
            };
            let mut octets = [0; 8];
            let mut buffer = ReadBuf::new(&mut octets);
            let read = poll_fn(|cx| reader.poll_read(cx, &mut buffer)).await;
            read.map(|()| buffer.filled().len())
        };
        let both = async { tokio::join!(reading, answering).0 };
        let read = timeout(PATIENCE, both).await.unwrap();
        let read = read.map_err(|error| error.downcast::<QuicError>().unwrap());
        match what {
            "refused" => assert_eq!(read, Err(QuicError::Refused)),
            "unknown" | "wrong" => assert_eq!(read, Err(QuicError::NoCommonProtocol)),
            "ended" => assert_eq!(read, Ok(0)),
            _ => assert!(matches!(read, Err(QuicError::Lost(_))), "{read:?}"),
        }
    }
}

//! A listener, good peers of it, and what others say to it by hand.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use withy_proto::crypto::Provider;
use withy_proto::crypto::sign::SigningKey;
use withy_transports::{
    AcceptError, Connected, DialOptions, ListenOptions, Listener, Peer, QuicError, Refused, Secret,
    dial, listen,
};

use crate::support::*;

/// Far longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Octets of a datagram that begins a handshake, at least.
pub(crate) const INITIAL: usize = 1_200;

pub(crate) fn dialling(seed: u16, network: Option<u8>) -> DialOptions {
    let mut key = [7; 32];
    key[..2].copy_from_slice(&seed.to_be_bytes());
    let mut options = DialOptions::default();
    options.quic.node_key = Some(SigningKey::from_seed(Provider::Real, &key));
    options
        .quic
        .networks
        .extend(network.map(|octet| Secret::from([octet; 32])));
    options.connect_timeout = PATIENCE;
    options
}

pub(crate) fn listening(networks: &[u8]) -> ListenOptions {
    let mut options = ListenOptions::default();
    options.quic.node_key = Some(SigningKey::from_seed(Provider::Real, &[1; 32]));
    let networks = networks.iter().map(|octet| Secret::from([*octet; 32]));
    options.quic.networks.extend(networks);
    options.quic.handshake_timeout = PATIENCE;
    options
}

pub(crate) async fn listener(options: &ListenOptions) -> (Listener, SocketAddr) {
    let listener = listen(&endpoint("quic://127.0.0.1:*"), options)
        .await
        .unwrap();
    let address = listener.endpoint().to_string();
    let address = address["quic://".len()..].parse().unwrap();
    (listener, address)
}

/// A socket that only says and hears what the test tells it to.
pub(crate) struct Raw(pub(crate) tokio::net::UdpSocket);

impl Raw {
    pub(crate) async fn new() -> Self {
        Self(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) async fn send(&self, datagrams: &[Vec<u8>], to: SocketAddr) {
        for datagram in datagrams {
            self.0.send_to(datagram, to).await.unwrap();
        }
    }

    pub(crate) async fn hear(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let length = timeout(PATIENCE, self.0.recv(&mut buffer)).await;
        buffer.truncate(length.unwrap().unwrap());
        buffer
    }

    /// Datagrams that arrived by now.
    pub(crate) fn heard(&self) -> usize {
        self.lengths().count()
    }

    /// The octets of them.
    pub(crate) fn heard_octets(&self) -> usize {
        self.lengths().sum()
    }

    fn lengths(&self) -> impl Iterator<Item = usize> {
        let mut buffer = vec![0; 65_536];
        std::iter::from_fn(move || self.0.try_recv(&mut buffer).ok())
    }
}

/// The datagrams that a dial begins its handshake with.
pub(crate) async fn first_flight(options: DialOptions) -> Vec<Vec<u8>> {
    let place = Raw::new().await;
    let port = place.0.local_addr().unwrap().port();
    let endpoint = endpoint(&format!("quic://127.0.0.1:{port}"));
    let dialling = tokio::spawn(async move { dial(&endpoint, &options).await });
    // The post-quantum share does not fit into one.
    let flight = vec![place.hear().await, place.hear().await];
    dialling.abort();
    assert!(flight.iter().all(|datagram| datagram.len() >= INITIAL));
    flight
}

/// The next handshake that failed.
pub(crate) async fn failed(listener: &mut Listener) -> (Peer, QuicError) {
    loop {
        match timeout(PATIENCE, listener.accept()).await.unwrap() {
            Err(AcceptError::Handshake { peer, source }) => return (peer, source),
            Err(AcceptError::Refused(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// What the listener refused, once it tells.
pub(crate) async fn refused(listener: &mut Listener) -> Refused {
    match timeout(PATIENCE, listener.accept()).await.unwrap() {
        Err(AcceptError::Refused(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

/// An admitted link of a good peer. Whatever was sent to the listener before has been judged then, and had its
/// chance of an answer.
pub(crate) async fn good(listener: &mut Listener, options: &DialOptions) -> (Connected, Connected) {
    let endpoint = listener.endpoint().clone();
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok(theirs) => return theirs,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    };
    let (ours, mut theirs) = tokio::join!(dial(&endpoint, options), accepting);
    let mut ours = ours.unwrap();
    talk(&mut ours, &mut theirs).await;
    (admit(ours), admit(theirs))
}

/// A relay to an address, and what it is told from the side of its clients, of which the first is
/// answered.
pub(crate) async fn overhearing(to: SocketAddr) -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (near, far) = (Raw::new().await.0, Raw::new().await.0);
    let address = near.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
        let mut client = None;
        loop {
            tokio::select! {
                received = near.recv_from(&mut there) => {
                    let (length, from) = received.unwrap();
                    client.get_or_insert(from);
                    let _ = tell.send(there[..length].to_vec());
                    far.send_to(&there[..length], to).await.unwrap();
                }
                received = far.recv_from(&mut back) => {
                    let (length, _) = received.unwrap();
                    near.send_to(&back[..length], client.unwrap()).await.unwrap();
                }
            }
        }
    });
    (address, told)
}

//! What a `quic` listener does with strangers, stalled peers and noise: nothing, and not for long.

#![allow(clippy::unwrap_used, reason = "a failure to set up is a failed test")]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use support::*;
use tokio::sync::mpsc;
use tokio::time::timeout;
use withy_transports::{
    AcceptError, Connected, DialOptions, ListenOptions, Listener, Peer, QuicError, Refused, Secret,
    dial, listen,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Octets of a datagram that begins a handshake, at least.
const INITIAL: usize = 1_200;

fn dialling(seed: u16, network: Option<u8>) -> DialOptions {
    let mut key = [7; 32];
    key[..2].copy_from_slice(&seed.to_be_bytes());
    let mut options = DialOptions::default();
    options.quic.node_key = Some(Secret::from(key));
    options
        .quic
        .networks
        .extend(network.map(|octet| Secret::from([octet; 32])));
    options.connect_timeout = PATIENCE;
    options
}

fn listening(networks: &[u8]) -> ListenOptions {
    let mut options = ListenOptions::default();
    options.quic.node_key = Some(Secret::from([1; 32]));
    let networks = networks.iter().map(|octet| Secret::from([*octet; 32]));
    options.quic.networks.extend(networks);
    options.quic.handshake_timeout = PATIENCE;
    options
}

async fn listener(options: &ListenOptions) -> (Listener, SocketAddr) {
    let listener = listen(&endpoint("quic://127.0.0.1:*"), options)
        .await
        .unwrap();
    let address = listener.endpoint().to_string();
    let address = address["quic://".len()..].parse().unwrap();
    (listener, address)
}

/// A socket that only says and hears what the test tells it to.
struct Raw(tokio::net::UdpSocket);

impl Raw {
    async fn new() -> Self {
        Self(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap())
    }

    async fn send(&self, datagrams: &[Vec<u8>], to: SocketAddr) {
        for datagram in datagrams {
            self.0.send_to(datagram, to).await.unwrap();
        }
    }

    async fn hear(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let length = timeout(PATIENCE, self.0.recv(&mut buffer)).await;
        buffer.truncate(length.unwrap().unwrap());
        buffer
    }

    /// Datagrams that arrived by now.
    fn heard(&self) -> usize {
        self.lengths().count()
    }

    /// The octets of them.
    fn heard_octets(&self) -> usize {
        self.lengths().sum()
    }

    fn lengths(&self) -> impl Iterator<Item = usize> {
        let mut buffer = vec![0; 65_536];
        std::iter::from_fn(move || self.0.try_recv(&mut buffer).ok())
    }
}

/// The datagrams that a dial begins its handshake with.
async fn first_flight(options: DialOptions) -> Vec<Vec<u8>> {
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
async fn failed(listener: &mut Listener) -> (Peer, QuicError) {
    loop {
        match timeout(PATIENCE, listener.accept()).await.unwrap() {
            Err(AcceptError::Handshake { peer, source }) => return (peer, source),
            Err(AcceptError::Refused(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// What the listener refused, once it tells.
async fn refused(listener: &mut Listener) -> Refused {
    match timeout(PATIENCE, listener.accept()).await.unwrap() {
        Err(AcceptError::Refused(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

/// Waits until a peer, which has said nothing on a link, ends it.
async fn ended(link: &mut Connected) {
    let heard = timeout(PATIENCE, hear(&mut link.link, 1)).await;
    assert_eq!(heard.unwrap(), b"");
}

/// A link that the listener does not admit.
async fn linked_only(listener: &mut Listener, seed: u16) -> (Connected, Connected) {
    let endpoint = listener.endpoint().clone();
    let options = dialling(seed, None);
    let (ours, theirs) = tokio::join!(dial(&endpoint, &options), listener.accept());
    (ours.unwrap(), theirs.unwrap())
}

/// An admitted link of a good peer. Whatever was sent to the listener before has been judged then, and had its
/// chance of an answer.
async fn good(listener: &mut Listener, options: &DialOptions) -> (Connected, Connected) {
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

#[tokio::test]
async fn a_stranger_to_the_network_gets_no_packet_at_all() {
    let (mut listener, address) = listener(&listening(&[1, 2])).await;
    let stranger = Raw::new().await;
    for network in [None, Some(3)] {
        let flight = first_flight(dialling(9, network)).await;
        stranger.send(&flight, address).await;
    }
    for network in [1, 2] {
        good(&mut listener, &dialling(2, Some(network))).await;
    }
    assert_eq!(stranger.heard(), 0);
}

#[tokio::test]
async fn a_dial_into_another_network_is_not_answered() {
    let (listener, _) = listener(&listening(&[1])).await;
    let mut hasty = dialling(2, Some(2));
    hasty.connect_timeout = Duration::from_millis(300);
    let error = dial(listener.endpoint(), &hasty).await.unwrap_err();
    assert!(error.to_string().contains("no answer"), "{error}");
}

#[tokio::test]
async fn who_repeats_the_packets_of_a_member_is_not_answered() {
    let (mut listener, address) = listener(&listening(&[1])).await;
    let (relay, mut overheard) = overhearing(address).await;
    let place = endpoint(&format!("quic://{relay}"));
    let dialling_there = dialling(9, Some(1));
    let (ours, theirs) = tokio::join!(dial(&place, &dialling_there), listener.accept());
    let flight = vec![
        overheard.recv().await.unwrap(),
        overheard.recv().await.unwrap(),
    ];
    let repeating = Raw::new().await;
    repeating.send(&flight, address).await;
    drop((ours.unwrap(), theirs.unwrap()));
    // The connection that the packets began is forgotten after a few round trips.
    for number in 0..20 {
        good(&mut listener, &dialling(20 + number, Some(1))).await;
        repeating.send(&flight, address).await;
    }
    good(&mut listener, &dialling(2, Some(1))).await;
    assert_eq!(repeating.heard(), 0);
}

/// A relay to an address, and what it is told from the side of its clients, of which the first is
/// answered.
async fn overhearing(to: SocketAddr) -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
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

#[tokio::test]
async fn no_kind_of_packet_makes_a_stranger_heard() {
    let (mut listener, address) = listener(&listening(&[1])).await;
    let stranger = Raw::new().await;
    let tagged = first_flight(dialling(9, Some(3))).await.remove(0);
    let mut packets = vec![vec![0x40; 40], vec![0x5a; INITIAL], vec![0xff; INITIAL]];
    // Other versions, the one of negotiations included, and other types of long headers.
    for (at, octet) in [(4, 0), (4, 2), (1, 0x6b), (0, 0xd0), (0, 0xe0), (0, 0xf0)] {
        let mut packet = tagged.clone();
        packet[at] = octet;
        packets.push(packet);
    }
    // Connection ids of every length, and a token that is none.
    for length in 0..=20_u8 {
        let mut packet = vec![0xc0, 0, 0, 0, 1, length];
        packet.resize(packet.len() + usize::from(length), 0xaa);
        packet.extend_from_slice(&[0, 16]);
        packet.resize(INITIAL, 0xbb);
        packets.push(packet);
    }
    stranger.send(&packets, address).await;
    good(&mut listener, &dialling(2, Some(1))).await;
    assert_eq!(stranger.heard(), 0);
}

#[tokio::test]
async fn a_half_open_handshake_ends_at_its_deadline() {
    let mut options = listening(&[]);
    options.quic.handshake_timeout = Duration::from_millis(200);
    let (mut listener, address) = listener(&options).await;
    let stalling = Raw::new().await;
    let flight = first_flight(dialling(9, None)).await;
    let begin = Instant::now();
    stalling.send(&flight, address).await;
    let (peer, source) = failed(&mut listener).await;
    assert_eq!(source, QuicError::Timeout);
    assert_eq!(peer.address, stalling.0.local_addr().unwrap().to_string());
    assert!(begin.elapsed() >= Duration::from_millis(200));
}

/// Whoever writes another's address on its packets has that one sent no more than three times what it
/// sent itself, as long as nothing came back (RFC 9000 §8.1).
#[tokio::test]
async fn little_is_sent_to_an_address_that_was_not_shown() {
    for (mark, first_only) in [(64, false), (64, true), (0, false)] {
        let mut options = listening(&[]);
        // Time for what is sent again and again.
        options.quic.handshake_timeout = Duration::from_secs(2);
        options.quic.retry_mark = mark;
        let (mut listener, address) = listener(&options).await;
        let mute = Raw::new().await;
        let mut flight = first_flight(dialling(9, None)).await;
        flight.truncate(if first_only { 1 } else { 2 });
        let sent: usize = flight.iter().map(Vec::len).sum();
        mute.send(&flight, address).await;
        if mark == 0 {
            // Its retry is all; by now the listener has judged it.
            good(&mut listener, &dialling(2, None)).await;
        } else {
            failed(&mut listener).await;
        }
        let heard = mute.heard_octets();
        assert!(heard > 0 && heard <= 3 * sent, "{heard} octets for {sent}");
    }
}

/// Nor does it help to know a connection id of the listener, which anybody can have at its own address.
#[tokio::test]
async fn an_id_that_was_learnt_elsewhere_lifts_no_limit() {
    let mut options = listening(&[]);
    options.quic.handshake_timeout = Duration::from_secs(2);
    let (mut listener, address) = listener(&options).await;
    let attacker = Raw::new().await;
    attacker
        .send(&first_flight(dialling(8, None)).await, address)
        .await;
    let answer = attacker.hear().await;
    // RFC 8999 §5.1: first octet, version, and two ids behind their lengths.
    let at = 6 + usize::from(answer[5]);
    let id = &answer[at + 1..][..usize::from(answer[at])];
    let mut forged = vec![0xe0, 0, 0, 0, 1, id.len() as u8];
    forged.extend_from_slice(id);
    forged.resize(100, 0);

    let mute = Raw::new().await;
    let flight = first_flight(dialling(9, None)).await;
    mute.send(&flight, address).await;
    // By now it was told another one.
    let first = mute.hear().await.len();
    mute.send(&vec![forged; 20], address).await;
    for _ in 0..2 {
        failed(&mut listener).await;
    }
    let heard = first + mute.heard_octets();
    let most = 3 * flight.iter().map(Vec::len).sum::<usize>();
    assert!(heard <= most, "{heard} octets for {most}");
}

/// A network doubles packets and delivers them late, and anybody can repeat them.
#[tokio::test]
async fn a_first_packet_that_comes_again_does_not_stop_a_connection() {
    const OCTETS: usize = 256 << 10;
    let (mut listener, address) = listener(&listening(&[1])).await;
    let (relay, mut overheard) = overhearing(address).await;
    let place = endpoint(&format!("quic://{relay}"));
    let options = dialling(9, Some(1));
    let (ours, theirs) = tokio::join!(dial(&place, &options), listener.accept());
    let (mut ours, mut theirs) = (admit(ours.unwrap()), admit(theirs.unwrap()));
    talk(&mut ours, &mut theirs).await;
    let flight = [(); 2].map(|()| overheard.try_recv().unwrap());
    Raw::new().await.send(&flight, relay).await;
    // They have arrived before this.
    talk(&mut ours, &mut theirs).await;
    let (_, writer) = bytes(&mut theirs.link);
    let telling = async {
        let mut left = OCTETS;
        while left > 0 {
            std::future::poll_fn(|cx| writer.poll_write_ready(cx))
                .await
                .unwrap();
            left -= writer.try_write(&vec![5; left]).unwrap_or(0);
        }
    };
    let heard = timeout(Duration::from_secs(10), async {
        tokio::join!(telling, hear(&mut ours.link, OCTETS)).1
    });
    assert_eq!(heard.await.unwrap().len(), OCTETS);
}

#[tokio::test]
async fn a_connection_without_an_admitted_link_ends_at_its_deadline() {
    let mut options = listening(&[]);
    options.quic.admission_timeout = Duration::from_millis(300);
    options.quic.linger = Duration::from_millis(300);
    let (mut listener, _) = listener(&options).await;
    let mut good_one = good(&mut listener, &dialling(2, None)).await;
    let begin = Instant::now();
    let (mut ours, _theirs) = linked_only(&mut listener, 3).await;
    ended(&mut ours).await;
    assert!(begin.elapsed() >= Duration::from_millis(300));
    let given_up = refused(&mut listener).await;
    assert_eq!((given_up.given_up, given_up.newcomers), (1, 0));
    // Two links of one connection, of which one is admitted and ends.
    let (mut first, their_first) = good(&mut listener, &dialling(4, None)).await;
    let (mut second, _their_second) = linked_only(&mut listener, 4).await;
    assert_eq!(first.local, second.local);
    drop(their_first);
    ended(&mut first).await;
    ended(&mut second).await;
    // All the while.
    talk(&mut good_one.0, &mut good_one.1).await;
}

#[tokio::test]
async fn connections_without_an_admitted_link_keep_no_good_one_out() {
    let mut options = listening(&[]);
    options.quic.max_connections = 4;
    options.quic.admission_timeout = PATIENCE;
    let (mut listener, _) = listener(&options).await;
    let mut held = vec![good(&mut listener, &dialling(2, None)).await];
    let mut others = Vec::new();
    for number in 0..3 {
        others.push(linked_only(&mut listener, 10 + number).await);
    }
    let begin = Instant::now();
    for number in 3..6 {
        let options = dialling(number, None);
        held.push(
            timeout(PATIENCE, good(&mut listener, &options))
                .await
                .unwrap(),
        );
        // It was the oldest that had to go.
        ended(&mut others.remove(0).0).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(10));
    for (ours, theirs) in &mut held {
        talk(ours, theirs).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_peers_do_not_keep_a_good_one_out() {
    const PEERS: u16 = 200;
    let mut options = listening(&[]);
    // None of them ends before the good one is in.
    options.quic.retry_mark = 32;
    let (mut listener, address) = listener(&options).await;
    let mut stalling = Vec::new();
    for number in 0..PEERS {
        let flight = first_flight(dialling(1_000 + number, None)).await;
        let raw = Raw::new().await;
        raw.send(&flight, address).await;
        stalling.push(raw);
    }
    let begin = Instant::now();
    good(&mut listener, &dialling(2, None)).await;
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    // Above the mark a datagram costs one short packet, which asks whether somebody is there.
    let last = stalling.pop().unwrap();
    let retry = last.hear().await;
    assert_eq!(retry[0] & 0xf0, 0xf0, "a retry (RFC 9000 §17.2.5)");
    assert!(retry.len() < INITIAL / 3);
    assert!(last.heard() <= 1, "two datagrams were sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_half_open_peers_push_each_other_out() {
    let mut options = listening(&[]);
    options.quic.retry_mark = usize::MAX;
    options.quic.max_handshakes = 8;
    let (mut listener, address) = listener(&options).await;
    let mut stalling = Vec::new();
    for number in 0..40 {
        let flight = first_flight(dialling(2_000 + number, None)).await;
        let raw = Raw::new().await;
        raw.send(&flight, address).await;
        stalling.push(raw);
    }
    good(&mut listener, &dialling(2, None)).await;
}

#[tokio::test]
async fn above_the_limit_of_connections_nobody_is_answered() {
    let mut options = listening(&[]);
    options.quic.max_connections = 1;
    let (mut listener, _) = listener(&options).await;
    let _one = good(&mut listener, &dialling(2, None)).await;
    let mut hasty = dialling(3, None);
    hasty.connect_timeout = Duration::from_millis(300);
    let error = dial(listener.endpoint(), &hasty).await.unwrap_err();
    assert!(error.to_string().contains("no answer"), "{error}");
    let refused = refused(&mut listener).await;
    assert!(refused.newcomers > 0);
    assert_eq!((refused.given_up, refused.withheld), (0, 0));
    // Another link of the one who is in needs no place.
    good(&mut listener, &dialling(2, None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_arrives_through_a_thousand_datagrams_of_garbage_a_second() {
    const OCTETS: usize = 8 << 20;
    let (mut listener, address) = listener(&listening(&[])).await;
    let noise = tokio::spawn(async move {
        let raw = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut pace = tokio::time::interval(Duration::from_millis(1));
        for count in 0_u32.. {
            pace.tick().await;
            let mut garbage = [0; INITIAL];
            for (at, octet) in garbage.iter_mut().enumerate() {
                *octet = (at as u32).wrapping_mul(count | 1).to_le_bytes()[1];
            }
            let length = usize::try_from(count).unwrap() * 7 % INITIAL;
            garbage[0] ^= count.to_le_bytes()[0];
            raw.send_to(&garbage[..length], address).unwrap();
        }
    });
    let (mut ours, mut theirs) = good(&mut listener, &dialling(2, None)).await;
    let sending = tokio::spawn(async move {
        let mut left = OCTETS;
        while left > 0 {
            let (_, writer) = bytes(&mut ours.link);
            std::future::poll_fn(|cx| writer.poll_write_ready(cx))
                .await
                .unwrap();
            left -= writer.try_write(&vec![5; left.min(65_536)]).unwrap_or(0);
        }
        ours
    });
    let heard = timeout(PATIENCE, hear(&mut theirs.link, OCTETS)).await;
    let heard = heard.unwrap();
    assert!(heard.len() == OCTETS && heard.iter().all(|octet| *octet == 5));
    sending.await.unwrap();
    assert!(!noise.is_finished());
    noise.abort();
}

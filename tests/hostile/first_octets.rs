//! What comes instead of a greeting: nothing, too slowly, noise, other protocols.

use std::time::{Duration, Instant};

use withy::SocketType;
use withy::event::HandshakeFailure;
use withy_proto::crypto::{Randomness, Seeded};
use withy_proto::zmtp::ConnectionError;
use withy_proto::zmtp::greeting::GreetingError;
use withy_tests::{raw, scale};

use crate::victim::{CROWD, Config, HANDSHAKE, SHARED, Victim, siege, sieges};

/// All types that can be attacked before the handshake is over, and each mechanism that seals.
fn configs() -> Vec<Config> {
    let kinds = SHARED.into_iter().chain([SocketType::Pair]);
    let clear = kinds.map(Config::new);
    let sealed = [
        Config::curve(SocketType::Pull),
        Config::noise(SocketType::Pull),
    ];
    clear.chain(sealed).collect()
}

#[tokio::test]
async fn silence_ends_at_the_handshake_deadline() {
    sieges(configs(), async |victim| {
        let start = Instant::now();
        let silent = victim.link().await;
        let mut half = victim.link().await;
        half.send(&[0xff]).await.unwrap();
        for peer in [silent, half] {
            let failure = victim.refuses(peer).await;
            assert!(matches!(failure, HandshakeFailure::Timeout(HANDSHAKE)));
        }
        assert!(start.elapsed() >= HANDSHAKE);
    })
    .await;
}

#[tokio::test]
async fn an_octet_at_a_time_does_not_move_the_deadline() {
    sieges(configs(), async |victim| {
        let start = Instant::now();
        let mut peer = victim.link().await;
        let address = peer.address().unwrap();
        let mut pace = tokio::time::interval(HANDSHAKE / 10);
        // Every octet is right: only the time is not.
        for octet in raw::greeting(1, victim.mechanism(), false) {
            pace.tick().await;
            if peer.send(&[octet]).await.is_err() {
                break;
            }
        }
        let failure = victim.failure(&address).await;
        assert!(matches!(failure, HandshakeFailure::Timeout(HANDSHAKE)));
        assert!(start.elapsed() < HANDSHAKE * 10, "{:?}", start.elapsed());
    })
    .await;
}

#[tokio::test]
async fn noise_is_refused() {
    let connections = scale::count(30, 3_000);
    for (seed, config) in configs().into_iter().enumerate() {
        let random = std::cell::RefCell::new(Seeded::new(scale::seed() + seed as u64));
        siege(config, async |victim| {
            let mut peers = Vec::new();
            for n in 0..connections {
                let mut noise = vec![0; 1 + (n as usize * 997) % 65_536];
                random.borrow_mut().fill(&mut noise);
                match n % 3 {
                    // Noise that begins as a greeting does is read further.
                    1 => noise[0] = 0xff,
                    2 => {
                        let greeting = raw::greeting(1, "NULL", false);
                        let known = noise.len().min(64);
                        noise[..known].copy_from_slice(&greeting[..known]);
                    }
                    _ => {}
                }
                let mut peer = victim.link().await;
                // It may be refused before all is said.
                let _ = peer.send(&noise).await;
                peers.push(peer);
                if peers.len() == CROWD {
                    for peer in peers.drain(..) {
                        victim.refuses(peer).await;
                    }
                }
            }
            for peer in peers {
                victim.refuses(peer).await;
            }
        })
        .await;
    }
    scale::report("connections of noise", connections);
}

#[tokio::test]
async fn other_protocols_are_refused_at_once_and_named() {
    let tls = [
        &[0x16, 3, 1, 0, 0xc8, 1, 0, 0, 0xc4, 3, 3][..],
        &[0x5a; 196],
    ]
    .concat();
    let strangers: [(&[u8], &str); 9] = [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP"),
        (b"POST /x HTTP/1.0\r\n\r\n", "HTTP"),
        (&tls, "TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        (b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04test", "MQTT"),
        (b"AMQP\0\0\x09\x01", ""),
        (b"AMQP\x03\x01\0\0", ""),
        (b"\0\0\0\x12\0\x12\0\0\0\0\0\x01\0\x04test\0\0", ""),
        (b"CONNECT\naccept-version:1.2\n\n\0", ""),
    ];
    for config in configs() {
        siege(config, async |victim| {
            for (octets, name) in strangers {
                let start = Instant::now();
                let mut peer = victim.link().await;
                peer.send(octets).await.unwrap();
                match victim.refuses(peer).await {
                    HandshakeFailure::Protocol(ConnectionError::Greeting(
                        GreetingError::NotZmtp { guess },
                    )) => assert!(guess.contains(name), "{guess} for {name}"),
                    other => panic!("{other} for {octets:?}"),
                }
                assert!(start.elapsed() < HANDSHAKE, "it waited for the deadline");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn zmtp_1_and_2_are_refused_by_their_version() {
    // ZMTP 1.0 without a signature: identity frame, empty. ZMTP 2.0: signature, revision, type.
    let signature = b"\xff\0\0\0\0\0\0\0\x01\x7f";
    let two = [&signature[..], &[1, 5, 0, 0]].concat();
    let bare = b"\x01\0".to_vec();
    let named = b"\x06\0alice".to_vec();
    let one_with_long_header = b"\xff\0\0\0\0\0\0\0\x01\0".to_vec();
    let zero = [&signature[..], &[0]].concat();
    for config in configs() {
        siege(config, async |victim| {
            for (octets, expected) in [
                (&bare, 1),
                (&named, 1),
                (&one_with_long_header, 1),
                (&zero, 1),
                (&two, 2),
            ] {
                let mut peer = victim.link().await;
                peer.send(octets).await.unwrap();
                match victim.refuses(peer).await {
                    HandshakeFailure::Protocol(ConnectionError::Greeting(
                        GreetingError::Version { major },
                    )) => assert_eq!(major, expected, "{octets:?}"),
                    other => panic!("{other} for {octets:?}"),
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_survives_hostile_servers_and_uses_the_good_one() {
    for octets in [
        &b""[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x01\0",
        &[0xff; 4_096],
    ] {
        let hostile = raw::Listener::bind().await.unwrap();
        let victim = Victim::new(Config::new(SocketType::Pull)).await;
        victim.connect(&hostile.endpoint().unwrap());
        let good = victim.good();
        for _ in 0..3 {
            let mut server = hostile.accept().await.unwrap();
            let _ = server.send(octets).await;
            let (said, ()) = tokio::join!(
                server.expect_close(Duration::from_secs(5)),
                victim.exchange(&good, 1_000)
            );
            assert_eq!(said.unwrap()[..10], raw::greeting(1, "NULL", false)[..10]);
        }
        let stats = victim.stats();
        assert!(stats.handshakes_failed >= 2, "{stats:?}");
        assert_eq!(stats.peers, 1);
        victim.acquit().await;
    }
}

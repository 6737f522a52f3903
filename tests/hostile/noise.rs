//! NOISE under attack: peers without the mechanism, of no or another network, that nobody trusts;
//! records that were not sealed like this; and handshakes that never end.

use std::collections::VecDeque;

use withy::event::HandshakeFailure;
use withy::{Reason, SocketType};
use withy_proto::mechanism::HandshakeError;
use withy_proto::mechanism::party::Settings;
use withy_proto::trust::{Certificate, CertificateError, CredentialsError, Validity};
use withy_proto::zmtp::{ConnectionError, DecodeError};
use withy_tests::by_hand;
use withy_tests::raw::{self, COMMAND, LONG, Peer};
use withy_tests::scale;

use crate::client::{Client, GREETING, STEPS, seal};
use crate::memory::Growth;
use crate::victim::{Config, NOTED, SEED, Victim, siege, within};

/// Where the filler begins in a greeting.
const FILLER: usize = 33;

/// A greeting of this version of NOISE.
fn greeting(version: u8, as_server: bool) -> Vec<u8> {
    let mut greeting = raw::greeting(1, "NOISE", as_server);
    greeting[FILLER] = version;
    greeting.to_vec()
}

#[tokio::test]
async fn whoever_does_not_speak_noise_is_refused() {
    let ready = raw::ready(&[("Socket-Type", b"PUSH")]);
    let plain = raw::command("HELLO", b"\x03ada\x06secret");
    let hello = |options: u8, size: usize| {
        let data = [&[options][..], &vec![7; size]].concat();
        raw::command("HELLO", &data)
    };
    let ours = greeting(1, false);
    let others = [
        [&raw::greeting(1, "NULL", false)[..], &ready].concat(),
        [&raw::greeting(0, "NULL", false)[..], &ready].concat(),
        [&raw::greeting(1, "PLAIN", false)[..], &plain].concat(),
        [&raw::greeting(1, "CURVE", false)[..], &hello(1, 193)].concat(),
        [&raw::greeting(1, "noise", false)[..], &hello(3, 1_248)].concat(),
        [&greeting(0, false)[..], &hello(3, 1_248)].concat(),
        [&greeting(2, false)[..], &hello(3, 1_248)].concat(),
        [&greeting(1, true)[..], &hello(3, 1_248)].concat(),
        [&ours[..], &ready].concat(),
        [&ours[..], &raw::command("INITIATE", &[7; 300])].concat(),
        [&ours[..], &raw::command("HELLO", b"")].concat(),
        [&ours[..], &hello(3, 15)].concat(),
        [&ours[..], &hello(3, 1_248)].concat(),
        [&ours[..], &hello(0xff, 1_248)].concat(),
        [&ours[..], &hello(3, 16_000)].concat(),
        [&ours[..], &raw::message(&["clear text"])].concat(),
        [&ours[..], &raw::header(COMMAND | LONG, u64::MAX)].concat(),
    ];
    siege(Config::noise(SocketType::Pull), async |victim| {
        for octets in &others {
            let mut peer = victim.link().await;
            peer.send(octets).await.unwrap();
            let failure = victim.refuses(peer).await;
            assert!(
                matches!(failure, HandshakeFailure::Protocol(_)),
                "{failure} for {octets:02x?}"
            );
        }
    })
    .await;
}

/// Who says what a node says, but is not who it should be.
#[tokio::test]
async fn strangers_are_refused_and_told_why_once_they_have_proven_themselves() {
    type Change = fn(&mut Settings);
    let certificate = |seed: u8, ago: u64| {
        move |settings: &mut Settings| {
            let identity = withy_proto::crypto::sign::SigningKey::from_seed(
                withy_proto::crypto::Provider::Real,
                &if seed == 0 { SEED } else { [seed; 32] },
            );
            let held = &mut settings.realms[0].credentials.certificate;
            let validity = Validity::starting(settings.now - ago, 1_000);
            *held = Certificate::issue(&identity, held.node(), held.noise(), validity);
        }
    };
    let other_network: Change = |settings| settings.realms[0].secret = [1; 32].into();
    let classical: Change = |settings| settings.classical = true;
    let other_key: Change = |settings| settings.keys = withy::generate_key_pair();
    let (expired, stranger) = (certificate(0, 10_000), certificate(9, 10));
    siege(Config::noise(SocketType::Pull), async |victim| {
        for (seed, what) in (0..).zip(["network", "classical", "key", "expired", "stranger"]) {
            let mut settings = by_hand::settings(&SEED, withy::generate_key_pair());
            match what {
                "network" => other_network(&mut settings),
                "classical" => classical(&mut settings),
                "key" => other_key(&mut settings),
                "expired" => expired(&mut settings),
                _ => stranger(&mut settings),
            }
            let mut client = Client::noise(victim, settings, seed).await;
            client.steps(2).await;
            let told = match client.next().await {
                Ok(initiate) => {
                    client.say(initiate).await.unwrap();
                    client.hear().await
                }
                Err(error) => Err(error),
            };
            let told = told.unwrap_err().to_string();
            let HandshakeFailure::Protocol(ConnectionError::Handshake(error)) =
                victim.refuses(client.peer).await
            else {
                panic!("{what}");
            };
            let fits = match what {
                // Who knows no secret learns nothing.
                "network" => error == HandshakeError::Network && told.contains("closed"),
                "classical" => error == HandshakeError::PostQuantumRequired && told.contains("400"),
                "key" => {
                    let malformed = matches!(
                        error,
                        HandshakeError::Malformed {
                            command: "INITIATE",
                            ..
                        }
                    );
                    malformed && told.contains("another key")
                }
                "expired" => {
                    let expired = matches!(
                        error,
                        HandshakeError::Credentials(CredentialsError::Certificate(
                            CertificateError::Validity(_)
                        ))
                    );
                    expired && told.contains("expired")
                }
                _ => {
                    let denied = matches!(error, HandshakeError::RefusedByUs { status: 400, .. });
                    denied && told.contains("not trusted here")
                }
            };
            assert!(fits, "{what}: {error}; the peer was told: {told}");
        }
    })
    .await;
}

#[tokio::test]
async fn records_that_were_not_sealed_like_this_close_the_connection() {
    let rounds = std::cell::Cell::new(0_u64);
    siege(Config::noise(SocketType::Pull), async |victim| {
        let (_other, mut foreign) = Client::honest(victim, 99).await.session().await;
        for (seed, offence) in (0..).zip([
            "repeated",
            "repeated later",
            "reordered",
            "left out",
            "changed",
            "changed tag",
            "longer",
            "shorter",
            "empty",
            "foreign",
            "clear",
            "clear command",
        ]) {
            rounds.set(rounds.get() + 1);
            let round = rounds.get();
            let text = |n: u8| [NOTED, &[n], &round.to_be_bytes()[..]].concat();
            let (mut peer, mut sealer) = Client::honest(victim, seed).await.session().await;
            let [first, second, third] =
                [1, 2, 3].map(|n| seal(&mut sealer, &raw::message(&[text(n)])));
            let with = |at: usize, octet: u8| {
                let mut record = second.clone();
                record[at] ^= octet;
                record
            };
            let size = second.len();
            // What may arrive is only what was there in its order.
            let (octets, allowed) = match offence {
                "repeated" => (first.repeat(2), 1),
                "repeated later" => ([&first[..], &second, &third, &first].concat(), 3),
                "reordered" => ([&first[..], &third, &second].concat(), 1),
                "left out" => ([&first[..], &third].concat(), 1),
                "changed" => ([&first[..], &with(2, 0x40)].concat(), 1),
                "changed tag" => ([&first[..], &with(size - 1, 1)].concat(), 1),
                "longer" => ([&first[..], &with(1, 0x40), &[0; 64]].concat(), 1),
                "shorter" => ([&first[..], &with(1, (size as u8 - 2) ^ 17)].concat(), 1),
                "empty" => ([&first[..], &[0, 0], &second].concat(), 1),
                "foreign" => {
                    let foreign = seal(&mut foreign, &raw::message(&[text(9)]));
                    ([first, foreign].concat(), 1)
                }
                "clear" => ([first, raw::message(&[text(9)])].concat(), 1),
                // It says of itself that a thousand octets follow.
                _ => {
                    let ping = raw::command("PING", b"\0\0").repeat(200);
                    ([first, ping].concat(), 1)
                }
            };
            let before = victim.stats().protocol_errors;
            peer.send(&octets).await.unwrap();
            let reason = victim.closes(peer).await;
            assert!(
                matches!(reason, Reason::Protocol(DecodeError::NotAuthentic)),
                "{reason} for {offence}"
            );
            assert!(victim.stats().protocol_errors > before, "{offence}");
            for n in [1, 2, 3, 9] {
                let came = victim.noted(&text(n));
                assert!(came <= u64::from(n <= allowed), "{offence}: {n}");
            }
        }
    })
    .await;
}

/// What this side said comes back: each direction has a key of its own.
#[tokio::test]
async fn records_that_are_sent_back_close_the_connection() {
    siege(Config::noise(SocketType::Router), async |victim| {
        let (mut peer, mut sealer) = Client::honest(victim, 1).await.session().await;
        let octets = seal(&mut sealer, &raw::message(&["echo this"]));
        peer.send(&octets).await.unwrap();
        let length = peer.exactly(2).await.unwrap();
        let size = usize::from(length[0]) << 8 | usize::from(length[1]);
        let record = peer.exactly(size).await.unwrap();
        peer.send(&[length, record].concat()).await.unwrap();
        let reason = victim.closes(peer).await;
        assert_eq!(reason, Reason::Protocol(DecodeError::NotAuthentic));
    })
    .await;
}

/// The rules of frames hold for what is inside, however it is spread over records.
#[tokio::test]
async fn what_records_carry_is_held_to_the_rules_of_frames() {
    siege(Config::noise(SocketType::Pull), async |victim| {
        for offence in [
            raw::header(LONG, (64 << 20) + 1),
            raw::header(LONG, 1 << 31),
            raw::header(LONG, 1 << 63),
            raw::header(LONG | COMMAND, u64::MAX),
            raw::frame(COMMAND, b""),
            raw::frame(0x40, b"reserved"),
            raw::command("PING", b"\0"),
        ] {
            for at_a_time in [1, offence.len()] {
                let (mut peer, mut sealer) = Client::honest(victim, 1).await.session().await;
                for piece in offence.chunks(at_a_time) {
                    // It may have seen enough.
                    let _ = peer.send(&seal(&mut sealer, piece)).await;
                }
                let reason = victim.closes(peer).await;
                assert!(
                    matches!(
                        reason,
                        Reason::Protocol(
                            DecodeError::MessageTooLarge { .. }
                                | DecodeError::Header(_)
                                | DecodeError::Command(_)
                        )
                    ),
                    "{reason} for {offence:02x?}"
                );
            }
        }
    })
    .await;
}

/// One that falls silent after the greeting, HELLO or WELCOME, in turn.
async fn half_open(victim: &Victim, n: u64) -> Peer {
    let mut client = Client::honest(victim, n).await;
    match n % 3 {
        0 => {
            client.steps(1).await;
            client.peer.exactly(GREETING).await.unwrap();
        }
        1 => client.steps(2).await,
        _ => {
            client.steps(2).await;
            client.hear().await.unwrap();
        }
    }
    client.peer
}

/// Whoever falls silent in a handshake costs little, and keeps nobody out.
#[tokio::test]
async fn half_open_handshakes_cost_little_memory_and_keep_nobody_out() {
    // 20 MiB for as many as are under way at most; fewer may cost no more each.
    const EACH: usize = (20 << 20) / 1_024;
    // Both ends of each, and of those that were closed for others the ends that are with us.
    const OURS: usize = 1_200;
    let memory = Growth::alone().await;
    let count = scale::count(500, 10_000);
    scale::allow_descriptors(OURS as u64 + 1_500);
    let config = Config {
        handshake_timeout: std::time::Duration::from_secs(60),
        ..Config::noise(SocketType::Pull)
    };
    assert!(config.max_handshakes <= 1_024);
    let under_way = config.max_handshakes.min(count as usize);
    let victim = Victim::new(config).await;
    // What the first of all costs is not theirs.
    let good = victim.good();
    victim.exchange(&good, 100).await;
    for n in 0..3 {
        let mut first = half_open(&victim, n).await;
        first.finish().await.unwrap();
        victim.refuses(first).await;
    }
    let before = memory.so_far();
    let mut crowd: VecDeque<Peer> = VecDeque::new();
    for n in 0..count {
        crowd.push_back(half_open(&victim, n).await);
        if crowd.len() > OURS
            && let Some(first) = crowd.pop_front()
        {
            // Its place was given to another: what is left of it is only ours.
            let failure = victim.refuses(first).await;
            assert!(matches!(failure, HandshakeFailure::TooMany(_)), "{failure}");
        }
    }
    let grown = memory.so_far() - before;
    let newcomer = victim.good();
    within(1, victim.exchange(&newcomer, 1)).await;
    assert!(grown <= under_way * EACH, "grew by {grown} octets");
    for good in [good, newcomer] {
        victim.exchange(&good, 1_000).await;
    }
    drop(crowd);
    victim.acquit().await;
    scale::report("half-open NOISE handshakes", count);
    scale::report("octets that they cost", grown);
}

/// The deadline ends each, wherever it stopped.
#[tokio::test]
async fn handshakes_that_stop_end_at_the_deadline() {
    siege(Config::noise(SocketType::Pull), async |victim| {
        let mut stopped = Vec::new();
        for steps in 0..STEPS {
            let mut client = Client::honest(victim, steps as u64).await;
            client.steps(steps).await;
            stopped.push(client.peer);
        }
        for peer in stopped {
            let failure = victim.refuses(peer).await;
            assert!(
                matches!(failure, HandshakeFailure::Timeout(crate::victim::HANDSHAKE)),
                "{failure}"
            );
        }
    })
    .await;
}

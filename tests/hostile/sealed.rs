//! Handshakes of the mechanisms that seal, cut and changed at every place, recorded and said again.

use std::cell::Cell;

use withy::event::HandshakeFailure;
use withy::{Reason, SocketType};
use withy_proto::zmtp::{ConnectionError, DecodeError};
use withy_tests::{raw, scale};

use crate::client::{Client, GREETING, STEPS, seal};
use crate::victim::{Config, HANDSHAKE, NOTED, Verdict, Victim, siege};

/// Offenders at a time: fewer than `max_handshakes`, and soon made.
const CROWD: usize = 100;

/// The zeros in CURVE's HELLO, which servers do not look at.
const PADDING: std::ops::Range<usize> = 10..82;
/// The last octet of the client's key in CURVE's HELLO, whose highest bit X25519 ignores.
const KEY_END: usize = 113;

fn configs() -> [Config; 2] {
    [
        Config::curve(SocketType::Pull),
        Config::noise(SocketType::Pull),
    ]
}

/// Every place in a client's handshake: the steps before, and the octet in the next.
async fn places(victim: &Victim) -> Vec<(usize, usize)> {
    let mut client = Client::honest(victim, 1).await;
    client.steps(STEPS).await;
    client.peer.finish().await.unwrap();
    // The session stood perhaps before its end was seen.
    victim.judges(client.peer).await;
    let lens: Vec<_> = client.said.iter().map(Vec::len).collect();
    assert_eq!(lens[0], GREETING);
    let places = |step: usize| (0..lens[step]).map(move |at| (step, at));
    (0..STEPS).flat_map(places).collect()
}

/// A handshake of NOISE is six times as long, and costs more.
fn step(victim: &Victim) -> usize {
    let long = if victim.mechanism() == "NOISE" { 6 } else { 1 };
    scale::count(7 * long, 1) as usize
}

#[tokio::test]
async fn every_cut_of_a_handshake_ends_it() {
    for config in configs() {
        siege(config, async |victim| {
            let places = places(victim).await;
            let places: Vec<_> = places.iter().step_by(step(victim)).collect();
            for crowd in places.chunks(CROWD) {
                let mut cut = Vec::new();
                for &&(steps, at) in crowd {
                    for silent in [false, true] {
                        let mut client = Client::honest(victim, at as u64).await;
                        client.steps(steps).await;
                        let octets = client.next().await.unwrap();
                        client.peer.send(&octets[..at]).await.unwrap();
                        if !silent {
                            client.peer.finish().await.unwrap();
                        }
                        cut.push((silent, client.peer));
                    }
                }
                for (silent, peer) in cut {
                    match victim.refuses(peer).await {
                        HandshakeFailure::Link(_) if !silent => {}
                        HandshakeFailure::Timeout(HANDSHAKE) if silent => {}
                        other => panic!("{other}"),
                    }
                }
            }
        })
        .await;
    }
}

/// What NULL says of the greeting holds for CURVE; NOISE binds its octets, too.
#[tokio::test]
async fn no_flipped_bit_leads_to_a_session() {
    for config in configs() {
        let is_noise = config.noise;
        let flips = Cell::new(0);
        siege(config, async |victim| {
            flips.set(0);
            let places = places(victim).await;
            let skipped = if is_noise { 0 } else { GREETING };
            for &(steps, at) in &places[skipped..] {
                let in_greeting = steps == 0;
                if is_noise && !in_greeting && at % step(victim) != 0 {
                    continue;
                }
                let bits = match (is_noise, in_greeting) {
                    // What it seals, one bit stands for.
                    (true, false) => 1,
                    _ => scale::count(1, 8) as usize,
                };
                for bit in (0..bits).map(|bit| (bit + at) % 8) {
                    let mut client = Client::honest(victim, at as u64).await;
                    client.steps(steps).await;
                    let octets = client.next().await.unwrap();
                    let mut flipped = octets.clone();
                    flipped[at] ^= 1 << bit;
                    client.peer.send(&flipped).await.unwrap();
                    if in_greeting {
                        client.said.push(octets);
                        // It may be refused before.
                        if let Ok(hello) = client.next().await {
                            let _ = client.peer.send(&hello).await;
                        }
                    }
                    let _ = client.peer.finish().await;
                    let failure = victim.refuses(client.peer).await;
                    // A longer frame that does not come, and what nobody looks at, end with the
                    // link.
                    let unseen = steps == 1 && (PADDING.contains(&at) || at == KEY_END);
                    let open = !in_greeting && (at < 9 || (!is_noise && unseen));
                    assert!(
                        matches!(failure, HandshakeFailure::Protocol(_)) || open,
                        "{failure} for bit {bit} of octet {at} after {steps} steps"
                    );
                    flips.set(flips.get() + 1);
                }
            }
        })
        .await;
        let name = if is_noise { "NOISE" } else { "CURVE" };
        scale::report(&format!("flipped bits of {name} handshakes"), flips.get());
    }
}

#[tokio::test]
async fn a_recorded_handshake_is_of_no_use() {
    for config in configs() {
        let rounds = Cell::new(0_u64);
        siege(config, async |victim| {
            rounds.set(rounds.get() + 1);
            let text = [NOTED, &rounds.get().to_be_bytes()].concat();
            let mut recorded = Client::honest(victim, 3).await;
            recorded.steps(STEPS).await;
            recorded.hear().await.unwrap();
            assert!(recorded.handshake.is_complete());
            let mut sealer = recorded.handshake.finish().sealer;
            let sealed = seal(&mut sealer, &raw::message(&[&text]));
            let [greeting, hello, initiate] = &recorded.said[..] else {
                panic!("three steps");
            };
            let other = Victim::new(victim.config().clone()).await;
            for listener in [victim, &other] {
                for again in [
                    vec![greeting, hello, initiate, &sealed],
                    vec![greeting, initiate, &sealed],
                    vec![greeting, hello, hello],
                    vec![greeting, &sealed],
                ] {
                    let mut peer = listener.link().await;
                    for octets in again {
                        // It may be refused before all is said.
                        let _ = peer.send(octets).await;
                    }
                    let _ = peer.finish().await;
                    let failure = listener.refuses(peer).await;
                    assert!(
                        matches!(
                            failure,
                            HandshakeFailure::Protocol(
                                ConnectionError::Handshake(_)
                                    | ConnectionError::MessageBeforeReady
                                    | ConnectionError::CommandTooLarge { .. }
                                    | ConnectionError::Header(_)
                            ) | HandshakeFailure::Link(_)
                        ),
                        "{failure}"
                    );
                }
            }
            assert_eq!((victim.noted(&text), other.noted(&text)), (0, 0));
            other.acquit().await;
            // The one that was recorded is none the worse for it.
            recorded.peer.send(&sealed).await.unwrap();
            recorded.peer.finish().await.unwrap();
            assert_eq!(victim.closes(recorded.peer).await, Reason::PeerClosed);
        })
        .await;
    }
}

#[tokio::test]
async fn a_sealed_command_is_held_to_the_rules_of_clear_ones() {
    for config in configs() {
        siege(config, async |victim| {
            let (mut peer, mut sealer) = Client::honest(victim, 5).await.session().await;
            let ping = raw::frame(raw::COMMAND, b"\x04PING");
            peer.send(&seal(&mut sealer, &ping)).await.unwrap();
            match victim.judges(peer).await {
                Verdict::Lost(Reason::Protocol(DecodeError::Command(_))) => {}
                other => panic!("{other:?}"),
            }
        })
        .await;
    }
}

//! CURVE under attack: clients without the mechanism, handshakes changed at every place, frames
//! that come twice or in another order.

use withy::event::HandshakeFailure;
use withy::{KeyPair, PublicKey, Reason, SocketType, generate_key_pair};
use withy_proto::crypto::Seeded;
use withy_proto::mechanism::curve::{OVERHEAD, PLAINTEXT_AT};
use withy_proto::mechanism::{Handshake, Local, Sealer, curve};
use withy_proto::zmtp::connection::{Extensions, local_metadata};
use withy_proto::zmtp::{ConnectionError, DecodeError};
use withy_tests::raw::{self, COMMAND, Frame, LONG, Peer};
use withy_tests::scale;

use crate::victim::{Config, HANDSHAKE, Verdict, Victim, counterpart, siege};

/// What a client says until the session stands: greeting, HELLO, INITIATE.
const STEPS: usize = 3;
/// The greeting's octets.
const GREETING: usize = 64;
/// HELLO with its header.
const HELLO: usize = 202;
/// The zeros in HELLO, which servers do not look at.
const PADDING: std::ops::Range<usize> = 10..82;
/// The last octet of the client's key in HELLO, whose highest bit X25519 ignores.
const KEY_END: usize = 113;

/// A client as it should be, over a link that a test may tamper with.
struct Client {
    peer: Peer,
    handshake: Box<curve::Client>,
    randomness: Seeded,
    /// All that was sent, step by step.
    said: Vec<Vec<u8>>,
}

impl Client {
    async fn new(victim: &Victim, keys: KeyPair, server: PublicKey, seed: u64) -> Self {
        let kind = counterpart(victim.kind());
        let local = Local {
            metadata: local_metadata(kind, b"", Extensions::default()),
            domain: String::new(),
            authenticate: false,
            accepting: false,
        };
        Self {
            peer: victim.link().await,
            handshake: Box::new(curve::Client::new(local, keys, server)),
            randomness: Seeded::new(seed),
            said: Vec::new(),
        }
    }

    /// A client that the server takes.
    async fn honest(victim: &Victim, seed: u64) -> Self {
        let server = victim.keys().public();
        Self::new(victim, generate_key_pair(), server, seed).await
    }

    /// What comes next, once the server has said what must come before.
    async fn next(&mut self) -> std::io::Result<Vec<u8>> {
        match self.said.len() {
            0 => return Ok(raw::greeting(1, "CURVE", false).to_vec()),
            1 => drop(self.peer.exactly(GREETING).await?),
            _ => self.hear().await?,
        }
        let body = self.handshake.next_command(&mut self.randomness);
        let body = body.expect("it is the client's turn");
        let long = if body.len() > 255 { LONG } else { 0 };
        Ok(raw::frame(COMMAND | long, &body))
    }

    async fn hear(&mut self) -> std::io::Result<()> {
        let Frame { body, .. } = self.peer.frame().await?;
        let heard = self.handshake.handle_command(&body);
        heard.map_err(std::io::Error::other)
    }

    async fn say(&mut self, octets: Vec<u8>) -> std::io::Result<()> {
        let sent = self.peer.send(&octets).await;
        self.said.push(octets);
        sent
    }

    /// Steps as they should be.
    async fn steps(&mut self, steps: usize) {
        for _ in 0..steps {
            let octets = self.next().await.unwrap();
            self.say(octets).await.unwrap();
        }
    }

    /// The whole handshake; returns what seals the client's frames.
    async fn session(mut self) -> (Peer, Sealer) {
        self.steps(STEPS).await;
        self.hear().await.unwrap();
        assert!(self.handshake.is_complete());
        (self.peer, self.handshake.finish().sealer)
    }
}

/// A message in a box.
fn seal(sealer: &mut Sealer, body: &[u8]) -> Vec<u8> {
    let Sealer::Curve(sealer) = sealer else {
        panic!("the session is clear");
    };
    let mut sealed = vec![0; OVERHEAD];
    sealed.extend_from_slice(body);
    sealer.seal(&mut sealed).unwrap();
    raw::frame(0, &sealed)
}

#[tokio::test]
async fn whoever_does_not_speak_curve_is_refused() {
    let ready = raw::ready(&[("Socket-Type", b"PUSH")]);
    let hello = raw::command("HELLO", b"\x03ada\x06secret");
    let clear = [
        [&raw::greeting(1, "NULL", false)[..], &ready].concat(),
        [&raw::greeting(0, "NULL", false)[..], &ready].concat(),
        [&raw::greeting(1, "PLAIN", false)[..], &hello].concat(),
        [&raw::greeting(1, "GSSAPI", false)[..], &hello].concat(),
        [&raw::greeting(1, "curve", false)[..], &hello].concat(),
        [&raw::greeting(1, "CURVE", true)[..], &hello].concat(),
        [&raw::greeting(1, "CURVE", false)[..], &ready].concat(),
        [&raw::greeting(1, "CURVE", false)[..], &hello].concat(),
        [
            &raw::greeting(1, "CURVE", false)[..],
            &raw::command("INITIATE", &[7; 300]),
        ]
        .concat(),
        [
            &raw::greeting(1, "CURVE", false)[..],
            &raw::command("HELLO", &[0; 194]),
        ]
        .concat(),
        [
            &raw::greeting(1, "CURVE", false)[..],
            &raw::message(&["clear text"]),
        ]
        .concat(),
    ];
    siege(Config::curve(SocketType::Pull), async |victim| {
        for octets in &clear {
            let mut peer = victim.link().await;
            peer.send(octets).await.unwrap();
            let failure = victim.refuses(peer).await;
            assert!(
                matches!(failure, HandshakeFailure::Protocol(_)),
                "{failure} for {octets:02x?}"
            );
        }
        // One who knows another server's key.
        let stranger = generate_key_pair();
        let mut client = Client::new(victim, stranger.clone(), stranger.public(), 7).await;
        client.steps(2).await;
        let failure = victim.refuses(client.peer).await;
        assert!(matches!(failure, HandshakeFailure::Protocol(_)));
    })
    .await;
}

#[tokio::test]
async fn every_cut_of_a_curve_handshake_ends_it() {
    let step = scale::count(7, 1) as usize;
    siege(Config::curve(SocketType::Pull), async |victim| {
        let mut cut = Vec::new();
        for (steps, at) in places(victim).await.step_by(step) {
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
    })
    .await;
}

/// Every place in a client's handshake: the steps before, and the octet in the next.
async fn places(victim: &Victim) -> impl Iterator<Item = (usize, usize)> + use<> {
    let mut client = Client::honest(victim, 1).await;
    client.steps(STEPS).await;
    client.peer.finish().await.unwrap();
    // The session stood perhaps before its end was seen.
    victim.judges(client.peer).await;
    let lens: Vec<_> = client.said.iter().map(Vec::len).collect();
    assert_eq!(lens[..2], [GREETING, HELLO]);
    (0..STEPS).flat_map(move |step| (0..lens[step]).map(move |at| (step, at)))
}

#[tokio::test]
async fn no_flipped_bit_leads_to_a_session() {
    let bits = scale::count(1, 8) as usize;
    let flips = std::cell::Cell::new(0);
    siege(Config::curve(SocketType::Pull), async |victim| {
        flips.set(0);
        // What NULL says of the greeting holds here: only the commands differ.
        for (steps, at) in places(victim).await.skip(GREETING) {
            for bit in (0..bits).map(|bit| (bit + at) % 8) {
                let mut client = Client::honest(victim, at as u64).await;
                client.steps(steps).await;
                let mut octets = client.next().await.unwrap();
                octets[at] ^= 1 << bit;
                client.peer.send(&octets).await.unwrap();
                client.peer.finish().await.unwrap();
                let failure = victim.refuses(client.peer).await;
                // A longer frame that does not come, and what nobody looks at, end with the link.
                let open = at < 9 || (steps == 1 && (PADDING.contains(&at) || at == KEY_END));
                assert!(
                    matches!(failure, HandshakeFailure::Protocol(_)) || open,
                    "{failure} for bit {bit} of octet {at} after {steps} steps"
                );
                flips.set(flips.get() + 1);
            }
        }
    })
    .await;
    scale::report("flipped bits of CURVE handshakes", flips.get());
}

#[tokio::test]
async fn a_recorded_handshake_is_of_no_use() {
    siege(Config::curve(SocketType::Pull), async |victim| {
        let mut recorded = Client::honest(victim, 3).await;
        recorded.steps(STEPS).await;
        recorded.hear().await.unwrap();
        let [greeting, hello, initiate] = &recorded.said[..] else {
            panic!("three steps");
        };
        for again in [
            vec![greeting, hello, initiate],
            vec![greeting, initiate],
            vec![greeting, hello, hello],
        ] {
            let mut peer = victim.link().await;
            for octets in again {
                // It may be refused before all is said.
                let _ = peer.send(octets).await;
            }
            let failure = victim.refuses(peer).await;
            assert!(
                matches!(
                    failure,
                    HandshakeFailure::Protocol(ConnectionError::Handshake(_))
                ),
                "{failure}"
            );
        }
        // The one that was recorded is none the worse for it.
        let mut sealer = recorded.handshake.finish().sealer;
        let frame = seal(&mut sealer, b"still here");
        recorded.peer.send(&frame).await.unwrap();
        recorded.peer.finish().await.unwrap();
        assert_eq!(victim.closes(recorded.peer).await, Reason::PeerClosed);
    })
    .await;
}

#[tokio::test]
async fn frames_that_come_twice_or_in_another_order_close_the_connection() {
    siege(Config::curve(SocketType::Pull), async |victim| {
        let (_other, mut foreign) = Client::honest(victim, 99).await.session().await;
        let foreign = seal(&mut foreign, b"of another session");
        for (seed, offence) in (0..).zip([
            "replayed",
            "replayed later",
            "reordered",
            "flipped",
            "cut",
            "foreign",
            "clear",
            "clear command",
            "unnamed",
        ]) {
            let (mut peer, mut sealer) = Client::honest(victim, seed).await.session().await;
            let first = seal(&mut sealer, b"first");
            let second = seal(&mut sealer, b"second");
            let third = seal(&mut sealer, b"third");
            let mut flipped = second.clone();
            *flipped.last_mut().unwrap() ^= 1;
            let octets = match offence {
                "replayed" => [&first[..], &first].concat(),
                "replayed later" => [&first[..], &second, &third, &first].concat(),
                // What is left out is allowed, as libzmq does it; what comes late is not.
                "reordered" => [&first[..], &third, &second].concat(),
                "flipped" => [first, flipped].concat(),
                "cut" => [first, raw::frame(0, &second[2..2 + PLAINTEXT_AT])].concat(),
                "foreign" => [&first[..], &foreign].concat(),
                "clear" => [first, raw::message(&["clear text"])].concat(),
                "clear command" => [first, raw::command("PING", b"\0\0")].concat(),
                _ => [first, raw::frame(0, &second[3..])].concat(),
            };
            peer.send(&octets).await.unwrap();
            let reason = victim.closes(peer).await;
            assert!(
                matches!(reason, Reason::Protocol(DecodeError::NotAuthentic)),
                "{reason} for {offence}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_sealed_command_is_held_to_the_rules_of_clear_ones() {
    siege(Config::curve(SocketType::Pull), async |victim| {
        let (mut peer, mut sealer) = Client::honest(victim, 5).await.session().await;
        let Sealer::Curve(sealer) = &mut sealer else {
            panic!("the session is clear");
        };
        let mut sealed = vec![0; OVERHEAD];
        // Inside a box the bit of a command is another: RFC 26.
        sealed[PLAINTEXT_AT] = 2;
        sealed.extend_from_slice(b"\x04PING");
        sealer.seal(&mut sealed).unwrap();
        peer.send(&raw::frame(0, &sealed)).await.unwrap();
        match victim.judges(peer).await {
            Verdict::Lost(Reason::Protocol(DecodeError::Command(_))) => {}
            other => panic!("{other:?}"),
        }
    })
    .await;
}

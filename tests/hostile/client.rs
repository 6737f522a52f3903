//! A peer that proves itself as it should, with CURVE or NOISE, over a link that a test may tamper
//! with.

use std::io::IoSlice;
use std::time::Duration;

use withy::{KeyPair, PublicKey, generate_key_pair};
use withy_proto::crypto::{Provider, Seeded};
use withy_proto::mechanism::curve::OVERHEAD;
use withy_proto::mechanism::noise::Initiator;
use withy_proto::mechanism::party::Settings;
use withy_proto::mechanism::{Handshake, Local, Sealer, curve};
use withy_proto::zmtp::connection::{Extensions, local_metadata};
use withy_tests::by_hand;
use withy_tests::raw::{self, COMMAND, Frame, LONG, Peer};

use crate::victim::{SEED, Victim, counterpart};

/// What a client says until the session stands: greeting, HELLO, INITIATE.
pub(crate) const STEPS: usize = 3;
/// The greeting's octets.
pub(crate) const GREETING: usize = 64;
/// Where the filler begins in a greeting.
const FILLER: usize = 33;

/// A client as it should be.
pub(crate) struct Client {
    pub(crate) peer: Peer,
    name: &'static str,
    pub(crate) handshake: Box<dyn Handshake>,
    randomness: Seeded,
    /// All that was sent, step by step.
    pub(crate) said: Vec<Vec<u8>>,
}

impl Client {
    async fn new(victim: &Victim, handshake: Box<dyn Handshake>, randomness: Seeded) -> Self {
        Self {
            peer: victim.link().await,
            name: victim.mechanism(),
            handshake,
            randomness,
            said: Vec::new(),
        }
    }

    /// A client that the server takes; another one for each seed.
    pub(crate) async fn honest(victim: &Victim, seed: u64) -> Self {
        match victim.mechanism() {
            "CURVE" => {
                let server = victim.keys().public();
                Self::curve(victim, generate_key_pair(), server, seed).await
            }
            _ => Self::noise(victim, by_hand::settings(&SEED, generate_key_pair()), seed).await,
        }
    }

    pub(crate) async fn curve(
        victim: &Victim,
        keys: KeyPair,
        server: PublicKey,
        seed: u64,
    ) -> Self {
        let client = curve::Client::new(local(victim), keys, server);
        Self::new(victim, Box::new(client), Seeded::new(seed)).await
    }

    pub(crate) async fn noise(victim: &Victim, settings: Settings, seed: u64) -> Self {
        let mut randomness = Seeded::new(seed);
        let local = local(victim);
        let client = Initiator::new(local, settings, Provider::Real, &mut randomness);
        Self::new(victim, Box::new(client), randomness).await
    }

    /// What comes next, once the server has said what must come before.
    pub(crate) async fn next(&mut self) -> std::io::Result<Vec<u8>> {
        let mut greeting = raw::greeting(1, self.name, false);
        greeting[FILLER..].copy_from_slice(&self.handshake.filler());
        match self.said.len() {
            0 => return Ok(greeting.to_vec()),
            1 => {
                let theirs = self.peer.exactly(GREETING).await?;
                let theirs = theirs.as_slice().try_into().expect("so many octets");
                let greeted = self.handshake.handle_greetings(&greeting, theirs);
                greeted.map_err(std::io::Error::other)?;
            }
            _ => self.hear().await?,
        }
        let body = self.handshake.next_command(&mut self.randomness);
        let body = body.expect("it is the client's turn");
        let long = if body.len() > 255 { LONG } else { 0 };
        Ok(raw::frame(COMMAND | long, &body))
    }

    pub(crate) async fn hear(&mut self) -> std::io::Result<()> {
        let Frame { body, .. } = self.peer.frame().await?;
        let heard = self.handshake.handle_command(&body);
        heard.map_err(std::io::Error::other)
    }

    pub(crate) async fn say(&mut self, octets: Vec<u8>) -> std::io::Result<()> {
        let sent = self.peer.send(&octets).await;
        self.said.push(octets);
        sent
    }

    /// Steps as they should be.
    pub(crate) async fn steps(&mut self, steps: usize) {
        for _ in 0..steps {
            let octets = self.next().await.unwrap();
            self.say(octets).await.unwrap();
        }
    }

    /// The whole handshake; returns what seals the client's frames.
    pub(crate) async fn session(mut self) -> (Peer, Sealer) {
        self.steps(STEPS).await;
        self.hear().await.unwrap();
        assert!(self.handshake.is_complete());
        (self.peer, self.handshake.finish().sealer)
    }
}

fn local(victim: &Victim) -> Local {
    let kind = counterpart(victim.kind());
    Local {
        metadata: local_metadata(kind, b"", Extensions::default()),
        domain: String::new(),
        authenticate: false,
        accepting: false,
    }
}

/// Frames in clear, none of which is long, as they leave after the handshake.
pub(crate) fn seal(sealer: &mut Sealer, frames: &[u8]) -> Vec<u8> {
    match sealer {
        Sealer::Curve(sealer) => {
            let mut octets = Vec::new();
            let mut rest = frames;
            while let [flags, size, tail @ ..] = rest {
                let (body, tail) = tail.split_at(usize::from(*size));
                rest = tail;
                let mut sealed = vec![0; OVERHEAD];
                // Inside a box the bit of a command is another: RFC 26.
                sealed[OVERHEAD - 1] = flags & raw::MORE | flags >> 1 & 2;
                sealed.extend_from_slice(body);
                sealer.seal(&mut sealed).unwrap();
                let long = if sealed.len() > 255 { LONG } else { 0 };
                octets.extend(raw::frame(long, &sealed));
            }
            octets
        }
        Sealer::Records(sealer) => {
            let runs = [IoSlice::new(frames)].into_iter();
            sealer.seal(runs, frames.len(), Duration::ZERO).unwrap()
        }
        Sealer::Clear => panic!("the session is clear"),
    }
}
